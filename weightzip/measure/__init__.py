"""The measure room: what every method makes of a checkpoint and its task, as numbers.

It knows the codecs, the baselines, real files on a disk, and the clock; it never knows how numbers are drawn or told.

checkpoint, task --jobs--> codecs at their settings --bench--> points, section sizes, losses --study--> Results
checkpoint --conditions--> file --process, own, peers--> bytes, error, seconds, memory --speed--> rows, side by side with peers
"""

from weightzip.measure.compare import compare, quick_curve

__all__ = ["compare", "quick_curve"]
