"""The codec of the VAE families on top of `reader_codecs`, from docs/FORMAT.md alone."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import accumulate, islice, pairwise
from math import isqrt, prod

import numpy as np
from reader import File, latents, sections_of, short_list
from reader_codecs import CODECS, auto_tensors, steps, views

LN2 = 0.6931471805599453
FRAMES = 32
DILATIONS = (1, 2, 4, 8)
Weights = dict[str, np.ndarray]


def family(file: File, number: int, tensors: list) -> dict[str, np.ndarray]:
    meta = file.header["meta"]
    chunk, causal = meta["chunk"], meta["family"] == "causal"
    decoder, coded, codes, residuals = sections_of(file, number, ["decoder", "latents", "steps", "residuals"])
    sizes = [prod(shape) for _, shape, _ in tensors]
    count = (sum(sizes) + meta["padding"]) // chunk
    weights = stored_decoder(decoder, meta)
    z = stored_latents(coded, count, num_latents(meta))
    numbers = np.minimum(np.searchsorted(list(accumulate(sizes)), np.arange(count) * chunk, "right"), meta["tensors"] - 1)
    step = np.repeat(np.array(steps(codes, meta["step"], len(tensors))) / meta["scale"], sizes)
    if causal:
        points = arrays(residuals, [views(shape)[0] for _, shape, _ in tensors if prod(shape)], 1)
        blocks = frames(weights, in_chunks(points * step, chunk), numbers)
    else:
        mean, log_variance = NETWORKS[meta["family"]](weights, z, meta, numbers)
        if meta["layout"] == "tensors":
            points = arrays(residuals, [views(shape)[0] for _, shape, _ in tensors if prod(shape)], 256)
        else:
            step_codes = np.repeat(list(islice(short_list(codes), len(tensors))), sizes)
            points = by_class(residuals, log_variance.reshape(-1)[: sum(sizes)], step_codes)
        blocks = mean + in_chunks(points * step, chunk)
    values = (blocks * meta["scale"] + meta["offset"]).astype(np.float32).reshape(-1)
    found = {}
    for name, shape, _ in tensors:
        found[name], values = values[: prod(shape)].reshape(shape), values[prod(shape) :]
    return found


CODECS["paper.family"] = family


# Sections


def parts(data: bytes, count: int) -> list[bytes]:
    lengths = struct.unpack_from(f"<{count}I", data)
    ends = list(accumulate(lengths, initial=4 * count))
    assert ends[-1] == len(data)
    return [data[start:end] for start, end in pairwise(ends)]


def arrays(data: bytes, shapes: list, states: int) -> np.ndarray:
    """The points of all arrays, one after the other."""
    model, streams = parts(data, 2)
    return np.array([point for array in latents(model, streams, shapes, states) for point in array], np.float64)


def by_class(data: bytes, log_variance: np.ndarray, codes: np.ndarray) -> np.ndarray:
    quarters = np.clip(np.rint(log_variance * 2.8853900817779268), -80, 80).astype(int)
    classes = (quarters - codes) // 2
    order = [place for each in sorted(set(classes)) for place in np.flatnonzero(classes == each)]
    counts = [int((classes == each).sum()) for each in sorted(set(classes))]
    points = np.empty(len(classes))
    points[order] = arrays(data, [(1, 1, size) for size in counts], 256)
    return points


def stored_latents(data: bytes, count: int, size: int) -> np.ndarray:
    if not size:
        assert not data
        return np.zeros((count, 0))
    codes, coded = parts(data, 2)
    return arrays(coded, [(count, 1, size)], 256).reshape(count, size) * np.array(steps(codes, 1.0, size))


def stored_decoder(data: bytes, meta: dict) -> Weights:
    """On their grid, by name."""
    shapes = [(name, shape, "float32") for name, shape in SHAPES[meta["family"]](meta)]
    stored = auto_tensors(parts(data, 4), meta["decoder_step"], 256, shapes)
    return {name: np.rint(each.astype(np.float64) * 2.0**20) * 2.0**-20 for name, each in stored.items()}


def num_latents(meta: dict) -> int:
    return {"causal": 0, "labelled": meta["latent"] + 6}.get(meta["family"], meta["latent"])


def in_chunks(values: np.ndarray, chunk: int) -> np.ndarray:
    return np.concatenate([values, np.zeros(-len(values) % chunk)]).reshape(-1, chunk)


# Exact arithmetic


def grid(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, -(2.0**15), 2.0**15) * 2.0**16) * 2.0**-16


def exp(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, -40.0, 40.0)
    octaves = np.rint(x * (1 / LN2))
    rest = x - octaves * LN2
    s = np.ones_like(x)
    for j in range(14, 0, -1):
        s = s * rest * (1.0 / j) + 1.0
    return np.ldexp(s, octaves.astype(int))


def log(x: np.ndarray) -> np.ndarray:
    m, e = np.frexp(x)
    low = m < 0.7071067811865476
    m, e = np.where(low, m * 2, m), np.where(low, e - 1, e)
    t = (m - 1.0) / (m + 1.0)
    s = np.zeros_like(t)
    for j in range(23, 0, -2):
        s = s * (t * t) + 1.0 / j
    return e * LN2 + 2.0 * (s * t)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return grid(1.0 / (1.0 + exp(-grid(x))))


def tanh(x: np.ndarray) -> np.ndarray:
    return grid(1.0 - 2.0 / (1.0 + exp(2.0 * grid(x))))


def elu(x: np.ndarray) -> np.ndarray:
    x = grid(x)
    return grid(np.where(x > 0, x, exp(np.minimum(x, 0.0)) - 1.0))


def softplus(x: np.ndarray) -> np.ndarray:
    x = grid(x)
    return grid(np.maximum(x, 0.0) + log(1.0 + exp(-np.abs(x))))


def linear(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """Of x [n, inputs]; matrices may have axes of one element behind."""
    weight = w[f"{name}.weight"]
    return grid(grid(x) @ weight.reshape(weight.shape[:2]).T + w[f"{name}.bias"])


def scale(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """Of the channels [n, channels, ...]."""
    shape = (-1, *[1] * (x.ndim - 2))
    return grid(grid(x) * w[f"{name}.factor"].reshape(shape) + w[f"{name}.offset"].reshape(shape))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


def transposed(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """A transposed convolution of x [n, inputs, rows, columns], which keeps rows and columns."""
    weight, around = w[f"{name}.weight"], w[f"{name}.weight"].shape[2] // 2
    rows, columns = x.shape[2:]
    padded = np.pad(grid(x), ((0, 0), (0, 0), (around, around), (around, around)))
    found = np.zeros((len(x), weight.shape[1], rows, columns)) + w[f"{name}.bias"][:, None, None]
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            top, left = 2 * around - i, 2 * around - j
            shifted = padded[:, :, top : top + rows, left : left + columns]
            found += np.einsum("nirc,io->norc", shifted, weight[:, :, i, j])
    return grid(found)


# Networks: mean, and log variance where there is one


def dense(w: Weights, z: np.ndarray, meta: dict, numbers: np.ndarray) -> tuple[np.ndarray, None]:
    hidden = linear(w, "0", z)
    return linear(w, "2", np.where(hidden > 0, hidden, hidden / 8)), None


def labelled(w: Weights, z: np.ndarray, meta: dict, numbers: np.ndarray) -> tuple[np.ndarray, None]:
    return linear(w, "4", relu(linear(w, "2", relu(linear(w, "0", z))))), None


def heteroskedastic(w: Weights, z: np.ndarray, meta: dict, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    both = linear(w, "0.6", elu(linear(w, "0.3", elu(linear(w, "0.0", z)))))
    mean, raw = np.split(both, 2, axis=1)
    return mean, -grid(log(grid(softplus(raw) + 0.001)))


def conditioned(w: Weights, z: np.ndarray, meta: dict, numbers: np.ndarray) -> tuple[np.ndarray, None]:
    one_hot = np.eye(meta["tensors"])[numbers]
    gamma, beta = (linear(w, f"{name}.2", sigmoid(linear(w, f"{name}.0", one_hot))) for name in ("gamma", "beta"))
    x = gamma * z + beta
    for k in (0, 3, 6, 9):
        x = relu(scale(w, f"body.{k + 1}", linear(w, f"body.{k}", x)))
    return linear(w, "body.12", x), None


def conv(w: Weights, z: np.ndarray, meta: dict, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = plane(z)
    for k in (0, 3, 6, 9, 12):
        x = relu(scale(w, f"1.{k + 1}", transposed(w, f"1.{k}", x)))
    return halves(linear(w, "3", x.reshape(len(z), -1)))


def squeezed(w: Weights, z: np.ndarray, meta: dict, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = plane(z)
    for k in range(3):
        small = transposed(w, f"1.{k}.squeeze", x)
        x = np.concatenate([transposed(w, f"1.{k}.narrow", small), transposed(w, f"1.{k}.wide", small)], axis=1)
        x = relu(scale(w, f"1.{k}.after.0", x))
    x = relu(scale(w, "1.5", transposed(w, "1.4", transposed(w, "1.3", x))))
    return halves(linear(w, "3", x.reshape(len(z), -1)))


def plane(z: np.ndarray) -> np.ndarray:
    size = z.shape[1]
    rows = next(rows for rows in range(isqrt(size), 0, -1) if size % rows == 0)
    return z.reshape(len(z), 1, rows, size // rows)


def halves(both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, log_variance = np.split(both, 2, axis=1)
    return mean, np.clip(log_variance, -10.0, 10.0)


def frames(w: Weights, residuals: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Of a causal family: all chunks [n, chunk], each from those before it in its lane."""
    blocks = np.zeros_like(residuals)
    start = 0
    for place in range(len(numbers)):
        if numbers[place] != numbers[start] or place - start == FRAMES:
            start = place
        before = np.concatenate([np.zeros((1, residuals.shape[1])), blocks[start:place]])  # [frames, chunk]
        blocks[place] = next_frame(w, before) + residuals[place]
    return blocks


