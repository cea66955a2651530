"""What `--dry-run` tells: expected size, time and memory, from a sample of the checkpoint. Writes nothing.

    checkpoint --is it small?--> coded as it is, in memory: the figures are those of the real run
               --else--> sample --code at the target's step--> bytes by tensor, losses, seconds --carry over--> Estimate

sample      which tensors stand for which, and which rows of very large ones
coding      what coding everything comes to, from coding the sample
planned     the same for each kind of target: sizes, errors, metrics, adaptations, the paper's VAE
report      as a summary, with what this machine takes
"""

from weightzip.estimating.report import Estimate, Expected, estimate

__all__ = ["Estimate", "Expected", "estimate"]
