"""The heteroskedastic VAE, against its description."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from weightzip.vae import Blocks, Sizes, VAESettings, train
from weightzip.vae.families.heteroskedastic import DROPOUT, HeteroskedasticVAE

SIZES = Sizes(block=20, latent=3, hidden=16)
PRECISIONS = ("doubled", "network")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=PRECISIONS)
def model(request):
    return HeteroskedasticVAE(SIZES, generator(), request.param).eval()


def batch(values):
    blocks = Blocks.alike(values)
    return blocks.batch(blocks.lanes(1))


def two_noises(num_blocks, seed=0):
    """Blocks [n, 20] of rank 2, whose first ten elements have a noise of 0.1 and whose others have one of 0.8."""
    values = 0.3 * torch.randn(num_blocks, 2, generator=generator(seed)) @ torch.randn(2, 20, generator=generator(9))
    deviation = torch.cat([torch.full((10,), 0.1), torch.full((10,), 0.8)])
    return values + deviation * torch.randn(num_blocks, 20, generator=generator(seed + 1))


def test_the_loss_is_the_kl_and_half_of_weighted_square_errors_less_log_precisions(model):
    blocks = batch(two_noises(6))
    losses = model.losses(blocks, generator(1))
    posterior = model.posterior(blocks)
    prediction = model.decode(posterior.sample(generator(1)), blocks.tensor, torch.zeros(6, 0, 20))
    precision = 1 / torch.exp(prediction.log_variance)
    weighted = (precision * (blocks.blocks - prediction.mean) ** 2).sum(dim=1)
    expected = 0.5 * (weighted - torch.log(precision).sum(dim=1)) + 10 * math.log(2 * math.pi)
    torch.testing.assert_close(losses.reconstruction, expected)
    prior = kl_divergence(Normal(posterior.mean, posterior.deviation), Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(losses.kl, prior)
    total = losses.total(blocks.present, beta=1.0)
    torch.testing.assert_close(total, (prior + expected).mean())


def test_the_precision_is_the_softplus_of_the_second_half(model):
    latents = torch.randn(4, 3)
    prediction = model.decode(latents, torch.zeros(4).long(), torch.zeros(4, 0, 20))
    raw = torch.cat([network(latents) for network in model.decoder], dim=1)
    assert torch.equal(prediction.mean, raw[:, :20])
    torch.testing.assert_close(torch.exp(-prediction.log_variance), torch.log1p(torch.exp(raw[:, 20:])) + 1e-3)


def test_a_doubled_output_layer_or_a_network_of_the_same_shape():
    doubled, two = (HeteroskedasticVAE(SIZES, generator(), precisions) for precisions in PRECISIONS)
    assert [network[-1].out_features for network in doubled.decoder] == [40]
    assert [network[-1].out_features for network in two.decoder] == [20, 20]
    shapes = [[parameter.shape for parameter in network.parameters()] for network in two.decoder]
    assert shapes[0] == shapes[1]


def test_two_hidden_layers_with_elu_and_dropout_on_each_side(model):
    for network in (model.encoder, *model.decoder):
        assert [type(layer) for layer in network] == [nn.Linear, nn.ELU, nn.Dropout] * 2 + [nn.Linear]
        assert {layer.p for layer in network if isinstance(layer, nn.Dropout)} == {DROPOUT} == {0.1}


def test_a_score_is_the_weighted_square_error(model):
    blocks = batch(two_noises(6))
    prediction = model.predict(blocks)
    weighted = (blocks.blocks - prediction.mean).square() / prediction.log_variance.exp()
    torch.testing.assert_close(model.score(blocks), weighted.mean(dim=1))


def test_precisions_stay_finite_however_small(model):
    with torch.no_grad():
        model.decoder[-1][-1].bias.fill_(-1e4)
    prediction = model.decode(torch.randn(4, 3), torch.zeros(4).long(), torch.zeros(4, 0, 20))
    torch.testing.assert_close(torch.exp(-prediction.log_variance), torch.full((4, 20), 1e-3))


@pytest.mark.parametrize("precisions", PRECISIONS)
def test_precisions_are_larger_where_there_is_less_noise(precisions):
    """On blocks that training has not seen; the truth is 1 / 0.01 and 1 / 0.64, as far as the latents tell."""
    model = HeteroskedasticVAE(Sizes(block=20, latent=2, hidden=32), generator(), precisions).eval()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    seen = batch(two_noises(200))
    for step in range(150):
        loss = model.losses(seen, generator(step)).total(seen.present, beta=1.0)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    assert_precisions_are_true(model)


def test_the_registrys_network_learns_them_too():
    settings = VAESettings.of(
        "heteroskedastic", chunk=20, latent=2, hidden=32, copies=8, epochs=15, learning_rate=1e-2, noise=0.01
    )
    model, _ = train(Blocks.alike(two_noises(150)), settings, device=torch.device("cpu"))
    assert_precisions_are_true(model)


@torch.no_grad()
def assert_precisions_are_true(model):
    precision = torch.exp(-model.predict(batch(two_noises(100, seed=5))).log_variance)
    assert 12 < precision[:, :10].median() < 120
    assert 1.2 < precision[:, 10:].median() < 2.0
