"""The decoder of any family in exact arithmetic: the same output, bit for bit, on every machine.

    module --exact_decoder--> the same module in double precision, where
        weights lie on a grid of 2^-20, the inputs and outputs of every layer on one of 2^-16,
        batch norms are a factor and an offset for each channel,
        exp, tanh, sigmoid and softplus are sums and products in a fixed order.

Sums of products on such grids are integers below 2^53, in units of 2^-36, so float64 holds them exactly in whatever order a
machine adds them up. Every other operation is a single one that IEEE 754 rounds in one way only.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from weightzip.errors import FormatError
from weightzip.vae.family import Family, Log

_WEIGHT_BITS, _ACTIVATION_BITS = 20, 16
_EXACT = 2.0 ** (53 - _WEIGHT_BITS - _ACTIVATION_BITS)  # up to where sums of products are exact
_LARGEST = 2.0**15  # of what a layer gives: larger ones are cut
_LARGEST_CENTRED = 64.0  # of what a group norm squares: in units of 2^-32, hundreds of squares add up exactly
_LN2 = 0.6931471805599453
_TERMS = 14  # of the exponential's series on [-ln2 / 2, ln2 / 2]: the next is below 2^-60
_EXPONENT_BIAS, _MANTISSA_BITS = 1023, 52  # of float64, whose powers of two are exact by construction
_FARTHEST = 40.0  # exponents beyond are cut: their exponentials are too small, or too large, for the grid
_EXACT_AS_THEY_ARE = (nn.ReLU, nn.LeakyReLU, nn.Dropout, nn.Flatten, nn.Unflatten, nn.ZeroPad2d, nn.ConstantPad1d, nn.Identity)
_Linear = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


def exact_decoder(family: Family) -> Family:
    """A copy of a trained family whose `decode` is exact. Raises FormatError where weights are no finite numbers."""
    exact = fold(family).double()
    for parameter in [*exact.parameters(), *exact.buffers()]:
        if parameter.is_floating_point() and not bool(torch.isfinite(parameter).all()):
            raise FormatError("the decoder's weights must be finite numbers")
    _replace(exact, _exact)
    return exact


def fold(family: Family) -> Family:
    """A copy for use, whose batch norms are a factor and an offset for every channel, as they are stored."""
    folded = copy.deepcopy(family).eval().requires_grad_(False)
    _replace(folded, _folded)
    return folded


def stored_state(family: Family) -> dict[str, Tensor]:
    """What a file stores of a folded family: the weights of its decoder, by name."""
    return {name: tensor for name, tensor in family.decoder.state_dict().items() if tensor.is_floating_point()}


def on_grid(values: Tensor) -> Tensor:
    """Values [any] rounded to the grid of activations."""
    return torch.round(values.clamp(-_LARGEST, _LARGEST) * 2.0**_ACTIVATION_BITS) * 2.0**-_ACTIVATION_BITS


def _replace(module: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]) -> None:
    """Put in the place of every part within a module what is to stand for it; None: look at its own parts."""
    for name, child in module.named_children():
        other = replacement(child)
        if other is None:
            _replace(child, replacement)
        else:
            setattr(module, name, other)


def _folded(module: nn.Module) -> nn.Module | None:
    return ChannelScale.of(module) if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) else None


def _exact(module: nn.Module) -> nn.Module | None:
    if isinstance(module, _Linear):
        return _ExactLayer(module)
    if isinstance(module, ChannelScale):
        return _ExactScale(module)
    if isinstance(module, nn.GroupNorm) and module.num_groups == 1:
        return _ExactNorm(module)
    function = _FUNCTIONS.get(type(module))
    if function is not None:
        return _Function(function)
    if not list(module.children()) and type(module) not in _EXACT_AS_THEY_ARE:
        raise TypeError(f"{type(module).__name__} has no exact form; give it one in weightzip.vae.exact")
    return None


class _ExactLayer(nn.Module):
    """A linear or convolutional layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = cast(Any, layer)
        for parameter in layer.parameters():
            parameter.copy_(_weights(parameter))
        weight = self.layer.weight
        transposed = isinstance(layer, nn.ConvTranspose2d)
        per_output = weight.transpose(0, 1) if transposed else weight
        self._gain = _largest(per_output.abs().flatten(1).sum(dim=1))
        self._offset = 0.0 if self.layer.bias is None else _largest(self.layer.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Raises FormatError where a sum could be too large to be exact."""
        rounded = on_grid(inputs)
        _check_exact(self._gain * _largest(rounded) + self._offset)
        return on_grid(self.layer(rounded))


class ChannelScale(nn.Module):
    """A batch norm in use: factor and offset, each [channels]. rank: of its inputs [n, channels, ...]."""

    def __init__(self, factor: Tensor, offset: Tensor, rank: int) -> None:
        super().__init__()
        self.factor, self.offset = nn.Parameter(factor, requires_grad=False), nn.Parameter(offset, requires_grad=False)
        self.rank = rank

    @staticmethod
    def of(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> ChannelScale:
        """What the norm does once its statistics are known."""
        mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        factor = norm.weight / torch.sqrt(variance + norm.eps)
        return ChannelScale(factor, norm.bias - mean * factor, 2 if isinstance(norm, nn.BatchNorm1d) else 4)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs of this rank."""
        shape = (1, -1) + (1,) * (self.rank - 2)
        return inputs * self.factor.view(shape) + self.offset.view(shape)


class _ExactScale(nn.Module):
    """A channel scale on the grid."""

    def __init__(self, scale: ChannelScale) -> None:
        super().__init__()
        self.scale = scale
        for parameter in scale.parameters():
            parameter.copy_(_weights(parameter))
        self._gain, self._offset = _largest(scale.factor), _largest(scale.offset)

    def forward(self, inputs: Tensor) -> Tensor:
        """Raises FormatError where a product could be too large to be exact."""
        rounded = on_grid(inputs)
        _check_exact(self._gain * _largest(rounded) + self._offset)
        return on_grid(self.scale(rounded))


class _ExactNorm(nn.Module):
    """A group norm with one group over inputs [n, channels]."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = _weights(norm.weight), _weights(norm.bias), norm.eps

    def forward(self, inputs: Tensor) -> Tensor:
        """The mean is put on the grid before it is taken off, and what is left cut, so that sums of its squares are exact."""
        values = on_grid(inputs)
        share = 1.0 / values.shape[1]
        centred = (values - on_grid(values.sum(dim=1, keepdim=True) * share)).clamp(-_LARGEST_CENTRED, _LARGEST_CENTRED)
        variance = centred.square().sum(dim=1, keepdim=True) * share
        normal = on_grid(centred / torch.sqrt(variance + self.eps))
        return on_grid(normal * self.weight + self.bias)


class _Function(nn.Module):
    """A function of every element."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, inputs: Tensor) -> Tensor:
        """Of inputs on the grid, to the grid."""
        return on_grid(self._function(on_grid(inputs)))


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


def _check_exact(largest_sum: float) -> None:
    if not largest_sum < _EXACT:
        raise FormatError("the decoder's numbers are too large for exact arithmetic")


def _weights(values: Tensor) -> Tensor:
    """Weights [any] rounded to their grid."""
    return torch.round(values * 2.0**_WEIGHT_BITS) * 2.0**-_WEIGHT_BITS


def exact_exp(values: Tensor) -> Tensor:
    """exp of float64 values [any]: a power of two times a series, each operation by itself."""
    values = values.clamp(-_FARTHEST, _FARTHEST)
    octaves = torch.round(values * (1 / _LN2))
    rest = values - octaves * _LN2
    series = torch.ones_like(rest)
    for term in range(_TERMS, 0, -1):
        series = series * rest
        series = series * (1.0 / term)
        series = series + 1.0
    return series * ((octaves.long() + _EXPONENT_BIAS) << _MANTISSA_BITS).view(torch.float64)


def exact_log(values: Tensor) -> Tensor:
    """Natural logarithm of positive float64 values [any]: that of a power of two, and a series in (m - 1) / (m + 1)."""
    mantissa, octaves = torch.frexp(values)  # in [1/2, 1)
    low = mantissa < math.sqrt(0.5)
    mantissa, octaves = torch.where(low, mantissa * 2, mantissa), torch.where(low, octaves - 1, octaves)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    series = torch.zeros_like(ratio)
    for odd in range(23, 0, -2):
        series = series * square
        series = series + 1.0 / odd
    whole = octaves.to(torch.float64) * _LN2
    return whole + 2.0 * (series * ratio)


def _sigmoid(values: Tensor) -> Tensor:
    return 1.0 / (1.0 + exact_exp(-values))


def _tanh(values: Tensor) -> Tensor:
    return 1.0 - 2.0 / (1.0 + exact_exp(2.0 * values))


def _elu(values: Tensor) -> Tensor:
    return torch.where(values > 0, values, exact_exp(values.clamp_max(0.0)) - 1.0)


def _softplus(values: Tensor) -> Tensor:
    return values.clamp_min(0.0) + exact_log(1.0 + exact_exp(-values.abs()))


_FUNCTIONS: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Sigmoid: _sigmoid,
    nn.Tanh: _tanh,
    nn.ELU: _elu,
    nn.Softplus: _softplus,
    Log: exact_log,
}
