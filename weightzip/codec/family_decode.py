"""Decoding with a VAE family, exactly: the same bits on every machine, with any number of threads.

    section "decoder" --the default codec--> weights --exact arithmetic--> network
    latents --network--> prediction of every chunk;  + residuals * steps --> chunks --paste--> tensors

A causal family's prediction needs restored chunks before, so there they are restored one after the other, many lanes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weightzip.blocks import Chunks, paste
from weightzip.codec.auto import AutoCodec
from weightzip.codec.family_header import FamilyHeader, batch_size, check_products, decoder_outline
from weightzip.codec.layers import decode_layers, split
from weightzip.codec.paper_quantise import MACHINE
from weightzip.codec.residuals import Arrangement
from weightzip.codec.steps import Steps
from weightzip.entropy import decode_integers
from weightzip.entropy.machine import SCALAR, Machine
from weightzip.errors import FormatError
from weightzip.interface import Payload, TensorSpec
from weightzip.quantise.axes import Shape
from weightzip.threads import limited_threads
from weightzip.vae import Blocks, Family, Prediction, exact_decoder, fold, stored_state

DECODER_SECTIONS = ("steps", "model", "symbols", "transforms")  # of the default codec, in a section of this one
_SECTIONS = ("decoder", "latents", "residuals", "steps")


def decode_family(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
    """The tensors: everything up to one final rounding is exact, hence the same on every machine."""
    header = FamilyHeader.parse(payload.meta)
    if sorted(payload.sections) != sorted(_SECTIONS):
        raise FormatError(f"a family's codec needs exactly the sections {', '.join(_SECTIONS)}")
    sizes = [spec.num_elements for spec in specs]
    num_chunks = header.num_chunks(sum(sizes), len(specs))
    family = _family(header, payload.sections["decoder"])
    latents = _latents(payload.sections["latents"], num_chunks, family.num_latents)
    blocks = places(header, sizes, num_chunks)
    steps = stored_steps(payload, specs)
    by_weight = steps_of_weights(steps, header.scale, sizes)
    data, machine = payload.sections["residuals"], machine_of(family)
    if header.layout == "tensors":
        left = _residuals(data, Arrangement.of("tensors", specs), machine, by_weight, header)
        with limited_threads(1 if family.frames > 1 else None):  # a frame is too little to be shared out
            values = restore_blocks(family, latents, blocks, lambda numbers, _: left[numbers])
    else:
        prediction = predict_blocks(family, latents, blocks) if family.frames == 1 else None
        if prediction is None or prediction.log_variance.dim() == 0:
            raise FormatError(f"the family {header.family} does not tell the classes of residuals")
        arrangement = Arrangement.of("classes", specs, _sequence(prediction.log_variance, header), steps.codes)
        values = _residuals(data, arrangement, machine, by_weight, header).add_(prediction.mean)
    restored = values.mul_(header.scale).add_(header.offset).float()
    return paste(Chunks(restored, header.padding), specs)


def stored_steps(payload: Payload, specs: Sequence[TensorSpec]) -> Steps:
    """The fine steps of the tensors' residuals, in the weights' own unit. Raises FormatError."""
    header = FamilyHeader.parse(payload.meta)
    return Steps(header.step, tuple(decode_integers(payload.sections["steps"], len(specs))))


def steps_of_weights(steps: Steps, scale: float, sizes: Sequence[int]) -> Tensor:
    """The step of every weight of tensors of these sizes, at unit scale: float64 [num_weights]. Raises FormatError."""
    with np.errstate(over="ignore"):
        at_unit_scale = np.array(steps.sizes()) / scale
    if not np.isfinite(at_unit_scale).all():
        raise FormatError("a step size is out of range")
    return torch.from_numpy(np.repeat(at_unit_scale, sizes))


def places(header: FamilyHeader, sizes: Sequence[int], num_chunks: int) -> Blocks:
    """Which tensor each chunk begins in, of tensors of these sizes; the chunks' values are left out."""
    tensor = tensor_of_chunks(sizes, header.chunk, num_chunks).clamp_max(header.tensors - 1)
    return Blocks(torch.zeros(num_chunks, header.chunk, dtype=torch.float64), tensor, torch.zeros_like(tensor))


def tensor_of_chunks(sizes: Sequence[int], chunk: int, num_chunks: int) -> Tensor:
    """The number of the tensor that each chunk's first weight belongs to, int64 [num_chunks]."""
    ends = np.cumsum(sizes)
    return torch.from_numpy(np.searchsorted(ends, np.arange(num_chunks) * chunk, side="right"))


def machine_of(family: Family) -> Machine:
    """Of the residuals: the trellis looks ahead, which a family that needs the restored chunks before cannot."""
    return SCALAR if family.frames > 1 else MACHINE


