"""The paper's codec: a dense VAE per model over zero-padded chunks (Cheng et al. 2024), with its decoder in the file.

    tensors --cut--> chunks [n, 2048] --encoder--> posterior means [n, 64] --quantise--> section "latents"
                                 decoder, trained on noise-perturbed copies --quantise--> section "decoder"

The latents' step is each dimension's posterior deviation: finer would store what the posterior does not know. The decoder's
steps are the coarsest that move its output by `stored_error` (relative mean square error); measured on the paper's four
models, that costs less than 0.2 point of accuracy (`weightzip report` prints both).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightzip.blocks import Chunks, cut, paste
from weightzip.codec.header import is_number
from weightzip.codec.matrices import (
    DECODING_BYTES,
    CodedMatrices,
    Matrix,
    decode_matrices,
    encode_matrices,
    quantise_matrices,
)
from weightzip.errors import FormatError, LimitError, UsageError
from weightzip.interface import JSON, Payload, TensorSpec
from weightzip.progress import Progress, silent
from weightzip.quantise import fit_scales, quantise_with_feedback
from weightzip.threads import limited_threads
from weightzip.vae import INVERSE_SLOPE, MAX_HIDDEN, DenseVAE, IntegerDecoder, VAESettings, train

_MAX_WIDTH = 1 << 16  # of any layer
_MAX_LAYER = 1 << 26  # weights of any layer
_MAX_LATENTS = 1 << 16  # of a file of few weights
_MAX_LATENTS_PER_WEIGHT = 4
_BATCH = 4096  # chunks that the integer decoder takes at a time
_DECODER_BYTES = 28  # per weight of the decoder, in use: int32, float64, and two more of float64 while sums are checked
_LIMIT = f"at most {_MAX_WIDTH:,} units and {_MAX_LAYER:,} weights a layer are allowed"
_LATENT_LIMIT = f"at most {_MAX_LATENTS_PER_WEIGHT} a weight and {_MAX_LATENTS:,} more are allowed"
_FIRST_LAYER_SHARE = 0.1  # of the error budget: the first layer is small, so precision is cheap there
_SEARCH_STEPS = 14


@dataclass(frozen=True)
class PaperCodec:
    """settings: of the VAE and its training. stored_error: relative mse by which storing the decoder may move its output."""

    settings: VAESettings = field(default_factory=VAESettings)
    stored_error: float = 0.015
    device: str = "cpu"
    name: ClassVar[str] = "paper"

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Train a VAE on the tensors and code their posterior means and the decoder.

        Notes: "history", the losses by epoch; "float_decoder", the tensors as the decoder gives them before it is quantised.
        """
        if not any(tensor.numel() for tensor in tensors.values()):
            raise UsageError("the paper preset needs floating-point weights; use --lossless for a checkpoint without")
        if _over_limit(self.settings.chunk, self.settings.latent, self.settings.hidden or MAX_HIDDEN):
            raise UsageError(f"--chunk, --latent or --hidden is too large: {_LIMIT}")
        chunks = cut(tensors, self.settings.chunk)
        num_weights = chunks.values.numel() - chunks.padding
        if _too_many_latents(len(chunks.values), self.settings.latent, num_weights):
            raise UsageError(f"--latent {self.settings.latent} is too large for --chunk {self.settings.chunk}: {_LATENT_LIMIT}")
        offset, scale = _standardisation(chunks)
        blocks = (chunks.values - offset) / scale  # [n, chunk]
        # One thread: the sums, and so the bytes, must not depend on how many there are.
        with limited_threads(1):
            model, history = train(blocks, self.settings, device=torch.device(self.device), progress=progress)
            stored = _quantise(model.cpu(), blocks, self.stored_error)
            unquantised = Chunks(_float_decoder(model, blocks) * scale + offset, chunks.padding)
        specs = [TensorSpec(name, tuple(tensor.shape), "float32") for name, tensor in tensors.items()]
        notes = {"history": [asdict(epoch) for epoch in history], "float_decoder": paste(unquantised, specs)}
        return _pack(stored, chunks.padding, offset, scale, notes)

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors; exact integer arithmetic up to one final rounding, hence the same everywhere."""
        header = _Header.parse(payload.meta)
        num_chunks = header.num_chunks(sum(spec.num_elements for spec in specs))
        latents, decoder = _unpack(payload, header, num_chunks)
        values = decoder.decode(latents, scale=header.unit, offset=header.offset)
        return paste(Chunks(torch.from_numpy(values), header.padding), specs)


@dataclass(frozen=True)
class _Stored:
    """What goes into the file, and `unit`: what one unit of the integer decoder's output is worth."""

    latents: NDArray[np.int32]
    first: Matrix
    bias: Matrix
    second: Matrix
    mean: Matrix
    mean_shift: int
    unit: float

    @property
    def decoder(self) -> IntegerDecoder:
        return IntegerDecoder(self.first.symbols, self.bias.symbols, self.second.symbols, self.mean.symbols, self.mean_shift)


