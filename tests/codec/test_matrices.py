import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weightzip.codec import matrices
from weightzip.codec.matrices import CodedMatrices, Matrix, decode_matrices, encode_matrices, quantise_matrices
from weightzip.entropy import encode_integers
from weightzip.errors import FormatError, LimitError
from weightzip.quantise import Scales

MATRICES = st.lists(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0), elements=st.floats(-1e4, 1e4, width=32)),
    max_size=4,
)


@given(MATRICES, st.sampled_from([0.0, 0.12]))
def test_round_trip(values, tradeoff):
    matrices = quantise_matrices(values, tradeoff=tradeoff)
    decoded = decode_matrices(encode_matrices(matrices), [matrix.shape for matrix in values])
    assert len(decoded) == len(values)
    for matrix, symbols, source in zip(matrices, decoded, values, strict=True):
        assert np.array_equal(symbols, matrix.symbols)
        assert symbols.shape == source.shape


def test_scales_of_any_shape_come_back():
    """Constant sides, sides that vary, sides of one code, large codes."""
    symbols = np.arange(12, dtype=np.int32).reshape(3, 4)
    for row, column in (([6] * 3, [0] * 4), ([6, 7, 8], [0] * 4), ([6] * 3, [-9, 0, 4, 4]), ([40, -40, 6], [1, 2, 3, 4])):
        matrix = Matrix(symbols, Scales(np.array(row, np.int32), np.array(column, np.int32)))
        assert np.array_equal(decode_matrices(encode_matrices([matrix]), [(3, 4)])[0], symbols)


def test_constant_scales_cost_a_byte_or_so_however_many_rows():
    matrix = Matrix(np.ones((10_000, 3), np.int32), Scales(np.full(10_000, 6, np.int32), np.zeros(3, np.int32)))
    assert len(encode_matrices([matrix]).scales) <= 4


def test_one_price_for_all_matrices():
    """A matrix of ones among many zeros gives way; alone it would not."""
    rng = np.random.default_rng(0)
    values = [rng.normal(0, 0.2, (100, 100)).astype(np.float32), np.full((2, 2), 0.6, np.float32)]
    together = quantise_matrices(values, tradeoff=0.12)
    alone = quantise_matrices(values[1:], tradeoff=0.12)
    assert (alone[0].symbols == 1).all()
    assert together[0].symbols.shape == (100, 100)
    assert np.count_nonzero(together[0].symbols) < np.count_nonzero(np.rint(values[0]))


def test_more_scales_than_may_be_read_are_left_out(monkeypatch):
    """One after the other, as long as the limit lets them; the symbols are the same."""
    rng = np.random.default_rng(0)
    shapes = [(16, 4), (16, 4), (2, 2)]
    codes = [[rng.permutation(size).astype(np.int32) for size in shape] for shape in shapes]
    symbols = [rng.integers(-5, 6, shape).astype(np.int32) for shape in shapes]
    matrices = [Matrix(part, Scales(*pair)) for part, pair in zip(symbols, codes, strict=True)]
    free = encode_matrices(matrices)
    monkeypatch.setattr("weightzip.codec.matrices._MAX_CODES", 16)  # and 132 // 16 more: both sides of the first, one column
    coded = encode_matrices(matrices)
    assert len(coded.scales) < len(free.scales)
    assert all(np.array_equal(a, b) for a, b in zip(decode_matrices(coded, shapes), symbols, strict=True))
    with pytest.raises(LimitError, match="more than 24 rows and columns have scales of their own"):
        decode_matrices(free, shapes)


def test_a_side_without_end_is_refused_at_once():
    coded = CodedMatrices(encode_integers([1, 6]), b"")
    with pytest.raises(LimitError, match="scales of their own"):
        decode_matrices(coded, [(1 << 24, 1)])


@pytest.mark.parametrize("shape", [(1, 50), (50, 1), (7, 9), (3, 20), (0, 0), (0, 5)])
def test_classes_are_computed_block_by_block(monkeypatch, shape):
    monkeypatch.setattr("weightzip.codec.matrices._BLOCK", 8)
    rng = np.random.default_rng(0)
    scales = [Scales(*(rng.integers(0, 12, size).astype(np.int32) for size in shape)) for _ in range(2)]
    expected = np.concatenate([scale.classes().reshape(-1) for scale in scales])
    assert np.array_equal(matrices._classes(scales), expected)


def test_shapes_that_do_not_fit_do_not_crash():
    matrix = Matrix(np.ones((4, 4), np.int32), Scales(np.array([6, 9, 3, 5], np.int32), np.zeros(4, np.int32)))
    coded = encode_matrices([matrix])
    for shape in ((4, 5), (1, 1), (40, 40)):
        with contextlib.suppress(FormatError):
            assert decode_matrices(coded, [shape])[0].shape == shape


def test_no_bytes_for_a_matrix():
    with pytest.raises(FormatError, match="cut short"):
        decode_matrices(CodedMatrices(b"", b""), [(2, 2)])
