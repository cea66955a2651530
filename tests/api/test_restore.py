import hashlib
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import weightzip
from weightzip import restoring
from weightzip.api import read_state, restore_to
from weightzip.checkpoint import from_object
from weightzip.codec import LosslessCodec, encode
from weightzip.container import pack, unpack
from weightzip.errors import CheckpointError, DamagedFileError, FormatError, LimitError, OutputError, UsageError, WeightzipError

DIGESTS = """
import hashlib, json, sys, torch, weightzip
state = weightzip.restore(sys.argv[1], threads=int(sys.argv[2]))
digest = lambda tensor: hashlib.sha256(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
print(json.dumps({name: digest(tensor) for name, tensor in state.items()}))
"""


@pytest.fixture
def file(folder, source):
    weightzip.compress(source, "net.wz")
    return folder / "net.wz"


def digests(state):
    data = {name: tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for name, tensor in state.items()}
    return {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}


def test_keys_order_shapes_dtypes_and_aliases_are_the_sources(file, state):
    restored = weightzip.restore(file)
    assert list(restored) == list(state)
    for name, tensor in state.items():
        assert (restored[name].shape, restored[name].dtype) == (tensor.shape, tensor.dtype)
    restored["module.tied.weight"][0, 0] = 77
    assert restored["module.layer.weight"][0, 0] == 77
    assert int(restored["module.steps"]) == 12345


