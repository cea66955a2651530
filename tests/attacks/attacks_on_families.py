"""Attacks on the codec of the VAE families: networks that are too large or none at all, and sections that do not fit them."""

from __future__ import annotations

import json
from math import prod

from hostile import attack, golden, packed

from weightzip.codec.layers import join, split
from weightzip.entropy import encode_integers
from weightzip.errors import FormatError, LimitError


def _family(name: str = "heteroskedastic", /, *, meta: dict | None = None, **sections: bytes | None) -> bytes:
    """The golden file of a family with other settings, and other sections (None: without)."""
    parts = golden(name)
    head = parts.header
    head["meta"] = head["meta"] | (meta or {})
    stored = {section.name.decode(): section.data for section in parts.sections[1:]}
    return packed(head, **{kind: data for kind, data in (stored | sections).items() if data is not None})


def _with(name: str, value: object) -> bytes:
    """The honest file with one other setting."""
    return _family(meta={name: value})


def _infinite(name: str) -> bytes:
    """JSON has no infinity, but 1e999 is read as one."""
    parts = golden("heteroskedastic")
    head = parts.header
    head["meta"][name] = "HERE"
    return parts.with_header(json.dumps(head).replace('"HERE"', "1e999").encode()).join()


def _stored(section: str, name: str = "heteroskedastic") -> bytes:
    """A section of an honest file."""
    parts = golden(name)
    return parts.sections[parts.index(section)].data


@attack(LimitError, "made by the family 'transformer', which this version lacks; update weightzip", late=True)
def family_that_nobody_knows() -> bytes:
    return _with("family", "transformer")


@attack(FormatError, "family must be a name", late=True)
def family_that_is_a_list() -> bytes:
    return _with("family", ["heteroskedastic"])


@attack(FormatError, "exactly the fields family, chunk", late=True)
def family_field_too_many() -> bytes:
    return _with("surprise", 1)


@attack(FormatError, "exactly the fields family, chunk", late=True)
def family_field_missing() -> bytes:
    parts = golden("heteroskedastic")
    head = parts.header
    del head["meta"]["layout"]
    return parts.with_header(json.dumps(head).encode()).join()


@attack(FormatError, "sizes of a family's network must be whole numbers of at least one", late=True)
def family_chunks_of_true_weights() -> bytes:
    return _with("chunk", True)


@attack(FormatError, "sizes of a family's network must be whole numbers of at least one", late=True)
def family_chunks_of_half_a_weight() -> bytes:
    return _with("chunk", 0.5)


@attack(FormatError, "sizes of a family's network must be whole numbers of at least one", late=True)
def family_chunks_of_no_weights() -> bytes:
    return _with("chunk", 0)


@attack(FormatError, "sizes of a family's network must be whole numbers of at least one", late=True)
def family_latents_below_zero() -> bytes:
    return _with("latent", -2)


@attack(FormatError, "sizes of a family's network must be whole numbers of at least one", late=True)
def family_hidden_units_in_words() -> bytes:
    return _with("hidden", "sixteen")


@attack(FormatError, "sizes of a family's network must be whole numbers of at least one", late=True)
def family_tensors_that_are_nothing() -> bytes:
    return _with("tensors", None)


@attack(LimitError, "decoder is too large: at most 8,192 units a layer are allowed", late=True)
def family_chunks_too_wide() -> bytes:
    return _with("chunk", 8193)


@attack(LimitError, "decoder is too large", late=True)
def family_latents_too_wide() -> bytes:
    return _with("latent", 1 << 40)


@attack(LimitError, "decoder is too large", late=True)
def family_hidden_layers_too_wide() -> bytes:
    """Two of them, one after the other: the weights are as many as the square."""
    return _with("hidden", 1 << 16)


@attack(LimitError, "decoder is too large: .* for 65,536 tensors", late=True)
def family_of_too_many_tensors() -> bytes:
    return _with("tensors", (1 << 16) + 1)


@attack(FormatError, "tells more tensors apart than there are", late=True)
def family_of_more_tensors_than_there_are() -> bytes:
    return _with("tensors", 3)


@attack(LimitError, r"takes 2,7\d\d,\d{3},\d{3} to decode, over the cap of 100,000", cap=100_000, late=True)
def family_of_more_memory_than_the_cap() -> bytes:
    """Two kilobytes that restore twenty, through a network of 67 million weights."""
    return _with("hidden", 8192)


@attack(FormatError, "padding does not fit", late=True)
def family_padding_of_a_whole_chunk() -> bytes:
    return _with("padding", 16 + golden("heteroskedastic").header["meta"]["padding"])


@attack(FormatError, "padding does not fit", late=True)
def family_padding_below_zero() -> bytes:
    return _with("padding", -14)


@attack(FormatError, "padding does not fit", late=True)
def family_padding_that_leaves_a_rest() -> bytes:
    return _with("padding", 3)


@attack(LimitError, r"38,640,000 latents for 4,830 weights: at most 4 a weight", late=True)
def family_latents_far_more_than_weights() -> bytes:
    return _family(meta={"chunk": 1, "padding": 0, "latent": 8000})


@attack(FormatError, "scales of a family's codec are out of range", late=True)
def family_offset_that_is_infinite() -> bytes:
    return _infinite("offset")


@attack(FormatError, "scales of a family's codec are out of range", late=True)
def family_offset_beyond_any_float() -> bytes:
    """As an integer, which no float64 is."""
    return _with("offset", 10**20 - 1)


