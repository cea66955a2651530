"""Attacks on the codecs: settings, and sections that do not say what they should."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import zstandard
from hostile import HONEST, VALUES, attack, exact_block, exact_section, golden, header, packed

from weightzip.codec.symbols import encode_symbols, round_latents
from weightzip.entropy import encode_integers, read_integers
from weightzip.errors import DamagedFileError, FormatError, LimitError

_MIB = 1 << 20


def _exact(section: bytes) -> bytes:
    return packed(header(), exact=section)


def _planes(first: bytes) -> bytes:
    """An exact section whose first plane (6 values of 10 bits) is this; the others are zeros."""
    zeros = bytes([0]) + (2).to_bytes(4, "little") + bytes(2)
    return _exact(exact_section(VALUES, exact_block(b"", 6, mode=2, body=first + 3 * zeros)))


def _plane(method: int, body: bytes) -> bytes:
    return bytes([method]) + len(body).to_bytes(4, "little") + body


def _table(*integers: int) -> bytes:
    """LEB128."""
    table = bytearray()
    for integer in integers:
        while integer > 127:
            table.append(integer & 127 | 128)
            integer >>= 7
        table.append(integer)
    return bytes(table)


@attack(DamagedFileError, "not those that were stored", late=True)
def exact_values_that_are_others() -> bytes:
    """All hashes of the file are right; the tensors' own is not."""
    return _exact(exact_section(VALUES, exact_block(VALUES[::-1], 6)))


@attack(FormatError, "unpack to 268,435,456 bytes instead of 24", late=True)
def exact_block_that_is_a_bomb() -> bytes:
    compressor = zstandard.ZstdCompressor(level=1).compressobj(256 * _MIB)
    frame = b"".join(compressor.compress(bytes(_MIB)) for _ in range(256)) + compressor.flush()
    return _exact(exact_section(VALUES, exact_block(b"", 6, mode=1, body=frame)))


@attack(FormatError, "unpack to", late=True)
def exact_block_of_unknown_size() -> bytes:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(64 * _MIB))
    return _exact(exact_section(VALUES, exact_block(b"", 6, mode=1, body=frame)))


@attack(FormatError, "which do not fit them", late=True)
def exact_block_of_four_billion_elements() -> bytes:
    return _exact(exact_section(VALUES, exact_block(VALUES, (1 << 32) - 1)))


@attack(FormatError, "which do not fit them", late=True)
def exact_block_of_no_elements() -> bytes:
    return _exact(exact_section(VALUES, exact_block(b"", 0), exact_block(VALUES, 6)))


@attack(FormatError, "cut short", late=True)
def exact_block_longer_than_its_section() -> bytes:
    block = exact_block(VALUES, 6)
    return _exact(exact_section(VALUES, block[:4] + b"\xff" * 4 + block[8:]))


@attack(FormatError, "bytes follow the exact tensors", late=True)
def bytes_after_the_last_block() -> bytes:
    return _exact(HONEST + b"\0")


@attack(FormatError, "mode 4", late=True)
def exact_block_of_an_unknown_mode() -> bytes:
    return _exact(exact_section(VALUES, exact_block(VALUES, 6, mode=4)))


@attack(FormatError, "as many elements as it announces", late=True)
def sparse_block_of_four_billion_elements() -> bytes:
    flags = _plane(0, b"\x3f\0")
    return _exact(exact_section(VALUES, exact_block(b"", 6, mode=3, body=b"\xff" * 4 + flags)))


@attack(FormatError, "as many elements as it announces", late=True)
def sparse_block_without_elements() -> bytes:
    return _exact(exact_section(VALUES, exact_block(b"", 6, mode=3, body=bytes(4) + _plane(0, bytes(2)))))


@attack(FormatError, "method 9", late=True)
def plane_of_an_unknown_method() -> bytes:
    return _planes(_plane(9, b"\0\0"))


@attack(FormatError, "cut short", late=True)
def plane_longer_than_its_block() -> bytes:
    return _planes(bytes([2]) + b"\xff" * 4)


