"""The quantise room: real numbers in, integers out. Knows step sizes, scales and the price of a symbol; never knows files.

values [rows, columns], step --fit_scales--> a scale for every value, from few numbers
                             --quantise----> symbols, each the best bargain between its error and its bits
"""

from weightzip.quantise.scalar import TRADEOFF, quantise
from weightzip.quantise.scales import MAX_CLASSES, Scales, fit_scales

__all__ = ["MAX_CLASSES", "TRADEOFF", "Scales", "fit_scales", "quantise"]
