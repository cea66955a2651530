"""The networks as published: of the semi-supervised VAE, dense and convolutional, and the optimiser of both.

    dense: x [784] --1024, 1024--> mean, log variance [2 each], pi --1024, 1024--> x [784]
    conv:  x [1, 28, 28] --16 and 32 filters 4x4, stride 2--> --256--> as above --256--> --32 and 16 filters--> x

The convolutional one's sizes are left open by the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from weightzip.measure.faithful.pixels import SIDE, SIZE
from weightzip.vae import Batch, DenseVAE, Family, Sizes
from weightzip.vae.families.labelled import LabelledVAE
from weightzip.vae.family import initialise, xavier

Network = Literal["dense", "convolutional"]
LATENT = 2
BATCH_SIZE = 128
_LEARNING_RATE, _MOMENTUM = 5e-4, 0.9
_LOG_VARIANCE = -2.7  # of pixels around the mean image; RMSprop takes many steps to come here from 0
WARM_UP = 100  # steps, while RMSprop's averages of squares are too small: a VAE hardly recovers from steps that large
_WIDTH = 1024
_FILTERS, _TOP = (16, 32), 256
_MAP = SIDE // 4  # what two strides of 2 leave of an image's side


def labelled_vae(network: Network, labels: int, seed: int) -> LabelledVAE:
    """The semi-supervised VAE of images, initialised from the seed alone."""
    build, width = _NETWORKS[network]
    with torch.random.fork_rng(devices=[]):  # torch's own initialisation would move the global generator
        generator = torch.Generator().manual_seed(seed)
        body, decoder = build(LATENT + labels)
        xavier(body, generator)
        xavier(decoder, generator)
        model = LabelledVAE(Sizes(SIZE, LATENT, width), generator, labels=labels, body=body, decoder=decoder)
    model.log_variance.data.fill_(_LOG_VARIANCE)
    return model


def loss(model: Family, batch: Batch, generator: torch.Generator) -> Tensor:
    """The negative ELBO for each pixel, and the cross entropy for each label.

    With the ELBO of a whole image, as the family itself adds them up, the cross entropy counts for next to nothing, and the
    probabilities become latents like all others: with 1,000 labels, fewer images are told then than without the VAE.
    """
    losses = model.losses(batch, generator)
    return (losses.reconstruction + losses.kl).mean() / SIZE + losses.besides


def usual_vae(network: Network, latent: int, seed: int) -> DenseVAE:
    """The network without the classifier, initialised from the seed alone: the dense family with other layers."""
    build, width = _NETWORKS[network]
    with torch.random.fork_rng(devices=[]):
        generator = torch.Generator().manual_seed(seed)
        body, decoder = build(latent)
        model = DenseVAE(Sizes(SIZE, latent, width), generator)
        model.encoder, model.decoder = nn.Sequential(body, nn.Linear(width, 2 * latent)), decoder
        xavier(model, torch.Generator().manual_seed(seed))  # for the convolutions
        initialise(model, generator)
    model.log_variance.data.fill_(_LOG_VARIANCE)
    return model


def rmsprop(parameters: Iterable[nn.Parameter], warm_up: int = WARM_UP) -> torch.optim.lr_scheduler.LRScheduler:
    """As published, and with a warm-up of so many steps."""
    optimiser = torch.optim.RMSprop(parameters, lr=_LEARNING_RATE, momentum=_MOMENTUM)
    return torch.optim.lr_scheduler.LinearLR(optimiser, 1 / warm_up, 1.0, warm_up)


def _dense(latents: int) -> tuple[nn.Sequential, nn.Sequential]:
    decoder = nn.Sequential(*_hidden((latents, _WIDTH, _WIDTH)), nn.Linear(_WIDTH, SIZE))
    return nn.Sequential(*_hidden((SIZE, _WIDTH, _WIDTH))), decoder


def _convolutional(latents: int) -> tuple[nn.Sequential, nn.Sequential]:
    first, second = _FILTERS
    flat = second * _MAP * _MAP
    body = nn.Sequential(
        nn.Unflatten(1, (1, SIDE, SIDE)),
        nn.Conv2d(1, first, 4, stride=2, padding=1),  # [n, 16, 14, 14]
        nn.ReLU(),
        nn.Conv2d(first, second, 4, stride=2, padding=1),  # [n, 32, 7, 7]
        nn.ReLU(),
        nn.Flatten(),
        *_hidden((flat, _TOP)),
    )
    decoder = nn.Sequential(
        *_hidden((latents, _TOP, flat)),
        nn.Unflatten(1, (second, _MAP, _MAP)),
        nn.ConvTranspose2d(second, first, 4, stride=2, padding=1),  # [n, 16, 14, 14]
        nn.ReLU(),
        nn.ConvTranspose2d(first, 1, 4, stride=2, padding=1),  # [n, 1, 28, 28]
        nn.Flatten(),
    )
    return body, decoder


def _hidden(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return layers


_NETWORKS: dict[Network, tuple[Callable[[int], tuple[nn.Sequential, nn.Sequential]], int]] = {
    "dense": (_dense, _WIDTH),
    "convolutional": (_convolutional, _TOP),
}
