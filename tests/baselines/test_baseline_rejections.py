"""One test for every kind of payload that a decoder refuses."""

import numpy as np
import pytest
import torch

from weightzip.baselines import Codebook, DeepCompression, LowRank, MagnitudePruning, UniformQuantisation, Zstd
from weightzip.baselines.floats import float_bytes
from weightzip.baselines.packing import block_bytes, pack, packed_block, varint
from weightzip.entropy import encode
from weightzip.errors import FormatError, UsageError
from weightzip.interface import Payload, TensorSpec

SIZE = 100
SPECS = [TensorSpec("weight", (10, 10), "float32")]
TENSORS = {"weight": torch.linspace(-1, 1, SIZE).reshape(10, 10)}
CODEBOOK = varint(2) + float_bytes(np.array([-1, 1], np.float32), "float16")


def refuses(codec, match, *, meta=None, **sections):
    """Assert that the codec refuses its own payload once these parts are exchanged."""
    payload = codec.encode(TENSORS)
    changed = {**payload.sections, **{name: pack(data) for name, data in sections.items()}}
    with pytest.raises(FormatError, match=match):
        codec.decode(Payload(changed, {**payload.meta, **(meta or {})}), SPECS)


def test_a_missing_section():
    with pytest.raises(FormatError, match="expected the sections values; found none"):
        Zstd.decode(Payload({}, {"layout": "raw"}), SPECS)


def test_a_foreign_section():
    payload = Zstd().encode(TENSORS)
    with pytest.raises(FormatError, match="expected the sections values; found values, other"):
        Zstd.decode(Payload({**payload.sections, "other": b""}, payload.meta), SPECS)


def test_a_section_that_ends_early():
    refuses(Zstd(), "needs 400 bytes more, but only 399 are left", values=bytes(399))


def test_a_section_that_is_too_long():
    refuses(Zstd(), "1 bytes are left over", values=bytes(401))


def test_specs_that_do_not_fit():
    payload = Zstd().encode(TENSORS)
    with pytest.raises(FormatError, match="left over"):
        Zstd.decode(payload, [TensorSpec("weight", (10, 9), "float32")])


def test_a_missing_setting():
    with pytest.raises(FormatError, match="setting layout is None"):
        Zstd.decode(Payload(Zstd().encode(TENSORS).sections), SPECS)


@pytest.mark.parametrize("bits", [0, 9, True, "4", [4], None])
def test_a_setting_out_of_range(bits):
    refuses(Codebook(), "setting bits is", meta={"bits": bits})


def test_an_unknown_granularity():
    refuses(UniformQuantisation(), "setting granularity is 'row'", meta={"granularity": "row"})


def test_an_unknown_float_format():
    refuses(UniformQuantisation(granularity="tensor"), "unknown float format 9", steps=b"\x09\0\0")


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_float_that_is_not_finite(value):
    steps = b"\0" + np.array([value], "<f4").tobytes()
    refuses(UniformQuantisation(granularity="tensor"), "infinite or undefined", steps=steps)


def test_indices_of_another_width():
    refuses(UniformQuantisation(4), "5 bits wide, expected 4 or 8", indices=packed_block([b"\5" + bytes(63)]))


def test_an_index_that_needs_more_bits():
    refuses(UniformQuantisation(4), "index 16 does not fit 4 bits", indices=packed_block([b"\x08" + bytes(99) + b"\x10"]))


def test_indices_that_unpack_to_too_many_bytes():
    refuses(UniformQuantisation(4), "at most 101", indices=packed_block([b"\x08" + bytes(101)]))


def test_indices_with_bytes_left_over():
    refuses(UniformQuantisation(4), "1 bytes are left over", indices=packed_block([b"\4" + bytes(51)]))


def test_a_codebook_index_out_of_range():
    indices = packed_block([b"\x08" + bytes(99) + b"\x02"])
    refuses(Codebook(2), "codebook of 2 entries is asked for entry 2", codebooks=CODEBOOK, indices=indices)


def test_a_codebook_with_too_many_entries():
    refuses(Codebook(2), "a count exceeds the 4", codebooks=varint(5))


def test_an_endless_count():
    refuses(Codebook(2), "a count exceeds the 4", codebooks=b"\x80" * 20)


def test_an_unknown_form_of_positions():
    refuses(MagnitudePruning(), "unknown form of positions 05", positions=packed_block([b"\5" + bytes(13)]))


def test_gaps_that_leave_the_tensor():
    refuses(MagnitudePruning(), "outside the tensor's 100 elements", positions=packed_block([b"\1" + bytes([99, 0])]))


def test_a_single_gap_beyond_the_tensor():
    refuses(MagnitudePruning(), "outside the tensor's 100 elements", positions=packed_block([b"\1" + bytes([255, 3])]))


def test_gaps_that_end_in_a_filler():
    refuses(MagnitudePruning(), "end in a filler", positions=packed_block([b"\1" + bytes([3, 255])]))


def test_a_bitmap_that_is_too_short():
    refuses(MagnitudePruning(), "needs 13 bytes more", positions=packed_block([b"\0" + bytes(12)]))


def test_a_bitmap_with_survivors_beyond_the_end_has_no_values_for_them():
    refuses(MagnitudePruning(), "needs 200 bytes more", positions=packed_block([b"\0" + b"\xff" * 13]))


def test_more_survivors_than_weights():
    refuses(DeepCompression(), "a count exceeds the 100", gaps=varint(101))


def test_coded_gaps_that_leave_the_tensor():
    gaps = varint(2) + block_bytes(encode(np.array([60, 60], np.int32)))
    refuses(DeepCompression(), "outside the tensor's 100 elements", gaps=gaps)


def test_a_negative_coded_gap():
    gaps = varint(2) + block_bytes(encode(np.array([60, -2], np.int32)))
    refuses(DeepCompression(), "a gap between non-zero weights", gaps=gaps)


def test_a_coded_index_out_of_range():
    num_kept = 20
    indices = block_bytes(encode(np.full(num_kept, -1, np.int32)))
    refuses(DeepCompression(0.8), "a codebook of 16 entries", indices=indices)


def test_a_block_longer_than_its_section():
    refuses(DeepCompression(), "a count exceeds", indices=varint(1000))


def test_a_rank_above_the_matrix():
    refuses(LowRank(), "a count exceeds the 10", factors=varint(11))


@pytest.mark.parametrize(
    ("codec", "settings", "match"),
    [
        (UniformQuantisation, {"bits": 1}, "bits is 1"),
        (UniformQuantisation, {"granularity": "row"}, "granularity is 'row'"),
        (Codebook, {"bits": 9}, "bits is 9"),
        (MagnitudePruning, {"sparsity": 1.0}, "sparsity is 1.0"),
        (MagnitudePruning, {"scope": "row"}, "scope is 'row'"),
        (MagnitudePruning, {"precision": "int8"}, "precision is 'int8'"),
        (DeepCompression, {"sparsity": -0.1}, "sparsity is -0.1"),
        (LowRank, {"rank_fraction": 0.0}, "rank_fraction is 0.0"),
        (Zstd, {"level": 23}, "level is 23"),
        (Zstd, {"layout": "rows"}, "layout is 'rows'"),
    ],
)
def test_settings_that_make_no_sense(codec, settings, match):
    with pytest.raises(UsageError, match=match):
        codec(**settings)
