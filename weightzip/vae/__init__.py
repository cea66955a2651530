"""The vae room: the ELBO, the families, perturbation and training. Never knows files.

blocks --perturb--> noisy copies --encoder--> posterior q(z|x) --sample--> z --decoder--> p(x|z)
                                        |                                     |
                                        KL(q(z|x) || p(z))    +    -log p(x|z)     =  -ELBO, minimised by `train`

`family` is what all families can do, `families` holds one file for each; `exact` evaluates the decoder of any of them in exact
arithmetic, `integer_decoder` that of the dense one, which `shorten` prepares.

The linear-Gaussian family has it in closed form: `linear` fits it, `reflections` stores it, `gaussian` tells its rate.
"""

from weightzip.blocks.kinds import KINDS, Kind
from weightzip.vae.batch import UNKNOWN, Batch, Blocks
from weightzip.vae.elbo import Losses, Posterior, Prediction
from weightzip.vae.exact import exact_decoder, fold, stored_state
from weightzip.vae.families import FAMILIES, build_family, find_family
from weightzip.vae.families.dense import DenseVAE
from weightzip.vae.family import Family, Sizes
from weightzip.vae.integer_decoder import INVERSE_SLOPE, IntegerDecoder
from weightzip.vae.shorten import hidden_levels, hidden_units, least_squares, left_over, output_bits, shorten
from weightzip.vae.train import EpochLosses, VAESettings, train
from weightzip.vae.width import MAX_HIDDEN, hidden_width

__all__ = [
    "FAMILIES",
    "INVERSE_SLOPE",
    "KINDS",
    "MAX_HIDDEN",
    "UNKNOWN",
    "Batch",
    "Blocks",
    "DenseVAE",
    "EpochLosses",
    "Family",
    "IntegerDecoder",
    "Kind",
    "Losses",
    "Posterior",
    "Prediction",
    "Sizes",
    "VAESettings",
    "build_family",
    "exact_decoder",
    "find_family",
    "fold",
    "hidden_levels",
    "hidden_units",
    "hidden_width",
    "least_squares",
    "left_over",
    "output_bits",
    "shorten",
    "stored_state",
    "train",
]
