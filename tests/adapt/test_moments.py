import warnings
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from weightzip.adapt import moments as room
from weightzip.adapt.moments import Moments, input_moments
from weightzip.adapt.network import Network
from weightzip.checkpoint import from_object
from weightzip.errors import TaskError


@dataclass
class Given:
    """A task of this module and these inputs."""

    module: nn.Module
    inputs: Any
    name: str = "given"
    metric: str = "points"

    def model(self):
        return self.module

    def evaluate(self, model):
        return 0.0

    def calibration(self):
        return self.inputs


def found_in(module, *batches):
    network = Network(Given(module, batches), from_object(module.state_dict()), "cpu")
    return input_moments(network, batches, "calibration")


def assert_moments(found, vectors):
    """The moments are those of vectors [n, columns]."""
    vectors = vectors.detach().double()
    assert found.count == len(vectors)
    assert found.total.dtype == found.sums.dtype == torch.float64
    torch.testing.assert_close(found.total, vectors.T @ vectors, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.sums, vectors.sum(0), rtol=1e-5, atol=1e-5)


def inputs(*shape, seed=0):
    """Of a mean that is not zero, and of another size along each of the last axis."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) + 0.5) * torch.linspace(0.5, 2, shape[-1])


def test_means_are_per_vector():
    found = Moments(torch.full((2, 2), 8.0), torch.tensor([4.0, 2.0]), 4)
    assert found.square.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert found.mean.tolist() == [1.0, 0.5]
    nothing = Moments(torch.zeros(2, 2), torch.zeros(2), 0)
    assert nothing.square.sum() == nothing.mean.sum() == 0


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias):
    batches = inputs(7, 5), inputs(4, 5, seed=1)
    found = found_in(nn.Linear(5, 3, bias=bias), *batches)
    assert set(found) == {"weight"}
    assert_moments(found["weight"], torch.cat(batches))


def test_linear_over_more_axes():
    batch = inputs(3, 4, 2, 5)
    for bias in (True, False):
        assert_moments(found_in(nn.Linear(5, 3, bias=bias), batch)["weight"], batch.reshape(-1, 5))


def test_each_layer_sees_what_those_before_it_make():
    module = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
    batch = inputs(9, 5)
    found = found_in(module, batch)
    assert set(found) == {"0.weight", "2.weight"}
    assert_moments(found["2.weight"], module[0](batch).relu())


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (3, {}),
        (3, {"stride": 2, "padding": 1}),
        ((2, 3), {"stride": (1, 2), "padding": (1, 0)}),
        (3, {"dilation": 2, "padding": 2}),
        (1, {}),
        (3, {"padding": 1, "padding_mode": "circular"}),
        (3, {"padding": "same", "bias": False}),
    ],
)
def test_conv2d(kernel, options):
    """The moments are those by which the weights, as a matrix, make the outputs; checked for the outputs as well."""
    module = nn.Conv2d(3, 4, kernel, **options)
    batch = inputs(2, 3, 8, 9)
    (found,) = found_in(module, batch).values()
    weights = module.weight.detach().double().flatten(1)
    outputs = module(batch).detach().double().transpose(0, 1).flatten(1)
    if module.bias is not None:
        outputs = outputs - module.bias.detach().double()[:, None]
    assert found.count == outputs.shape[1]
    torch.testing.assert_close(weights @ found.square @ weights.T, outputs @ outputs.T / found.count, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weights @ found.mean, outputs.mean(1), rtol=1e-4, atol=1e-5)


def test_conv2d_by_hand():
    batch = inputs(2, 2, 4, 4)
    module = nn.Conv2d(2, 3, 2, stride=2)
    patches = torch.stack(
        [batch[n, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].reshape(-1) for n in (0, 1) for y in (0, 1) for x in (0, 1)]
    )
    assert_moments(found_in(module, batch)["weight"], patches)


def test_conv1d_by_hand():
    batch = inputs(2, 3, 9)
    padded = functional.pad(batch, (2, 2))
    patches = torch.stack(
        [padded[n, :, start : start + 5 : 2].reshape(-1) for n in (0, 1) for start in (0, 3, 6)]  # [3 channels * 3 taps]
    )
    found = found_in(nn.Conv1d(3, 4, 3, stride=3, padding=2, dilation=2), batch)
    assert_moments(found["weight"], patches)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv2d(4, 4, 3, groups=2), (2, 4, 6, 6)),
        (nn.Conv2d(4, 4, 3, groups=4), (2, 4, 6, 6)),
        (nn.Conv1d(4, 6, 3, groups=2), (2, 4, 6)),
        (nn.Conv3d(2, 3, 2), (2, 2, 4, 4, 4)),
        (nn.ConvTranspose2d(3, 3, 3), (2, 3, 5, 5)),
        (nn.LayerNorm((3, 5)), (2, 3, 5)),
        (nn.Bilinear(5, 5, 2), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_grouped_convolutions_and_what_is_not_known_have_none(module, shape):
    batch = inputs(*shape) if shape else (inputs(3, 5), inputs(3, 5))
    assert found_in(module, batch) == {}


class Lstm(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.recurrent = nn.LSTM(4, 5, batch_first=True, **options)

    def forward(self, batch):
        return self.recurrent(batch)[0]


def hidden_states(batch, weights):
    """What an LSTM's layer had in mind before each step, and after it, [N, T, 5] both; by its equations."""
    hidden = cell = torch.zeros(len(batch), 5)
    before, after = [], []
    for step in range(batch.shape[1]):
        before.append(hidden)
        gates = batch[:, step] @ weights["weight_ih"].T + weights["bias_ih"]
        gates = gates + hidden @ weights["weight_hh"].T + weights["bias_hh"]
        into, forget, new, out = gates.chunk(4, 1)
        cell = forget.sigmoid() * cell + into.sigmoid() * new.tanh()
        hidden = out.sigmoid() * cell.tanh()
        after.append(hidden)
    return torch.stack(before, 1), torch.stack(after, 1)