def next_frame(w: Weights, before: np.ndarray) -> np.ndarray:
    x = linear(w, "0", before)
    for k, dilation in enumerate(DILATIONS, start=1):
        value, gate = np.split(causal(w, f"{k}.convolution", norm(w, f"{k}.norm", x), dilation), 2, axis=1)
        x = x + linear(w, f"{k}.mix", tanh(value) * sigmoid(gate))
    return linear(w, "5", x)[-1]


def norm(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    x = grid(x)
    centred = np.clip(x - grid(x.sum(axis=1, keepdims=True) / 64), -64.0, 64.0)
    variance = np.square(centred).sum(axis=1, keepdims=True) / 64
    return grid(grid(centred / np.sqrt(variance + 1e-5)) * w[f"{name}.weight"] + w[f"{name}.bias"])


def causal(w: Weights, name: str, x: np.ndarray, dilation: int) -> np.ndarray:
    """[frames, 64] to [frames, 128]: four groups of channels, each by itself."""
    weight = w[f"{name}.weight"]  # [128, 16, 3]
    padded = np.concatenate([np.zeros((2 * dilation, 64)), grid(x)])
    found = np.zeros((len(x), 128)) + w[f"{name}.bias"]
    for group in range(4):
        outputs, inputs = slice(32 * group, 32 * group + 32), slice(16 * group, 16 * group + 16)
        for k in range(3):
            found[:, outputs] += padded[k * dilation : k * dilation + len(x), inputs] @ weight[outputs, :, k].T
    return grid(found)


NETWORKS = {
    "dense": dense,
    "conv": conv,
    "squeezed": squeezed,
    "heteroskedastic": heteroskedastic,
    "conditioned": conditioned,
    "labelled": labelled,
}

# Names and shapes of a decoder's weights, in order

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def layer(name: str, *shape: int, outputs: int | None = None) -> Shapes:
    """Weight and bias; outputs: where they are not the weight's first size."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", (shape[0] if outputs is None else outputs,)


def channels(name: str, count: int) -> Shapes:
    yield f"{name}.factor", (count,)
    yield f"{name}.offset", (count,)


def dense_shapes(meta: dict) -> Shapes:
    yield from layer("0", meta["hidden"], meta["latent"])
    yield from layer("2", meta["chunk"], meta["hidden"])


def labelled_shapes(meta: dict) -> Shapes:
    yield from layer("0", meta["hidden"], meta["latent"] + 6)
    yield from layer("2", meta["hidden"], meta["hidden"])
    yield from layer("4", meta["chunk"], meta["hidden"])


def heteroskedastic_shapes(meta: dict) -> Shapes:
    yield from layer("0.0", meta["hidden"], meta["latent"])
    yield from layer("0.3", meta["hidden"], meta["hidden"])
    yield from layer("0.6", 2 * meta["chunk"], meta["hidden"])


def conditioned_shapes(meta: dict) -> Shapes:
    for name in ("gamma", "beta"):
        yield from layer(f"{name}.0", 16, meta["tensors"])
        yield from layer(f"{name}.2", meta["latent"], 16)
    for k in (0, 3, 6, 9):
        yield from layer(f"body.{k}", 128, 128 if k else meta["latent"])
        yield from channels(f"body.{k + 1}", 128)
    yield from layer("body.12", meta["chunk"], 128)


def conv_shapes(meta: dict) -> Shapes:
    widths = (1, 128, 64, 32, 16, 1)
    for k, (inputs, outputs) in enumerate(pairwise(widths)):
        yield from layer(f"1.{3 * k}", inputs, outputs, 3, 3, outputs=outputs)
        yield from channels(f"1.{3 * k + 1}", outputs)
    yield from layer("3", 2 * meta["chunk"], meta["latent"])


def squeezed_shapes(meta: dict) -> Shapes:
    for k in range(3):
        yield from layer(f"1.{k}.squeeze", 48 if k else 1, 16, 1, 1, outputs=16)
        yield from layer(f"1.{k}.narrow", 16, 16, 1, 1, outputs=16)
        yield from layer(f"1.{k}.wide", 16, 32, 3, 3, outputs=32)
        yield from channels(f"1.{k}.after.0", 48)
    yield from layer("1.3", 48, 16, 1, 1, outputs=16)
    yield from layer("1.4", 16, 1, 3, 3, outputs=1)
    yield from channels("1.5", 1)
    yield from layer("3", 2 * meta["chunk"], meta["latent"])


def causal_shapes(meta: dict) -> Shapes:
    yield from layer("0", 64, meta["chunk"], 1)
    for k in range(1, 5):
        yield from layer(f"{k}.norm", 64)
        yield from layer(f"{k}.convolution", 128, 16, 3)
        yield from layer(f"{k}.mix", 64, 64, 1)
    yield from layer("5", meta["chunk"], 64, 1)


SHAPES = {
    "dense": dense_shapes,
    "conv": conv_shapes,
    "squeezed": squeezed_shapes,
    "heteroskedastic": heteroskedastic_shapes,
    "conditioned": conditioned_shapes,
    "labelled": labelled_shapes,
    "causal": causal_shapes,
}
