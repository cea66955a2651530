import pytest
import torch
import zstandard

from weightzip.codec.lossless_v1 import LosslessCodecV1
from weightzip.errors import FormatError
from weightzip.interface import Payload, TensorSpec


def decode(data, count=4):
    return LosslessCodecV1.decode(Payload({"exact": data}), [TensorSpec("t", (count,), "float32")])


def test_bytes_of_equal_significance_stand_together():
    tensor = torch.randn(4)
    planes = tensor.view(torch.uint8).numpy().reshape(4, 4).T.tobytes()
    assert torch.equal(decode(zstandard.ZstdCompressor().compress(planes))["t"], tensor)


@pytest.mark.parametrize("data", [b"", b"x", b"\x28\xb5\x2f\xfd", zstandard.ZstdCompressor().compress(bytes(16))[:-1]])
def test_bytes_that_cannot_be_unpacked(data):
    with pytest.raises(FormatError, match="cannot be unpacked"):
        decode(data)


@pytest.mark.parametrize("num_bytes", [0, 15, 17, 1000, 100 << 20])
def test_a_size_that_does_not_fit_the_tensors(num_bytes):
    with pytest.raises(FormatError, match=f"unpack to {num_bytes:,} bytes instead of 16"):
        decode(zstandard.ZstdCompressor().compress(bytes(num_bytes)))


def test_a_frame_that_does_not_say_its_size():
    with pytest.raises(FormatError, match="unpack to -1 bytes instead of 16"):
        decode(zstandard.ZstdCompressor(write_content_size=False).compress(bytes(16)))


def test_a_section_for_tensors_without_elements_is_refused():
    with pytest.raises(FormatError):
        decode(b"x", count=0)