def layer_weights(module, suffix):
    return {name: getattr(module, f"{name}_{suffix}").detach() for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")}


def test_lstm():
    module, batch = Lstm(num_layers=2), inputs(6, 7, 4)
    found = found_in(module, batch)
    assert set(found) == {f"recurrent.weight_{kind}_l{layer}" for kind in ("ih", "hh") for layer in (0, 1)}
    before, after = hidden_states(batch, layer_weights(module.recurrent, "l0"))
    assert_moments(found["recurrent.weight_ih_l0"], batch.reshape(-1, 4))
    assert_moments(found["recurrent.weight_hh_l0"], before.reshape(-1, 5))
    assert_moments(found["recurrent.weight_ih_l1"], after.reshape(-1, 5))
    deeper, outputs = hidden_states(after, layer_weights(module.recurrent, "l1"))
    assert_moments(found["recurrent.weight_hh_l1"], deeper.reshape(-1, 5))
    torch.testing.assert_close(outputs, module(batch).detach(), rtol=1e-4, atol=1e-5)  # so the equations are its own


def test_an_lstm_that_reads_backwards_too():
    module, batch = Lstm(bidirectional=True), inputs(6, 7, 4)
    found = found_in(module, batch)
    before, _ = hidden_states(batch.flip(1), layer_weights(module.recurrent, "l0_reverse"))
    assert_moments(found["recurrent.weight_hh_l0_reverse"], before.reshape(-1, 5))
    assert_moments(found["recurrent.weight_ih_l0_reverse"], batch.reshape(-1, 4))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, batch):
        return self.attention(batch, batch, batch, need_weights=False)[0]


def test_attention():
    """What comes out is a mixture of values per head, here by hand; that is what the last matrix sees."""
    module, batch = Attention(), inputs(3, 5, 8)
    found = found_in(module, batch)
    assert set(found) == {"attention.in_proj_weight", "attention.out_proj.weight"}
    assert_moments(found["attention.in_proj_weight"], batch.reshape(-1, 8))
    with torch.no_grad():
        projected = functional.linear(batch, module.attention.in_proj_weight, module.attention.in_proj_bias)
        query, key, value = (each.view(3, 5, 2, 4).transpose(1, 2) for each in projected.chunk(3, 2))  # [N, heads, T, 4]
        seen = (query @ key.transpose(2, 3) / 2).softmax(3) @ value
    seen = seen.transpose(1, 2).reshape(3, 5, 8)
    assert_moments(found["attention.out_proj.weight"], seen.reshape(-1, 8))


def test_a_whole_layer_of_a_transformer():
    """In evaluation mode torch computes it by one operation, which hides what its matrices see."""
    module = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), 1, enable_nested_tensor=False)
    batch = inputs(3, 5, 8)
    found = found_in(module, batch)
    layer = module.layers[0].eval()
    names = ("self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight")
    assert set(found) == {f"layers.0.{name}" for name in names}
    with torch.no_grad():
        normed = layer.norm1(batch + layer.self_attn(batch, batch, batch)[0])
    assert_moments(found["layers.0.linear1.weight"], normed.reshape(-1, 8))
    assert_moments(found["layers.0.linear2.weight"], layer.linear1(normed).relu().reshape(-1, 12))


def test_the_words_of_an_embedding_are_counted():
    words = torch.tensor([[0, 2, 2], [5, 2, 0]])
    found = found_in(nn.Embedding(6, 3), words, words[:1])["weight"]
    assert found.total.tolist() == [3.0, 0.0, 5.0, 0.0, 0.0, 1.0]
    assert found.count == 9
    assert found.square.sum() == 1


