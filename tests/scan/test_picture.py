import pytest
import torch
from matplotlib.image import imread

from weightzip.scan import draw_scan, scan


@pytest.mark.parametrize("tensors", [1, 60])
def test_a_picture_of_any_number_of_tensors(tmp_path, tensors):
    generator = torch.Generator().manual_seed(0)
    state = {f"layer.{number}.$weight{'.long' * 20}": torch.randn(80, 64, generator=generator) for number in range(tensors)}
    next(iter(state.values()))[2] = 0
    draw_scan(scan(state, family="dense"), tmp_path / "a.png", "a model")
    draw_scan(scan(state, family="dense"), tmp_path / "b.png", "a model")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    height, width, _ = imread(tmp_path / "a.png").shape
    assert width == 2000
    assert 300 < height < 3000


def test_a_picture_of_nothing(tmp_path):
    draw_scan(scan({"ids": torch.arange(3)}), tmp_path / "a.png", "no weights")
    assert (tmp_path / "a.png").stat().st_size > 1000
