"""weightzip: a neural codec for the weights of neural networks. Any checkpoint in, one small file out, every byte counted.

The way of the data; each arrow is one folder, and nothing flows back:

    model.pt --read--> tensors --cut--> blocks --VAE--> latents --quantise--> symbols --entropy code--> sections --write--> .wz
    model.pt <-write-- tensors <-paste- blocks <-decode- points <---machine-- symbols <-decode--------- sections <--read--- .wz

By default a block is a view of a tensor, divided by its step, as an array of three axes. Its VAE is linear and in closed form:
an encoder and an exact integer decoder along each axis where they pay. Latents get scales along their axes, and a trellis
search finds the symbols, which ANS codes in streams. The paper's preset cuts chunks of all weights and trains one dense VAE.

    checkpoint/  file formats, dtypes, aliases        entropy/    the trellis's machine, integer tables, ANS streams
    blocks/      views of tensors, chunks of weights  container/  the .wz format, limits, hashes
    vae/         linear VAE, families, decoders       codec/      presets: the rooms put together, both ways
    quantise/    scales, trellis search, descent      search/     the coarsest setting that meets a target
    baselines/   what people use today                tasks/      what a checkpoint is for, as a number
    measure/     every method, timed, on disk         report/     curves, tables, plots, the HTML page
    adapt/       latents trained on loss and bits     scan/       blocks of weights that do not belong
    estimating/  what to expect, from a sample        remote/     models of others by name, downloaded

    >>> import torch, weightzip
    >>> summary = weightzip.compress({"weight": torch.randn(64, 64)}, "example.wz", force=True)
    >>> weightzip.restore("example.wz")["weight"].shape
    torch.Size([64, 64])
    >>> with weightzip.open("example.wz") as file:  # tensor by tensor
    ...     file.shape("weight")
    (64, 64)

`weightzip.hub` packs and restores the folders of Hugging Face's libraries. Importing this package costs nothing: torch is
imported at the first use of a verb.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from weightzip.errors import WeightzipError

if TYPE_CHECKING:
    from weightzip.api import compress, info, load_into, restore, sample, test
    from weightzip.reading import Reader, open
    from weightzip.summary import Summary
    from weightzip.vae import VAESettings

__version__ = "0.1.0"
__all__ = [
    "Reader",
    "Summary",
    "VAESettings",
    "WeightzipError",
    "compress",
    "info",
    "load_into",
    "open",
    "restore",
    "sample",
    "test",
]

_HOMES = {
    "Reader": "weightzip.reading",
    "Summary": "weightzip.summary",
    "VAESettings": "weightzip.vae",
    "open": "weightzip.reading",
}


# Installed, `cli` and `zoo` are parts of this package; in a source checkout, where `python -m weightzip` finds this folder
# first, they stand beside it.
if __name__ == "weightzip" and not (Path(__file__).parent / "cli").is_dir():
    __path__.append(str(Path(__file__).parent.parent))


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'weightzip' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "weightzip.api")), name)
