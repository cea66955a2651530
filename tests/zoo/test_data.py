import shutil
from concurrent.futures import ThreadPoolExecutor

import platformdirs
import pytest
import torch

from weightzip.errors import CheckpointError, OutputError
from weightzip.zoo import data
from weightzip.zoo.data import Images, mnist, unpack_mnist

FILES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}


def sizes(root):
    return {path.name: path.stat().st_size for path in (root / "MNIST" / "raw").iterdir()}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    root = tmp_path_factory.mktemp("unpacked")
    unpack_mnist(root)
    return root


def test_training_images_are_normalised():
    training = mnist(train=True)
    assert training.images.shape == (60_000, 1, 28, 28)
    assert training.images.dtype == torch.float32
    assert training.images.mean().item() == pytest.approx(0, abs=1e-3)
    assert training.images.std().item() == pytest.approx(1, abs=1e-3)
    assert training.labels[:5].tolist() == [5, 0, 4, 1, 9]


def test_test_labels():
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist(train=False).labels.bincount().tolist() == counts


def test_mnist_is_read_once():
    assert mnist(train=False) is mnist(train=False)


def test_batches_in_order():
    images = Images(torch.arange(7.0), torch.arange(7))
    assert [labels.tolist() for _, labels in images.batches(3)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_batches_shuffled():
    images = Images(torch.arange(50.0), torch.arange(50))
    passes = [
        [labels for batch, labels in images.batches(8, torch.Generator().manual_seed(seed)) if (batch == labels).all()]
        for seed in (1, 1, 2)
    ]
    first, again, other = (torch.cat(labels).tolist() for labels in passes)
    assert sorted(first) == list(range(50))
    assert first == again != other


def test_unpack_gives_every_file_and_no_other(unpacked):
    assert sizes(unpacked) == FILES


def test_unpack_keeps_whole_files_and_mends_damaged_ones(unpacked, tmp_path):
    shutil.copytree(unpacked, tmp_path, dirs_exist_ok=True)
    raw = tmp_path / "MNIST" / "raw"
    kept = (raw / "t10k-images-idx3-ubyte").stat().st_mtime_ns
    damaged = raw / "t10k-labels-idx1-ubyte"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x0b")
    unpack_mnist(tmp_path)
    assert damaged.read_bytes() == (unpacked / "MNIST" / "raw" / damaged.name).read_bytes()
    assert (raw / "t10k-images-idx3-ubyte").stat().st_mtime_ns == kept


def test_unpack_twice_at_once(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(unpack_mnist, [tmp_path, tmp_path]))
    assert sizes(tmp_path) == FILES


def test_unpack_refuses_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        unpack_mnist(tmp_path / "file")


def test_unwritable_cache_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "file" / name)
    assert len(mnist.__wrapped__(train=False)) == 10_000


@pytest.mark.parametrize("content", [None, b"", b"not gzip", "valid gzip"])
def test_damaged_packed_files_are_refused(tmp_path, monkeypatch, content):
    name = "train-images-idx3-ubyte.gz"
    if content == "valid gzip":  # but of other data
        shutil.copy(data._PACKED / "t10k-labels-idx1-ubyte.gz", tmp_path / name)
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(data, "_PACKED", tmp_path)
    with pytest.raises(CheckpointError, match=f"{name}.*reinstall weightzip"):
        unpack_mnist(tmp_path)