@pytest.mark.parametrize("preset", ["auto", "paper"])
@pytest.mark.parametrize("threads", [1, 2])
def test_another_process_restores_the_same_bits(folder, source, file, tiny_vae, preset, threads):
    weightzip.compress(source, file, preset=preset, vae=tiny_vae if preset == "paper" else None, force=True)
    command = [sys.executable, "-c", DIGESTS, str(file), str(threads)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout
    assert json.loads(output) == digests(weightzip.restore(file))


def test_the_whole_checkpoint_is_written_back(folder, file, state):
    (folder / "net.pt").unlink()
    returned = weightzip.restore(file, "net.pt")
    written = torch.load(folder / "net.pt", weights_only=True)
    assert list(written) == list(state)
    assert digests(written) == digests(returned)
    assert written["module.layer.weight"].data_ptr() == written["module.tied.weight"].data_ptr()


def test_the_suffix_says_the_format(folder, file):
    returned = weightzip.restore(file, "out.safetensors")
    assert digests(load_file(folder / "out.safetensors")) == {name: digests(returned)[name] for name in sorted(returned)}


def test_a_safetensors_source_comes_back_as_one(folder):
    save_file({"b": torch.randn(4, 4), "a": torch.randn(4)}, folder / "net.safetensors")
    weightzip.compress("net.safetensors")
    Path("net.safetensors").unlink()
    assert restore_to("net.wz").output == Path("net.safetensors")
    assert restore_to(folder / "net.wz", force=True).output == folder / "net.safetensors"
    returned = weightzip.restore("net.wz", "back.safetensors")
    assert digests(load_file("back.safetensors")) == {name: digests(returned)[name] for name in ("a", "b")}


def test_one_tensor_only(folder, file, state):
    everything = weightzip.restore(file)
    single = weightzip.restore(file, tensor="module.layer.bias")
    assert list(single) == ["module.layer.bias"]
    assert torch.equal(single["module.layer.bias"], everything["module.layer.bias"])
    weightzip.restore(file, "bias.pt", tensor="module.layer.bias")
    assert digests(torch.load("bias.pt", weights_only=True)) == digests(single)


def test_a_tensor_that_is_not_there(file):
    with pytest.raises(UsageError, match=r"holds no tensor 'missing'; `weightzip info"):
        weightzip.restore(file, tensor="missing")


def test_memory_is_capped(file):
    needed = weightzip.info(file)["input_bytes"]
    weightzip.restore(file, memory=needed)
    with pytest.raises(LimitError, match=f"over the cap of {needed - 1:,}"):
        weightzip.restore(file, memory=needed - 1)


def expanded(size):
    """A .wz file of a few bytes whose one tensor has a view of that many elements, all of them the same."""
    coded = encode(from_object({"w": torch.ones(1), "wide": torch.ones(1).expand(2)}), LosslessCodec())
    header = coded.header.to_json()
    (view,) = header["layout"]["views"]
    view[2:] = [[size], [0], 0]
    Path("wide.wz").write_bytes(pack(header, coded.sections))


@pytest.mark.parametrize("size", [2**31, 2**40, 2**50])
@pytest.mark.parametrize("tensor", [None, "wide"])
def test_a_view_that_repeats_its_element_counts_in_full_where_it_is_written_so(listing_of, size, tensor):
    expanded(size)
    with pytest.raises(LimitError, match=rf"wide\.wz: restores to {4 * size + 4 * (tensor is None):,} bytes"):
        weightzip.restore("wide.wz", "out.safetensors", tensor=tensor, memory=1_000_000)
    assert listing_of() == ["wide.wz"]
    weightzip.restore("wide.wz", "out.pt", tensor=tensor, memory=1_000_000)
    assert Path("out.pt").stat().st_size < 3000


def test_a_view_that_no_machine_can_write_is_refused_without_a_cap(listing_of):
    expanded(2**50)
    with pytest.raises(LimitError, match="over this machine's memory"):
        weightzip.restore("wide.wz", "out.safetensors")
    assert listing_of() == ["wide.wz"]


@pytest.mark.parametrize("size", [2**50 + 1, 2**63 - 1])
def test_a_view_of_an_impossible_size_is_refused(size):
    expanded(size)
    with pytest.raises(FormatError, match="a view of an impossible shape"):
        weightzip.restore("wide.wz")


def test_space_on_the_disk_is_asked_for_what_is_written(file, monkeypatch):
    asked = []
    monkeypatch.setattr("weightzip.restoring.check_space", lambda output, num_bytes: asked.append(num_bytes))
    weightzip.restore(file, "half.pt", tensor="module.half")
    weightzip.restore(file, "all.safetensors")
    tied = 2 * 40 * 50 * 4
    assert asked == [60, tied + 40 * 4 + 60 + 8 + 8]


def test_one_tensor_goes_to_a_file_of_its_own_name(folder, file, source):
    content = source.read_bytes()
    restored = restore_to(file, tensor="module.half", force=True)
    assert restored.output == folder / "module.half.pt"
    assert list(torch.load(restored.output, weights_only=True)) == ["module.half"]
    assert source.read_bytes() == content


def test_one_tensor_never_takes_the_sources_name(folder):
    save_file({"net": torch.ones(3)}, "net.safetensors")
    weightzip.compress("net.safetensors", "net.wz")
    content = Path("net.safetensors").read_bytes()
    assert restore_to("net.wz", tensor="net", force=True).output == Path("net.tensor.safetensors")
    assert Path("net.safetensors").read_bytes() == content


def test_restoring_to_a_file_keeps_no_tensor(file, monkeypatch):
    alive = []
    decode_parts = restoring.decode_parts

    def watched(*args):
        for name, tensor in decode_parts(*args):
            assert not [other() for other in alive if other() is not None]
            alive.append(weakref.ref(tensor))
            yield name, tensor
            del tensor

    monkeypatch.setattr(restoring, "decode_parts", watched)
    restored = restore_to(file, "back.pt")
    assert len(alive) == restored.num_tensors > 3


def test_what_restoring_says_is_what_info_says(file):
    restored = restore_to(file, "back.pt")
    assert {**restored.summary, "seconds": 0} == {**weightzip.info(file), "seconds": 0}
    assert restored.complete


def test_refused_outputs(folder, file):
    with pytest.raises(OutputError, match="exists already"):
        weightzip.restore(file, "net.pt")
    with pytest.raises(OutputError, match="same file"):
        weightzip.restore(file, file, force=True)
    with pytest.raises(OutputError, match="is a folder"):
        weightzip.restore(file, folder)
    with pytest.raises(OutputError, match="no such folder"):
        weightzip.restore(file, "missing/net.pt")
    weightzip.restore(file, "net.pt", force=True)


def test_without_an_output_nothing_is_written(folder, file):
    before = sorted(folder.iterdir())
    weightzip.restore(file)
    assert sorted(folder.iterdir()) == before


def test_a_write_that_fails_leaves_nothing(folder, file, monkeypatch):
    def no_space(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    before = sorted(folder.iterdir())
    with pytest.raises(OutputError, match="No space left"):
        weightzip.restore(file, "out.pt")
    assert sorted(folder.iterdir()) == before


def test_an_interruption_leaves_nothing(folder, file):
    def interrupt(event):
        raise KeyboardInterrupt

    before = sorted(folder.iterdir())
    with pytest.raises(KeyboardInterrupt):
        weightzip.restore(file, "out.pt", progress=interrupt)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("verb", [weightzip.restore, weightzip.info, weightzip.test])
def test_damage_is_reported_by_every_verb(folder, file, verb):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    with pytest.raises(DamagedFileError, match=r"net\.wz: damaged"):
        verb(file)


@pytest.mark.parametrize("verb", [weightzip.restore, weightzip.info, weightzip.test])
def test_what_is_no_wz_file_is_reported_by_every_verb(folder, source, verb):
    with pytest.raises(FormatError, match=r"net\.pt: not a \.wz file"):
        verb(source)
    with pytest.raises(weightzip.WeightzipError, match=r"missing\.wz: cannot be read: No such file"):
        verb("missing.wz")


def test_damage_writes_nothing(folder, file):
    file.write_bytes(file.read_bytes()[:-1])
    before = sorted(folder.iterdir())
    with pytest.raises(DamagedFileError):
        weightzip.restore(file, "out.pt")
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"max_error": 0.1}, {"ratio": 3}])
def test_info_and_test_agree_with_compress(folder, source, options):
    summary = weightzip.compress(source, "net.wz", **options)
    for verb in (weightzip.info, weightzip.test):
        again = verb("net.wz")
        assert again["input"] == "net.pt"
        for name in ("relative_mse", "max_abs_error"):
            assert again[name] == pytest.approx(summary[name], rel=1e-3)  # the file keeps four digits
        differing = ("input", "seconds", "relative_mse", "max_abs_error")
        assert {**again, **dict.fromkeys(differing)} == {**summary, **dict.fromkeys(differing)}
        assert sum(again["sections"].values()) == (folder / "net.wz").stat().st_size


