"""Layer by layer: what symbols, biases and statistics do to the outputs, next to plain rounding at the same steps."""

import copy
from itertools import pairwise

import pytest
import torch
from layers import begun, convolutional, decoded, dense, normed, relative_error, resembling, smooth, tangled, waves
from torch import nn
from torch.func import functional_call

from weightzip.adapt import latents as room
from weightzip.adapt.latents import Latents
from weightzip.adapt.layerwise import quantised_layers
from weightzip.adapt.rate import Rate
from weightzip.adapt.start import REFERENCE
from weightzip.blocks.views import possible_views
from weightzip.codec.steps import Magnitudes, choose_steps
from weightzip.codec.transforms import COSINE, Choice, Transforms

# Outputs


@pytest.mark.parametrize(("build", "columns"), [(dense, 48), (convolutional, 72)])
@pytest.mark.parametrize(("step", "share", "fewer"), [(0.25, 0.5, 1.02), (REFERENCE, 0.4, 0.98), (1.0, 0.35, 0.93)])
def test_outputs_are_closer_than_by_rounding_at_the_same_steps(build, columns, step, share, fewer):
    """For inputs that were not among those it was measured on; and the coarser the steps, the fewer bits it takes as well."""
    beginning = begun(build(), *resembling(400, columns).split(100))
    latents, values, steps = beginning.at(step)
    sizes = latents.symbol_steps(steps)[latents.index]
    plain = latents.encode(beginning.tensors)
    others = resembling(200, columns, seed=1)
    rounded = relative_error(beginning, decoded(latents, plain, steps), others)
    assert relative_error(beginning, decoded(latents, values, steps), others) < share * rounded
    bits, plain_bits = (Rate.fit((each / sizes).round(), latents.latent_shapes).bits for each in (values, plain))
    assert bits < fewer * plain_bits


def test_finer_steps_are_closer():
    beginning = begun(dense(), *resembling(400, 48).split(100))
    inputs = resembling(200, 48, seed=1)
    errors = [relative_error(beginning, decoded(*beginning.at(step)), inputs) for step in (1.0, 0.5, 0.25, 0.125)]
    assert all(coarse > 2 * fine for coarse, fine in pairwise(errors))


def test_latents_lie_around_their_symbols():
    """So that training begins with the symbols that were chosen, and can leave them."""
    beginning = begun(dense(), resembling(400, 48))
    latents, values, steps = beginning.at(REFERENCE)
    weight = latents.index == latents.names.index("0.weight")
    places = (values / latents.symbol_steps(steps)[latents.index])[weight]
    off = (places - places.round()).abs()
    assert off.max() < 0.4901
    assert 0.05 < off.mean() < 0.45
    moved = (latents.encode(beginning.tensors) / latents.symbol_steps(steps)[latents.index])[weight].round() != places.round()
    assert 0.1 < moved.float().mean() < 0.9


def alone(weight, inputs, step=0.5):
    """One layer without a bias, on its own: its latents, their values by feedback and as they are, steps, and moments."""
    outputs, *sizes = weight.shape
    module = nn.Linear(*sizes, outputs, bias=False) if len(sizes) == 1 else nn.Conv1d(sizes[0], outputs, sizes[1], bias=False)
    module.weight.data = weight
    beginning = begun(module, inputs)
    steps = choose_steps({"weight": Magnitudes.of(weight)}, step, {})
    latents = Latents.of(beginning.tensors, steps, "cpu")
    plain = latents.encode(beginning.tensors)
    values = quantised_layers(latents, plain, latents.symbol_steps(steps)[latents.index], beginning.moments)
    return latents, values, plain, steps, beginning.moments["weight"].square


def output_error(weight, latents, values, steps, square):
    off = (weight - decoded(latents, values, steps)["weight"]).double().flatten(1)
    return float((off @ square * off).sum())


