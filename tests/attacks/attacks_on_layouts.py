"""Attacks on the layout: the tree around the tensors, their aliases, and the names of files."""

from __future__ import annotations

from hostile import attack, exact_block, exact_section, header, packed

from weightzip.errors import FormatError, LimitError

_SHARD = "model-00001-of-00001.safetensors"
_INDEX = "model.safetensors.index.json"


def _layout(**fields: object) -> bytes:
    return packed(header(layout={"format": "torch", "name": "model.pt"} | fields))


def _views(*views: list, tensors: int = 1, fmt: str = "torch") -> bytes:
    keys = [[number, f"k{number}"] for number in range(tensors)]
    return _layout(format=fmt, tree=["state", tensors, {"odd": keys}], views=list(views))


def _shards(index: object, rest: object, *files: list) -> bytes:
    return _layout(format="shards", shards=[index, rest, *files])


def many_names(tree: object, count: int = 200_000, **fields: object) -> bytes:
    """A file of many empty tensors, so that what is made of each of their names counts."""
    tensors = [[f"{number:x}", [0], "float32", 1] for number in range(count)]
    layout = {"format": "torch", "name": "model.pt", "tree": tree} | fields
    return packed(header(tensors=tensors, layout=layout), exact=b"")


@attack(FormatError, "missing or unknown fields")
def layout_with_an_unknown_field() -> bytes:
    return _layout(surprise=1)


@attack(FormatError, "unknown format")
def layout_of_an_unknown_format() -> bytes:
    return _layout(format="pickle")


@attack(FormatError, "nested deeper than 64")
def tree_too_deep() -> bytes:
    tree: object = ["t"]
    for _ in range(65):
        tree = {"a": tree}
    return _layout(tree=tree)


@attack(FormatError, "nested deeper than 64")
def keys_too_deep() -> bytes:
    key: object = 1
    for _ in range(70):
        key = ["tuple", key]
    return _layout(tree=["dict", key, ["t"]])


@attack(FormatError, "unknown kind of value 'object'")
def value_of_an_unknown_kind() -> bytes:
    return _layout(tree={"w": ["t"], "x": ["object", "os.system", "true"]})


@attack(FormatError, "a key appears twice")
def two_keys_that_are_equal() -> bytes:
    return _layout(tree=["dict", 1, ["t"], 1.0, 2])


@attack(FormatError, "a key that cannot be one")
def key_that_is_a_dict() -> bytes:
    return _layout(tree=["dict", {"a": 1}, ["t"]])


@attack(FormatError, "unfit arguments")
def number_that_is_none() -> bytes:
    return _layout(tree={"w": ["t"], "x": ["int", "0xg"]})


@attack(FormatError, "out of range", slow=True)
def state_of_a_trillion_tensors() -> bytes:
    return _layout(tree=["state", 10**12])


@attack(FormatError, "tensors where there are 1|more tensors than the 1", late=True)
def tree_with_more_tensors_than_there_are() -> bytes:
    return _layout(tree=["list", ["t"], ["t"]])


@attack(FormatError, "0 tensors where there are 1", late=True)
def tree_without_the_tensors() -> bytes:
    return _layout(tree={})


@attack(FormatError, "more kinds than tensors")
def kinds_of_more_tensors_than_there_are() -> bytes:
    return _layout(kinds=[[1, 1 << 62]])


@attack(FormatError, "does not fit its tensor", late=True)
def view_outside_its_base() -> bytes:
    return _views([0, 0, [2], [1], 5])


@attack(FormatError, "does not fit its tensor", late=True)
def view_whose_strides_overflow() -> bytes:
    """The last place that it reaches is 0 in 64 bits."""
    return _views([0, 0, [5], [1 << 62], 0])


@attack(FormatError, "malformed view")
def view_that_begins_before_its_base() -> bytes:
    return _views([0, 0, [1], [1], -1])


@attack(FormatError, "malformed view")
def view_with_negative_strides() -> bytes:
    return _views([0, 0, [2], [-1], 1])


@attack(FormatError, "impossible shape")
def view_of_an_impossible_shape() -> bytes:
    return _views([0, 0, [1 << 40, 1 << 40], [0, 0], 0])


@attack(FormatError, "out of range")
def view_of_a_base_still_to_come() -> bytes:
    return _views([0, 1], tensors=2)


@attack(FormatError, "out of range")
def two_views_of_each_other() -> bytes:
    return _views([0, 1], [1, 0], tensors=2)


@attack(FormatError, "two views of one tensor")
def tensor_with_two_views() -> bytes:
    return _views([1, 0], [1, 0], tensors=2)


@attack(FormatError, "view of a tensor that is not there")
def view_of_no_tensor() -> bytes:
    return _views([7, 0])


@attack(FormatError, "no plain file name")
def shard_outside_the_folder() -> bytes:
    return _shards(_INDEX, "{}", ["../../etc/x.safetensors", 1])


@attack(FormatError, "no plain file name")
def shard_with_an_absolute_path() -> bytes:
    return _shards(_INDEX, "{}", ["/etc/x.safetensors", 1])


