import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.errors import FormatError
from weightzip.threads import limited_threads
from weightzip.vae.linear import LinearDecoder, cosine_decoder, fit_linear
from weightzip.vae.reflections import Reflections

DISTORTION = 0.3


def correlated(num_vectors, length, rank, seed=0, size=30.0):
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.normal(size=(length, length)))[0][:, :rank]
    return (rng.normal(size=(num_vectors, rank)) * size @ mixing.T).astype(np.float32)


def fitted(values):
    fit = fit_linear(values.T.astype(np.float64) @ values / len(values))
    return fit.quantised(len(values), DISTORTION)


def test_dimensions_that_do_not_pay_collapse():
    decoder = fitted(correlated(4000, 24, rank=5))
    assert (decoder.length, decoder.rank) == (24, 5)
    assert fitted(np.zeros((100, 8), np.float32)).rank == 0


def test_a_basis_is_as_precise_as_pays():
    """More data, finer steps; and what storing the basis leaves over is far below the distortion."""
    few, many = (correlated(n, 16, rank=4) for n in (100, 100_000))
    assert fitted(many).reflections.exponents.max() > fitted(few).reflections.exponents.max()
    for values in (few, many):
        decoder = fitted(values)
        restored = decoder.encode(values) @ decoder.real.T
        assert np.square(restored - values).mean() < 0.7 * DISTORTION * (1 + 16 / len(values))


def test_latents_are_decorrelated_and_ordered():
    values = correlated(5000, 16, rank=16, size=3.0) @ np.diag(np.linspace(1, 10, 16)).astype(np.float32)
    latents = fitted(values).encode(values)
    moments = latents.T @ latents / len(latents)
    deviation = np.sqrt(np.diag(moments))
    assert np.abs(moments / np.outer(deviation, deviation) - np.eye(16)).max() < 0.1
    assert (np.diff(np.diag(moments)) < 1e-2 * moments.max()).all()


def test_full_rank_loses_nothing_however_coarsely_it_is_stored():
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    values = rng.normal(size=(50, 40)).astype(np.float32)
    for exponent in (0, 3, 14):
        decoder = LinearDecoder.of(Reflections.of(directions, np.full(40, exponent, np.int32)))
        np.testing.assert_allclose(decoder.encode(values) @ decoder.real.T, values, atol=1e-4)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.sampled_from([3, 500, 2**20, 2**29]))
def test_decoding_is_exact(length, rank, seed, size):
    rng = np.random.default_rng(seed)
    decoder = LinearDecoder(rng.integers(-(2**11), 2**11, (length, rank)).astype(np.int32))
    symbols = rng.integers(-size, size + 1, (20, rank)).astype(np.int32)
    expected = (symbols.astype(object) @ decoder.basis.T.astype(object)).tolist()
    assert decoder.decode(symbols).tolist() == expected
    cube = np.ascontiguousarray(symbols.reshape(5, 4, rank).transpose(0, 2, 1))
    assert decoder.decode(cube, 1).transpose(0, 2, 1).reshape(20, length).tolist() == expected
    bound = float(np.abs(symbols).max())
    cube = np.ascontiguousarray(symbols.T).reshape(rank, 4, 5)
    rows = [decoder.decode_rows(cube, slice(row, row + 1), bound=bound) for row in range(length)]
    assert np.concatenate(rows).reshape(length, 20).T.tolist() == expected
    assert decoder.decode(cube, 0).reshape(length, 20).T.tolist() == expected


def test_a_decoder_keeps_little_besides_its_basis():
    """However it was used: a file may have as many numbers in bases as in weights."""
    decoder = fitted(correlated(400, 64, rank=64))
    decoder.encode(correlated(10, 64, rank=64))
    decoder.decode(np.ones((3, decoder.rank), np.int32))
    kept = [value for owner in (decoder, decoder.reflections) for value in vars(owner).values()]
    assert sum(value.nbytes for value in kept if isinstance(value, np.ndarray)) < 5 * 64**2
    assert not any(isinstance(value, torch.Tensor) for value in kept)


def test_numbers_too_large_to_be_exact_are_refused():
    decoder = LinearDecoder(np.full((2, 64), 2**20, np.int32))
    symbols = np.full((1, 64), 2**26, np.int32)
    assert decoder.decode(symbols).tolist() == [[2.0**52] * 2]
    with pytest.raises(FormatError, match="too large for exact arithmetic"):
        decoder.decode(2 * symbols)


def test_any_batch_and_any_number_of_threads_give_the_same_bits():
    rng = np.random.default_rng(0)
    decoder = cosine_decoder(100)
    symbols = rng.integers(-(2**25), 2**25, (3000, 100)).astype(np.int32)
    whole = decoder.decode(symbols)
    with limited_threads(1):
        parts = [decoder.decode(symbols[start : start + 77]) for start in range(0, 3000, 77)]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("length", [2, 3, 5, 28, 64, 100, 257])
def test_the_cosine_transform_is_orthonormal_but_for_rounding(length):
    decoder = cosine_decoder(length)
    real = decoder.real
    assert np.abs(real.T @ real - np.eye(length)).max() < 2e-2


def test_no_cosine_is_near_a_half():
    """Cosines differ between machines by about 1e-16: none of them may be rounded differently for that."""
    for length in range(2, 2049):
        cosines = np.cos(np.arange(length + 1) * (np.pi / (2 * length)))
        for size in (np.sqrt(1 / length), np.sqrt(2 / length)):
            values = cosines * size * 2**11
            assert np.abs(values - np.floor(values) - 0.5).min() > 1e-8


def test_smooth_vectors_are_what_the_cosine_transform_is_for():
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.normal(size=(200, 32)), axis=1).astype(np.float32)
    power = np.square(cosine_decoder(32).encode(values)).mean(axis=0)
    assert power[:4].sum() > 0.9 * power.sum()


def test_the_sign_of_a_direction_is_settled():
    values = correlated(500, 8, rank=8)
    moments = values.T.astype(np.float64) @ values / len(values)
    directions = fit_linear(moments).directions
    assert (np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[None], axis=0) > 0).all()
    assert np.array_equal(fitted(-values).basis, fitted(values).basis)
