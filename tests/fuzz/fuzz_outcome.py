"""What becomes of a spoiled file: refused in the right way, decoded, or a failure of weightzip."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from fuzz_mutations import Mutant
from torch import Tensor

from weightzip import checkpoint
from weightzip.codec import Decoded, Header, decode, read_header, tensor_bytes
from weightzip.codec.header import section_name
from weightzip.container import Container, unpack
from weightzip.errors import WeightzipError
from weightzip.summary import summarise

CAP = 32 << 20  # bytes that decoding may take
OUTCOMES = ("damaged (3)", "refused (4)", "same tensors", "other tensors", "FAILED")
DAMAGED, REFUSED, SAME, OTHER, FAILED = OUTCOMES
_BY_EXIT_CODE = {3: DAMAGED, 4: REFUSED}


class FuzzError(Exception):
    """Weightzip has done what it must not."""


@dataclass(frozen=True)
class Verdict:
    """outcome: one of OUTCOMES; why: what was raised."""

    outcome: str
    why: str


def fingerprint(data: bytes) -> str:
    """Of all that a file decodes to."""
    return _print(decode(data, memory=CAP))


def judge(mutant: Mutant, prints: Mapping[str, str]) -> Verdict:
    """Try to read a mutant in every way; prints: the fingerprint of each file that it may come from."""
    try:
        outcome = SAME if _print(_read(mutant.data)) == prints[mutant.origin] else OTHER
        if mutant.covered:
            raise FuzzError("decoded, although a hash covers what was changed")
        return Verdict(outcome, "")
    except WeightzipError as error:
        return Verdict(_outcome_of(error), f"{type(error).__name__}: {error}")
    except Exception as error:
        return Verdict(FAILED, f"{type(error).__name__}: {error}")


def _outcome_of(error: WeightzipError) -> str:
    told = str(error)
    proper = told.startswith("x.wz: ") and "\n" not in told and "than this machine has" not in told  # memory has run out
    return _BY_EXIT_CODE.get(error.exit_code, FAILED) if proper else FAILED


def _read(data: bytes) -> Decoded:
    """All that `info`, `test` and `restore` do, but for writing."""
    container = unpack(data, "x.wz")
    header = read_header(container, "x.wz")
    stored = tensor_bytes(container, header, "x.wz")
    json.dumps(summarise(header, container.section_bytes, source="", output="", seconds=0.0, stored=stored))
    name = checkpoint.default_output(header.layout)
    if not name or set(name) & set('/\\\0:\n"') or name.startswith("."):
        raise FuzzError(f"would be written to {name!r}")
    decoded = decode(data, "x.wz", memory=CAP)
    _check_tensors(container, header, decoded.tensors)
    try:
        places = checkpoint.locate(header.layout, header.tensors)
        checkpoint.rebuild(header.layout, decoded.tensors)
        checkpoint.written_bytes(header.layout, header.tensors, header.layout.format)
        if set(places) != set(checkpoint.state_dict(header.layout, decoded.tensors)):
            raise FuzzError("the state dict has other keys than it was said to have")
    except WeightzipError as error:
        raise type(error)(f"x.wz: {error}") from error
    return decoded


def _check_tensors(container: Container, header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Tensors are what the header says, and exact ones what their own hash says."""
    for spec in header.tensors:
        found = tensors[spec.name]
        if (tuple(found.shape), str(found.dtype)) != (spec.shape, f"torch.{spec.dtype}"):
            raise FuzzError(f"{spec.name!r} is not what the header says: {found.shape}, {found.dtype}")
    for part in header.parts:
        stored = container.sections.get(section_name("exact", part.number), b"")
        if part.exact and header.version > 1 and stored:
            values = b"".join(_bytes(tensors[spec.name]) for spec in part.specs)
            if hashlib.sha256(values).digest() != stored[:32]:
                raise FuzzError("exact tensors do not have their hash")


def _print(decoded: Decoded) -> str:
    digest = hashlib.sha256(json.dumps(decoded.header.layout.to_json()).encode())
    for name, tensor in decoded.tensors.items():
        digest.update(repr((name, tensor.shape, tensor.dtype)).encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
