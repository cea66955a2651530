"""The vae room: the ELBO, the families, perturbation and training. Never knows files.

chunks --perturb--> noisy copies --encoder--> posterior q(z|x) --sample--> z --decoder--> p(x|z)
                                        |                                     |
                                        KL(q(z|x) || p(z))    +    -log p(x|z)     =  -ELBO, minimised by `train`

The linear-Gaussian family has it in closed form: `linear` fits it, `reflections` stores it, `gaussian` tells its rate.
"""

from weightzip.vae.dense import DenseVAE
from weightzip.vae.integer_decoder import INVERSE_SLOPE, IntegerDecoder
from weightzip.vae.shorten import hidden_levels, hidden_units, least_squares, left_over, output_bits, shorten
from weightzip.vae.train import EpochLosses, VAESettings, train
from weightzip.vae.width import MAX_HIDDEN, hidden_width

__all__ = [
    "INVERSE_SLOPE",
    "MAX_HIDDEN",
    "DenseVAE",
    "EpochLosses",
    "IntegerDecoder",
    "VAESettings",
    "hidden_levels",
    "hidden_units",
    "hidden_width",
    "least_squares",
    "left_over",
    "output_bits",
    "shorten",
    "train",
]
