import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightzip.codec import matrices
from weightzip.codec.matrices import CodedMatrices, decode_matrices
from weightzip.entropy import encode, encode_integers
from weightzip.errors import FormatError, LimitError
from weightzip.quantise import Scales


def write(symbols, scales):
    """As version 1 wrote matrices of symbols [rows, columns] under their scales."""
    integers = []
    for side in (side for scale in scales for side in (scale.row, scale.column)):
        varies = len(set(side.tolist())) > 1
        integers += [int(varies), *np.diff(side if varies else side[:1], prepend=0).tolist()]
    flat, classes = ([part.reshape(-1) for part in parts] for parts in (symbols, [scale.classes() for scale in scales]))
    coded = encode(np.concatenate(flat), np.concatenate(classes)) if flat else b""
    return CodedMatrices(encode_integers(integers), coded)


def some_matrix(shape, seed):
    """Random symbols of a shape, and scales that vary along either side or not."""
    rng = np.random.default_rng(seed)
    sides = [rng.integers(0, 12, size) if rng.random() < 0.6 else np.full(size, rng.integers(0, 12)) for size in shape]
    return rng.integers(-300, 301, shape).astype(np.int32), Scales(*(side.astype(np.int32) for side in sides))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=4), st.integers(0, 1000))
def test_round_trip(shapes, seed):
    pairs = [some_matrix(shape, seed + number) for number, shape in enumerate(shapes)]
    symbols = [part for part, _ in pairs]
    decoded = decode_matrices(write(symbols, [scale for _, scale in pairs]), shapes)
    assert [part.shape for part in decoded] == shapes
    assert all(np.array_equal(found, part) for found, part in zip(decoded, symbols, strict=True))


def test_scales_of_any_shape_come_back():
    """Constant sides, sides that vary, sides of one code, large codes."""
    symbols = np.arange(12, dtype=np.int32).reshape(3, 4)
    for row, column in (([6] * 3, [0] * 4), ([6, 7, 8], [0] * 4), ([6] * 3, [-9, 0, 4, 4]), ([40, -40, 6], [1, 2, 3, 4])):
        coded = write([symbols], [Scales(np.array(row, np.int32), np.array(column, np.int32))])
        assert np.array_equal(decode_matrices(coded, [(3, 4)])[0], symbols)


def test_more_scales_than_were_ever_written_are_refused(monkeypatch):
    monkeypatch.setattr("weightzip.codec.matrices._MAX_CODES", 16)  # and 64 // 16 more
    symbols = np.arange(64, dtype=np.int32).reshape(16, 4)
    rows, columns = np.arange(16, dtype=np.int32), np.arange(4, dtype=np.int32)
    assert np.array_equal(decode_matrices(write([symbols], [Scales(rows, columns)]), [(16, 4)])[0], symbols)
    coded = write([symbols, symbols[:1]], [Scales(rows, columns), Scales(rows[:1], columns)])  # 24 of 20
    with pytest.raises(LimitError, match="more than 20 rows and columns have scales of their own"):
        decode_matrices(coded, [(16, 4), (1, 4)])


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
    coded = write([np.ones((4, 4), np.int32)], [Scales(np.array([6, 9, 3, 5], np.int32), np.zeros(4, np.int32))])
    for shape in ((4, 5), (1, 1), (40, 40)):
        with contextlib.suppress(FormatError):
            assert decode_matrices(coded, [shape])[0].shape == shape


def test_no_bytes_for_a_matrix():
    with pytest.raises(FormatError, match="cut short"):
        decode_matrices(CodedMatrices(b"", b""), [(2, 2)])
