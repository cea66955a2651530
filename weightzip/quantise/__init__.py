"""The quantise room: real numbers in, integers out. Knows scales, fine steps and the price of a symbol; never knows files.

    latents [a, b, c], in fine steps --axes------> a scale class for each, from few integers along every axis
                                     --trellis---> symbols, the sequence whose error and bits together are the best bargain
                                     --shorten-> scales that take fewer bits, now that the symbols are known
    a layer's inputs and outputs     --descent---> symbols of its weights, searched so that the outputs come out right
    (files of version 1)               scales      their scale classes, from integers of rows and columns

Prices come from the entropy room's tables, fitted to the symbols of the search before; bits are never written here.
"""

from weightzip.quantise.axes import AxisScales, fit_axis_scales
from weightzip.quantise.descent import QuantisedLayer, quantise_layer
from weightzip.quantise.scales import Scales
from weightzip.quantise.trellis import run_machine, search

__all__ = ["AxisScales", "QuantisedLayer", "Scales", "fit_axis_scales", "quantise_layer", "run_machine", "search"]