@attack(FormatError, "more than 10 bits", late=True)
def plane_whose_values_spoil_their_neighbours() -> bytes:
    return _planes(_plane(0, b"\xff\xff"))


@attack(FormatError, "frequency table is damaged", late=True)
def frequencies_of_more_than_all() -> bytes:
    return _planes(_plane(2, _table(0, 2, 4000, 4000) + bytes(32)))


@attack(FormatError, "frequency table is damaged", late=True)
def frequencies_of_symbols_beyond_the_alphabet() -> bytes:
    return _planes(_plane(2, _table(1024, 1, 4095) + bytes(32)))


@attack(FormatError, "frequency table is damaged", late=True)
def frequencies_that_never_end() -> bytes:
    return _planes(_plane(2, b"\xff" * 100))


@attack(FormatError, "does not end where it should", late=True)
def states_that_no_coder_leaves() -> bytes:
    return _planes(_plane(2, _table(0, 1, 4095) + b"\xff" * 32))


@attack(FormatError, "cut short", late=True)
def states_that_are_missing() -> bytes:
    return _planes(_plane(2, _table(0, 1, 4095) + bytes(31)))


def _auto(tensors: list | None = None, meta: dict | None = None, **sections: bytes | None) -> bytes:
    """The golden file of the auto codec with other things in it."""
    parts = golden("auto2")
    head = parts.header
    if tensors is not None:
        head |= {"tensors": tensors, "layout": {"format": "torch", "name": "model.pt"}}
    head["meta"] = head["meta"] | (meta or {})
    stored = {section.name.decode(): section.data for section in parts.sections[1:]}
    return packed(head, **{name: data for name, data in (stored | sections).items() if data is not None})


def _infinite(name: str, field: str) -> bytes:
    """A golden file with a setting that is infinite: JSON has no infinity, but 1e999 is read as one."""
    parts = golden(name)
    head = parts.header
    head["meta"][field] = "HERE"
    return parts.with_header(json.dumps(head).replace('"HERE"', "1e999").encode()).join()


def _transforms(integers: list[int], coded: bytes = b"") -> bytes:
    numbers = encode_integers(integers)
    return _table(len(numbers)) + numbers + _table(len(coded)) + coded


def _model(tables: list[int], modes: list[int], codes: list[int]) -> bytes:
    lists = [encode_integers(each) for each in (tables, modes, codes)]
    return b"".join(len(each).to_bytes(3, "little") for each in lists[:2]) + b"".join(lists)


def _one(size: int, model: bytes, symbols: bytes = b"", transforms: bytes | None = None) -> bytes:
    """A file of one vector."""
    steps = encode_integers([0])
    return _auto([["w", [size]]], steps=steps, model=model, symbols=symbols, transforms=transforms)


@attack(FormatError, "positive step size", late=True)
def step_that_is_infinite() -> bytes:
    return _infinite("auto2", "step")


@attack(FormatError, "positive step size", late=True)
def step_that_is_zero() -> bytes:
    return _auto(meta={"step": 0.0})


@attack(FormatError, "positive step size", late=True)
def step_that_is_an_integer() -> bytes:
    return _auto(meta={"step": 10**19})


@attack(FormatError, "step size is out of range", late=True)
def steps_beyond_any_float() -> bytes:
    return _auto(steps=encode_integers([2**30] * 11))


@attack(FormatError, "must have 1 or 256 states", late=True)
def machine_of_a_billion_states() -> bytes:
    return _auto(meta={"states": 1 << 30})


@attack(FormatError, "must have 1 or 256 states", late=True)
def machine_of_true_states() -> bytes:
    return _auto(meta={"states": True})


@attack(FormatError, "exactly the sections", late=True)
def auto_without_its_model() -> bytes:
    return _auto(model=None)


@attack(FormatError, "exactly the sections", late=True)
def auto_with_a_section_too_many() -> bytes:
    return _auto(surprise=b"")


@attack(FormatError, "a view that its shape does not offer", late=True)
def view_number_out_of_range() -> bytes:
    return _one(8, b"", transforms=_transforms([0, 7]))


