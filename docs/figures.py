"""The figures of the explained part, and the numbers beside them: `python docs/figures.py`.

All are measured, on the zoo's mnist-fnn: about two minutes on two cores, most of it the training of the paper's VAE.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors.torch import load_file

import weightzip
from weightzip.codec import AutoCodec
from weightzip.codec.transform_choice import choose_transforms
from weightzip.report.style import LIGHT, new_axes, plain
from weightzip.vae.gaussian import DISTORTION, separable_variances
from weightzip.zoo import entry

FOLDER = Path(__file__).parent / "figures"
MODEL, LAYER = "mnist-fnn", "1.weight"
STEPS = (0.08, 0.12, 0.2, 0.3, 0.45, 0.65, 0.95, 1.4)  # fine steps, relative to the weights' deviation
COLOURS = {"symbols": "#0067b1", "latents": "#d1520a", "decoder": "#f0a878", "the rest": "#9aa7b4"}
KL, LEFT_OVER, BOUND = "#0067b1", "#d1520a", "#5d6875"

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Code:
    """One layer at one step. variances: of its latents, in squared fine steps, falling; energy: mean square of the weights."""

    variances: Reals
    weights: int
    energy: float  # in squared fine steps
    left_out: float  # of it, in directions that have no latent: they would not pay
    file_bits: float  # per weight, all of the file
    file_error: float  # relative mean square error

    @property
    def promised_bits(self) -> float:
        """The latents' KL divergence, in bits per weight: 1/2 log2(v / D) of those above the water."""
        return float(0.5 * np.log2(np.maximum(self.variances / DISTORTION, 1.0)).sum()) / self.weights

    @property
    def promised_error(self) -> float:
        """What they leave over, relative to the weights' mean square: D of those above the water, all of those below."""
        return (float(np.minimum(self.variances, DISTORTION).sum()) / self.weights + self.left_out) / self.energy


def code(weight: torch.Tensor, step: float) -> Code:
    """The layer's linear VAE in closed form, and the file that weightzip makes with it."""
    values = (weight.double() / (step * weight.double().std())).float().numpy()
    transforms = choose_transforms([values], [tuple(values.shape)])
    latents = transforms.latents(0, values)
    first, second, third = separable_variances(latents)
    variances = np.sort((first[:, None, None] * second[:, None] * third).ravel())[::-1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.wz"
        path.write_bytes(weightzip.codec.encode(weightzip.checkpoint.from_object({"w": weight}), AutoCodec(step)).pack())
        info = weightzip.info(path)
    energy = float(np.square(values, dtype=np.float64).mean())
    left_out = energy - float(np.square(latents, dtype=np.float64).sum()) / values.size
    return Code(variances, weight.numel(), energy, left_out, info["bits_per_weight"], info["relative_mse"])


def rate(codes: list[Code]) -> Figure:
    """Promised and real bits against error, for one layer."""
    figure, axes = new_axes(LIGHT, 7.2, 4.2)
    decibels = [-10 * math.log10(each.file_error) for each in codes]
    noise = np.linspace(0, max(decibels), 50)
    axes.plot(noise, noise / (20 * math.log10(2)), ":", color=BOUND, label="all weights as one Gaussian: the least for noise")
    promised = [-10 * math.log10(each.promised_error) for each in codes]
    axes.plot(promised, [each.promised_bits for each in codes], color=KL, label="linear VAE: KL divergence of the latents")
    axes.plot(decibels, [each.file_bits for each in codes], "o", color=LEFT_OVER, label="the file on disk, all of it")
    _finish(axes, "what is left over: weights / error, dB", "bits per weight", f"{MODEL}, first layer")
    axes.legend(loc="upper left", frameon=False, fontsize=9, labelcolor=LIGHT.ink)
    return figure


def latents(codes: Mapping[str, Code]) -> Figure:
    """The bits of every latent, in order, at several qualities."""
    figure, _ = new_axes(LIGHT, 7.2, 3.4)
    figure.clear()
    for axes, (title, each) in zip(figure.subplots(1, len(codes), sharey=True), codes.items(), strict=True):
        plain(axes, LIGHT)
        places = np.linspace(0, len(each.variances) - 1, 500).astype(int)
        bits = 0.5 * np.log2(each.variances[places] / DISTORTION)
        place = 100 * places / each.weights
        axes.fill_between(place, bits, 0, where=bits > 0, color=KL, alpha=0.8, linewidth=0, label="costs bits: KL divergence")
        axes.fill_between(
            place, bits, 0, where=bits <= 0, color=LEFT_OVER, alpha=0.35, linewidth=0, label="costs none: left over"
        )
        axes.axhline(0, color=LIGHT.ink, linewidth=0.9)
        axes.set_ylim(-2, 6)
        _finish(axes, "latents, the largest first, % of weights", "", f"{title}: {each.promised_bits:.2f} bits per weight")
        axes.legend(loc="upper right", frameon=False, fontsize=9, labelcolor=LIGHT.ink)
    figure.axes[0].set_ylabel("½ log2(variance / error), bits", color=LIGHT.muted, fontsize=9)
    return figure


def accounting(bars: Mapping[str, Mapping[str, int]], input_bytes: int) -> Figure:
    """Bytes by purpose, one bar for each way to count."""
    figure, axes = new_axes(LIGHT, 7.2, 2.7)
    plain(axes, LIGHT, grid="x")
    seen: set[str] = set()
    for row, (title, parts) in enumerate(bars.items()):
        left = 0
        for part, size in parts.items():
            label = part if part not in seen else None
            seen.add(part)
            axes.barh(row, size / 1000, left=left / 1000, color=COLOURS[part], height=0.6, label=label)
            left += size
        axes.text(left / 1000 + 1, row, f"{left:,} bytes: {input_bytes / left:.1f}x", va="center", fontsize=9, color=LIGHT.ink)
        print(f"{title}: {dict(parts)}, {left:,} bytes, {input_bytes / left:.1f}x")  # noqa: T201
    axes.set_yticks(range(len(bars)), list(bars), color=LIGHT.ink)
    axes.invert_yaxis()
    axes.set_xlim(0, 85)
    _finish(axes, "thousand bytes", "", f"{MODEL}: {input_bytes:,} bytes as float32")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=4, frameon=False, fontsize=9, labelcolor=LIGHT.ink)
    return figure


