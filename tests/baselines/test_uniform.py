import pytest
import torch

from weightzip.baselines import UniformQuantisation


def mean_square_error(restored, original):
    return (restored - original).double().square().mean().item()


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_eight_bits_are_off_by_at_most_half_a_step(recode, granularity):
    weight = torch.rand(64, 300) * 2 - 1  # flat: nothing to gain by clipping
    restored = recode(UniformQuantisation(8, granularity), {"weight": weight})["weight"]
    extremes = weight.abs().amax(dim=1, keepdim=True) if granularity == "channel" else weight.abs().max()
    assert ((restored - weight).abs() <= extremes / 127 / 2 * 1.1).all()


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_the_number_of_levels_is_that_of_the_bits(recode, gaussian, bits):
    restored = recode(UniformQuantisation(bits, "tensor"), gaussian)["weight"]
    assert 2**bits * 0.7 <= len(restored.unique()) <= 2**bits


# Least mean square error of a uniform quantiser for a unit Gaussian, with as many levels (Max 1960, table II).
@pytest.mark.parametrize(("bits", "optimum"), [(2, 0.1188), (3, 0.03744), (4, 0.01154), (5, 0.003495)])
def test_clipping_comes_near_the_best_uniform_quantiser(recode, gaussian, bits, optimum):
    """Max's grid has a level on either side of zero; this one has zero, which costs at few bits."""
    error = mean_square_error(recode(UniformQuantisation(bits, "tensor"), gaussian)["weight"], gaussian["weight"])
    assert optimum * 0.99 < error < optimum * (1 + 2.5 / 2**bits)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_channels_of_unequal_scale_gain_from_a_step_of_their_own(recode, bits):
    weight = torch.randn(32, 200) * torch.logspace(-3, 0, 32)[:, None]
    per_tensor = recode(UniformQuantisation(bits, "tensor"), {"weight": weight})["weight"]
    per_channel = recode(UniformQuantisation(bits, "channel"), {"weight": weight})["weight"]
    tensor_errors, channel_errors = ((each - weight).square().sum(dim=1) for each in (per_tensor, per_channel))
    assert (channel_errors <= tensor_errors * 1.1).all(), "up to the spacing of the clip ratios searched"
    assert channel_errors.sum() < 0.7 * tensor_errors.sum()


def test_a_channel_is_the_first_dimension(recode):
    weight = torch.randn(8, 4, 3, 3)
    weight[3] *= 1000
    restored = recode(UniformQuantisation(8, "channel"), {"weight": weight})["weight"]
    assert (restored - weight)[[0, 1, 2, 4, 5, 6, 7]].abs().max() < 0.02


def test_a_row_of_zeros_stays_zero(recode):
    weight = torch.randn(4, 50)
    weight[2] = 0
    assert (recode(UniformQuantisation(4, "channel"), {"weight": weight})["weight"][2] == 0).all()


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_flat_data_takes_its_bits_and_little_more(section_bytes, bits):
    weight = torch.rand(100, 1000) * 2 - 1  # nearly every level equally likely: no entropy to save
    size = section_bytes(UniformQuantisation(bits, "channel"), {"weight": weight})
    nominal = 100_000 * bits / 8 + 2 * 100
    assert 0.75 * nominal < size < 1.01 * nominal
