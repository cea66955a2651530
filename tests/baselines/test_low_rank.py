import pytest
import torch

from weightzip.baselines import LowRank
from weightzip.interface import TensorSpec


@pytest.mark.parametrize("rank_fraction", [0.1, 0.3, 0.5])
def test_the_error_is_that_of_the_best_matrix_of_its_rank(recode, rank_fraction):
    weight = torch.randn(60, 90)
    restored = recode(LowRank(rank_fraction, "float32"), {"weight": weight})["weight"]
    discarded = torch.linalg.svdvals(weight.double())[round(60 * rank_fraction) :]
    error = (restored - weight).double().square().sum().item()
    assert error == pytest.approx(discarded.square().sum().item(), rel=1e-5)  # Eckart & Young


def test_half_precision_factors_cost_little(recode):
    weight = torch.randn(60, 90)
    errors = {
        precision: (recode(LowRank(0.5, precision), {"weight": weight})["weight"] - weight).square().sum().item()
        for precision in ("float32", "float16")
    }
    assert errors["float16"] < 1.001 * errors["float32"]


def test_a_matrix_of_low_rank_comes_back(recode):
    weight = torch.randn(80, 8) @ torch.randn(8, 70)
    assert torch.allclose(recode(LowRank(0.2, "float32"), {"weight": weight})["weight"], weight, atol=1e-4)


def test_a_convolution_is_flattened_to_output_channels(recode):
    weight = (torch.randn(32, 3) @ torch.randn(3, 16 * 9)).reshape(32, 16, 3, 3)  # rank 3 over [32, 144]
    assert torch.allclose(recode(LowRank(0.1, "float32"), {"weight": weight})["weight"], weight, atol=1e-4)


def test_a_matrix_whose_factors_would_be_larger_is_kept_in_the_same_precision(recode, section_bytes):
    weight = torch.randn(40, 40)
    assert torch.equal(recode(LowRank(0.5), {"weight": weight})["weight"], weight.half().float())
    assert section_bytes(LowRank(0.5), {"weight": weight}) <= 2 * 1600 + 10


def test_the_size_is_that_of_the_factors(section_bytes):
    weight = torch.randn(200, 300)
    nominal = 2 * 50 * (200 + 300)
    assert 0.75 * nominal < section_bytes(LowRank(0.25), {"weight": weight}) < nominal + 20


def test_threads_do_not_change_what_is_restored(gaussian):
    payload = LowRank(0.3).encode(gaussian)
    specs = [TensorSpec("weight", (200, 500), "float32"), TensorSpec("bias", (200,), "float32")]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = LowRank.decode(payload, specs)
        torch.set_num_threads(2)
        two = LowRank.decode(payload, specs)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one["weight"], two["weight"])
