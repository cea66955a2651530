import dataclasses

import numpy as np
import pytest

from weightzip.errors import FormatError
from weightzip.threads import limited_threads
from weightzip.vae import IntegerDecoder

LATENT, HIDDEN, BLOCK = 6, 9, 20


@pytest.fixture
def decoder():
    rng = np.random.default_rng(0)
    return IntegerDecoder(
        first=rng.integers(-50, 51, (HIDDEN, LATENT), np.int32),
        bias=rng.integers(-50, 51, (HIDDEN, 1), np.int32),
        second=rng.integers(-50, 51, (BLOCK, HIDDEN), np.int32),
        mean=rng.integers(-50, 51, (BLOCK, 1), np.int32),
        mean_shift=3,
    )


@pytest.fixture
def latents():
    return np.random.default_rng(1).integers(-30, 31, (5000, LATENT), np.int32)


def exactly(decoder, latents):
    """The decoder in Python's integers, as the module's docstring draws it."""
    blocks = []
    for q in latents.tolist():
        before = [
            sum(w * x for w, x in zip(row, q, strict=True)) + b
            for row, (b,) in zip(decoder.first.tolist(), decoder.bias.tolist(), strict=True)
        ]
        hidden = [max(8 * p, p) for p in before]
        blocks.append(
            [
                sum(w * h for w, h in zip(row, hidden, strict=True)) + (m << decoder.mean_shift)
                for row, (m,) in zip(decoder.second.tolist(), decoder.mean.tolist(), strict=True)
            ]
        )
    return np.array(blocks)


def test_it_is_exact_integer_arithmetic(decoder, latents):
    units = exactly(decoder, latents[:40])
    assert np.array_equal(decoder.decode(latents[:40], scale=1.0, offset=0.0), units.astype(np.float32))
    assert np.array_equal(decoder.decode(latents[:40], scale=0.37, offset=-1.5), (units * 0.37 - 1.5).astype(np.float32))


def test_it_is_the_float_decoder_up_to_rounding(decoder, latents):
    before = latents @ decoder.first.T.astype(np.float64) + decoder.bias[:, 0]
    blocks = np.where(before > 0, before, before / 8) @ decoder.second.T + decoder.mean[:, 0] * 2.0**decoder.mean_shift / 8
    np.testing.assert_allclose(decoder.decode(latents, scale=1 / 8, offset=0.0), blocks, rtol=1e-6, atol=1e-3)


def test_any_split_into_batches_gives_the_same_bits(decoder, latents):
    whole = decoder.decode(latents, scale=1e-3, offset=0.1)
    for size in (1, 7, 4096):
        parts = [decoder.decode(latents[start : start + size], scale=1e-3, offset=0.1) for start in range(0, 200, size)]
        assert np.array_equal(np.concatenate(parts)[:200], whole[:200])


def test_any_number_of_threads_gives_the_same_bits(decoder, latents):
    results = []
    for threads in (1, 2):
        with limited_threads(threads):
            results.append(decoder.decode(latents, scale=1e-3, offset=0.1))
    assert np.array_equal(*results)


def test_the_order_of_the_hidden_units_does_not_matter(decoder, latents):
    """Floating-point sums would differ; sums of integers below 2^53 do not."""
    order = np.random.default_rng(2).permutation(HIDDEN)
    shuffled = dataclasses.replace(
        decoder, first=decoder.first[order], bias=decoder.bias[order], second=decoder.second[:, order]
    )
    first, second = (which.decode(latents, scale=1 / 3, offset=0.1) for which in (decoder, shuffled))
    assert np.array_equal(first, second)


def test_no_blocks(decoder):
    assert decoder.decode(np.zeros((0, LATENT), np.int32), scale=1.0, offset=0.0).shape == (0, BLOCK)


def small(*, first=1, bias=0, second=1, mean=0, mean_shift=0):
    parts = (np.array([[value]], np.int32) for value in (first, bias, second, mean))
    return IntegerDecoder(*parts, mean_shift)


LARGE = 2**31 - 1


@pytest.mark.parametrize(
    ("decoder", "latent"),
    [
        pytest.param(small(first=LARGE), LARGE, id="first layer"),
        pytest.param(small(first=2**20), -(2**31), id="the most negative latent"),
        pytest.param(small(second=LARGE, first=2**20), 1, id="second layer"),
        pytest.param(small(mean=2, mean_shift=52), 1, id="mean"),
    ],
)
def test_numbers_too_large_to_be_exact_are_refused(decoder, latent):
    with pytest.raises(FormatError, match="too large for exact arithmetic"):
        decoder.decode(np.array([[latent]], np.int32), scale=1.0, offset=0.0)


def test_the_largest_exact_number_is_not_refused():
    decoder = small(second=2**29 - 1, mean=1)
    assert decoder.decode(np.array([[2**20]], np.int32), scale=2.0**-30, offset=0.0)[0, 0] == np.float32(
        (8 * 2**20 * (2**29 - 1) + 1) * 2.0**-30
    )


def test_a_scale_beyond_float32_gives_infinity_without_a_warning():
    decoded = small().decode(np.array([[1], [-8]], np.int32), scale=1e300, offset=0.0)
    assert decoded.tolist() == [[np.inf], [-np.inf]]
