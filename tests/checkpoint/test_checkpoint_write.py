import errno
import resource
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from checkpoint_trees import assert_same
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from weightzip.checkpoint import fits_safetensors, from_object, output_format, read, rebuild, write
from weightzip.errors import CheckpointError, UnsupportedCheckpointError


def written(checkpoint, path, fmt):
    write(checkpoint.layout, checkpoint.tensors, path, fmt)
    return read(path)


def test_safetensors_to_safetensors_is_the_same_file(tmp_path):
    checkpoint = from_object({"b": torch.randn(3), "a": torch.zeros(2, dtype=torch.bfloat16)})
    first = written(checkpoint, tmp_path / "a.safetensors", "safetensors")
    written(first, tmp_path / "b.safetensors", "safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    with safe_open(tmp_path / "b.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_torch_to_safetensors_has_the_state_dict_with_its_prefix(tmp_path):
    weight = torch.randn(3, 4)
    state = {"module.w": weight, "module.t": weight.t(), "module.tied": weight, "module.e": torch.ones(1).expand(5)}
    result = written(from_object({"epoch": 3, "model": state}), tmp_path / "a.safetensors", "safetensors")
    assert_same({key: state[key] for key in sorted(state)}, dict(sorted(rebuild(result.layout, result.tensors).items())))


def test_safetensors_to_torch(tmp_path):
    source = written(from_object({"b": torch.randn(3), "a": torch.randn(2)}), tmp_path / "a.safetensors", "safetensors")
    result = written(source, tmp_path / "a.pt", "torch")
    assert_same(rebuild(source.layout, source.tensors), rebuild(result.layout, result.tensors))


def test_dtype_that_safetensors_lacks(tmp_path):
    checkpoint = from_object({"w": torch.ones(2, dtype=torch.complex128)})
    with pytest.raises(UnsupportedCheckpointError, match=r"complex128.*\.pt"):
        write(checkpoint.layout, checkpoint.tensors, tmp_path / "a.safetensors", "safetensors")


def test_no_state_dict_for_safetensors(tmp_path):
    checkpoint = from_object({"optimizer": {"x": torch.ones(2)}})
    with pytest.raises(CheckpointError, match="no state dict"):
        write(checkpoint.layout, checkpoint.tensors, tmp_path / "a.safetensors", "safetensors")


def test_full_disk_is_met_before_any_work(tmp_path):
    """A process that may write 100 kB to a file stands for a full disk."""
    script = (
        "import sys, pathlib, weightzip.checkpoint as c\n"
        "from weightzip.interface import TensorSpec\n"
        "layout = c.Layout('torch', 'model.pt')\n"
        "for fmt in ('torch', 'safetensors'):\n"
        "    try:\n"
        "        with c.open_writer(layout, [TensorSpec('w', (100_000,), 'float32')], pathlib.Path(sys.argv[1]), fmt):\n"
        "            print('opened')\n"
        "    except OSError as error: print(fmt, error.errno)\n"
    )

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = [sys.executable, "-c", script, tmp_path / "model"]
    run = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    assert run.stdout == f"torch {errno.EFBIG}\nsafetensors {errno.EFBIG}\n", run.stderr


def test_unwritable_folder_is_an_os_error(tmp_path):
    checkpoint = from_object({"w": torch.ones(2)})
    for fmt in ("torch", "safetensors"):
        with pytest.raises(OSError, match="No such file"):
            write(checkpoint.layout, checkpoint.tensors, tmp_path / "none" / "x", fmt)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.safetensors", "safetensors"),
        ("x.SafeTensors", "safetensors"),
        ("x.pt", "torch"),
        ("x.pth", "torch"),
        ("x.bin", "torch"),
        ("x.ckpt", "torch"),
        ("x", "torch"),
    ],
)
def test_format_follows_the_suffix(name, expected):
    assert output_format(Path("out", name), from_object({"w": torch.ones(1)}).layout) == expected


def test_format_of_the_source_name_is_the_source_format(tmp_path):
    checkpoint = from_object({"w": torch.ones(1)})
    misnamed = written(checkpoint, tmp_path / "model.bin", "safetensors")
    assert output_format(Path("elsewhere/model.bin"), misnamed.layout) == "safetensors"
    assert output_format(Path("other.bin"), misnamed.layout) == "torch"


def test_what_fits_into_safetensors():
    weight = torch.ones(2)
    assert fits_safetensors(from_object({"w": weight}).layout)
    assert fits_safetensors(from_object({"w": weight, "tied": weight}).layout)
    assert fits_safetensors(from_object(nn.Linear(2, 2)).layout)
    assert not fits_safetensors(from_object({"w": weight, "epoch": 1}).layout)
    assert not fits_safetensors(from_object({"model": OrderedDict(w=weight)}).layout)
    assert not fits_safetensors(from_object([weight]).layout)


def test_safetensors_keep_the_order_of_the_source(tmp_path):
    """The library sorts by dtype and name; readers see the order in which the data lies."""
    state = {"z": torch.randn(3), "a": torch.ones(2, dtype=torch.int8), "m": torch.zeros(2, 0), "b": torch.randn(2, 2).half()}
    checkpoint = from_object(state)
    path = tmp_path / "a.safetensors"
    write(checkpoint.layout, checkpoint.tensors, path, "safetensors")
    loaded = load_file(path)
    assert_same(state, {key: loaded[key] for key in state})
    again = read(path)
    assert list(again.tensors) == list(state)
