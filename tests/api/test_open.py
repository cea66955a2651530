"""`weightzip.open`: the lazy reader."""

import gc
import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import weightzip
from weightzip import reading, restoring
from weightzip.checkpoint import from_object
from weightzip.codec import LosslessCodec, encode
from weightzip.container import pack
from weightzip.errors import DamagedFileError, FormatError, LimitError, UsageError, WeightzipError

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def file(folder, source):
    weightzip.compress(source, "net.wz")
    return folder / "net.wz"


@pytest.fixture
def decoded(monkeypatch):
    """The names that have been decoded, one list for each time that anything has."""
    calls = []
    decode_parts = restoring.decode_parts

    def watched(container, header, wanted=None):
        calls.append(None if wanted is None else sorted(wanted))
        return decode_parts(container, header, wanted)

    monkeypatch.setattr(restoring, "decode_parts", watched)
    return calls


def same_bits(a, b):
    def raw(tensor):
        return tensor.contiguous().reshape(-1).view(torch.uint8)

    return (a.shape, a.dtype) == (b.shape, b.dtype) and torch.equal(raw(a), raw(b))


def test_everything_is_as_restore_gives_it(file, state):
    restored = weightzip.restore(file)
    with weightzip.open(file) as reader:
        assert reader.keys() == list(reader) == list(restored) == list(state)
        assert len(reader) == len(state)
        for name, tensor in reader.items():
            assert same_bits(tensor, restored[name])
            assert (reader.shape(name), reader.dtype(name)) == (tuple(tensor.shape), tensor.dtype)
        assert dict(reader).keys() == state.keys()


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.wz")), ids=lambda file: file.stem)
def test_files_of_all_codecs_and_versions(file):
    restored = weightzip.restore(file)
    with weightzip.open(file) as reader:
        assert reader.keys() == list(restored)
        assert all(same_bits(reader[name], tensor) for name, tensor in restored.items())


def test_opening_decodes_nothing(file, decoded):
    with weightzip.open(str(file)) as reader:
        assert "module.layer.bias" in reader
        assert "module.layer" not in reader
        assert reader.shape("module.half") == (30,)
        assert reader.get_slice("module.layer.weight").get_shape() == [40, 50]
        assert reader.get_slice("module.half").get_dtype() == "float16"
        assert reader.info()["tensors"] == 5
    assert decoded == []


def test_info_is_that_of_the_file(file):
    with weightzip.open(file) as reader:
        told, whole = reader.info(), weightzip.info(file)
    for name in ("input", "output", "tensors", "weights", "file_bytes", "ratio", "sections", "max_abs_error"):
        assert told[name] == whole[name]
    assert [tensor["name"] for tensor in told["tensor_list"]] == [tensor["name"] for tensor in whole["tensor_list"]]


@pytest.fixture
def several(folder, monkeypatch):
    """A file of two parts, of two tensors each."""
    monkeypatch.setattr("weightzip.codec.encoding.PART_WEIGHTS", 2000)
    state = {name: torch.randn(20, 50) for name in "abcd"}
    weightzip.compress(state, "parts.wz")
    return folder / "parts.wz"


def test_in_the_order_of_the_file_a_part_is_decoded_once(several, decoded):
    with weightzip.open(several) as reader:
        for name in "abcd":
            reader.get_tensor(name)
        assert decoded == [["a", "b"], ["c", "d"]]
        reader.get_tensor("c")
        assert len(decoded) == 2


def test_no_more_than_one_part_is_kept(several, decoded):
    with weightzip.open(several) as reader:
        for name in "aca":
            reader.get_tensor(name)
    assert decoded == [["a", "b"], ["c", "d"], ["a", "b"]]


def test_what_is_done_to_a_tensor_changes_no_other(file):
    with weightzip.open(file) as reader:
        first = reader.get_tensor("module.layer.weight")
        kept = first.clone()
        first.zero_()
        assert torch.equal(reader["module.layer.weight"], kept)
        assert torch.equal(reader["module.tied.weight"], kept)


