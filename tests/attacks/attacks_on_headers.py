"""Attacks on the header: what it says of tensors, codecs and parts."""

from __future__ import annotations

from hostile import HONEST, attack, exact_section, golden, header, packed

from weightzip.errors import FormatError, LimitError


def _tensors(*entries: object) -> bytes:
    return packed(header(tensors=list(entries)))


def _in_parts(*counts: list[int], **sections: bytes) -> bytes:
    tensors = [["v", [0], "float32", 1], ["w", [2, 3], "float32", 1]]
    return packed(header(tensors=tensors, parts=list(counts)), **sections)


@attack(FormatError, "lacks a field or has one")
def unknown_field() -> bytes:
    return packed(header(surprise=1))


@attack(FormatError, "lacks a field or has one")
def field_that_is_missing() -> bytes:
    head = header()
    del head["error"]
    return packed(head)


@attack(LimitError, "which this version lacks")
def unknown_codec() -> bytes:
    return packed(header(codec="auto.3"))


@attack(FormatError, "codec is malformed")
def codec_that_is_a_number() -> bytes:
    return packed(header(codec=2))


@attack(LimitError, "settings in the header are nested deeper than 8")
def settings_one_level_too_deep() -> bytes:
    return packed(header(meta={"a": [[[[[[[]]]]]]]}))


@attack(LimitError, "1,000,001 tensors", slow=True)
def a_million_tensors_and_one() -> bytes:
    return _tensors(*([f"{number:x}", []] for number in range(1_000_001)))


@attack(LimitError, "name of more than 4096 bytes")
def name_over_its_limit() -> bytes:
    return _tensors(["ö" * 2048 + "x", [2, 3], "float32", 1])


@attack(LimitError, "more than 64 dimensions")
def rank_over_its_limit() -> bytes:
    return _tensors(["w", [1] * 65, "float32", 1])


@attack(FormatError, "impossible shape")
def shape_that_overflows() -> bytes:
    """Its product is 0 in 64 bits."""
    return _tensors(["w", [1 << 32, 1 << 32], "float32", 1])


@attack(FormatError, "impossible shape")
def shape_that_overflows_beside_a_zero() -> bytes:
    return _tensors(["w", [0, 1 << 40, 1 << 40], "float32", 1])


@attack(FormatError, "impossible shape")
def size_beyond_any_integer() -> bytes:
    return _tensors(["w", [10**19], "float32", 1])


@attack(FormatError, "impossible shape")
def negative_sizes() -> bytes:
    return _tensors(["w", [-2, -3], "float32", 1])


@attack(FormatError, "impossible shape")
def size_that_is_true() -> bytes:
    return _tensors(["w", [True, 6], "float32", 1])


@attack(FormatError, "impossible shape")
def size_that_is_a_fraction() -> bytes:
    return _tensors(["w", [2.0, 3], "float32", 1])


@attack(FormatError, "names a tensor twice")
def two_tensors_of_one_name() -> bytes:
    return _tensors(["w", [2, 3], "float32", 1], ["w", [2, 3], "float32", 1])


@attack(FormatError, "names no tensors")
def no_tensors() -> bytes:
    return _tensors()


@attack(FormatError, "unknown dtype 'quint8'")
def unknown_dtype() -> bytes:
    return _tensors(["w", [2, 3], "quint8", 1])


@attack(FormatError, "unknown way")
def exact_as_true() -> bytes:
    return _tensors(["w", [2, 3], "float32", True, 1])


@attack(FormatError, "marked as lossy, which int32 cannot be")
def lossy_integers() -> bytes:
    return _tensors(["w", [2, 3], "int32"])


@attack(FormatError, "lossy in a lossless file")
def lossy_tensor_in_a_lossless_file() -> bytes:
    return _tensors(["w", [2, 3]])


@attack(FormatError, "not valid Unicode")
def name_with_a_lone_surrogate() -> bytes:
    return _tensors(["\ud800", [2, 3], "float32", 1])


@attack(FormatError, "not valid Unicode")
def source_name_with_a_lone_surrogate() -> bytes:
    return packed(header(layout={"format": "torch", "name": "\udfff.pt"}))


@attack(FormatError, "errors are malformed")
def error_that_is_infinite() -> bytes:
    """JSON has no infinity, but 1e999 is read as one."""
    text = b'{"codec":"lossless.2","meta":{},"tensors":[["w",[2,3],"float32",1]],"layout":{},"error":[1e999,0]}'
    return packed(text)


@attack(FormatError, "number of latents")
def negative_number_of_latents() -> bytes:
    return packed(header(latents=-1))


@attack(FormatError, "do not add up")
def parts_of_more_tensors_than_there_are() -> bytes:
    return _in_parts([], [1, 2])


@attack(FormatError, "do not add up")
def parts_of_another_kind() -> bytes:
    return _in_parts([2], [])


@attack(FormatError, "parts are malformed")
def part_without_tensors() -> bytes:
    return _in_parts([], [2, 0])


@attack(FormatError, "parts are malformed")
def negative_part() -> bytes:
    return _in_parts([], [3, -1])


@attack(FormatError, "exactly the sections", late=True)
def ten_thousand_parts() -> bytes:
    """Each is looked at before any is decoded, with the settings of its codec."""
    head = golden("paper2").header
    head["tensors"] = [[f"{number:x}", []] for number in range(10_000)]
    head["parts"] = [[1] * 10_000, []]
    head["layout"] = {"format": "torch", "name": "model.pt"}
    head["meta"] |= {"chunk": 1, "padding": 0}
    return packed(head, latents=b"")


@attack(FormatError, "belongs to no tensor")
def section_of_a_part_that_is_not_there() -> bytes:
    return _in_parts([], [1, 1], exact=b"", exact__1=HONEST, exact__2=HONEST)


@attack(FormatError, "belongs to no tensor")
def lossy_section_in_a_lossless_file() -> bytes:
    return packed(header(), exact=HONEST, symbols=b"")


@attack(FormatError, "belongs to no tensor")
def section_with_another_way_to_write_its_number() -> bytes:
    """Were "exact.01" and "exact.1" the same, one of them could hide the other."""
    return _in_parts([], [1, 1], exact__1=HONEST, exact__01=HONEST)


@attack(FormatError, "missing or cut short", late=True)
def section_that_is_missing() -> bytes:
    return packed(header(tensors=[["v", [1], "uint8", 1], ["w", [2, 3], "float32", 1]], parts=[[], [1, 1]]), exact__1=HONEST)


@attack(LimitError, "raise it with --memory", late=True)
def tensor_larger_than_any_memory() -> bytes:
    return _tensors(["w", [1 << 48], "float32", 1])


@attack(LimitError, "over the cap of 1,000,000", cap=1_000_000, late=True)
def tensor_over_the_cap() -> bytes:
    return _tensors(["w", [250_001], "float32", 1])


@attack(LimitError, "64 times the file|over the cap", cap=1 << 30, late=True)
def many_parts_that_fill_a_disk() -> bytes:
    """Each is well below the cap; together they are 200 GiB."""
    tensors = [[f"{number}", [1 << 26], "float32", 1] for number in range(800)]
    return packed(header(tensors=tensors, parts=[[], [1] * 800]), exact=exact_section(b""))