@dataclass(frozen=True)
class _Header:
    """The numbers that decoding needs besides the sections."""

    chunk: int
    latent: int
    hidden: int
    padding: int
    mean_shift: int
    unit: float
    offset: float

    @staticmethod
    def parse(meta: Mapping[str, JSON]) -> _Header:
        """Check every field. Raises FormatError."""
        names = list(_Header.__dataclass_fields__)
        if sorted(meta) != sorted(names):
            raise FormatError(f"the paper codec's header must have exactly the fields {', '.join(names)}")
        header = _Header(**meta)
        integers = (header.chunk, header.latent, header.hidden, header.padding, header.mean_shift)
        if any(type(number) is not int or number < 0 for number in integers):
            raise FormatError("the paper codec's sizes must be whole numbers")
        if _over_limit(header.chunk, header.latent, header.hidden):
            raise LimitError(f"the decoder is too large: {_LIMIT}")
        if header.chunk == 0:
            raise FormatError("the paper codec's chunks are empty")
        if header.mean_shift > 52 or not (is_number(header.unit) and is_number(header.offset)):
            raise FormatError("the paper codec's scale is out of range")
        return header

    def num_chunks(self, num_weights: int) -> int:
        """How many chunks hold so many weights. Raises FormatError where the padding does not fit, LimitError."""
        num_chunks, remainder = divmod(num_weights + self.padding, self.chunk)
        if remainder or self.padding >= self.chunk:
            raise FormatError("the padding does not fit the tensors' sizes")
        if _too_many_latents(num_chunks, self.latent, num_weights):
            raise LimitError(f"{num_chunks * self.latent:,} latents for {num_weights:,} weights: {_LATENT_LIMIT}")
        return num_chunks


def working_bytes(meta: Mapping[str, JSON], num_weights: int) -> int:
    """Bytes that decoding so many weights takes at its peak. Raises FormatError or LimitError."""
    header = _Header.parse(meta)
    num_chunks = header.num_chunks(num_weights)
    decoder = header.hidden * (header.latent + 1) + header.chunk * (header.hidden + 1)
    per_chunk = 2 * header.latent + 3 * header.hidden + 2 * header.chunk  # float64 numbers in use
    latents, output = DECODING_BYTES * num_chunks * header.latent, 4 * num_chunks * header.chunk
    return latents + _DECODER_BYTES * decoder + 8 * per_chunk * min(num_chunks, _BATCH) + output


def _too_many_latents(num_chunks: int, latent: int, num_weights: int) -> bool:
    return num_chunks * latent > _MAX_LATENTS + _MAX_LATENTS_PER_WEIGHT * num_weights


def _over_limit(chunk: int, latent: int, hidden: int) -> bool:
    return max(chunk, latent, hidden) > _MAX_WIDTH or hidden * max(chunk, latent) > _MAX_LAYER


def _standardisation(chunks: Chunks) -> tuple[float, float]:
    """Mean and deviation of all weights, with five digits, as they are stored."""
    weights = chunks.values.reshape(-1)[: chunks.values.numel() - chunks.padding].double()
    return _short(float(weights.mean())), _short(float(weights.std(correction=0))) or 1.0


def _short(number: float) -> float:
    """Five significant digits: short to store, and what the encoder itself computes with."""
    return float(f"{number:.4e}")


@torch.no_grad()
def _float_decoder(model: DenseVAE, blocks: Tensor) -> Tensor:
    """Blocks [n, chunk] from their posterior means, nothing quantised."""
    return model.decode(model.posterior(blocks).mean)


