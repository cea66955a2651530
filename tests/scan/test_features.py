import pytest
import torch

from weightzip.scan.describe import describe, standardised
from weightzip.scan.elements import Elements, bend
from weightzip.scan.features import features


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 3e38, 1e-42, 0.0])
def test_figures_of_any_number_are_finite(number):
    weights = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
    weights[3, 5] = number
    assert bool(torch.isfinite(features(weights)).all())
    assert features(weights).shape == (40, 32)


@pytest.mark.parametrize("number", [0.0, 2.5, float("nan")])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (200,), (64, 64)], ids=str)
def test_figures_of_constant_tensors_are_finite(number, shape):
    assert bool(torch.isfinite(features(torch.full(shape, number))).all())


def test_a_flipped_exponent_stays_a_large_number():
    assert bend(torch.tensor(1e38)) < 400
    deviations = torch.linspace(-20, 20, 401)
    assert bool((bend(deviations).diff() > 0).all())


def test_low_rank_structure_foretells_a_matrix():
    generator = torch.Generator().manual_seed(0)
    strong = torch.randn(128, 2, generator=generator) @ torch.randn(2, 128, generator=generator)
    elements = Elements.of(strong + 0.1 * torch.randn(128, 128, generator=generator))
    inner = elements.bent.clamp(-4, 4)
    assert float((inner - elements.foretold).square().mean()) < 0.2 * float(inner.square().mean())


def test_standardised_figures_have_their_groups_median_and_spread():
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(4000) // 2000
    figures = torch.randn(4000, 3, generator=generator) * (1 + groups[:, None]) + 5
    found = standardised(figures, groups, torch.ones(4000, dtype=torch.bool))
    for number in (0, 1):
        assert found[groups == number].median(0)[0].tolist() == pytest.approx([0, 0, 0], abs=1e-6)
        assert found[groups == number].std(0).tolist() == pytest.approx([1, 1, 1], abs=0.08)


def test_scales_do_not_matter(state):
    scaled = {name: 2.0**-10 * tensor if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    assert torch.allclose(describe(state).blocks.values, describe(scaled).blocks.values, atol=1e-4)
