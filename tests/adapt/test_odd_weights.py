"""Weights that are used in more than one way, laid out the other way round, or not seen at all."""

import torch
from layers import begun, decoded, normed, relative_error, resembling
from torch import nn

from weightzip.adapt.start import REFERENCE


def test_an_embedding_may_be_the_weight_of_a_layer_as_well():
    class Language(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(40, 12)
            self.head = nn.Linear(12, 40, bias=False)
            self.head.weight = self.words.weight

        def forward(self, words):
            return self.head(self.words(words))

    beginning = begun(Language(), torch.randint(40, (200, 3)))
    latents, values, _ = beginning.at(REFERENCE)
    assert torch.isfinite(values).all()
    assert latents.names == ("words.weight",)


class TiedCoder(nn.Module):
    """What encodes decodes as well, transposed."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 12))

    def forward(self, batch):
        return nn.functional.linear(nn.functional.linear(batch, self.weight), self.weight.T)


def test_a_weight_may_be_used_transposed_as_well():
    beginning = begun(TiedCoder(), resembling(200, 12))
    assert torch.isfinite(beginning.at(REFERENCE)[1]).all()


class InputsFirst(nn.Module):
    """A layer whose weight is [inputs, outputs], as GPT-2 has them."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, batch):
        return torch.addmm(self.bias, batch, self.weight)


def test_weights_of_inputs_times_outputs_are_left_alone():
    beginning = begun(InputsFirst(24, 10), resembling(200, 24))
    assert torch.isfinite(beginning.at(REFERENCE)[1]).all()


def test_square_weights_of_inputs_times_outputs_are_no_worse_than_by_rounding():
    inputs = resembling(300, 24)
    beginning = begun(InputsFirst(24, 24), inputs)
    latents, values, steps = beginning.at(REFERENCE)
    rounded = relative_error(beginning, decoded(latents, latents.encode(beginning.tensors), steps), inputs)
    assert relative_error(beginning, decoded(latents, values, steps), inputs) < 1.1 * rounded


def test_a_weight_may_be_kept_as_it_is_and_its_bias_not():
    beginning = begun(nn.Linear(48, 20), resembling(200, 48), without=("weight",))
    latents, values, _ = beginning.at(REFERENCE)
    assert latents.names == ("bias",)
    assert torch.isfinite(values).all()


def test_batches_may_hold_one_example_each():
    module = normed()
    beginning = begun(module, *resembling(20, 12).split(1))
    assert torch.isfinite(beginning.at(REFERENCE)[1]).all()


def test_statistics_of_a_norm_that_saw_nothing_are_kept():
    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = normed()
            self.spare = nn.BatchNorm1d(5)
            self.spare.running_mean.fill_(3.0)

        def forward(self, batch):
            return self.layers(batch)

    latents, values, _ = begun(Spare(), resembling(300, 12)).at(REFERENCE)
    assert latents.decode(values)["spare.running_mean"].tolist() == [3.0] * 5