def _quantise(model: DenseVAE, blocks: Tensor, stored_error: float) -> _Stored:
    """Quantise the latents, and then the decoder so that its output moves by at most `stored_error` (of unit variance)."""
    with torch.no_grad():
        posterior = model.posterior(blocks)
        deviation = torch.exp(0.5 * posterior.log_variance).double().square().mean(dim=0).sqrt().numpy()  # [latent]
        latents = np.rint(posterior.mean.double().numpy() / deviation).astype(np.int32)  # [n, latent]
        decoded = model.decode(torch.from_numpy(latents * deviation).float()).double().numpy()  # [n, chunk]
    layers = _Layers.of(model, deviation, latents)
    inputs = 1.0 + np.square(latents, dtype=np.float64).sum(axis=1).mean()
    first_step = _short(math.sqrt(12 * _FIRST_LAYER_SHARE * stored_error / inputs))

    def stored(log_step: float) -> _Stored:
        return _at_steps(latents, layers, first_step, math.exp(log_step))

    def error(candidate: _Stored) -> float:
        values = candidate.decoder.decode(latents, scale=candidate.unit, offset=0.0)
        return float(np.square(values - decoded).mean())

    high = 0.5 * math.log(12 * stored_error) + 1.0
    low = high - 12.0
    for _ in range(_SEARCH_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if error(stored(middle)) <= stored_error else (low, middle)
    return stored(low)


@dataclass(frozen=True)
class _Layers:
    """The trained decoder, for latents in units of their steps and hidden units of deviation 1 (one step suits them all)."""

    first: NDArray[np.float64]  # [hidden, latent]
    bias: NDArray[np.float64]  # [hidden]
    second: NDArray[np.float64]  # [chunk, hidden + 1]; the last column is the bias, whose input is always 1

    @staticmethod
    def of(model: DenseVAE, deviation: NDArray[np.float64], latents: NDArray[np.int32]) -> _Layers:
        first, bias, second, mean = (parameter.detach().double().numpy() for parameter in model.decoder.parameters())
        first = first * deviation
        before = latents @ first.T + bias  # [n, hidden]
        level = np.sqrt(np.square(np.maximum(before, before / INVERSE_SLOPE)).mean(axis=0)) + 1e-12  # [hidden]
        # The leaky ReLU is homogeneous: what divides a unit's input multiplies its output.
        return _Layers(first / level[:, None], bias / level, np.column_stack([second * level, mean]))


def _at_steps(latents: NDArray[np.int32], layers: _Layers, first_step: float, second_step: float) -> _Stored:
    """The decoder quantised with these steps; the second layer against the inputs that the integer first layer gives it."""
    exact = [layers.first / first_step, (layers.bias / first_step)[:, None]]
    first, bias = quantise_matrices([part.astype(np.float32) for part in exact], tradeoff=0.0)
    unit = first_step / INVERSE_SLOPE * second_step
    mean_shift = max(0, round(math.log2(second_step / unit)))
    half = IntegerDecoder(first.symbols, bias.symbols, np.zeros((0, 0), np.int32), np.zeros((0, 1), np.int32), 0)
    inputs = half.hidden(latents) * (first_step / INVERSE_SLOPE)  # [n, hidden]
    # In units of steps: the bias's step is 2^mean_shift units, about one step of the weights.
    bias_step = math.ldexp(unit, mean_shift) / second_step
    inputs = np.column_stack([inputs, np.full(len(inputs), bias_step)])
    values = layers.second / second_step
    values[:, -1] /= bias_step
    second, mean = _quantise_second(values, inputs.T @ inputs / len(inputs))
    return _Stored(latents, first, bias, second, mean, mean_shift, unit)


def _quantise_second(values: NDArray[np.float64], gram: NDArray[np.float64]) -> tuple[Matrix, Matrix]:
    """Weights and bias [chunk, hidden + 1] in steps, with the inputs' second moments, as two matrices."""
    scales = [fit_scales(values[:, :-1].astype(np.float32)), fit_scales(values[:, -1:].astype(np.float32))]
    classes = np.column_stack([scale.classes() for scale in scales])
    symbols = quantise_with_feedback(values, gram, classes)
    return Matrix(symbols[:, :-1], scales[0]), Matrix(symbols[:, -1:], scales[1])


def _pack(stored: _Stored, padding: int, offset: float, scale: float, notes: dict[str, Any]) -> Payload:
    header = _Header(
        chunk=len(stored.second.symbols),
        latent=stored.latents.shape[1],
        hidden=len(stored.first.symbols),
        padding=padding,
        mean_shift=stored.mean_shift,
        unit=float(f"{stored.unit * scale:.8e}"),
        offset=offset,
    )
    latents = encode_matrices([Matrix(stored.latents, fit_scales(stored.latents.astype(np.float32)))])
    decoder = encode_matrices([stored.first, stored.bias, stored.second, stored.mean])
    sections = {"latents": _join(latents), "decoder": _join(decoder)}
    return Payload(sections, asdict(header), stored.latents.size, notes)


def _unpack(payload: Payload, header: _Header, num_chunks: int) -> tuple[NDArray[np.int32], IntegerDecoder]:
    if sorted(payload.sections) != ["decoder", "latents"]:
        raise FormatError("the paper codec needs exactly the sections latents and decoder")
    (latents,) = decode_matrices(_split(payload.sections["latents"]), [(num_chunks, header.latent)])
    shapes = [(header.hidden, header.latent), (header.hidden, 1), (header.chunk, header.hidden), (header.chunk, 1)]
    first, bias, second, mean = decode_matrices(_split(payload.sections["decoder"]), shapes)
    return latents, IntegerDecoder(first, bias, second, mean, header.mean_shift)


def _join(coded: CodedMatrices) -> bytes:
    return len(coded.scales).to_bytes(4, "little") + coded.scales + coded.symbols


def _split(data: bytes) -> CodedMatrices:
    end = 4 + int.from_bytes(data[:4], "little")
    if len(data) < end:
        raise FormatError("coded matrices are cut short")
    return CodedMatrices(data[4:end], data[end:])
