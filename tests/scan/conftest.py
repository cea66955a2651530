"""A made-up model whose weights have a few strong directions, as those of trained ones have."""

import pytest
import torch


@pytest.fixture(scope="session")
def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def matrix(rows: int, columns: int, scale: float) -> torch.Tensor:
        strong = torch.randn(rows, 3, generator=generator) @ torch.randn(3, columns, generator=generator)
        return scale * (strong + torch.randn(rows, columns, generator=generator))

    return {
        "0.weight": matrix(200, 256, 0.05),
        "0.bias": 0.1 * torch.randn(200, generator=generator),
        "steps": torch.tensor(1000),
        "2.weight": matrix(100, 200, 0.2),
        "2.bias": 0.1 * torch.randn(100, generator=generator),
    }
