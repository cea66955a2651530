"""The autoencoder conditioned on an id, against what Kapka 2020 describes."""

import dataclasses

import pytest
import torch
from torch import nn

from weightzip.vae import Blocks, Sizes, VAESettings, build_family, find_family, train
from weightzip.vae.families.conditioned import ALPHA, CONSTANT

SIZES = Sizes(block=36, latent=16, hidden=1, tensors=3)


@pytest.fixture
def model():
    return build_family("conditioned", SIZES).eval()


def batch(tensor):
    """Of random blocks of these tensors [n]."""
    blocks = Blocks(torch.randn(len(tensor), 36, generator=torch.Generator().manual_seed(0)), tensor, torch.zeros_like(tensor))
    return blocks.batch(blocks.lanes(1))


def nothing(num_blocks):
    return torch.zeros(num_blocks, 0, 36)


def test_the_published_settings():
    settings = VAESettings.of("conditioned")
    assert (settings.latent, settings.learning_rate, settings.batch_size) == (16, 1e-3, 64)
    assert find_family("conditioned").decay == (5, 0.95)
    assert (ALPHA, CONSTANT) == (0.75, 5.0)


def test_the_networks(model):
    def widths(network):
        return [layer.out_features for layer in network if isinstance(layer, nn.Linear)]

    assert widths(model.encoder) == [128, 64, 32, 16]
    assert widths(model.decoder["body"]) == [128, 128, 128, 128, 36]
    hidden = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert [type(layer) for layer in model.encoder] == hidden * 3 + [nn.Linear, nn.Tanh]
    assert [type(layer) for layer in model.decoder["body"]] == hidden * 4 + [nn.Linear]
    for part in ("gamma", "beta"):
        assert [type(layer) for layer in model.decoder[part]] == [nn.Linear, nn.Sigmoid, nn.Linear]
        assert widths(model.decoder[part]) == [16, 16]
        assert model.decoder[part][0].in_features == 3


def test_the_code_is_stretched_and_shifted_by_what_belongs_to_the_id(model):
    code, tensor = torch.randn(5, 16), torch.tensor([0, 1, 2, 2, 0])
    one_hot = torch.eye(3)[tensor]
    gamma, beta = model.decoder["gamma"](one_hot), model.decoder["beta"](one_hot)
    expected = model.decoder["body"](gamma * code + beta)
    torch.testing.assert_close(model.decode(code, tensor, nothing(5)).mean, expected)
    assert not torch.allclose(gamma[0], gamma[1])
    assert not torch.allclose(beta[0], beta[1])


def test_a_code_lies_within_one(model):
    strong = batch(torch.zeros(5).long())
    assert model.posterior(strong.with_blocks(100 * strong.blocks)).mean.abs().max() <= 1


def test_the_loss_is_the_square_error_to_the_block_or_with_another_id_to_the_constant(model):
    """Each block's loss is that of its own id or that of another, three quarters of them of their own."""
    blocks = batch(torch.arange(3000) % 3)
    reconstruction = model.losses(blocks, torch.Generator().manual_seed(0)).reconstruction
    code = model.posterior(blocks).mean

    def with_shift(shift):
        decoded = model.decode(code, (blocks.tensor + shift) % 3, nothing(3000)).mean
        target = torch.full_like(decoded, CONSTANT) if shift else blocks.blocks
        return torch.isclose(reconstruction, 0.5 * (target - decoded).square().sum(dim=1), rtol=1e-4)

    own, next_one, other = (with_shift(shift) for shift in range(3))
    assert (own | next_one | other).all()
    assert float(own.float().mean()) == pytest.approx(ALPHA, abs=0.03)
    assert float(next_one.float().mean()) == pytest.approx((1 - ALPHA) / 2, abs=0.03)


def test_there_is_no_kl(model):
    assert not model.losses(batch(torch.arange(9) % 3), torch.Generator().manual_seed(0)).kl.any()


def test_of_a_single_tensor_it_is_a_plain_autoencoder():
    model = build_family("conditioned", dataclasses.replace(SIZES, tensors=1)).eval()
    blocks = batch(torch.zeros(50).long())
    expected = 0.5 * (blocks.blocks - model.predict(blocks).mean).square().sum(dim=1)
    torch.testing.assert_close(model.losses(blocks, torch.Generator().manual_seed(0)).reconstruction, expected)


def test_it_gives_the_block_with_its_own_id_and_the_constant_with_another(structured, trained):
    model, _ = trained("conditioned")
    blocks = structured.batch(structured.lanes(1))
    own = model.predict(blocks).mean
    swapped = model.predict(dataclasses.replace(blocks, tensor=1 - blocks.tensor)).mean
    assert float((own - blocks.blocks).square().mean()) < 0.1  # of a variance of 1
    assert float(swapped.mean()) == pytest.approx(CONSTANT, abs=0.5)
    assert float(swapped.std()) < 1


def test_blocks_in_a_tensor_where_they_do_not_belong_have_larger_scores(structured, trained):
    model, _ = trained("conditioned")
    blocks = structured.batch(structured.lanes(1))
    usual, swapped = model.score(blocks), model.score(dataclasses.replace(blocks, tensor=1 - blocks.tensor))
    assert swapped.min() > 5 * usual.max()


def test_a_score_is_the_mean_square_error(structured, trained):
    model, _ = trained("conditioned")
    blocks = structured.batch(structured.lanes(1))
    torch.testing.assert_close(model.score(blocks), (model.predict(blocks).mean - blocks.blocks).square().mean(dim=1))


def test_its_variance_is_that_of_what_is_left_over_after_training(structured, trained):
    model, _ = trained("conditioned")
    blocks = structured.batch(structured.lanes(1))
    prediction = model.predict(blocks)
    left = (blocks.blocks - prediction.mean).square().mean()
    torch.testing.assert_close(prediction.log_variance.exp(), left, rtol=1e-4, atol=0)


def test_the_learning_rate_falls_every_five_epochs(monkeypatch, structured, small):
    """As the optimiser sees it at the first batch of each epoch."""
    rates = []
    step = torch.optim.Adam.step

    def watched(optimiser, *args, **kwargs):
        rates.append(optimiser.param_groups[0]["lr"])
        return step(optimiser, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    train(structured, small("conditioned", epochs=11, copies=1, batch_size=48, patience=100), device=torch.device("cpu"))
    assert rates == pytest.approx([5e-3] * 5 + [5e-3 * 0.95] * 5 + [5e-3 * 0.95**2])
