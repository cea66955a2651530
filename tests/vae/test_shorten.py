import pytest
import torch

from weightzip.vae import hidden_levels, hidden_units, least_squares, output_bits, shorten

NUM_CHUNKS, LATENT, HIDDEN, SIZE = 30, 10, 24, 100
DISTORTION = 0.05


@pytest.fixture
def latents():
    values = torch.randn(NUM_CHUNKS, LATENT, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.cat([values, torch.ones(NUM_CHUNKS, 1)], dim=1)


@pytest.fixture
def first():
    """Units in pairs that nearly repeat each other."""
    generator = torch.Generator().manual_seed(1)
    half = torch.randn(HIDDEN // 2, LATENT + 1, generator=generator, dtype=torch.float64)
    return torch.cat([half, half + 0.1 * torch.randn(half.shape, generator=generator, dtype=torch.float64)])


@pytest.fixture
def blocks():
    return torch.randn(NUM_CHUNKS, SIZE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_hidden_units_have_level_one(latents, first):
    units = hidden_units(latents, 7.0 * first)
    torch.testing.assert_close(units.square().mean(dim=0), torch.ones(HIDDEN + 1, dtype=torch.float64))
    assert (units[:, -1] == 1).all()


def test_a_unit_that_is_zero_stays_zero(latents, first):
    first[3] = 0
    hidden, levels = hidden_levels(latents, first)
    assert levels[3] == 1
    assert (hidden[:, 3] == 0).all()


def test_bits_are_those_of_gaussian_weights(latents, first, blocks):
    """Orthogonal units: each weight has the power of a projection, and the noise's share of the distortion."""
    orthogonal = torch.linalg.qr(torch.randn(NUM_CHUNKS, 4, dtype=torch.float64)).Q * NUM_CHUNKS**0.5
    outputs = orthogonal @ torch.randn(4, SIZE, dtype=torch.float64)
    power = (orthogonal.T @ outputs / NUM_CHUNKS).square().mean(dim=1)
    expected = 0.5 * torch.log2(1 + power * 4 / DISTORTION).sum()
    torch.testing.assert_close(output_bits(orthogonal, outputs, SIZE, DISTORTION), expected, rtol=1e-6, atol=0)


def test_fewer_numbers_with_the_same_inner_products_may_stand_for_blocks(latents, first, blocks):
    units = hidden_units(latents, first)
    outputs = units @ least_squares(units, blocks)
    narrow = torch.linalg.cholesky(outputs @ outputs.T + 1e-12 * torch.eye(NUM_CHUNKS))
    torch.testing.assert_close(
        output_bits(units, narrow, SIZE, DISTORTION), output_bits(units, outputs, SIZE, DISTORTION), rtol=1e-6, atol=0
    )


def test_what_cannot_be_reached_costs_bits(latents, first, blocks):
    units = hidden_units(latents, first)
    outputs = units @ least_squares(units, blocks)
    assert output_bits(units[:, 5:], outputs, SIZE, 1e-3) > output_bits(units, outputs, SIZE, 1e-3)


def test_shorter_without_losing_the_outputs(latents, first, blocks):
    before = hidden_units(latents, first)
    outputs = before @ least_squares(before, blocks)
    kept = first.clone()
    after = hidden_units(latents, shorten(latents, first, outputs, SIZE, DISTORTION))
    saved = output_bits(before, outputs, SIZE, DISTORTION) - output_bits(after, outputs, SIZE, DISTORTION)
    assert saved > 0.3 * HIDDEN  # bits for each weight of the output layer
    assert (after @ least_squares(after, outputs) - outputs).square().mean() < 0.3 * DISTORTION
    assert torch.equal(first, kept)