@pytest.mark.parametrize(
    ("shape", "sizes", "along"),
    [
        ((37, 60), (37, 1, 60), (0, 0, COSINE)),
        ((40, 64), (4, 10, 64), (0, 0, COSINE)),  # groups of outputs
        ((40, 64), (4, 10, 64), (COSINE, COSINE, COSINE)),
        ((30, 84), (30, 7, 12), (0, COSINE, 0)),  # runs of inputs
        ((30, 84), (30, 7, 12), (0, 0, COSINE)),
        ((30, 84), (30, 7, 12), (COSINE, COSINE, COSINE)),
        ((64, 37), (64, 1, 37), (COSINE, 0, 0)),  # along outputs alone, which changes nothing
        ((24, 12, 8), (24, 12, 8), (0, 0, COSINE)),  # along the taps of a convolution
        ((24, 12, 8), (24, 12, 8), (0, COSINE, 0)),  # along its channels
        ((24, 12, 8), (24, 1, 96), (0, 0, COSINE)),  # along both as one
    ],
    ids=str,
)
def test_a_transform_is_reckoned_with(shape, sizes, along, monkeypatch):
    """Along inputs, moments are those of what its latents are multiplied with; by others, rounding would be far better."""
    view = [each.sizes for each in possible_views(shape)].index(sizes)
    monkeypatch.setattr(
        room, "choose_transforms", lambda values, shapes, **_: Transforms(tuple(shapes), (Choice(view, along),), ())
    )
    weight = 0.1 * torch.randn(shape)
    inputs = tangled(1500, shape[1]) if len(shape) == 2 else waves(60, shape[1], 64)
    latents, values, plain, steps, square = alone(weight, inputs)
    rounded = output_error(weight, latents, plain, steps, square)
    assert output_error(weight, latents, values, steps, square) < 0.75 * rounded


def test_weights_that_are_smooth_along_their_inputs_get_a_transform_and_feedback():
    weight = smooth(37, 61, axis=1)
    latents, values, plain, steps, square = alone(weight, tangled(1500, 61))
    assert latents.transforms.choices[0].along[2] == COSINE
    rounded = output_error(weight, latents, plain, steps, square)
    assert output_error(weight, latents, values, steps, square) < 0.8 * rounded


def test_tensors_without_moments_stay_as_they_are():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(30, 12)
            self.grouped = nn.Conv1d(4, 8, 3, groups=2)
            self.place = nn.Parameter(torch.randn(3, 4))
            self.head = nn.Linear(8, 5)

        def forward(self, words):
            return self.head(self.grouped(self.words(words).view(-1, 4, 3) + self.place.T).flatten(1))

    beginning = begun(Words(), torch.randint(30, (200,)))
    latents, values, _ = beginning.at(REFERENCE)
    tensors = latents.decode(values)
    assert not torch.equal(tensors["words.weight"], beginning.tensors["words.weight"])  # words have counts
    for name in ("grouped.weight", "grouped.bias", "place"):
        assert torch.equal(tensors[name], beginning.tensors[name])
    assert not torch.equal(tensors["head.weight"], beginning.tensors["head.weight"])


# Biases


@pytest.mark.parametrize(
    ("build", "inputs"),
    [
        (lambda: nn.Linear(48, 20), resembling(300, 48)),
        (lambda: nn.Conv2d(2, 8, 3, padding=1), resembling(100, 72).view(100, 2, 6, 6)),
        (lambda: nn.Conv1d(3, 8, 5, stride=2), resembling(100, 36).view(100, 3, 12)),
    ],
    ids=["linear", "conv2d", "conv1d"],
)
def test_mean_outputs_agree(build, inputs):
    """Because the biases say so: with those of the original they do not."""
    module = build()
    beginning = begun(module, inputs)
    latents, values, steps = beginning.at(1.0)
    axes = [axis for axis in range(module(inputs).dim()) if axis != 1]

    def off(tensors):
        found = beginning.network.outputs(tensors, inputs, "calibration")
        return float((found - beginning.network.original_outputs(inputs, "calibration")).mean(axes).abs().max())

    tensors = decoded(latents, values, steps)
    kept = off({**tensors, "bias": beginning.tensors["bias"]})
    assert kept > 0.02
    assert off({**tensors, "bias": latents.decode(values)["bias"]}) < 1e-5
    assert off(tensors) < 0.2 * kept  # with the bias that the file has


