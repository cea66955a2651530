import pytest
import torch

from weightzip.vae import hidden_width
from weightzip.vae.width import MAX_HIDDEN, MIN_HIDDEN


def spectrum(rank, num_blocks, size):
    """Blocks whose covariance has `rank` equal eigenvalues and no more."""
    left, _ = torch.linalg.qr(torch.randn(num_blocks, rank, dtype=torch.float64))
    left, _ = torch.linalg.qr(left - left.mean(dim=0))
    right, _ = torch.linalg.qr(torch.randn(size, rank, dtype=torch.float64))
    return left @ right.T


@pytest.mark.parametrize("rank", [4, 7, 30])
@pytest.mark.parametrize(("num_blocks", "size"), [(60, 200), (200, 60)])
def test_data_of_rank_k_needs_k(rank, num_blocks, size):
    assert hidden_width(spectrum(rank, num_blocks, size)) == rank


def test_one_percent_of_the_variance_may_be_left_out():
    blocks = spectrum(10, 100, 50)
    left, values, right = torch.linalg.svd(blocks, full_matrices=False)
    values[:10] = torch.sqrt(torch.tensor([0.991 / 9] * 9 + [0.009], dtype=torch.float64))
    assert hidden_width(left * values @ right) == 9
    values[:10] = torch.sqrt(torch.tensor([0.989 / 9] * 9 + [0.011], dtype=torch.float64))
    assert hidden_width(left * values @ right) == 10


def test_a_common_offset_needs_no_width():
    assert hidden_width(spectrum(7, 60, 200) + 100) == 7


def test_the_limits():
    assert hidden_width(spectrum(1, 60, 200)) == MIN_HIDDEN
    assert hidden_width(torch.ones(5, 8)) == MIN_HIDDEN
    assert hidden_width(torch.randn(1, 8)) == MIN_HIDDEN
    assert hidden_width(spectrum(200, 400, 300)) == MAX_HIDDEN
