import numpy as np
import pytest
import torch

from weightzip.vae.gaussian import DISTORTION, PRICE, cost, estimated_bits, estimated_cost, separable_variances


def separable(shape, seed=0):
    rng = np.random.default_rng(seed)
    factors = [np.exp(rng.normal(size=size)) for size in shape]
    variances = factors[0][:, None, None] * factors[1][None, :, None] * factors[2][None, None, :]
    return (rng.normal(size=shape) * np.sqrt(variances)).astype(np.float32), variances


@pytest.mark.parametrize("shape", [(60, 50, 40), (2000, 1, 60), (1, 70, 900), (64, 1024, 9)])
def test_the_variances_that_values_were_drawn_with_come_back(shape):
    values, variances = separable(shape)
    a, b, c = separable_variances(values)
    fitted = a[:, None, None] * b[None, :, None] * c[None, None, :]
    assert np.abs(np.log(fitted / variances)).mean() < (0.25 if 1 not in shape else 0.4)
    assert np.log(b).mean() == pytest.approx(0, abs=1e-9)
    assert np.log(c).mean() == pytest.approx(0, abs=1e-9)


def test_a_scaled_array_has_scaled_variances():
    values, _ = separable((9, 8, 7))
    small, large = separable_variances(10 * values), separable_variances(100 * values)
    np.testing.assert_allclose(large[0], 100 * small[0], rtol=1e-3)
    np.testing.assert_allclose(large[2], small[2], rtol=1e-3)


@pytest.mark.parametrize("shape", [(0, 0, 0), (3, 0, 2), (1, 1, 1), (2, 3, 4)])
def test_nothing_and_zeros_take_no_bits(shape):
    variances = separable_variances(np.zeros(shape, np.float32))
    assert [axis.size for axis in variances] == list(shape)
    assert all(np.isfinite(axis).all() for axis in variances)
    assert estimated_bits(variances) < 0.01 * max(np.prod(shape), 1)


def test_parts_that_are_zero_leave_the_rest_as_it_is():
    values, variances = separable((40, 30, 20))
    values[::2] = 0
    values[:, :, 3] = 0
    a, b, c = separable_variances(values)
    assert a[::2].max() < 1e-3
    assert c[3] < 1e-3
    fitted = (a[:, None, None] * b[None, :, None] * c[None, None, :])[1::2]
    keep = np.arange(20) != 3
    assert np.abs(np.log(fitted / variances[1::2])[..., keep]).mean() < 0.25


def test_the_sum_over_quantiles_is_the_sum():
    values, _ = separable((300, 20, 700))
    a, b, c = separable_variances(values)
    exact = 0.5 * np.log2(1 + a[:, None, None] * b[None, :, None] * c[None, None, :] / DISTORTION).sum()
    assert estimated_bits((a, b, c)) == pytest.approx(exact, rel=2e-3)


def test_distortion_has_its_price():
    """Small values are left out and cost themselves; large ones cost their bits and one distortion."""
    assert cost(np.array([0.0, 0.5, 1.0, 16.0])) == pytest.approx([0, 0.5 * PRICE, PRICE, 2 + PRICE])
    slope = (cost(np.array([1.001])) - cost(np.array([1.0]))) / 0.001
    assert slope == pytest.approx(PRICE, rel=1e-2)
    values, _ = separable((30, 20, 10))
    variances = separable_variances(100 * values)
    assert estimated_cost(variances) == pytest.approx(estimated_bits(variances) + PRICE * values.size, rel=1e-2)


def test_the_number_of_threads_does_not_matter_within_a_limit():
    values, _ = separable((300, 20, 70))
    before = torch.get_num_threads()
    results = []
    try:
        for _ in range(2):
            torch.set_num_threads(1)
            results.append(separable_variances(values))
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(left, right) for left, right in zip(*results, strict=True))
