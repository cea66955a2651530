"""What the codecs' tests share: the whole way to the bytes of a file and back, and a bit-for-bit comparison."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from weightzip.checkpoint import Checkpoint, from_object
from weightzip.codec import Coded, Decoded, Target, decode, encode, plan_for
from weightzip.interface import Codec
from weightzip.vae import VAESettings


@pytest.fixture(scope="session")
def through_bytes() -> Callable[[Mapping[str, Tensor], Codec], Decoded]:
    """Encodes a state dict, packs it, and decodes the bytes."""
    return lambda state, codec: decode(encode(from_object(dict(state)), codec).pack())


@pytest.fixture(scope="session")
def encode_to_target() -> Callable[..., Coded]:
    """Encodes a checkpoint, in memory, so that it meets a target."""

    def encode_to_target(checkpoint: Checkpoint, target: Target, **options: object) -> Coded:
        plan = plan_for(checkpoint, target, **options)
        return encode(checkpoint, plan.codec, max_error=plan.max_error)

    return encode_to_target


@pytest.fixture(scope="session")
def same_bits() -> Callable[[Tensor, Tensor], bool]:
    """Whether two tensors have one shape, one dtype and the same bytes."""

    def same_bits(first: Tensor, second: Tensor) -> bool:
        if first.shape != second.shape or first.dtype != second.dtype:
            return False
        return torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (first, second)))

    return same_bits


@pytest.fixture(scope="session")
def tiny_vae() -> VAESettings:
    """Settings of the paper's VAE that train in a moment."""
    return VAESettings(chunk=64, latent=4, copies=8, validation_copies=2, epochs=5)
