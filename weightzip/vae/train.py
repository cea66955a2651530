"""Training a VAE on noise-perturbed copies of one model, with early stopping on further copies."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from weightzip.errors import UsageError
from weightzip.progress import Progress, ProgressEvent, silent
from weightzip.vae.dense import DenseVAE
from weightzip.vae.perturb import perturbed_batches
from weightzip.vae.width import hidden_width


@dataclass(frozen=True)
class VAESettings:
    """The paper's settings; what it leaves open (marked *) was chosen by measurement on the zoo.

    chunk: weights per block. latent: latents per block. hidden*: units of the hidden layer of encoder and decoder; None:
    as many as principal components explain 99% of the chunks' variance, at most 128 (see `hidden_width`).
    noise*: deviation of the perturbation, relative to the deviation of all weights. noisy_fraction*: share of positions it
    touches. copies, validation_copies: perturbed copies for training and for early stopping. beta: weight of the KL.
    epochs: at most. patience*: epochs without a better validation loss before stopping. learning_rate*, batch_size*: Adam.
    """

    chunk: int = 2048
    latent: int = 64
    hidden: int | None = None
    noise: float = 0.1
    noisy_fraction: float = 0.5
    copies: int = 80
    validation_copies: int = 20
    beta: float = 1.0
    epochs: int = 500
    patience: int = 10
    learning_rate: float = 2e-3
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("chunk", "latent", "copies", "validation_copies", "epochs", "patience", "batch_size")
        least = dict.fromkeys(counts, 1.0) | {"noise": 0.0, "noisy_fraction": 0.0, "beta": 0.0, "learning_rate": 1e-12}
        if self.hidden is not None:
            least["hidden"] = 1.0
        for name, minimum in least.items():
            if not minimum <= getattr(self, name) < math.inf:
                raise UsageError(f"VAE setting {name} must be at least {minimum:g}, not {getattr(self, name)}")


@dataclass(frozen=True)
class EpochLosses:
    """Negative ELBO per chunk in nats, averaged over an epoch's training copies and over the validation copies."""

    epoch: int
    training: float
    validation: float


def train(
    chunks: Tensor, settings: VAESettings, *, device: torch.device, progress: Progress = silent
) -> tuple[DenseVAE, list[EpochLosses]]:
    """Fit a VAE to standardised chunks [num_chunks, chunk]; returns the best one by validation loss, and its history.

    Time grows linearly with the number of chunks, memory with the chunks themselves.
    """
    generator = torch.Generator(device).manual_seed(settings.seed)
    chunks = chunks.to(device)
    # Initialised on the CPU, so that a seed starts from the same network on every device.
    hidden = settings.hidden or hidden_width(chunks)
    initial = torch.Generator().manual_seed(settings.seed)
    model = DenseVAE(settings.chunk, settings.latent, hidden, initial).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
    history: list[EpochLosses] = []
    best, best_state, best_epoch = math.inf, copy.deepcopy(model.state_dict()), 0
    for epoch in range(1, settings.epochs + 1):
        training = _train_epoch(model, optimiser, chunks, settings, generator)
        validation = _validate(model, chunks, settings)
        history.append(EpochLosses(epoch, training, validation))
        if validation < best:
            best, best_state, best_epoch = validation, copy.deepcopy(model.state_dict()), epoch
        detail = f"training {training:.1f}, validation {validation:.1f} nats per chunk"
        progress(ProgressEvent("training the VAE", epoch, settings.epochs, detail))
        if epoch - best_epoch >= settings.patience:
            break
    model.load_state_dict(best_state)
    return model, history


def _train_epoch(
    model: DenseVAE, optimiser: torch.optim.Optimizer, chunks: Tensor, settings: VAESettings, generator: torch.Generator
) -> float:
    total = 0.0
    for blocks in perturbed_batches(
        chunks,
        copies=settings.copies,
        batch_size=settings.batch_size,
        noise=settings.noise,
        noisy_fraction=settings.noisy_fraction,
        generator=generator,
    ):
        reconstruction, kl = model.losses(blocks, generator)
        loss = (reconstruction + settings.beta * kl).mean()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        total += float(loss.detach()) * len(blocks)
    return total / (settings.copies * len(chunks))


@torch.no_grad()
def _validate(model: DenseVAE, chunks: Tensor, settings: VAESettings) -> float:
    """Loss on the validation copies, which are the same in every epoch: their generator starts anew each time."""
    generator = torch.Generator(chunks.device).manual_seed(settings.seed + 1)
    total = 0.0
    for blocks in perturbed_batches(
        chunks,
        copies=settings.validation_copies,
        batch_size=4 * settings.batch_size,
        noise=settings.noise,
        noisy_fraction=settings.noisy_fraction,
        generator=generator,
    ):
        reconstruction, kl = model.losses(blocks, generator)
        total += float((reconstruction + settings.beta * kl).sum())
    return total / (settings.validation_copies * len(chunks))
