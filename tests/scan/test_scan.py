import pytest
import torch

import weightzip
from weightzip.errors import CheckpointError, LimitError, UsageError
from weightzip.scan import ENSEMBLE, scan
from weightzip.scan.ensemble import MEMBERS, choose_weights
from weightzip.scan.scanning import HOPELESS
from weightzip.vae import FAMILIES

FAST = "dense"  # a family that is trained in no time


def places(result):
    return {(flag.tensor, flag.start, flag.end) for flag in result.flagged}


@pytest.fixture(scope="module")
def hurt(state):
    """Zeros in one block, a flipped exponent in another."""
    damaged = {name: tensor.clone() for name, tensor in state.items()}
    damaged["2.weight"].view(-1)[640:704] = 0
    damaged["0.weight"].view(-1)[6400] = 2.0**100
    return damaged


DAMAGES = {("2.weight", 640, 704), ("0.weight", 6400, 6464)}


def test_a_clean_model_is_clean(state):
    result = scan(state, family=FAST)
    assert result.flagged == ()
    assert result.blocks == 200 * 256 // 64 + 4 + -(-100 * 200 // 64) + 2
    assert result.scores.shape == result.limits.shape == (result.blocks,)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_finds_gross_faults_odd(hurt, family):
    result = scan(hurt, family=family)
    oddest = torch.argsort(result.scores, descending=True)[:5]
    assert set(result.ranges.start[oddest].tolist()) >= {start for _, start, _ in DAMAGES}


def test_gross_faults_are_flagged(hurt):
    assert places(scan(hurt, family=FAST)) == DAMAGES


def test_the_ensemble_finds_gross_faults_and_says_how_it_is_made_up(hurt):
    result = scan(hurt)
    assert places(result) >= DAMAGES
    assert result.family == ENSEMBLE
    assert list(result.weights) == list(MEMBERS)
    assert sum(result.weights.values()) == pytest.approx(1, abs=1e-3)
    assert [flag.score for flag in result.flagged] == sorted((flag.score for flag in result.flagged), reverse=True)


def test_the_same_seed_finds_the_same(hurt):
    first, second = scan(hurt, family=FAST, seed=5), scan(hurt, family=FAST, seed=5)
    assert torch.equal(first.scores, second.scores)
    assert first.flagged == second.flagged


def test_the_model_and_torchs_random_numbers_stay_as_they_are(hurt):
    before, generator = {name: tensor.clone() for name, tensor in hurt.items()}, torch.get_rng_state()
    scan(hurt, family=FAST)
    assert all(torch.equal(before[name], hurt[name]) for name in hurt)
    assert torch.equal(generator, torch.get_rng_state())


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_flagged_first(state, number):
    damaged = {name: tensor.clone() for name, tensor in state.items()}
    damaged["2.weight"][3, 3] = number
    (worst, *_) = scan(damaged, family=FAST).flagged
    assert (worst.tensor, worst.start, worst.end, worst.score) == ("2.weight", 576, 640, HOPELESS)


def test_against_itself_nothing_is_odd(state):
    result = scan(state, state, FAST)
    assert result.flagged == ()
    assert float(result.scores.abs().max()) == 0


def test_against_the_clean_one_every_change_is_found(state):
    damaged = {name: tensor.clone() for name, tensor in state.items()}
    damaged["0.weight"].view(-1)[64] *= 1 + 2.0**-10  # far too little to be seen in the weights alone
    damaged["2.bias"][70] += 1e-4
    assert places(scan(damaged, state, FAST)) == {("0.weight", 64, 128), ("2.bias", 64, 100)}


def test_against_its_own_wz_file_signs_are_found(state, tmp_path):
    weightzip.compress(state, tmp_path / "model.wz")
    damaged = {name: tensor.clone() for name, tensor in state.items()}
    damaged["2.weight"].view(-1)[640:704] *= -1
    assert places(scan(damaged, tmp_path / "model.wz", FAST)) == {("2.weight", 640, 704)}
    assert places(scan(state, tmp_path / "model.wz", FAST)) == set()


def test_a_finetuned_model_against_the_one_before(state):
    generator = torch.Generator().manual_seed(2)
    tuned = {
        name: tensor + 1e-3 * torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
    assert places(scan(tuned, state, FAST)) == set()
    tuned["2.weight"].view(-1)[640:704] *= -1
    (worst, *_) = scan(tuned, state, FAST).flagged
    assert (worst.tensor, worst.start) == ("2.weight", 640)


def test_tensors_that_the_earlier_one_lacks_are_named(state):
    earlier = {name: tensor for name, tensor in state.items() if name != "2.weight"} | {"2.bias": torch.zeros(7)}
    result = scan(state, earlier, FAST)
    assert result.ranges.names == ("0.weight", "0.bias")
    assert any("2.weight, 2.bias" in note for note in result.notes)


def test_nothing_in_common_is_an_error(state):
    with pytest.raises(CheckpointError, match="no tensor of the same name and shape in common"):
        scan(state, {"other": torch.zeros(3)}, FAST)


@pytest.mark.parametrize(("name", "hint"), [("ensembel", "did you mean ensemble"), ("xyz", "use one of ensemble, dense")])
def test_an_unknown_family_is_an_error(state, name, hint):
    with pytest.raises(UsageError, match=hint):
        scan(state, family=name)


@pytest.mark.parametrize(
    "model", [{"ids": torch.arange(9)}, {"w": torch.ones(30, 30)}, {"none": torch.zeros(0)}], ids=["integers", "few", "none"]
)
def test_too_few_weights_are_told_not_judged(model):
    result = scan(model)
    assert result.flagged == ()
    assert any("at least 64 are needed" in note for note in result.notes)


def test_in_too_few_weights_numbers_that_are_not_finite_are_flagged():
    weights = torch.zeros(10, 10)
    weights[9, 9] = float("nan")
    assert places(scan({"w": weights})) == {("w", 64, 100)}


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_any_floating_point_dtype_is_scanned(hurt, dtype):
    small = {name: tensor.clamp(-1000, 1000).to(dtype) for name, tensor in hurt.items() if tensor.is_floating_point()}
    assert places(scan(small, family=FAST)) >= DAMAGES


@pytest.mark.parametrize("number", [0.0, 1.0, float("nan")])
def test_constant_weights_are_no_crash(number):
    result = scan({"w": torch.full((100, 100), number)}, family=FAST)
    assert len(result.flagged) == (result.blocks if number != number else 0)


def test_tied_weights_are_scanned_once():
    layer = torch.nn.Linear(100, 100)
    result = scan({"a": layer.weight, "b": layer.weight, "c": layer.bias}, family=FAST)
    assert result.ranges.names == ("a", "c")


def test_a_packed_file_is_not_restored_beyond_the_memory(state, tmp_path, monkeypatch):
    weightzip.compress(state, tmp_path / "model.wz")
    monkeypatch.setattr("weightzip.codec.memory.physical_memory", lambda: 1000)
    with pytest.raises(LimitError, match="this machine's memory"):
        scan(tmp_path / "model.wz", family="dense")


def test_weights_are_equal_where_damaged_copies_tell_nothing():
    tensors = {"bias": torch.randn(10, generator=torch.Generator().manual_seed(0))}
    assert choose_weights(tensors, None, [], seed=0).tolist() == pytest.approx([1 / len(MEMBERS)] * len(MEMBERS))
