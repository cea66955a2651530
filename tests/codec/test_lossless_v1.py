import tracemalloc
from pathlib import Path

import pytest
import torch
import zstandard

from weightzip.codec import decode, part_sizes, read_header
from weightzip.codec.lossless_v1 import LosslessCodecV1
from weightzip.container import unpack
from weightzip.errors import FormatError, LimitError
from weightzip.interface import Payload, TensorSpec

GOLDEN = Path(__file__).parents[1] / "golden"


def decode_exact(data, count=4):
    return LosslessCodecV1.decode(Payload({"exact": data}), [TensorSpec("t", (count,), "float32")])


def test_bytes_of_equal_significance_stand_together():
    tensor = torch.randn(4)
    planes = tensor.view(torch.uint8).numpy().reshape(4, 4).T.tobytes()
    assert torch.equal(decode_exact(zstandard.ZstdCompressor().compress(planes))["t"], tensor)


@pytest.mark.parametrize("data", [b"", b"x", b"\x28\xb5\x2f\xfd", zstandard.ZstdCompressor().compress(bytes(16))[:-1]])
def test_bytes_that_cannot_be_unpacked(data):
    with pytest.raises(FormatError, match="cannot be unpacked"):
        decode_exact(data)


@pytest.mark.parametrize("num_bytes", [0, 15, 17, 1000, 100 << 20])
def test_a_size_that_does_not_fit_the_tensors(num_bytes):
    with pytest.raises(FormatError, match=f"unpack to {num_bytes:,} bytes instead of 16"):
        decode_exact(zstandard.ZstdCompressor().compress(bytes(num_bytes)))


def test_a_frame_that_does_not_say_its_size():
    with pytest.raises(FormatError, match="unpack to -1 bytes instead of 16"):
        decode_exact(zstandard.ZstdCompressor(write_content_size=False).compress(bytes(16)))


def test_a_section_for_tensors_without_elements_is_refused():
    with pytest.raises(FormatError):
        decode_exact(b"x", count=0)


def test_decoding_takes_all_tensors_once_more():
    """They are unpacked together, then copied one by one."""
    num_bytes = 4 << 20
    data = zstandard.ZstdCompressor().compress(bytes(num_bytes))
    tracemalloc.start()
    try:
        decode_exact(data, num_bytes // 4)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 2 * num_bytes <= peak < 2.1 * num_bytes


def test_that_counts_where_memory_is_capped(monkeypatch):
    monkeypatch.setattr("weightzip.codec.memory.ALLOWANCE", 0)
    data = (GOLDEN / "lossless.wz").read_bytes()
    container = unpack(data)
    header = read_header(container, "file")
    needed = 2 * header.tensor_bytes + part_sizes(container, header)[True, 0]
    assert header.version == 1
    decode(data, memory=needed)
    with pytest.raises(LimitError, match=f"takes {needed:,} to decode, over the cap"):
        decode(data, memory=needed - 1)