@attack(FormatError, "no plain file name")
def shard_with_a_path_of_windows() -> bytes:
    return _shards(_INDEX, "{}", ["C:\\x.safetensors", 1])


@attack(FormatError, "no plain file name")
def shard_with_a_null_byte() -> bytes:
    return _shards(_INDEX, "{}", ["a\0.safetensors", 1])


@attack(FormatError, "no plain file name")
def shard_that_is_hidden() -> bytes:
    return _shards(_INDEX, "{}", ["..safetensors", 1])


@attack(FormatError, "no plain file name")
def shard_that_is_no_tensor_file() -> bytes:
    return _shards(_INDEX, "{}", ["setup.py", 1])


@attack(FormatError, "index of the shards is no plain file name")
def index_outside_the_folder() -> bytes:
    return _shards("../" + _INDEX, "{}", [_SHARD, 1])


@attack(FormatError, "two shards called")
def shards_that_differ_in_case_alone() -> bytes:
    return _shards(_INDEX, "{}", ["a.safetensors", 1], ["A.safetensors", 1])


@attack(FormatError, "a shard without tensors")
def shard_of_minus_one_tensors() -> bytes:
    return _shards(_INDEX, "{}", ["a.safetensors", 2], ["b.safetensors", -1])


@attack(FormatError, "more tensors than there can be|where there are 1")
def shard_of_a_quintillion_tensors() -> bytes:
    return _shards(_INDEX, "{}", [_SHARD, 1 << 60])


@attack(FormatError, "index of the shards is no JSON")
def index_that_is_too_deep() -> bytes:
    return _shards(_INDEX, "[" * 1_000_000, [_SHARD, 1])


@attack(FormatError, "malformed index")
def index_that_brings_its_own_map() -> bytes:
    return _shards(_INDEX, '{"weight_map": {"w": "/etc/passwd"}}', [_SHARD, 1])


@attack(FormatError, "names", slow=True)
def names_that_become_terabytes() -> bytes:
    """What is put before each name of a state dict is stored once."""
    return many_names(["state", 200_000, {"add": "x" * (8 << 20)}])


@attack(FormatError, "path of a model", slow=True)
def path_that_becomes_terabytes() -> bytes:
    """So is a key that all of a model's tensors are under."""
    key = "x" * (4 << 20)
    return many_names({key: ["state", 200_000]}, model=[[], [key]])


@attack(FormatError, "names", late=True)
def modules_that_become_terabytes() -> bytes:
    """A key with a million dots names a million modules, all of them long."""
    return _layout(tree=["state", 1, {"odd": [[0, "." * 1_000_000]], "metadata": {}}])


@attack(FormatError, "more than", late=True, slow=True)
def metadata_that_is_read_a_million_times() -> bytes:
    """A value is stored once for all modules that have it; here for one module again and again."""
    value = ["list", *[0] * 1_000_000]
    return _layout(tree=["state", 1, {"metadata": {"values": [[value, [0] * 1_000_000]]}}])


@attack(FormatError, "more than 20 digits")
def keys_of_one_hash() -> bytes:
    """A hundred thousand numbers that Python puts in one place of a dict, where each is compared to all before it."""
    keys = [part for number in range(1, 100_001) for part in (number * ((1 << 61) - 1), 0)]
    return _layout(tree={"w": ["t"], "x": ["dict", *keys]})


def views_that_expand_to_terabytes(fmt: str) -> bytes:
    """No attack where nothing is written but what is stored; in a file of safetensors, each of the elements would be."""
    return _views([0, 0, [1 << 42], [0], 0], fmt=fmt)


@attack(LimitError, "restores to", cap=1000, late=True)
def tensor_without_end_behind_an_honest_one() -> bytes:
    """Zeros are cheap: 4 MiB of them in a few bytes, where 1000 are allowed."""
    values = bytes(4 << 20)
    plane = bytes([0]) + (2).to_bytes(4, "little") + bytes(2)
    section = exact_section(values, exact_block(b"", 1 << 20, mode=2, body=plane * 4))
    return packed(header(tensors=[["w", [1 << 20], "float32", 1]]), exact=section)


@attack(FormatError, "a key that cannot be one")
def keys_of_one_hash_in_hexadecimal() -> bytes:
    """The same where numbers are told as text."""
    keys = [part for number in range(1, 50_001) for part in (["int", hex(number * ((1 << 61) - 1))], 0)]
    return _layout(tree={"w": ["t"], "x": ["dict", *keys]})


@attack(FormatError, "a key that cannot be one")
def key_that_no_text_can_hold() -> bytes:
    """Python refuses to write integers of so many digits in decimal."""
    return _layout(tree=["dict", ["int", "0x" + "f" * 10_000], ["t"]])


@attack(FormatError, "malformed index")
def index_that_cannot_be_written() -> bytes:
    """What reads JSON nests deeper than what writes it, in some versions of Python."""
    return _shards(_INDEX, '{"a":' + "[" * 500 + "]" * 500 + "}", [_SHARD, 1])


@attack(FormatError, r"unfit arguments.*\.\.\.$")
def message_of_a_megabyte() -> bytes:
    return _layout(tree={"w": ["t"], "x": ["device", "x" * (1 << 20)]})
