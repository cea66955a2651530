import pytest
import torch
from sklearn.metrics import roc_auc_score

from weightzip.scan.describe import describe
from weightzip.scan.detect import fit
from weightzip.scan.ensemble import VALIDATION_SEEDS, Trial, choose_weights, simplex
from weightzip.scan.faults import CLEAN, FAULTS
from weightzip.scan.features import FIGURES


def test_the_grid_covers_the_simplex():
    grid = simplex(3, 4)
    assert len(grid) == len(torch.unique(grid, dim=0)) == 15
    assert torch.allclose(grid.sum(1), torch.ones(15))
    assert any(torch.equal(row, torch.tensor([0.0, 1.0, 0.0])) for row in grid)


def test_the_mean_area_is_that_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(CLEAN, len(FAULTS), (500,), generator=generator)
    surprises = torch.randint(0, 5, (500, 2), generator=generator).float() + (labels != CLEAN)[:, None]
    weights = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    found = Trial(surprises, labels).mean_auc(weights)
    for row, area in zip(weights, found.tolist(), strict=True):
        scores = (surprises @ row).numpy()
        each = []
        for kind in range(len(FAULTS)):
            counted = ((labels == CLEAN) | (labels == kind)).numpy()
            each.append(roc_auc_score(labels.numpy()[counted] == kind, scores[counted]))
        assert area == pytest.approx(sum(each) / len(each))


def test_weights_favour_the_member_that_sees_something(state):
    good = fit(describe(state), "dense", seed=0, device=torch.device("cpu"))

    class Blind:
        def errors(self, scanned):
            return torch.rand(scanned.blocks.values.shape, generator=torch.Generator().manual_seed(0)) - 0.5

    weights = choose_weights(state, None, [Blind(), good], seed=0)
    assert weights.shape == (2 + len(FIGURES),)
    assert float(weights.sum()) == pytest.approx(1)
    assert float(weights[1]) > float(weights[0])


def test_figures_have_one_kind_each():
    columns = [column for figures in FIGURES.values() for column in range(32)[figures]]
    assert columns == list(range(32))


def test_validation_seeds_are_their_own():
    assert VALIDATION_SEEDS.start > 10**6
