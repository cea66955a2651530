"""What the tests of the VAE share: blocks that a few directions explain, and settings that train in a moment."""

import pytest
import torch
from torch import Tensor

from weightzip.vae import VAESettings


@pytest.fixture
def settings() -> VAESettings:
    return VAESettings(
        chunk=32, latent=4, hidden=16, copies=20, validation_copies=5, epochs=12, batch_size=32, learning_rate=1e-2
    )


@pytest.fixture
def blocks() -> Tensor:
    """Standardised blocks [24, 32] of rank 3, and a little noise."""
    values = torch.randn(24, 3) @ torch.randn(3, 32) + 0.05 * torch.randn(24, 32)
    return (values - values.mean()) / values.std()
