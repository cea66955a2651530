"""Weights that adapt to the file: with unlabelled inputs (calibrate), or with a loss (finetune).

    checkpoint, task --Network--> module with replaceable tensors <--decode-- Latents --round--> symbols --TrainedCodec--> file
                       lessons (batches, objective) --Training at the price that a Goal finds--^

It knows modules, losses and optimisers, and moves the codec's own latents at the codec's own prices; never file formats.
"""

from weightzip.adapt.plan import LAYERWISE_PROBES, Run, adapted_plan
from weightzip.adapt.settings import LEVELS, AdaptSettings, settings_for

__all__ = ["LAYERWISE_PROBES", "LEVELS", "AdaptSettings", "Run", "adapted_plan", "settings_for"]
