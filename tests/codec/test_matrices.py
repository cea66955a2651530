import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weightzip.codec.matrices import CodedMatrices, Matrix, decode_matrices, encode_matrices, quantise_matrices
from weightzip.errors import FormatError
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


def test_shapes_that_do_not_fit_do_not_crash():
    matrix = Matrix(np.ones((4, 4), np.int32), Scales(np.array([6, 9, 3, 5], np.int32), np.zeros(4, np.int32)))
    coded = encode_matrices([matrix])
    for shape in ((4, 5), (1, 1), (40, 40)):
        with contextlib.suppress(FormatError):
            assert decode_matrices(coded, [shape])[0].shape == shape


def test_no_bytes_for_a_matrix():
    with pytest.raises(FormatError, match="cut short"):
        decode_matrices(CodedMatrices(b"", b""), [(2, 2)])