def test_names_that_are_not_there(file):
    with weightzip.open(file) as reader:
        for use in (reader.get_tensor, reader.get_slice, reader.shape, reader.dtype):
            with pytest.raises(UsageError, match=r"^.*net\.wz: holds no tensor 'missing'; `weightzip info"):
                use("missing")


def test_what_is_no_part_of_the_model_goes_by_the_name_that_info_lists(folder):
    checkpoint = {"model": {"w": torch.randn(4, 5)}, "optimizer": {"state": {0: {"m": torch.randn(4, 5)}}}}
    weightzip.compress(checkpoint, "a.wz", lossless=True)
    with weightzip.open("a.wz") as reader:
        assert reader.keys() == ["w"]
        (other,) = [tensor["name"] for tensor in reader.info()["tensor_list"] if tensor["name"] != "w"]
        assert torch.equal(reader.get_tensor(other), checkpoint["optimizer"]["state"][0]["m"])


def test_slices(file, decoded):
    whole = weightzip.restore(file)["module.layer.weight"]
    with weightzip.open(file) as reader:
        part = reader.get_slice("module.layer.weight")
        decoded.clear()
        assert torch.equal(part[3], whole[3])
        assert torch.equal(part[:, -2:], whole[:, -2:])
        assert torch.equal(part[..., ::7], whole[..., ::7])
        assert torch.equal(part[[1, 5]], whole[[1, 5]])
        assert len(decoded) == 1
        part[3].zero_()
        assert torch.equal(part[3], whole[3])
        assert part[3].untyped_storage().nbytes() == 50 * 4  # a row does not hold on to all the others
        with pytest.raises(IndexError):
            part[77]


def test_slices_share_nothing_with_the_file_once_they_are_decoded(file):
    with weightzip.open(file) as reader:
        part = reader.get_slice("module.half")
        part[0]
    assert part[:].shape == (30,)


def test_closed(file):
    reader = weightzip.open(file)
    assert "5 tensors" not in repr(reader)
    assert "6 tensors" in repr(reader)
    late = reader.get_slice("module.half")
    reader.get_tensor("module.half")
    reader.close()
    reader.close()
    assert "closed" in repr(reader)
    uses = (reader.keys, reader.info, reader.metadata, reader.__enter__, late.get_shape, lambda: late[0], lambda: "a" in reader)
    for use in (*uses, lambda: len(reader), lambda: list(reader), lambda: reader["module.half"]):
        with pytest.raises(UsageError, match=r"net\.wz: is closed; open it again"):
            use()