def test_biases_in_the_middle_are_corrected_for_what_their_own_weights_are_off_by():
    """Under whatever name: those of a recurrent and of an attention layer, by the moments of their inputs."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent = nn.LSTM(6, 8, batch_first=True)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, batch):
            states, _ = self.recurrent(batch.view(-1, 4, 6))
            return self.attention(states, states, states, need_weights=False)[0]

    beginning = begun(Both(), resembling(200, 24))
    latents, values, steps = beginning.at(1.0)
    tensors, exact = decoded(latents, values, steps), latents.decode(values)
    pairs = {
        "recurrent.weight_ih_l0": "recurrent.bias_ih_l0",
        "recurrent.weight_hh_l0": "recurrent.bias_hh_l0",
        "attention.in_proj_weight": "attention.in_proj_bias",
        "attention.out_proj.weight": "attention.out_proj.bias",
    }
    for weight, bias in pairs.items():
        shift = (beginning.tensors[weight] - tensors[weight]).double() @ beginning.moments[weight].mean
        assert shift.abs().max() > 1e-3
        torch.testing.assert_close(exact[bias], beginning.tensors[bias] + shift.float(), rtol=1e-4, atol=1e-5)


def test_layers_of_one_weight_have_biases_of_their_own():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(12, 12), nn.Linear(12, 12)
            self.second.weight = self.first.weight

        def forward(self, batch):
            return self.second(self.first(batch).relu())

    beginning = begun(Tied(), resembling(200, 12))
    latents, values, _ = beginning.at(REFERENCE)
    tensors = latents.decode(values)
    shifts = [tensors[f"{name}.bias"] - beginning.tensors[f"{name}.bias"] for name in ("first", "second")]
    assert torch.allclose(*shifts, atol=1e-5)  # by the same moments, those of both uses
    assert shifts[0].abs().max() > 1e-3


# Statistics of batch norms


def statistics_seen(module, tensors, batches):
    """The mean over all batches of mean and variance of what each batch norm sees, which is normed by its own batch."""
    module = copy.deepcopy(module)
    norms = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.BatchNorm1d)}
    seen = {name: [] for name in norms}
    for name, layer in norms.items():
        layer.train()
        layer.register_forward_pre_hook(lambda _, arguments, name=name: seen[name].append(arguments[0]))
    with torch.no_grad():
        for batch in batches:
            functional_call(module, {key: value for key, value in tensors.items() if "running" not in key}, (batch,))
    means = {f"{name}.running_mean": torch.stack([each.mean(0) for each in found]).mean(0) for name, found in seen.items()}
    return means | {f"{name}.running_var": torch.stack([each.var(0) for each in found]).mean(0) for name, found in seen.items()}


def test_statistics_are_those_of_what_the_quantised_network_sees():
    module, batches = normed(), resembling(300, 12, seed=1).split(100)
    beginning = begun(module, *batches)
    latents, values, steps = beginning.at(1.0)
    weights, exact = decoded(latents, values, steps), latents.decode(values)
    weights["0.bias"] = exact["0.bias"]  # as corrected, not yet rounded
    wanted = statistics_seen(module, weights, batches)
    assert len(wanted) == 4
    for name, statistic in wanted.items():
        torch.testing.assert_close(exact[name], statistic, rtol=1e-4, atol=1e-5)
        assert (exact[name] - beginning.tensors[name]).abs().max() > 0.05


def test_with_them_outputs_are_far_closer_than_with_those_of_the_original():
    module = normed()
    for layer in (module[1], module[4]):
        layer.reset_running_stats()
        layer.momentum = None
    module.train()(resembling(3000, 12))
    module.eval()
    batches = resembling(600, 12, seed=1).split(200)
    beginning = begun(module, *batches)
    tensors = decoded(*beginning.at(1.0))
    old = {name: tensor for name, tensor in beginning.tensors.items() if "running" in name}
    inputs = resembling(300, 12, seed=2)
    assert relative_error(beginning, tensors, inputs) < 0.9 * relative_error(beginning, {**tensors, **old}, inputs)


def test_the_network_is_left_as_it_is():
    module, batch = normed(), resembling(300, 12)
    beginning = begun(module, batch)
    tensors = {name: tensor.clone() for name, tensor in beginning.tensors.items()}
    kept = beginning.network.module
    beginning.at(REFERENCE)
    assert beginning.network.module is kept
    assert not any(layer.training for layer in kept.modules())
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in kept.state_dict().items())
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in beginning.tensors.items())
    assert isinstance(kept[1].momentum, float)


# Steps


def test_steps_of_what_is_not_trained_are_moved():
    """Statistics are told coarsely, as gains and biases make good for them; other buffers finely; the rest as usual."""

    class Buffered(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = normed()
            self.register_buffer("table", torch.randn(12, 12))

        def forward(self, batch):
            return self.layers(batch @ self.table)

    beginning = begun(Buffered(), resembling(300, 12))
    latents, values, steps = beginning.at(REFERENCE)
    usual = choose_steps({name: Magnitudes.of(tensor) for name, tensor in beginning.tensors.items()}, REFERENCE, {})
    assert steps.base == usual.base
    moved = {name: code - before for name, code, before in zip(latents.names, steps.codes, usual.codes, strict=True)}
    expected = {name: 8 if "running" in name else -4 if name == "table" else 0 for name in latents.names}
    assert moved == expected
    assert torch.equal(latents.decode(values)["table"], beginning.tensors["table"])
    error = (decoded(latents, values, steps)["table"] - beginning.tensors["table"]).square().mean().sqrt()
    assert error == pytest.approx(2 * steps.sizes()[latents.names.index("table")] / 12**0.5, rel=0.2)
