"""The faithful room: whether the families of VAEs behave as their sources published, on MNIST. Never knows weights to compress.

MNIST --pixels--> splits --semi, anomaly, denoise, generate, squeeze--> rows: measured, published --run--> FamiliesBenchmark
"""

from weightzip.measure.faithful.rows import FamiliesBenchmark, Row
from weightzip.measure.faithful.run import PARTS, measure_families
from weightzip.measure.faithful.settings import FULL, QUICK, Settings
from weightzip.measure.faithful.table import markdown

__all__ = ["FULL", "PARTS", "QUICK", "FamiliesBenchmark", "Row", "Settings", "markdown", "measure_families"]
