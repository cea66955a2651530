"""Training a family on noise-perturbed copies of one model, with early stopping on further copies."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from weightzip.errors import UsageError
from weightzip.progress import Progress, ProgressEvent, silent
from weightzip.vae.batch import Batch, Blocks
from weightzip.vae.families import build_family, find_family
from weightzip.vae.family import Family, Sizes


@dataclass(frozen=True)
class VAESettings:
    """The paper's settings; what it leaves open (marked *) was chosen by measurement on the zoo.

    family: of networks; `VAESettings.of` gives those of another one. chunk: weights per block. latent: latents per block.
    hidden*: units of the hidden layer of encoder and decoder; None: as many as principal components explain 99% of the chunks'
    variance, at most 128 (see `hidden_width`).
    noise*: deviation of the perturbation, relative to the deviation of all weights. noisy_fraction*: share of positions it
    touches. copies, validation_copies: perturbed copies for training and for early stopping. beta: weight of the KL.
    epochs: at most. patience*: epochs without a better validation loss before stopping. learning_rate*, batch_size*: Adam.
    """

    family: str = "dense"
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
        find_family(self.family)

    @staticmethod
    def of(family: str, **given: float) -> VAESettings:
        """The settings that a family was published with, but for those that are given. Raises UsageError."""
        fields = {**find_family(family).defaults, **given}
        return VAESettings(family=family, **fields)  # type: ignore[arg-type]  # whole or not as each family says


@dataclass(frozen=True)
class EpochLosses:
    """Negative ELBO per chunk in nats, averaged over an epoch's training copies and over the validation copies."""

    epoch: int
    training: float
    validation: float


def train(
    blocks: Blocks, settings: VAESettings, *, device: torch.device, progress: Progress = silent
) -> tuple[Family, list[EpochLosses]]:
    """Fit a family to standardised blocks [n, chunk]; returns the best one by validation loss, and its history.

    The network is ready for use, not for further training. Time grows linearly with the number of blocks, memory with the
    blocks themselves.
    """
    generator = torch.Generator(device).manual_seed(settings.seed)
    blocks = blocks.to(device)
    # Initialised on the CPU, so that a seed starts from the same network on every device.
    family = find_family(settings.family)
    hidden = settings.hidden or family.hidden_for(blocks.values, settings.latent)
    sizes = Sizes(settings.chunk, settings.latent, hidden, blocks.num_tensors)
    model = build_family(settings.family, sizes, settings.seed).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, betas=model.adam_betas, fused=True)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, *model.decay)
    history: list[EpochLosses] = []
    best, best_state, best_epoch = math.inf, copy.deepcopy(model.state_dict()), 0
    for epoch in range(1, settings.epochs + 1):
        with _dropout_from(settings.seed + epoch, device):
            training = _train_epoch(model, optimiser, blocks, settings, generator)
        schedule.step()
        validation = _validate(model, blocks, settings)
        history.append(EpochLosses(epoch, training, validation))
        if validation < best:
            best, best_state, best_epoch = validation, copy.deepcopy(model.state_dict()), epoch
        detail = f"training {training:.1f}, validation {validation:.1f} nats per chunk"
        progress(ProgressEvent("training the VAE", epoch, settings.epochs, detail))
        if epoch - best_epoch >= settings.patience:
            break
    model.load_state_dict(best_state)
    _finish(model.eval(), blocks, settings.batch_size)
    return model, history


@contextlib.contextmanager
def _dropout_from(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's dropout draws from the global generators alone: seeded within the block, they are as before after it."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _train_epoch(
    model: Family, optimiser: torch.optim.Optimizer, blocks: Blocks, settings: VAESettings, generator: torch.Generator
) -> float:
    total, seen = 0.0, 0
    for batch in _perturbed(model, blocks, settings, settings.copies, settings.batch_size, generator):
        model.train(len(batch.blocks) > 1)  # the variance of one sample would be no help to a batch norm
        loss = model.losses(batch, generator).total(batch.present, settings.beta)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        present = int(batch.present.sum())
        total, seen = total + float(loss.detach()) * present, seen + present
    return total / seen


@torch.no_grad()
def _validate(model: Family, blocks: Blocks, settings: VAESettings) -> float:
    """Loss on the validation copies, which are the same in every epoch: their generator starts anew each time."""
    model.eval()
    generator = torch.Generator(blocks.values.device).manual_seed(settings.seed + 1)
    total, seen = 0.0, 0
    for batch in _perturbed(model, blocks, settings, settings.validation_copies, 4 * settings.batch_size, generator):
        loss = model.losses(batch, generator).total(batch.present, settings.beta)
        present = int(batch.present.sum())
        total, seen = total + float(loss) * present, seen + present
    return total / seen


def _perturbed(
    model: Family, blocks: Blocks, settings: VAESettings, copies: int, batch_size: int, generator: torch.Generator
) -> Iterator[Batch]:
    return blocks.perturbed(
        frames=model.frames,
        copies=copies,
        batch_size=batch_size,
        noise=settings.noise,
        noisy_fraction=settings.noisy_fraction,
        generator=generator,
    )


@torch.no_grad()
def _finish(model: Family, blocks: Blocks, batch_size: int) -> None:
    errors = [
        (batch.blocks - model.predict(batch).mean)[batch.present] for _, batch in blocks.in_order(model.frames, 4 * batch_size)
    ]
    model.finish(torch.cat(errors))
