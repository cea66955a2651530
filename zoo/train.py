"""Training the reference models on MNIST: seeded, plain, and blind to the test set until the end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from weightzip.errors import TaskError
from weightzip.files import atomic_path, check_output
from weightzip.progress import Progress, ProgressEvent, silent
from weightzip.zoo.data import Images, mnist
from weightzip.zoo.registry import Recipe, entry
from weightzip.zoo.tasks import accuracy

_NUM_VALIDATION = 5_000  # the last images of the training set; recipes are compared by them, never by the test set


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images: the mean loss (nats) and the accuracy (percent) on the validation images."""

    loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class Trained:
    """A trained model.

    state: the module's state dict, float32 on the CPU.
    accuracy: on the test images, in percent; measured once, after training.
    """

    name: str
    state: dict[str, Tensor]
    accuracy: float
    epochs: tuple[Epoch, ...]
    seconds: float


def train(name: str, seed: int = 0, progress: Progress = silent, output: Path | None = None, *, force: bool = False) -> Trained:
    """Train the zoo's model `name` by its recipe and, if `output` is given, save it there as safetensors.

    The same seed gives the same weights on the same machine and number of threads; torch's global random state is
    left as it was. Raises UsageError for an unknown name, OutputError where `output` exists (unless `force`) or cannot
    be written, TaskError where training diverges.
    """
    item = entry(name)
    if output is not None:
        check_output(output, force=force)
    start = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = item.build()
    epochs = _fit(model, item.recipe, mnist(train=True), seed, progress)
    state = {key: value.detach().clone() for key, value in model.state_dict().items()}
    if output is not None:
        with atomic_path(output, force=force) as temporary:
            temporary.write_bytes(save(state))
    return Trained(name, state, accuracy(model, mnist(train=False)), epochs, time.monotonic() - start)


def _fit(model: nn.Module, recipe: Recipe, data: Images, seed: int, progress: Progress) -> tuple[Epoch, ...]:
    """Minimise the cross entropy over all but the validation images; the last epoch's weights are kept."""
    fitted = Images(data.images[:-_NUM_VALIDATION], data.labels[:-_NUM_VALIDATION])
    validation = Images(data.images[-_NUM_VALIDATION:], data.labels[-_NUM_VALIDATION:])
    generator = torch.Generator().manual_seed(seed)
    steps = recipe.epochs * -(-len(fitted) // recipe.batch_size)
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.peak_learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.peak_learning_rate, total_steps=steps)
    history: list[Epoch] = []
    step, detail = 0, ""
    for _ in range(recipe.epochs):
        model.train()
        losses = []
        for images, labels in fitted.batches(recipe.batch_size, generator):
            losses.append(_step(model, optimiser, images, labels, recipe.clip_norm))
            schedule.step()
            step += 1
            progress(ProgressEvent("training", step, steps, detail))
        history.append(Epoch(_mean_loss(losses), accuracy(model, validation)))
        detail = _describe(history, recipe.epochs)
        progress(ProgressEvent("training", step, steps, detail))
    return tuple(history)


def _step(
    model: nn.Module, optimiser: torch.optim.Optimizer, images: Tensor, labels: Tensor, clip_norm: float | None
) -> Tensor:
    """One step of the optimiser; the loss before it, a detached scalar."""
    optimiser.zero_grad()
    loss = functional.cross_entropy(model(images), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimiser.step()
    return loss.detach()


def _mean_loss(losses: list[Tensor]) -> float:
    mean = float(torch.stack(losses).mean())
    if mean != mean:
        raise TaskError("training diverged: the loss is not a number; lower the recipe's learning rate")
    return mean


def _describe(history: list[Epoch], epochs: int) -> str:
    last = history[-1]
    return f"epoch {len(history)}/{epochs}, loss {last.loss:.4f}, validation {last.validation_accuracy:.2f}%"