@attack(LimitError, "learned transform is too large", late=True)
def learned_basis_larger_than_its_tensor() -> bytes:
    return _one(1024, b"", transforms=_transforms([1, 0, 2]))


@attack(LimitError, "cosine transforms are too large", late=True)
def cosine_transforms_of_all_lengths() -> bytes:
    tensors = [[f"{size}", [size]] for size in range(2, 1025)]
    integers = [0, *(number for _ in tensors for number in (0, 1))]
    return _auto(tensors, steps=encode_integers([0] * len(tensors)), transforms=_transforms(integers))


@attack(FormatError, "not those that the tensors use", late=True)
def billion_transforms_that_nobody_uses() -> bytes:
    return _one(8, b"", transforms=_transforms([2**31 - 1, 0, 0]))


@attack(FormatError, "does not fit its tensor", late=True)
def transform_of_two_lengths() -> bytes:
    transforms = _transforms([1, 0, 2, 0, 2])
    return _auto([["a", [8]], ["b", [9]]], steps=encode_integers([0, 0]), transforms=transforms)


def _learned(*rest: int, coded: bytes = b"") -> bytes:
    """Of one matrix [64, 8], along its rows."""
    return _auto([["w", [64, 8]]], steps=encode_integers([0]), transforms=_transforms([1, 0, 0, 2, *rest], coded))


@attack(FormatError, "more latents than its vectors have values, or none", late=True)
def transform_without_latents() -> bytes:
    return _learned(8)


@attack(FormatError, "more latents than its vectors have values", late=True)
def transform_of_more_latents_than_values() -> bytes:
    return _learned(-1)


@attack(FormatError, "precision is out of range", late=True)
def exponents_out_of_range() -> bytes:
    return _learned(7, 15)


@attack(FormatError, "precision is out of range", late=True)
def exponents_below_zero() -> bytes:
    return _learned(6, 3, -4)


@attack(FormatError, "cut short|unknown alphabet|longer than allowed", late=True)
def transform_without_its_numbers() -> bytes:
    return _learned(7, 3)


@attack(FormatError, "transforms are cut short", late=True)
def transforms_of_a_length_without_end() -> bytes:
    return _auto(transforms=b"\xff" * 100)


@attack(FormatError, "bytes follow the transforms", late=True)
def bytes_after_the_transforms() -> bytes:
    return _one(8, b"", transforms=_transforms([0, 0, 0]) + b"\0")


@attack(FormatError, "frequency tables are out of range", late=True)
def tables_of_classes_that_are_not_there() -> bytes:
    return _one(8, _model([60, 0, 5, 0], [0] * 7, []))


@attack(FormatError, "frequency tables are out of range", late=True)
def billion_tables() -> bytes:
    return _one(8, _model([0, 0, 2**31 - 1, 0], [0] * 7, []))


@attack(FormatError, "longer than its alphabet", late=True)
def table_longer_than_its_alphabet() -> bytes:
    return _one(8, _model([24, 0, 1, 0, 1, 2**31 - 1], [0] * 7, []))


@attack(FormatError, "frequency is out of range", late=True)
def frequency_out_of_range() -> bytes:
    return _one(8, _model([24, 0, 1, 0, 2, 0, 1 << 20, *[0] * 20], [0] * 7, []))


@attack(FormatError, "told in an unknown way", late=True)
def scales_told_in_an_unknown_way() -> bytes:
    return _one(8, _model([24, 0, 1, 0, 0, 0], [0, 3, 0, 0, 0, 0, 0], []))


@attack(FormatError, "more scales than its size allows", late=True)
def scales_as_many_as_weights() -> bytes:
    """They are read one by one, which is slow."""
    return _one(1 << 20, _model([24, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1, 0], []))


@attack(FormatError, "negative length|longer or shorter", late=True)
def stream_of_negative_length() -> bytes:
    return _one(8, _model([24, 0, 1, 0, 0, 0], [-1, 0, 0, 0, 0, 0, 0], []))


