"""The reference models: their shapes, their data, how they are trained, their trained checkpoints and their tasks.

It knows MNIST, torchvision and training; it never knows codecs. Importing this package imports neither torch nor
torchvision; its modules `models`, `data`, `train`, `tasks` and `external` do, and are imported where they are used.
"""

from weightzip.zoo.registry import Entry, Recipe, entry, names

__all__ = ["Entry", "Recipe", "entry", "names"]
