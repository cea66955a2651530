"""The measure room: what every method makes of a checkpoint and its task, as numbers.

It knows the codecs, the baselines, real files on a disk, and the clock; it never knows how numbers are drawn or told.

checkpoint, task --jobs--> codecs at their settings --bench--> points, section sizes, losses --study--> Results
"""

from weightzip.measure.compare import compare, quick_curve

__all__ = ["compare", "quick_curve"]
