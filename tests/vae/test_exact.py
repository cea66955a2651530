"""The decoder of every family in exact arithmetic."""

import copy
from functools import cache

import pytest
import torch

from weightzip.errors import FormatError
from weightzip.threads import limited_threads
from weightzip.vae import Sizes, build_family, exact_decoder, fold, stored_state

ROWS = 67


@pytest.fixture(scope="module")
def exact(trained):
    """The exact decoder of a trained family, by its name."""
    return cache(lambda name: exact_decoder(trained(name)[0]))


def inputs(model):
    """Latents, tensors and blocks before, of 67 blocks, in double precision."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(ROWS, model.num_latents, generator=generator)
    before = torch.randn(ROWS, min(model.frames - 1, 9), 36, generator=generator)
    return latents.double(), torch.arange(ROWS) % 2, before.double()


def on_the_grid(values):
    """Whether all of them are multiples of 2^-16."""
    return torch.equal(values * 2**16, torch.round(values * 2**16))


def broken(model, value):
    """The same network with this value in place of the first weight of its decoder."""
    other = copy.deepcopy(model)
    next(other.decoder.parameters()).view(-1)[0] = value
    return other


def test_it_is_close_to_the_network_itself(name, trained, exact):
    model, _ = trained(name)
    latents, tensor, before = inputs(model)
    expected, prediction = model.decode(latents.float(), tensor, before.float()), exact(name).decode(latents, tensor, before)
    assert prediction.mean.dtype == torch.float64
    torch.testing.assert_close(prediction.mean.float(), expected.mean, rtol=0, atol=5e-3)
    torch.testing.assert_close(prediction.log_variance.float(), expected.log_variance, rtol=0, atol=5e-3)
    assert float(expected.mean.std()) > 0.1  # so that being close means something


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_any_split_into_batches_gives_the_same_bits(name, exact, size):
    latents, tensor, before = inputs(exact(name))
    whole = exact(name).decode(latents, tensor, before)
    parts = [
        exact(name).decode(*rows)
        for rows in zip(torch.split(latents, size), torch.split(tensor, size), torch.split(before, size), strict=True)
    ]
    assert torch.equal(torch.cat([part.mean for part in parts]), whole.mean)
    if whole.log_variance.dim():
        assert torch.equal(torch.cat([part.log_variance for part in parts]), whole.log_variance)


def test_any_number_of_threads_gives_the_same_bits(name, exact):
    latents, tensor, before = inputs(exact(name))
    predictions = []
    for threads in (1, 2):
        with limited_threads(threads):
            predictions.append(exact(name).decode(latents[:16], tensor[:16], before[:16]))
    assert torch.equal(predictions[0].mean, predictions[1].mean)
    assert torch.equal(predictions[0].log_variance, predictions[1].log_variance)


def test_means_lie_on_the_grid(name, exact):
    assert on_the_grid(exact(name).decode(*inputs(exact(name))).mean)


@pytest.mark.parametrize("name", ["conv", "squeezed", "heteroskedastic"])
def test_variances_that_are_decoded_lie_on_the_grid_too(name, exact):
    log_variance = exact(name).decode(*inputs(exact(name))).log_variance
    assert log_variance.shape == (ROWS, 36)
    assert on_the_grid(log_variance)


def test_any_order_of_blocks_gives_the_same_bits(name, exact):
    latents, tensor, before = inputs(exact(name))
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    shuffled = exact(name).decode(latents[order], tensor[order], before[order])
    assert torch.equal(shuffled.mean, exact(name).decode(latents, tensor, before).mean[order])


def test_the_network_is_left_as_it_is(name, trained):
    model = copy.deepcopy(trained(name)[0]).requires_grad_(True).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    exact_decoder(model)
    assert model.training
    assert all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_folding_leaves_the_network_as_good_as_it_was(name, trained):
    model, _ = trained(name)
    latents, tensor, before = inputs(model)
    folded = fold(model).decode(latents.float(), tensor, before.float()).mean
    torch.testing.assert_close(folded, model.decode(latents.float(), tensor, before.float()).mean, rtol=1e-4, atol=1e-4)


def test_what_is_stored_is_all_that_decoding_needs(name, trained, exact):
    """In a network of another seed, what is stored gives the same bits."""
    model, _ = trained(name)
    other = fold(build_family(name, Sizes(36, 16, 32, tensors=2), seed=5))
    other.decoder.load_state_dict(stored_state(fold(model)))
    assert torch.equal(exact_decoder(other).decode(*inputs(model)).mean, exact(name).decode(*inputs(model)).mean)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_finite_numbers_are_refused(name, trained, value):
    with pytest.raises(FormatError, match="must be finite numbers"):
        exact_decoder(broken(trained(name)[0], value))


@pytest.mark.parametrize("value", [1e8, -1e30])
def test_weights_so_large_that_sums_are_not_exact_are_refused(name, trained, value):
    decoder = exact_decoder(broken(trained(name)[0], value))
    with pytest.raises(FormatError, match="too large for exact arithmetic"):
        decoder.decode(*inputs(decoder))


def test_latents_that_are_no_numbers_are_refused(name, exact):
    latents, tensor, before = inputs(exact(name))
    latents.view(-1)[:1], before.view(-1)[:1] = float("nan"), float("nan")
    with pytest.raises(FormatError, match="too large for exact arithmetic"):
        exact(name).decode(latents, tensor, before)


def test_no_blocks(name, exact):
    latents, tensor, before = inputs(exact(name))
    assert exact(name).decode(latents[:0], tensor[:0], before[:0]).mean.shape == (0, 36)


def test_a_layer_without_an_exact_form_is_refused():
    """It would be computed by the machine's own library, and differ from one to another."""
    model = build_family("dense", Sizes(8, 2, 4))
    model.decoder.append(torch.nn.GELU())
    with pytest.raises(TypeError, match="GELU has no exact form"):
        exact_decoder(model)