def test_a_summary_is_json(source):
    summary = weightzip.compress(source)
    assert json.loads(json.dumps(summary)) == summary


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(50, 40)
        self.norm = nn.BatchNorm1d(40)


def test_weights_load_into_a_module():
    source, target = Net(), Net()
    weightzip.compress(source, "net.wz", max_error=1e-3)
    weightzip.load_into(target, "net.wz")
    for (name, a), (_, b) in zip(source.state_dict().items(), target.state_dict().items(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-3, msg=name)


def test_a_prefix_that_all_keys_share_is_no_obstacle():
    source, target = Net(), Net()
    weightzip.compress({f"module.{name}": tensor for name, tensor in source.state_dict().items()}, "net.wz", lossless=True)
    assert all(name.startswith("module.") for name in weightzip.restore("net.wz"))
    weightzip.load_into(target, "net.wz")
    assert torch.equal(source.layer.weight, target.layer.weight)


class Wrapper(nn.Module):
    """Whose only child has the name that DataParallel gives."""

    def __init__(self, net):
        super().__init__()
        self.module = net


@pytest.mark.parametrize("source", [Net, lambda: nn.DataParallel(Net()), lambda: Wrapper(Net()), lambda: torch.compile(Net())])
@pytest.mark.parametrize("target", [Net, lambda: nn.DataParallel(Net()), lambda: Wrapper(Net()), lambda: torch.compile(Net())])
def test_whatever_wraps_the_modules(source, target):
    module, other = source(), target()
    weightzip.compress(module, "net.wz", lossless=True)
    weightzip.load_into(other, "net.wz")
    for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


class Counting(nn.Linear):
    """A layer with a state that is no tensor."""

    count = 0

    def get_extra_state(self):
        return {"count": self.count}

    def set_extra_state(self, state):
        self.count = state["count"]


@pytest.mark.parametrize("wrap", [lambda module: module, nn.DataParallel])
def test_what_a_module_keeps_besides_tensors_is_loaded_as_well(wrap):
    source, target = wrap(nn.Sequential(Counting(3, 2))), nn.Sequential(Counting(3, 2))
    for layer in source.modules():
        layer.count = 3
    weightzip.compress(source, "net.wz", lossless=True)
    weightzip.load_into(target, "net.wz")
    assert target[0].count == 3
    assert all(isinstance(value, torch.Tensor) for value in weightzip.restore("net.wz").values())


def test_a_file_is_known_by_its_content_not_its_name():
    source, target = Net(), Net()
    weightzip.compress(source, "net.packed", lossless=True)
    weightzip.load_into(target, "net.packed")
    assert torch.equal(source.layer.weight, target.layer.weight)


@pytest.mark.parametrize("module", [nn.Linear(50, 40), nn.Sequential(nn.Linear(3, 3))])
def test_a_module_that_does_not_fit(module):
    weightzip.compress(Net(), "net.wz")
    with pytest.raises(CheckpointError, match=r"net\.wz: does not fit the module") as raised:
        weightzip.load_into(module, "net.wz")
    assert "\n" not in str(raised.value)


def test_any_file_gives_a_state_without_the_prefix(file, source, state):
    names = [name.removeprefix("module.") for name in state]
    assert list(read_state(file)) == list(read_state(source)) == names


def test_a_checkpoint_around_a_state_dict_comes_back_whole(folder):
    checkpoint = {"epoch": 3, "model": {"w": torch.randn(5, 5)}, "optimizer": {"state": {0: torch.randn(5, 5)}}, "best": 0.5}
    torch.save(checkpoint, "whole.ckpt")
    weightzip.compress("whole.ckpt")
    assert list(weightzip.restore("whole.wz")) == ["w"]
    weightzip.restore("whole.wz", "back.ckpt")
    back = torch.load("back.ckpt", weights_only=True)
    assert (back["epoch"], back["best"]) == (3, 0.5)
    assert torch.equal(back["optimizer"]["state"][0], checkpoint["optimizer"]["state"][0])
    assert not torch.equal(back["model"]["w"], checkpoint["model"]["w"])


def test_one_tensor_that_is_far_larger_than_what_is_stored(folder):
    window = torch.randn(60).as_strided([2] * 30, [1] * 30)
    weightzip.compress({"w": window, "b": torch.randn(3)}, "a.wz", lossless=True)
    with pytest.raises(LimitError, match=r"a\.wz: restores to 4,294,967,296 bytes, over the cap of 1,000,000"):
        weightzip.restore("a.wz", tensor="w", memory=10**6)
    assert weightzip.restore("a.wz", tensor="b", memory=10**6)["b"].shape == (3,)


def test_sections_count_towards_the_memory(folder, monkeypatch):
    coded = encode(from_object({"w": torch.ones(1)}), LosslessCodec())
    Path("a.wz").write_bytes(pack(coded.header.to_json(), {"exact": bytes(5_000_000)}))
    monkeypatch.setattr("weightzip.codec.memory.ALLOWANCE", 1000)
    with pytest.raises(LimitError, match="restores to 4 bytes and takes 4,999,004 to decode, over the cap of 4,000,000"):
        weightzip.restore("a.wz", memory=4_000_000)


def test_a_partial_output_says_how_much_it_holds(folder):
    checkpoint = {"model": {"w": torch.randn(4, 5), "b": torch.randn(5)}, "optimizer": {"state": {0: {"m": torch.randn(4, 5)}}}}
    weightzip.compress(checkpoint, "a.wz", lossless=True)
    restored = restore_to("a.wz", "a.safetensors")
    assert (restored.num_tensors, restored.complete) == (2, False)
    assert restore_to("a.wz", "a.pt").num_tensors == 3


def test_errors_say_which_file_they_are_about(folder, file):
    container = unpack(file.read_bytes())
    header = container.header | {"layout": {**container.header["layout"], "views": [[1, 77]]}}
    Path("odd.wz").write_bytes(pack(header, dict(container.sections)))
    for use in (weightzip.info, weightzip.test, weightzip.restore, restore_to):
        with pytest.raises(FormatError, match=r"^odd\.wz: layout: "):
            use("odd.wz")
    weightzip.compress({"c": torch.ones(3, dtype=torch.complex128)}, "c.wz")
    with pytest.raises(CheckpointError, match=r"^c\.safetensors: safetensors cannot hold"):
        restore_to("c.wz", "c.safetensors")


def test_memory_is_checked_before_anything_is_written(folder, file):
    for memory in (1000, 7999):
        with pytest.raises(LimitError, match="over the cap"):
            weightzip.restore(file, "back.pt", memory=memory)
        with pytest.raises(LimitError, match="over the cap"):
            restore_to(file, "back.pt", memory=memory)
    assert not Path("back.pt").exists()


def test_what_is_no_file_is_not_read(folder):
    os.mkfifo("pipe.wz")
    with pytest.raises(WeightzipError, match=r"pipe\.wz: is no file"):
        weightzip.info("pipe.wz")
