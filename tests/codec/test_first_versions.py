"""What the first versions of both codecs wrote is only read, so damage starts from the golden files."""

import dataclasses
from pathlib import Path

import pytest

from weightzip.codec.decoding import CODECS, read_header
from weightzip.container import unpack
from weightzip.errors import FormatError
from weightzip.interface import Payload

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(name):
    """The codec of a golden file, its payload, and the specs of the lossy tensors."""
    container = unpack((GOLDEN / f"{name}.wz").read_bytes())
    header = read_header(container, name)
    sections = {key: data for key, data in container.sections.items() if key != "exact"}
    specs = [spec for spec in header.tensors if spec.name not in header.exact]
    return CODECS[header.codec], Payload(sections, header.meta), specs


def refuses(name, match, sections=None, meta=None):
    codec, payload, specs = golden(name)
    assert list(codec.decode(payload, specs)) == [spec.name for spec in specs]
    changed = dataclasses.replace(
        payload,
        sections=payload.sections if sections is None else {**payload.sections, **sections},
        meta=payload.meta if meta is None else meta,
    )
    with pytest.raises(FormatError, match=match):
        codec.decode(changed, specs)


@pytest.mark.parametrize("name", ["auto", "paper"])
def test_they_are_only_read(name):
    codec, _, _ = golden(name)
    assert codec.name == name
    assert not hasattr(codec, "encode")


@pytest.mark.parametrize("meta", [{}, *({"step": step} for step in (0.0, -1.0, 1, float("inf"))), {"step": 1.0, "more": 1}])
def test_auto_needs_a_positive_step_and_nothing_else(meta):
    refuses("auto", "exactly a positive step size", meta=meta)


def test_auto_with_a_section_more():
    refuses("auto", "exactly the sections scales, steps and symbols", sections={"more": b""})


def test_auto_without_symbols():
    refuses("auto", "cut short", sections={"symbols": b""})


def test_paper_with_a_section_more():
    refuses("paper", "exactly the sections latents and decoder", sections={"more": b""})


@pytest.mark.parametrize("section", ["latents", "decoder"])
@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff\xff", b"\5\0\0\0abc"])
def test_paper_with_a_section_cut_short(section, data):
    refuses("paper", "cut short", sections={section: data})
