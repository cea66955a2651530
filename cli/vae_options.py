"""The paper preset's settings as options. Spelt out, since reading them off `VAESettings` would import torch for --help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from weightzip.cli.completing import complete_family
from weightzip.cli.options import Command
from weightzip.errors import UsageError

if TYPE_CHECKING:
    from weightzip.vae import VAESettings


@dataclass(frozen=True)
class VAEOption:
    """One field of `weightzip.vae.VAESettings`, under its name and with its default (a test compares them)."""

    name: str
    kind: type[int] | type[float]
    default: int | float | None
    text: str

    @property
    def flag(self) -> str:
        """As it is written on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def metavar(self) -> str:
        """N for a whole number, X for any."""
        return "N" if self.kind is int else "X"


VAE_OPTIONS = (
    VAEOption("chunk", int, 2048, "Weights per block"),
    VAEOption("latent", int, 64, "Latents per block"),
    VAEOption("hidden", int, None, "Hidden units of encoder and decoder"),
    VAEOption("noise", float, 0.1, "Deviation of the copies' noise, relative to the weights'"),
    VAEOption("noisy_fraction", float, 0.5, "Share of positions that get noise"),
    VAEOption("copies", int, 80, "Noise-perturbed copies to train on"),
    VAEOption("validation_copies", int, 20, "Further copies for early stopping"),
    VAEOption("beta", float, 1.0, "Weight of the KL divergence"),
    VAEOption("epochs", int, 500, "Epochs, at most"),
    VAEOption("patience", int, 10, "Epochs without a better loss before stopping"),
    VAEOption("learning_rate", float, 2e-3, "Adam's"),
    VAEOption("batch_size", int, 128, "Blocks per step"),
)


VAE_SECTION = ("Settings of the paper preset", ("family", *(option.name for option in VAE_OPTIONS)))


def family_option(command: Command) -> Command:
    """Add --family."""
    names = "dense, conv, squeezed, heteroskedastic, conditioned, labelled or causal"
    text = f"The family of autoencoders: {names}; others than dense have defaults of their own.  [default: dense]"
    return click.option("--family", metavar="NAME", shell_complete=complete_family, help=text)(command)


def vae_options(command: Command) -> Command:
    """Add the family and the settings; what was not given arrives as None."""
    for option in reversed(VAE_OPTIONS):
        default = "from the weights' spectrum" if option.default is None else f"{option.default:g}"
        text = f"{option.text}.  [default: {default}]"
        command = click.option(option.flag, metavar=option.metavar, type=option.kind, help=text)(command)
    return family_option(command)


def vae_settings(preset: str, family: str | None, given: Mapping[str, float | None]) -> VAESettings | None:
    """The settings that were given; None if there are none. Raises UsageError where the preset has no use for them."""
    chosen = {name: value for name, value in given.items() if value is not None}
    if family is None and not chosen:
        return None
    if preset != "paper":
        flags = ["--family"] * (family is not None) + [option.flag for option in VAE_OPTIONS if option.name in chosen]
        raise UsageError(f"{', '.join(flags)}: only for the paper preset; add --preset paper")
    from weightzip.vae import VAESettings

    return VAESettings.of(family or "dense", **chosen)
