"""SCVAE (Kim et al. 2018): the convolutional VAE with Fire modules (Iandola et al. 2016) in place of its convolutions.

    Fire: [c, h, w] --1x1 squeeze to 16--> --1x1 expand to 16 | 3x3 expand to 32--> --batch norm, ReLU--> [48, h, w]

The encoder has four of them; the decoder's are the same with transposed convolutions, the last with a single 3x3 channel. Batch
norm and ReLU follow the module, as they follow the convolution that it stands for. A ReLU after the squeeze as well loses most
of a plane of one channel: with it, reconstructions of mnist-fnn's weights had 1.9 times the error.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from weightzip.vae.families.conv import ConvVAE, after_convolution

SQUEEZE, EXPAND_1X1, EXPAND_3X3 = 16, 16, 32
_FIRES = 4
_OUTPUTS = EXPAND_1X1 + EXPAND_3X3


class Fire(nn.Module):
    """Squeeze, then expand twice, side by side."""

    def __init__(self, inputs: int, convolution: type[nn.Conv2d] | type[nn.ConvTranspose2d]) -> None:
        super().__init__()
        self.squeeze = convolution(inputs, SQUEEZE, 1)
        self.narrow = convolution(SQUEEZE, EXPAND_1X1, 1)
        self.wide = convolution(SQUEEZE, EXPAND_3X3, 3, padding=1)
        self.after = nn.Sequential(*after_convolution(_OUTPUTS))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [n, inputs, h, w] to [n, 48, h, w]."""
        squeezed = self.squeeze(maps)
        expanded: Tensor = self.after(torch.cat([self.narrow(squeezed), self.wide(squeezed)], dim=1))
        return expanded


class SqueezedVAE(ConvVAE):
    """SCVAE: about the quality of `ConvVAE` from a network of a fraction of its size."""

    name: ClassVar[str] = "squeezed"

    def encoder_maps(self) -> tuple[nn.Module, int, int]:
        """Four Fire modules."""
        inputs = (1, *[_OUTPUTS] * (_FIRES - 1))
        return nn.Sequential(*(Fire(channels, nn.Conv2d) for channels in inputs)), _OUTPUTS, 0

    def decoder_maps(self) -> nn.Module:
        """Fire modules with transposed convolutions, and one that ends in a single channel."""
        inputs = (1, *[_OUTPUTS] * (_FIRES - 2))
        fires = [Fire(channels, nn.ConvTranspose2d) for channels in inputs]
        squeeze = nn.ConvTranspose2d(_OUTPUTS, SQUEEZE, 1)
        return nn.Sequential(*fires, squeeze, nn.ConvTranspose2d(SQUEEZE, 1, 3, padding=1), *after_convolution(1))