@attack(FormatError, "longer or shorter", late=True)
def stream_of_two_gigabytes() -> bytes:
    return _one(8, _model([24, 0, 1, 0, 0, 0], [2**31 - 1, 0, 0, 0, 0, 0, 0], []))


@attack(FormatError, "cut short", late=True)
def stream_of_more_words_than_there_are() -> bytes:
    return _one(8, _model([24, 0, 1, 0, 0, 0], [8, 0, 0, 0, 0, 0, 0], []), b"\xff" * 8)


@attack(FormatError, "does not end where it should", late=True)
def stream_cut_short() -> bytes:
    """Its length in the model is right."""
    parts = golden("auto2")
    model = parts.sections[parts.index("model")].data
    ends = [6, *(int.from_bytes(model[place : place + 3], "little") for place in (0, 3))]
    first, second = ends[0] + ends[1], sum(ends)
    modes = list(islice(read_integers(model[first:second]), 1 + 6 * 11))
    symbols = parts.sections[parts.index("symbols")].data[:-2]
    coded = encode_integers([len(symbols), *modes[1:]])
    return _auto(model=model[:3] + len(coded).to_bytes(3, "little") + model[6:first] + coded + model[second:], symbols=symbols)


@attack(FormatError, "no frequency table", late=True)
def class_without_a_table() -> bytes:
    return _one(8, _model([24, 0, 1, 0, 0, 0], [8, 0, 30, 0, 0, 0, 0], []), b"\x02\0\0\0\x01\0\0\0")


@attack(FormatError, "no frequency table", late=True)
def symbols_without_any_table() -> bytes:
    return _one(8, _model([0, 0, 0, 0], [8, 0, 0, 0, 0, 0, 0], []), b"\x02\0\0\0\x01\0\0\0")


def _paper(**meta: object) -> bytes:
    parts = golden("paper2")
    head = parts.header
    head["meta"] = head["meta"] | meta
    return packed(head, **{section.name.decode(): section.data for section in parts.sections[1:]})


@attack(LimitError, "decoder is too large", late=True)
def decoder_too_wide() -> bytes:
    return _paper(hidden=(1 << 16) + 1)


@attack(LimitError, "decoder is too large", late=True)
def decoder_of_too_many_weights() -> bytes:
    return _paper(hidden=1 << 16, chunk=1 << 11)


@attack(LimitError, "latents for", late=True)
def more_latents_than_weights() -> bytes:
    return _paper(latent=1 << 16)


@attack(FormatError, "padding does not fit", late=True)
def padding_of_whole_chunks() -> bytes:
    return _paper(padding=64 * 1000 + golden("paper2").header["meta"]["padding"])


@attack(FormatError, "chunks are empty", late=True)
def chunks_without_weights() -> bytes:
    return _paper(chunk=0)


@attack(FormatError, "out of range", late=True)
def shift_beyond_exact_numbers() -> bytes:
    return _paper(mean_shift=53)


@attack(FormatError, "out of range", late=True)
def unit_beyond_any_float() -> bytes:
    return _infinite("paper2", "unit")


@attack(FormatError, "whole numbers", late=True)
def sizes_that_are_true() -> bytes:
    return _paper(latent=True)


@attack(FormatError, "too large for exact arithmetic", late=True)
def decoder_whose_numbers_are_not_exact() -> bytes:
    """Its sums go over 2^53."""
    shapes = {"latents": [(1, 1, 4)], "decoder": [(5, 1, 4), (5, 1, 64)]}
    huge = 2.0**28
    sections = {name: b"".join(_layer(np.full(shape, huge)) for shape in each) for name, each in shapes.items()}
    head = golden("paper2").header
    head["tensors"], head["layout"] = [["w", [64]]], {"format": "torch", "name": "model.pt"}
    head["meta"] = head["meta"] | {"latent": 4, "hidden": 4, "chunk": 64, "padding": 0}
    return packed(head, **sections)


def _layer(array: np.ndarray) -> bytes:
    coded = encode_symbols(round_latents([array]))
    return b"".join(len(part).to_bytes(4, "little") for part in (coded.model, coded.streams)) + coded.model + coded.streams