def predict_blocks(family: Family, latents: Tensor, blocks: Blocks) -> Prediction:
    """What a family without memory says of all chunks [n, chunk], with latents [n, num_latents] in float64.

    A log variance for all elements is not stored, so that it is nothing that a reader knows: it stays the one number.
    """
    mean, log_variance = torch.empty_like(blocks.values), torch.empty_like(blocks.values)
    for numbers in torch.split(torch.arange(len(blocks)), batch_size(family)):
        before = blocks.values.new_zeros(len(numbers), 0, family.sizes.block)
        part = family.decode(latents[numbers], blocks.tensor[numbers], before)
        mean[numbers], log_variance[numbers] = part.mean, part.log_variance
    return Prediction(mean, log_variance if part.log_variance.dim() else part.log_variance)


def restore_blocks(family: Family, latents: Tensor, blocks: Blocks, residual: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """All chunks [n, chunk] of unit scale, float64: what is predicted plus its residual, frame after frame of every lane.

    residual: gives that of the chunks numbered [k], whose prediction is [k, chunk].
    """
    values = torch.zeros_like(blocks.values)
    for lanes in torch.split(blocks.lanes(family.frames), max(1, batch_size(family) // family.frames)):
        history = values.new_zeros(*lanes.shape, family.sizes.block)  # [m, frames, chunk]
        for frame in range(family.frames):
            present = lanes[:, frame] >= 0
            numbers = lanes[present, frame]
            if not len(numbers):
                break
            mean = family.decode(latents[numbers], blocks.tensor[numbers], history[present, :frame]).mean
            values[numbers] = mean + residual(numbers, mean)
            history[present, frame] = values[numbers]
    return values


def _family(header: FamilyHeader, data: bytes) -> Family:
    """The network with the decoder that is stored, in exact arithmetic."""
    family = _empty_decoder(header)
    state = stored_state(family)
    specs = [TensorSpec(name, tuple(tensor.shape), "float32") for name, tensor in state.items()]
    parts = zip(DECODER_SECTIONS, split(data, len(DECODER_SECTIONS)), strict=True)
    sections = {name: part for name, part in parts if part or name != "transforms"}
    stored = AutoCodec.decode(Payload(sections, {"step": header.decoder_step, "states": MACHINE.num_states}), specs)
    for name, tensor in state.items():
        tensor.copy_(stored[name])
    return exact_decoder(family)


def _empty_decoder(header: FamilyHeader) -> Family:
    """A network whose decoder is yet to be filled."""
    family = decoder_outline(header)
    check_products(family)
    for part in family.modules():
        for name, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            empty = torch.zeros(tensor.shape, dtype=tensor.dtype)
            setattr(part, name, nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty)
    return fold(family)


def _latents(data: bytes, num_chunks: int, num_latents: int) -> Tensor:
    """Float64 [num_chunks, num_latents]."""
    if num_latents == 0:
        if data:
            raise FormatError("there are latents in the file of a family without")
        return torch.zeros(num_chunks, 0, dtype=torch.float64)
    codes, coded = split(data, 2)
    ((points,),) = decode_layers(coded, [[(num_chunks, 1, num_latents)]], MACHINE)
    return latents_of(points, decode_integers(codes, num_latents))


def latents_of(points: NDArray[np.int32], codes: Sequence[int]) -> Tensor:
    """Latents [n, num_latents] from their points [n, 1, num_latents] and the codes of their steps. Raises FormatError."""
    steps = np.array(Steps(1.0, tuple(codes)).sizes())
    return torch.from_numpy(points[:, 0].astype(np.float64) * steps)


def _residuals(data: bytes, arrangement: Arrangement, machine: Machine, by_weight: Tensor, header: FamilyHeader) -> Tensor:
    """Float64 [num_chunks, chunk], zero where chunks are padded."""
    shapes: list[Shape] = arrangement.shapes
    (arrays,) = decode_layers(data, [shapes], machine)
    return residuals_of(arrangement.sequence(arrays), by_weight, header)


def residuals_of(points: NDArray[np.int32], by_weight: Tensor, header: FamilyHeader) -> Tensor:
    """Residuals [num_chunks, chunk] of points [num_weights] with steps [num_weights]."""
    flat = torch.from_numpy(points.astype(np.float64)).mul_(by_weight)
    return torch.nn.functional.pad(flat, (0, header.padding)).view(-1, header.chunk)


def _sequence(blocks: Tensor, header: FamilyHeader) -> Tensor:
    """Blocks [num_chunks, chunk] as one sequence without its padding."""
    flat = blocks.reshape(-1)
    return flat[: len(flat) - header.padding]
