import numpy as np
import pytest
import torch

from weightzip.adapt.rate import Rate
from weightzip.codec.symbols import encode_symbols, round_latents
from weightzip.quantise.trellis import NUM_PRICES

SHAPES = [(40, 1, 60), (12, 5, 9), (1, 1, 30)]


def symbols(*shapes, size=1.5, seed=0):
    """Symbols [n] of arrays of these shapes, whose rows are of sizes an octave apart in either direction."""
    rng = np.random.default_rng(seed)
    parts = [
        np.rint(size * rng.laplace(size=shape) * 2.0 ** np.linspace(-1, 1, shape[0])[:, None, None]).reshape(-1)
        for shape in shapes
    ]
    return torch.from_numpy(np.concatenate(parts)).float()


def coded(flat, shapes):
    """What `encode_symbols` makes of the same symbols, rounded latents of themselves."""
    parts = torch.split(flat, [int(np.prod(shape)) for shape in shapes])
    return encode_symbols(round_latents([part.view(shape).numpy() for part, shape in zip(parts, shapes, strict=True)]))


def priced(rate, flat):
    """Bits of symbols [n] by summing slopes up from zero: what those of magnitude 0 cost is left out."""
    total = torch.zeros(len(flat))
    for magnitude in range(int(flat.abs().max())):
        total += torch.where(flat.abs() > magnitude, rate.slope(torch.full_like(flat, magnitude)), 0.0)
    return total


@pytest.mark.parametrize("size", [0.2, 0.5, 0.8])
def test_bits_are_those_of_the_streams(size):
    """But for tables and scales, a few bytes of each stream's own, and what whole words round up."""
    flat = symbols(*SHAPES, size=size)
    stream = 8 * len(coded(flat, SHAPES).streams)
    assert 0.95 * stream - 100 < Rate.fit(flat, SHAPES).bits < stream
    assert flat.abs().max() < NUM_PRICES


def test_bits_of_many_symbols_are_within_a_hundredth_of_the_stream():
    shapes = [(200, 1, 300)]
    flat = symbols(*shapes)
    stream = 8 * len(coded(flat, shapes).streams)
    assert Rate.fit(flat, shapes).bits == pytest.approx(stream, rel=0.01)


def test_slopes_add_up_from_what_a_zero_costs():
    """Of one class: what slopes do not explain of the bits is that every symbol costs a zero at least."""
    flat = symbols((1, 1, 5000))
    rate = Rate.fit(flat, [(1, 1, 5000)])
    zero = (rate.bits - float(priced(rate, flat).sum())) / flat.numel()
    assert zero == pytest.approx(-np.log2(float((flat == 0).float().mean())), abs=0.15)


def test_slopes_are_positive_and_larger_where_magnitudes_are_rarer():
    """In rows of small symbols a symbol is dearer than in rows of large ones; and all of them are where most are zero."""
    shape = (40, 1, 600)
    flat = symbols(shape, size=1.0)
    rate = Rate.fit(flat, [shape])
    slopes = rate.slope(torch.zeros(flat.numel())).view(40, 600).mean(1)  # from 0 to 1, by row
    assert (slopes > 0).all()
    assert slopes[0] > slopes[20] > slopes[-1]
    sparse = Rate.fit(symbols(shape, size=0.2), [shape])
    assert sparse.slope(torch.zeros(flat.numel())).mean() > 2 * slopes.mean()


def test_a_symbol_that_hardly_occurs_costs_as_many_bits_as_that_tells():
    """One in 64 is one, with either sign: six bits for that it is and one for the sign."""
    flat = torch.zeros(64 * 100)
    flat[::64] = torch.tensor([1.0, -1.0]).repeat(50)
    rate = Rate.fit(flat, [(1, 1, flat.numel())])
    assert rate.slope(torch.zeros_like(flat)).unique().item() == pytest.approx(np.log2(63) + 1, abs=0.3)
    assert rate.bits == pytest.approx(100 * 7 + 6300 * np.log2(64 / 63), rel=0.03)


def test_between_two_symbols_the_slope_is_that_to_the_next_one():
    flat = symbols((1, 1, 5000))
    rate = Rate.fit(flat, [(1, 1, 5000)])
    at = {value: rate.slope(torch.full((5000,), value))[0].item() for value in (0.0, 0.01, 0.99, 1.0, 1.5, 2.0)}
    assert at[0.0] == at[0.01] == at[0.99]
    assert at[1.0] == at[1.5]
    assert len({at[0.0], at[1.0], at[2.0]}) == 3


def test_magnitudes_beyond_the_last_price_have_its_slope():
    flat = symbols((1, 1, 5000), size=4.0)
    rate = Rate.fit(flat, [(1, 1, 5000)])
    last = rate.slope(torch.full((5000,), NUM_PRICES - 2.0))
    for magnitude in (NUM_PRICES - 1.0, NUM_PRICES + 0.5, 1e4, 1e9):
        assert torch.equal(rate.slope(torch.full((5000,), magnitude)), last)
    assert rate.slopes.numel() % (NUM_PRICES - 1) == 0
    assert int(rate.places.max()) + NUM_PRICES - 2 < rate.slopes.numel()  # none reaches into another class


def test_far_larger_symbols_than_have_prices_are_fitted():
    """In a class of their own: they change nothing of what the others cost but a little."""
    small = symbols((1, 1, 4000), size=0.5)
    large = torch.cat([small, torch.tensor([1e4, -1e6, 3e7])])
    shapes = [(1, 1, 4000), (1, 1, 3)]
    alone, beside = Rate.fit(small, shapes[:1]), Rate.fit(large, shapes)
    assert torch.isfinite(beside.slopes).all()
    assert alone.bits < beside.bits < alone.bits + 100
    assert beside.slopes.abs().max() <= 20


@pytest.mark.parametrize("case", ["zeros", "nothing", "empty arrays between"])
def test_symbols_without_anything_to_tell(case):
    if case == "empty arrays between":
        shapes = [(0, 0, 0), (1, 1, 4), (0, 0, 0)]
        flat = torch.tensor([0.0, 1.0, -2.0, 0.0])
    else:
        shapes = [(3, 1, 4)] if case == "zeros" else [(0, 0, 0)]
        flat = torch.zeros(12 if case == "zeros" else 0)
    rate = Rate.fit(flat, shapes)
    assert torch.isfinite(rate.slope(flat.abs())).all()
    assert rate.places.shape == flat.shape
    assert rate.bits == pytest.approx(0, abs=0.1) if case != "empty arrays between" else 0 < rate.bits < 30


def test_each_array_has_scales_of_its_own():
    shapes = [(1, 1, 2000), (1, 1, 2000)]
    flat = torch.cat([symbols((1, 1, 2000), size=0.2), symbols((1, 1, 2000), size=3.0)])
    slopes = Rate.fit(flat, shapes).slope(torch.zeros(4000))
    assert len(slopes[:2000].unique()) == len(slopes[2000:].unique()) == 1
    assert slopes[0] > slopes[-1] + 2
