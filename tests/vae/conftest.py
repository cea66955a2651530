"""What the tests of the VAEs share: blocks that a few directions explain, and settings that train in a moment."""

from collections.abc import Callable
from functools import cache

import pytest
import torch

from weightzip.vae import FAMILIES, Blocks, EpochLosses, Family, VAESettings, find_family, train


@pytest.fixture
def settings() -> VAESettings:
    """Of the dense family."""
    return VAESettings(
        chunk=32, latent=4, hidden=16, copies=20, validation_copies=5, epochs=12, batch_size=32, learning_rate=1e-2
    )


@pytest.fixture
def blocks() -> Blocks:
    """Standardised blocks [24, 32] of rank 3, and a little noise."""
    values = torch.randn(24, 3) @ torch.randn(3, 32) + 0.05 * torch.randn(24, 32)
    return Blocks.alike((values - values.mean()) / values.std())


@pytest.fixture(params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    """Of every family in turn."""
    family: str = request.param
    return family


@pytest.fixture(scope="session")
def small() -> Callable[..., VAESettings]:
    """Settings of any family for the blocks of `structured`."""

    def settings(name: str, **given: float) -> VAESettings:
        fields = {"chunk": 36, "latent": 16, "hidden": 32, "copies": 8, "validation_copies": 1, "epochs": 12}
        fields |= {
            "batch_size": 1 if find_family(name).frames > 1 else 32,
            "learning_rate": 5e-3,
            "noise": 0.3,
            "noisy_fraction": 1.0,
        }
        return VAESettings.of(name, **{**fields, **given})

    return settings


@pytest.fixture(scope="session")
def structured() -> Blocks:
    """Standardised blocks [48, 36] of two tensors, each of a kind and with an offset and a direction of its own.

    How far a block lies in that direction follows from the two before it, as along a sine; there is a little noise.
    """
    generator = torch.Generator().manual_seed(0)
    values = []
    for count in (30, 18):
        direction, offset = torch.randn(2, 1, 36, generator=generator)
        frequency, phase = torch.rand(2, generator=generator)
        along = 2**0.5 * torch.sin(torch.arange(count)[:, None] * (0.5 + frequency) + 6 * phase)
        values.append(along * direction + offset + 0.05 * torch.randn(count, 36, generator=generator))
    standardised = (torch.cat(values) - torch.cat(values).mean()) / torch.cat(values).std()
    tensor = torch.arange(48) // 30
    return Blocks(standardised, tensor, tensor)


@pytest.fixture(scope="session")
def trained(small: Callable[..., VAESettings], structured: Blocks) -> Callable[[str], tuple[Family, tuple[EpochLosses, ...]]]:
    """A family by its name, trained on `structured`, and its losses. Only to be looked at: each is trained once."""

    @cache
    def fitted(name: str) -> tuple[Family, tuple[EpochLosses, ...]]:
        model, history = train(structured, small(name), device=torch.device("cpu"))
        return model.requires_grad_(False), tuple(history)

    return fitted