def measured_bars(checkpoint: Path) -> tuple[dict[str, dict[str, int]], int]:
    """The bytes of the paper's method, counted in two ways, and of the default codec's file."""
    with tempfile.TemporaryDirectory() as folder:
        paper = weightzip.compress(checkpoint, Path(folder) / "paper.wz", preset="paper", seed=0)
        auto = weightzip.compress(checkpoint, Path(folder) / "auto.wz")
    bars = {
        "paper, as it counts": {"latents": 4 * paper["latents"]},
        "paper, whole file": _parts(paper["sections"], "latents", "decoder"),
        "auto, whole file": _parts(auto["sections"], "symbols"),
    }
    return bars, paper["input_bytes"]


def _parts(sections: Mapping[str, int], *named: str) -> dict[str, int]:
    parts = {name: sections[name] for name in named}
    return parts | {"the rest": sum(sections.values()) - sum(parts.values())}


def _finish(axes: Axes, below: str, left: str, title: str) -> None:
    axes.set_xlabel(below, color=LIGHT.muted, fontsize=9)
    axes.set_ylabel(left, color=LIGHT.muted, fontsize=9)
    axes.set_title(title, color=LIGHT.ink, fontsize=10.5, loc="left")


def save(name: str, figure: Figure) -> None:
    """As an SVG, its text as outlines, and the same bytes for the same figure."""
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})


def main() -> None:
    """Measure and draw everything."""
    FOLDER.mkdir(exist_ok=True)
    checkpoint = entry(MODEL).checkpoint
    weight = load_file(checkpoint)[LAYER]
    codes = {step: code(weight, step) for step in STEPS}
    for step, each in codes.items():
        print(  # noqa: T201
            f"step {step}: promised {each.promised_bits:.3f} bits at {-10 * math.log10(each.promised_error):.2f} dB, "
            f"file {each.file_bits:.3f} bits at {-10 * math.log10(each.file_error):.2f} dB"
        )
    save("rate", rate(list(codes.values())))
    save("latents", latents({"fine": codes[0.2], "coarse": codes[0.65]}))
    save("accounting", accounting(*measured_bars(checkpoint)))


if __name__ == "__main__":
    main()