@attack(FormatError, "scales of a family's codec are out of range", late=True)
def family_scale_of_zero() -> bytes:
    return _with("scale", 0.0)


@attack(FormatError, "scales of a family's codec are out of range", late=True)
def family_scale_that_is_true() -> bytes:
    return _with("scale", True)


@attack(FormatError, "scales of a family's codec are out of range", late=True)
def family_step_below_zero() -> bytes:
    return _with("step", -0.1)


@attack(FormatError, "scales of a family's codec are out of range", late=True)
def family_step_that_is_infinite() -> bytes:
    return _infinite("step")


@attack(FormatError, "scales of a family's codec are out of range", late=True)
def family_decoder_step_that_is_infinite() -> bytes:
    return _infinite("decoder_step")


@attack(FormatError, "step size is out of range", late=True)
def family_step_infinite_in_units_of_the_scale() -> bytes:
    return _family(meta={"step": 1e300, "scale": 1e-300})


@attack(FormatError, "layout of residuals must be one of tensors, classes", late=True)
def family_layout_that_nobody_knows() -> bytes:
    return _with("layout", "rows")


@attack(FormatError, "layout of residuals must be one of tensors, classes", late=True)
def family_layout_that_is_an_object() -> bytes:
    return _with("layout", {"tensors": 1})


@attack(FormatError, "the family causal does not tell the classes of residuals", late=True)
def classes_of_a_family_with_memory() -> bytes:
    return _family("causal", meta={"layout": "classes"})


@attack(FormatError, "the family labelled does not tell the classes of residuals", late=True)
def classes_of_a_family_that_does_not_tell_them() -> bytes:
    return _family("labelled", meta={"layout": "classes"})


@attack(FormatError, "longer or shorter|does not end where|cut short|no frequency table", late=True)
def residuals_of_the_other_layout() -> bytes:
    return _with("layout", "tensors")


@attack(FormatError, "needs exactly the sections decoder, latents, residuals, steps", late=True)
def family_without_its_latents() -> bytes:
    return _family(latents=None)


@attack(FormatError, "needs exactly the sections decoder, latents, residuals, steps", late=True)
def family_with_a_section_too_many() -> bytes:
    return _family(model=b"")


@attack(FormatError, "there are latents in the file of a family without", late=True)
def latents_of_a_causal_family() -> bytes:
    return _family("causal", latents=_stored("latents"))


@attack(FormatError, "cut short", late=True)
def family_latents_cut_short() -> bytes:
    return _family(latents=_stored("latents")[:-1])


@attack(FormatError, "cut short, or too long", late=True)
def family_latents_too_long() -> bytes:
    return _family(latents=_stored("latents") + b"\0")


@attack(FormatError, "step size is out of range", late=True)
def steps_of_latents_beyond_any_float() -> bytes:
    _, coded = split(_stored("latents"), 2)
    return _family(latents=join([encode_integers([2**30, 2**30]), coded]))


@attack(FormatError, "step size is out of range", late=True)
def steps_of_residuals_beyond_any_float() -> bytes:
    return _family(steps=encode_integers([2**30, -(2**30)]))


@attack(FormatError, "cut short", late=True)
def residuals_that_are_missing() -> bytes:
    return _family(residuals=b"")


@attack(FormatError, "longer or shorter", late=True)
def residuals_of_four_gigabytes() -> bytes:
    return _family(residuals=b"\xff" * 8 + _stored("residuals")[8:])


@attack(FormatError, "cut short, or too long", late=True)
def family_decoder_cut_short() -> bytes:
    return _family(decoder=_stored("decoder")[:-1])


@attack(FormatError, "cut short, or too long", late=True)
def family_decoder_too_long() -> bytes:
    return _family(decoder=_stored("decoder") + b"\0")


@attack(FormatError, "cut short, or too long", late=True)
def family_decoder_of_parts_of_four_gigabytes() -> bytes:
    return _family(decoder=b"\xff" * 16)


@attack(FormatError, "cut short", late=True)
def family_decoder_of_empty_parts() -> bytes:
    return _family(decoder=bytes(16))


@attack(FormatError, "longer or shorter|does not end where|cut short|no frequency table|told in an unknown way", late=True)
def decoder_of_another_family() -> bytes:
    return _family(decoder=_stored("decoder", "labelled"))


@attack(FormatError, "a view that its shape does not offer", late=True)
def decoder_of_other_sizes() -> bytes:
    return _with("hidden", 15)


@attack(LimitError, "multiplications a weight", late=True)
def decoder_of_millions_of_weights() -> bytes:
    """Of 17 million, in 200 bytes."""
    return _with("hidden", 4096)


@attack(FormatError, "too large for exact arithmetic", late=True)
def family_whose_sums_are_not_exact() -> bytes:
    return _with("decoder_step", 1e6)


@attack(FormatError, "decoder's weights must be finite numbers", late=True)
def family_whose_weights_are_infinite() -> bytes:
    return _with("decoder_step", 1e300)


@attack(LimitError, "multiplications a weight", late=True)
def family_that_computes_for_hours() -> bytes:
    """Every weight is a chunk of its own, for which a network of millions of weights is evaluated."""
    honest = golden("heteroskedastic").header["meta"]
    weights = sum(prod(shape) for _, shape, *_ in golden("heteroskedastic").header["tensors"])
    return _family(meta={"chunk": 1, "padding": 0, "hidden": 4096, "latent": min(honest["latent"], weights)})
