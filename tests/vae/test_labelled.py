"""The VAE that learns from few labels, against its description."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from weightzip.vae import KINDS, UNKNOWN, Blocks, Sizes, VAESettings, build_family, train
from weightzip.vae.families.labelled import LabelledVAE

SIZES = Sizes(block=20, latent=3, hidden=16)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model():
    return build_family("labelled", SIZES).eval()


def batch(kind, values=None):
    """Of blocks of these kinds [n], random ones where none are given."""
    values = torch.randn(len(kind), 20, generator=generator()) if values is None else values
    blocks = Blocks(values, torch.zeros_like(kind), kind)
    return blocks.batch(blocks.lanes(1))


def of_kinds(num_blocks, seed=0):
    """Blocks [n, 20] around a point for each of three kinds."""
    kind = torch.arange(num_blocks) % 3
    points = torch.randn(3, 20, generator=generator(9))
    return Blocks(points[kind] + torch.randn(num_blocks, 20, generator=generator(seed)), torch.zeros_like(kind), kind)


def hide(blocks, share, seed=3):
    """The same with a label for a share of them only."""
    known = torch.rand(len(blocks), generator=generator(seed)) < share
    return dataclasses.replace(blocks, kind=torch.where(known, blocks.kind, UNKNOWN))


def test_the_cross_entropy_is_that_of_labelled_samples_divided_by_their_number(model):
    kind = torch.tensor([UNKNOWN, 2, UNKNOWN, 0, 5, UNKNOWN, UNKNOWN])
    blocks = batch(kind)
    pi = torch.softmax(model.logits(blocks), dim=1)
    expected = -(torch.log(pi[1, 2]) + torch.log(pi[3, 0]) + torch.log(pi[4, 5])) / 3
    torch.testing.assert_close(model.losses(blocks, generator()).besides, expected)


def test_without_labels_it_is_zero_and_so_is_its_gradient(model):
    losses = model.losses(batch(torch.full((4,), UNKNOWN)), generator())
    assert float(losses.besides.detach()) == 0
    torch.autograd.backward(losses.besides)
    assert not model.pi.weight.grad.any()


def test_all_samples_have_the_negative_elbo(model):
    blocks = batch(torch.tensor([UNKNOWN, 2, UNKNOWN, 0]))
    losses = model.losses(blocks, generator(1))
    top = model.body(blocks.blocks)
    mean, log_variance = model.code(top).chunk(2, dim=1)
    q = Normal(mean, torch.exp(0.5 * log_variance))
    sample = mean + q.stddev * torch.empty_like(mean).normal_(generator=generator(1))
    decoded = model.decoder(torch.cat([sample, torch.softmax(model.pi(top), dim=1)], dim=1))
    likelihood = Normal(decoded, torch.exp(0.5 * model.log_variance)).log_prob(blocks.blocks).sum(dim=1)
    torch.testing.assert_close(losses.reconstruction, -likelihood)
    torch.testing.assert_close(losses.kl, kl_divergence(q, Normal(0.0, 1.0)).sum(dim=1))


def test_labels_change_only_the_cross_entropy(model):
    with_labels = model.losses(batch(torch.tensor([1, 2, 3])), generator())
    without = model.losses(batch(torch.full((3,), UNKNOWN)), generator())
    assert torch.equal(with_labels.reconstruction, without.reconstruction)
    assert torch.equal(with_labels.kl, without.kl)
    assert with_labels.besides > 0


def test_the_latents_are_the_code_and_the_labels_probabilities(model):
    blocks = batch(torch.arange(5))
    posterior = model.posterior(blocks)
    assert model.num_latents == posterior.mean.shape[1] == 3 + len(KINDS)
    torch.testing.assert_close(posterior.mean[:, 3:], torch.softmax(model.logits(blocks), dim=1))
    torch.testing.assert_close(posterior.mean[:, 3:].sum(dim=1), torch.ones(5))
    torch.testing.assert_close(posterior.deviation[:, 3:], torch.full((5, len(KINDS)), 0.1))


def test_the_decoder_sees_the_probabilities(model):
    latents = torch.zeros(2, model.num_latents)
    latents[0, 3], latents[1, 4] = 1.0, 1.0
    decoded = model.decode(latents, torch.zeros(2).long(), torch.zeros(2, 0, 20)).mean
    assert not torch.allclose(decoded[0], decoded[1], atol=1e-3)


def test_a_score_is_the_negative_elbo_and_how_little_the_label_fits(model):
    kind = torch.tensor([UNKNOWN, 2, 1])
    labelled, without = batch(kind), batch(torch.full((3,), UNKNOWN))
    unfit = -torch.log_softmax(model.logits(labelled), dim=1)
    expected = torch.stack([torch.zeros(()), unfit[1, 2], unfit[2, 1]])
    torch.testing.assert_close(model.score(labelled) - model.score(without), expected, rtol=1e-4, atol=1e-4)
    mean, log_variance = model.code(model.body(without.blocks)).chunk(2, dim=1)
    kl = kl_divergence(Normal(mean, torch.exp(0.5 * log_variance)), Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(model.score(without), model.predict(without).nll(without.blocks) + kl)


def test_networks_of_ones_own():
    body, decoder = nn.Sequential(nn.Linear(20, 16), nn.Tanh()), nn.Linear(3 + 2, 20)
    model = LabelledVAE(SIZES, generator(), labels=2, body=body, decoder=decoder)
    assert model.body is body
    assert model.decoder is decoder
    blocks = batch(torch.tensor([0, 1, UNKNOWN]))
    assert model.logits(blocks).shape == (3, 2)
    assert model.predict(blocks).mean.shape == (3, 20)


@pytest.mark.parametrize("share", [1.0, 0.15])
def test_the_classifier_learns_the_kinds(share):
    """From all labels, and from a few; on blocks that training has not seen."""
    settings = VAESettings.of("labelled", chunk=20, latent=3, hidden=16, copies=5, epochs=12, learning_rate=5e-3)
    model, _ = train(hide(of_kinds(150), share), settings, device=torch.device("cpu"))
    fresh = of_kinds(300, seed=5)
    with torch.no_grad():
        guessed = model.logits(fresh.batch(fresh.lanes(1))).argmax(dim=1)
    assert float((guessed == fresh.kind).float().mean()) > 0.95


def test_a_wrong_label_has_a_larger_score(structured, trained):
    model, _ = trained("labelled")
    blocks = structured.batch(structured.lanes(1))
    wrong = dataclasses.replace(blocks, kind=1 - blocks.kind)
    assert (model.score(wrong) > model.score(blocks) + 1).all()
