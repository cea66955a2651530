"""What the baselines' tests share: a way through encode, JSON and decode, and the size of what was written."""

import json
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from weightzip.baselines import CODECS
from weightzip.interface import Codec, Payload, TensorSpec

Recode = Callable[[Codec, Mapping[str, Tensor]], dict[str, Tensor]]


@pytest.fixture(scope="session")
def recode() -> Recode:
    """Encodes, sends the meta through JSON as a file does, and decodes by the codec's name alone."""

    def recode(codec: Codec, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        payload = codec.encode(tensors)
        stored = Payload(dict(payload.sections), json.loads(json.dumps(payload.meta)))
        specs = [TensorSpec(name, tuple(tensor.shape), "float32") for name, tensor in tensors.items()]
        return CODECS[codec.name].decode(stored, specs)

    return recode


@pytest.fixture(scope="session")
def section_bytes() -> Callable[[Codec, Mapping[str, Tensor]], int]:
    """Bytes of all sections that a codec writes."""
    return lambda codec, tensors: sum(map(len, codec.encode(tensors).sections.values()))


@pytest.fixture
def gaussian() -> dict[str, Tensor]:
    """One layer of Gaussian weights [200, 500] and its bias."""
    return {"weight": torch.randn(200, 500), "bias": torch.randn(200)}