class Functional(nn.Module):
    """A weight that belongs to no layer, and a vector."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 5))
        self.shift = nn.Parameter(torch.randn(5))

    def forward(self, batch):
        return functional.linear(batch + self.shift, self.weight)


def test_weights_that_belong_to_no_layer():
    module, batch = Functional(), inputs(7, 5)
    found = found_in(module, batch)
    assert set(found) == {"weight"}
    assert_moments(found["weight"], batch + module.shift)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(5, 5)
        self.second = nn.Linear(5, 5)
        self.second.weight = self.first.weight

    def forward(self, batch):
        return self.second(self.first(batch).relu())


def test_a_weight_used_twice_has_the_moments_of_both_uses():
    module, batch = Tied(), inputs(7, 5)
    found = found_in(module, batch)
    assert set(found) == {"first.weight"}  # under the name that the checkpoint has for it
    assert_moments(found["first.weight"], torch.cat([batch, module.first(batch).relu()]))


def test_keyword_arguments_and_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 2)

        def forward(self, left, right):
            return self.layer(left - right)

    left, right = inputs(7, 5), inputs(7, 5, seed=1)
    for batch in ({"right": right, "left": left}, (left, right), [left, right]):
        assert_moments(found_in(Two(), batch)["layer.weight"], left - right)


def test_many_vectors_are_thinned_out(monkeypatch):
    monkeypatch.setattr(room, "_MOST_VECTORS", 10)
    batch = torch.eye(35)
    found, again = (found_in(nn.Linear(35, 3), batch)["weight"] for _ in range(2))
    assert found.count == 10
    assert sorted(found.sums.tolist()) == [0.0] * 25 + [1.0] * 10  # ten of them, each once
    assert torch.equal(found.sums, again.sums)


def inside(found):
    """How often each tap of a 3 x 3 convolution over images of ones lies within the image."""
    return found["weight"].mean


def test_of_many_images_only_some_are_looked_at(monkeypatch):
    """About four times as many patches as there may be vectors, of which some are taken, at all places alike."""
    monkeypatch.setattr(room, "_MOST_VECTORS", 500)
    found = found_in(nn.Conv2d(1, 3, 3, padding=1), torch.ones(80, 1, 7, 5))
    assert found["weight"].count == 500
    everything = functional.unfold(torch.ones(1, 1, 7, 5), 3, padding=1).mean((0, 2)).double()
    torch.testing.assert_close(inside(found), everything, rtol=0, atol=0.06)


def test_all_columns_of_an_image_are_looked_at_alike():
    found = found_in(nn.Conv2d(1, 3, 3, padding=1), torch.ones(100, 1, 16, 16))
    everything = functional.unfold(torch.ones(1, 1, 16, 16), 3, padding=1).mean((0, 2)).double()
    torch.testing.assert_close(inside(found), everything, rtol=0, atol=0.02)


def test_all_places_of_a_sequence_are_looked_at_alike():
    batch = torch.zeros(512, 64, 2)
    batch[:, 0] = 1
    assert found_in(nn.Linear(2, 3), batch)["weight"].mean.tolist() == pytest.approx([1 / 64] * 2, rel=0.1)


def test_a_matrix_of_too_many_columns_has_none(monkeypatch):
    monkeypatch.setattr(room, "_MOST_COLUMNS", 5)
    found = found_in(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2)), inputs(3, 6))
    assert set(found) == {"1.weight"}


FLAGS = {
    "the fast path": torch.backends.mha.get_fastpath_enabled,
    "mkldnn": lambda: torch._C._get_mkldnn_enabled(),
    "cudnn": lambda: torch.backends.cudnn.enabled,
    "tf32": lambda: torch.backends.cudnn.allow_tf32,
    "gradients": torch.is_grad_enabled,
    "warnings": lambda: list(warnings.filters),
}


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("fast", [True, False])
def test_global_settings_are_put_back(fast, fails):
    seen = []

    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 2)

        def forward(self, batch):
            seen.append({name: flag() for name, flag in FLAGS.items()})
            if fails:
                raise ValueError("no")
            return self.layer(batch)

    usual = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast)
    try:
        before = {name: flag() for name, flag in FLAGS.items()}
        if fails:
            with pytest.raises(TaskError, match=r"the model raised ValueError: no \(.*\) for what calibration\(\) gives"):
                found_in(Watching(), inputs(3, 5))
        else:
            found_in(Watching(), inputs(3, 5))
        assert {name: flag() for name, flag in FLAGS.items()} == before
    finally:
        torch.backends.mha.set_fastpath_enabled(usual)
    assert [seen[0][name] for name in ("the fast path", "mkldnn", "cudnn", "gradients")] == [False] * 4


def test_the_module_is_left_as_it_is():
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    found_in(module, inputs(7, 5))
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