def test_the_file_is_let_go_of(file, monkeypatch):
    handles = []
    opened = Path.open

    def watched(self, *arguments, **options):
        handles.append(opened(self, *arguments, **options))
        return handles[-1]

    monkeypatch.setattr(Path, "open", watched)
    with weightzip.open(file):
        assert not handles[0].closed
    assert handles[0].closed
    forgotten = weightzip.open(file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del forgotten
        gc.collect()
    assert handles[1].closed
    with file.open("ab") as damage:
        damage.write(b"more")
    with pytest.raises(DamagedFileError):
        weightzip.open(file)
    assert handles[-1].closed


def test_damage_concerns_only_what_is_made_of_it(several):
    data = bytearray(several.read_bytes())
    data[-5] ^= 1  # within the last section, which is of the last part
    several.write_bytes(data)
    with weightzip.open(several) as reader:
        reader.get_tensor("a")
        for _ in range(2):
            with pytest.raises(DamagedFileError, match=r"parts\.wz: damaged: section .* does not match its hash"):
                reader.get_tensor("d")
        reader.get_tensor("b")


def test_what_is_no_wz_file(folder, source):
    with pytest.raises(FormatError, match=r"net\.pt: not a \.wz file"):
        weightzip.open(source)
    with pytest.raises(WeightzipError, match=r"missing\.wz: cannot be read: No such file"):
        weightzip.open("missing.wz")


def test_memory_counts_the_part_and_the_tensor(several):
    with weightzip.open(several, memory=12_000) as reader:
        assert reader.get_tensor("a").nbytes == 4000
    for memory in (7999, 11_999):
        with weightzip.open(several, memory=memory) as reader, pytest.raises(LimitError, match=rf"over the cap of {memory:,}"):
            reader.get_tensor("a")


def test_a_tensor_that_is_a_part_of_its_own_counts_once(folder):
    weightzip.compress({"w": torch.randn(100, 50)}, "one.wz")
    with weightzip.open("one.wz", memory=20_000) as reader:
        assert torch.equal(reader.get_tensor("w"), weightzip.restore("one.wz")["w"])


def test_a_view_that_repeats_its_element_is_not_written_out(folder):
    coded = encode(from_object({"w": torch.ones(1), "wide": torch.ones(1).expand(2)}), LosslessCodec())
    header = coded.header.to_json()
    (view,) = header["layout"]["views"]
    view[2:] = [[2**40], [0], 0]
    Path("wide.wz").write_bytes(pack(header, coded.sections))
    with weightzip.open("wide.wz", memory=10**6) as reader:
        assert reader.get_tensor("wide").shape == (2**40,)
        assert reader.get_slice("wide")[:7].tolist() == [1.0] * 7
        with pytest.raises(LimitError, match=r"wide\.wz: restores to 4,398,046,511,104 bytes, over the cap"):
            reader.get_slice("wide")[:]


def test_threads_share_a_reader(several):
    whole = weightzip.restore(several)
    with weightzip.open(several, threads=1) as reader, ThreadPoolExecutor(4) as pool:
        names = list("abcd" * 5)
        for name, tensor in zip(names, pool.map(reader.get_tensor, names), strict=True):
            assert torch.equal(tensor, whole[name])


def test_no_threads_at_all(file):
    with pytest.raises(UsageError, match="at least 1, not 0"):
        weightzip.open(file, threads=0)


def test_metadata_is_that_of_the_safetensors_file(folder, file):
    save_file({"w": torch.randn(4, 4)}, "a.safetensors", {"format": "pt", "made by": "me"})
    weightzip.compress("a.safetensors")
    with weightzip.open("a.wz") as reader, weightzip.open(file) as other:
        assert reader.metadata() == {"format": "pt", "made by": "me"}
        assert other.metadata() == {}


def test_metadata_of_shards(folder):
    for number, name in enumerate(("a", "b")):
        save_file({name: torch.randn(4, 4)}, f"{name}.safetensors", {"format": "pt", f"shard {number}": "yes"})
    index = {"metadata": {}, "weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}
    Path("model.safetensors.index.json").write_text(json.dumps(index))
    weightzip.compress("model.safetensors.index.json", "m.wz")
    with weightzip.open("m.wz") as reader:
        assert reader.metadata() == {"format": "pt", "shard 0": "yes", "shard 1": "yes"}


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(20, 20), nn.Linear(20, 20, bias=False)
        self.second.weight = self.first.weight
        self.second.requires_grad_(False)


def test_a_module_without_memory_takes_the_tensors_themselves(folder):
    source = Tied()
    weightzip.compress(source, "net.wz", lossless=True)
    with torch.device("meta"):
        target = Tied()
    weightzip.load_into(target, "net.wz")
    for (name, wanted), (_, found) in zip(source.state_dict().items(), target.state_dict().items(), strict=True):
        assert torch.equal(wanted, found), name
    assert target.first.weight.data_ptr() == target.second.weight.data_ptr()
    assert target.first.bias.requires_grad
    assert not target.first.weight.requires_grad


def test_a_module_with_memory_keeps_its_own(folder):
    source, target = Tied(), Tied().half()
    weightzip.compress(source, "net.wz", lossless=True)
    kept = target.first.weight
    weightzip.load_into(target, "net.wz")
    assert target.first.weight is kept
    assert torch.equal(kept, source.first.weight.half())


def test_a_reader_compresses_again(file):
    with weightzip.open(file) as reader:
        weightzip.compress(dict(reader), "again.wz", lossless=True)
        assert same_bits(weightzip.restore("again.wz")["module.nan"], reader["module.nan"])
    assert isinstance(reader, reading.Reader)
