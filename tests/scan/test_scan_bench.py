import json

import pytest
import torch
from sklearn.metrics import roc_auc_score

from weightzip.errors import UsageError
from weightzip.measure.scanning import bench, measure_scan, scan_tables
from weightzip.measure.scanning.areas import Areas
from weightzip.measure.scanning.classical import CLASSICAL, classical_surprise
from weightzip.measure.scanning.copies import DETECTORS, CopyScores
from weightzip.scan.describe import describe
from weightzip.scan.ensemble import VALIDATION_SEEDS
from weightzip.scan.faults import FAULTS


def test_seeds_of_test_and_validation_are_disjoint():
    assert not set(bench.TEST_SEEDS) & set(VALIDATION_SEEDS)


def test_areas_are_those_of_scikit_learn():
    scores, positive = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([False, False, True, True])
    found = Areas.of(scores, positive)
    assert found.auc == roc_auc_score(positive.numpy(), scores.numpy()) == 0.75
    assert Areas.of(scores, scores > 1) is None
    assert Areas.mean([found, None, Areas(0.25, 0.5, 0.5)]).auc == 0.5


@pytest.mark.parametrize("name", CLASSICAL)
def test_classical_detectors_see_gross_faults(state, name):
    damaged = {name: tensor.clone() for name, tensor in state.items()}
    damaged["0.weight"].view(-1)[6400:6464] = 0
    scores = classical_surprise(name, describe(damaged), 0)
    assert 100 in scores.topk(5)[1].tolist()


def test_areas_of_a_copy_are_those_of_clean_blocks_against_one_kind():
    labels = torch.cat([torch.full((60,), -1), torch.arange(6).repeat(2)])
    perfect, blind = (labels >= 0).float(), torch.zeros(72)
    scores = dict.fromkeys(DETECTORS, perfect) | {"dense": blind}
    copy = CopyScores(scores, labels, labels == 0, {})
    assert [copy.areas("conv")[kind].auc for kind in FAULTS] == [1.0] * 6
    assert [copy.areas("dense")[kind].auc for kind in FAULTS] == [0.5] * 6
    assert copy.caught == {kind: (2 if kind == "bit_flips" else 0, 2) for kind in FAULTS}
    assert copy.false_flags == 0


def test_match_general_takes_three_of_six():
    labels = torch.cat([torch.full((188,), -1), torch.arange(6).repeat(2)])
    scores = {name: torch.arange(200.0) for name in DETECTORS}
    for name in CLASSICAL[:3]:
        scores[name] = torch.arange(200.0).flip(0)  # three of six at each end: both ends are consensus
    found = CopyScores(scores, labels, labels == 0, {}).match_general()
    assert found["ensemble"].auc == pytest.approx(0.5)


def test_a_single_checkpoint_is_too_few(tmp_path):
    with pytest.raises(UsageError, match="at least two checkpoints"):
        measure_scan([tmp_path / "a.pt"])


@pytest.mark.slow
def test_the_whole_measurement(state, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "_MOST_COPIES", 1)
    torch.save(state, tmp_path / "a.pt")
    torch.save({name: tensor.flip(0) for name, tensor in state.items() if tensor.dim()}, tmp_path / "b.pt")
    found = measure_scan([tmp_path / "a.pt", tmp_path / "b.pt"])
    assert json.loads(json.dumps(found.to_json()))["checkpoints"][0]["foreign"] == "b.pt"
    assert all(checkpoint.areas["ensemble"]["zeros"]["auc"] > 0.99 for checkpoint in found.checkpoints)
    tables = scan_tables(found)
    assert all(f"| {name} |" in tables for name in DETECTORS)
    assert len({line.count("|") for line in tables.split("\n\n")[0].splitlines()}) == 1
