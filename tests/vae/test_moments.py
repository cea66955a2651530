import numpy as np
import pytest

from weightzip.vae.gaussian import separable_variances
from weightzip.vae.moments import moments_along

EVERYTHING = 1 << 30


def moments(values, axis, most=EVERYTHING):
    return moments_along(values, separable_variances(values), axis, most)


def noise(shape, seed=0, size=6.0):
    return (np.random.default_rng(seed).normal(size=shape) * size).astype(np.float32)


def smooth(shape, axis):
    values = np.cumsum(noise(shape), axis=axis)
    return (values / values.std() * 6).astype(np.float32)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_moments_are_those_of_the_vectors_in_units_of_their_own_scale(axis):
    values = noise((30, 40, 50)) * np.linspace(1, 9, 30, dtype=np.float32)[:, None, None]
    found = moments(values, axis)
    vectors = np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis])
    assert (found.length, found.num_vectors, found.seen) == (vectors.shape[1], len(vectors), len(vectors))
    if axis:
        assert np.diag(found.matrix) == pytest.approx(1, abs=0.25)
    correlation = np.abs(found.matrix - np.diag(np.diag(found.matrix))).max()
    assert correlation < (0.25 if axis else 1.0)


@pytest.mark.parametrize("shape", [(500, 1, 20), (40, 1, 40), (8, 64, 100), (100, 1, 300)])
def test_noise_tells_nothing_however_few_vectors_are_seen(shape):
    found = moments(noise(shape), 2)
    assert abs(found.most_saved) < 0.03 * found.plain


def test_what_a_transform_saves_is_seen_from_a_sample():
    values = smooth((100, 60, 32), 2)
    whole, sample = moments(values, 2), moments(values, 2, most=600)
    assert sample.seen < 0.2 * whole.seen
    for gain in ("cosine_gain", "learned_gain", "most_saved"):
        assert getattr(sample, gain) == pytest.approx(getattr(whole, gain), rel=0.1)
        assert getattr(whole, gain) > 0.2 * whole.plain


def test_no_transform_saves_much_more_than_the_bound():
    found = moments(smooth((100, 60, 32), 1), 1)
    assert max(found.cosine_gain, found.learned_gain) < 1.2 * found.most_saved


def test_the_bound_holds_for_values_of_any_size():
    for size in (0.0, 1e-3, 1e9):
        found = moments(noise((500, 1, 20), size=size), 2)
        assert abs(found.most_saved) <= 0.03 * found.plain + 1


def test_learning_does_not_pay_for_few_vectors():
    assert moments(smooth((10, 1, 64), 2), 2).learned is None
    assert moments(smooth((10, 1, 64), 2), 2).learned_gain == 0


def test_folded_moments_are_those_of_the_folded_array():
    values = smooth((50, 1, 48), 2)
    outer, inner = moments(values, 2).folded(6, 8)
    assert (outer.length, inner.length) == (6, 8)
    assert (outer.num_vectors, inner.num_vectors) == (400, 300)
    folded = np.einsum("nia,nja->ij", *[values.reshape(50, 6, 8)] * 2)
    assert np.corrcoef(outer.matrix.ravel(), folded.ravel())[0, 1] > 0.95
