"""The causal predictor, against its description."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from weightzip.vae import Blocks, Sizes, VAESettings, build_family, find_family, train
from weightzip.vae.families.causal import DILATIONS

SIZE = 6
FRAMES = 32
RECEPTIVE = 1 + 2 * sum(DILATIONS)  # frames before the predicted one


@pytest.fixture
def model():
    return build_family("causal", Sizes(block=SIZE, latent=1, hidden=1)).eval().requires_grad_(False)


def lanes(count, seed=0):
    """A batch of random lanes [count * 32, 6]."""
    blocks = Blocks.alike(torch.randn(count * FRAMES, SIZE, generator=torch.Generator().manual_seed(seed)))
    return blocks.batch(blocks.lanes(FRAMES))


def by_lane(model, batch):
    """What it predicts, [lanes, 32, size]."""
    return model.predict(batch).mean.view(-1, FRAMES, SIZE)


def changed(batch, lane, frame):
    """The same with other numbers in one frame."""
    blocks = batch.blocks.clone()
    blocks[lane * FRAMES + frame] += 10 * torch.randn(SIZE, generator=torch.Generator().manual_seed(1))
    return batch.with_blocks(blocks)


def test_the_published_settings():
    settings = VAESettings.of("causal")
    assert (settings.learning_rate, settings.batch_size) == (1e-3, 32)
    assert find_family("causal").adam_betas == (0.85, 0.999)
    assert find_family("causal").frames == 32


def test_the_network():
    model = build_family("causal", Sizes(block=SIZE, latent=1, hidden=1))
    dilated = [layer for layer in model.modules() if isinstance(layer, nn.Conv1d) and layer.kernel_size == (3,)]
    assert [layer.dilation for layer in dilated] == [(1,), (2,), (4,), (8,)]
    assert {layer.groups for layer in dilated} == {4}
    assert {layer.out_channels / layer.in_channels for layer in dilated} == {2}  # value and gate
    norms = [layer for layer in model.modules() if isinstance(layer, nn.GroupNorm)]
    assert [norm.num_groups for norm in norms] == [1] * 4
    assert model.decoder[0].kernel_size == model.decoder[-1].kernel_size == (1,)
    assert (model.decoder[0].in_channels, model.decoder[-1].out_channels) == (SIZE, SIZE)


def test_a_layer_adds_what_its_gate_lets_through(model):
    layer = model.decoder[2]  # of dilation 2
    maps = torch.randn(3, 64, 10)
    normal = (maps - maps.mean(dim=1, keepdim=True)) / torch.sqrt(maps.var(dim=1, unbiased=False, keepdim=True) + 1e-5)
    late = torch.cat([torch.zeros(3, 64, 4), normal], dim=2)
    both = nn.functional.conv1d(late, layer.convolution.weight, layer.convolution.bias, dilation=2, groups=4)
    mixed = layer.mix(torch.tanh(both[:, :64]) * torch.sigmoid(both[:, 64:]))
    torch.testing.assert_close(layer(maps), maps + mixed)


@pytest.mark.parametrize("frame", [0, 1, 7, 30, 31])
def test_a_frame_changes_later_ones_of_its_lane_alone(model, frame):
    batch = lanes(3)
    before, after = by_lane(model, batch), by_lane(model, changed(batch, 1, frame))
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]])
    torch.testing.assert_close(after[1, : frame + 1], before[1, : frame + 1])
    moved = (after[1, frame + 1 :] - before[1, frame + 1 :]).abs().amax(dim=1)
    assert moved.numel() == 31 - frame
    assert not moved.numel() or moved.max() > 1e-2
    assert (moved[:3] > 1e-4).all()  # the next ones, through the kernel of three


def test_it_sees_as_far_back_as_its_dilations_reach():
    """In a longer lane, one frame further back is out of sight."""
    assert RECEPTIVE == 31
    model = build_family("causal", Sizes(block=SIZE, latent=1, hidden=1)).eval().requires_grad_(False)
    before = torch.randn(2, 40, SIZE)
    near, far = before.clone(), before.clone()
    near[:, -RECEPTIVE] += 10
    far[:, : -RECEPTIVE - 1] += 10
    nothing = torch.zeros(2, 0)
    expected = model.decode(nothing, nothing, before).mean
    torch.testing.assert_close(model.decode(nothing, nothing, far).mean, expected)
    assert not torch.allclose(model.decode(nothing, nothing, near).mean, expected)


def test_it_has_no_latents_and_no_kl(model):
    batch = lanes(2)
    assert model.num_latents == 0
    assert model.posterior(batch).mean.shape == (64, 0)
    assert not model.losses(batch, torch.Generator()).kl.any()


def test_the_loss_is_half_the_square_error(model):
    batch = lanes(2)
    expected = 0.5 * (batch.blocks - model.predict(batch).mean).square().sum(dim=1)
    torch.testing.assert_close(model.losses(batch, torch.Generator()).reconstruction, expected)


def test_what_fills_up_a_lane_changes_nothing(model):
    blocks = Blocks.alike(torch.randn(37, SIZE))
    batch = blocks.batch(blocks.lanes(FRAMES))
    other = batch.with_blocks(torch.where(batch.present[:, None], batch.blocks, 100.0))
    torch.testing.assert_close(model.predict(other).mean[batch.present], model.predict(batch).mean[batch.present])
    first, second = (model.losses(each, torch.Generator()).total(each.present, beta=1.0) for each in (batch, other))
    torch.testing.assert_close(first, second)


def test_no_tensor_sees_the_end_of_the_one_before(model):
    tensor = torch.arange(40) // 20
    values = torch.randn(40, SIZE)
    blocks = Blocks(values, tensor, tensor)
    others = Blocks(torch.where(tensor[:, None] == 0, -values, values), tensor, tensor)
    first, second = (by_lane(model, each.batch(each.lanes(FRAMES))) for each in (blocks, others))
    torch.testing.assert_close(first[1, :20], second[1, :20])


def test_the_score_is_that_of_a_gaussian_fitted_to_the_errors(model):
    errors = torch.randn(500, SIZE) * torch.tensor([0.1, 0.5, 1.0, 2.0, 3.0, 0.0])
    model.finish(errors)
    deviation = errors.square().mean(dim=0).sqrt().clamp_min(1e-4)
    batch = lanes(2)
    prediction = model.predict(batch)
    torch.testing.assert_close(torch.exp(0.5 * prediction.log_variance), deviation.expand(64, SIZE))
    expected = -Normal(prediction.mean, deviation).log_prob(batch.blocks).sum(dim=1)
    torch.testing.assert_close(model.score(batch), expected, rtol=1e-4, atol=1e-3)


def test_training_fits_the_gaussian_to_its_own_errors(structured, trained):
    model, _ = trained("causal")
    batch = structured.batch(structured.lanes(FRAMES))
    errors = (batch.blocks - model.predict(batch).mean)[batch.present]
    torch.testing.assert_close(model.log_variance.exp(), errors.square().mean(dim=0), rtol=1e-3, atol=1e-6)


def test_the_other_score_is_a_percentile_of_the_square_errors(model):
    model_of_100 = build_family("causal", Sizes(block=101, latent=1, hidden=1)).eval().requires_grad_(False)
    blocks = Blocks.alike(torch.zeros(32, 101))
    batch = blocks.batch(blocks.lanes(FRAMES))
    first = model_of_100.predict(batch).mean[0]
    batch.blocks[0] = first + torch.arange(101.0)[torch.randperm(101)]
    score = model_of_100.percentile_score(batch)
    assert score.shape == (32,)
    assert float(score[0]) == pytest.approx(95.0**2, rel=1e-4)


def test_it_learns_a_sequence_that_can_be_predicted(small):
    """Points on a circle that turns by a fixed angle; from the second on, each follows from those before it."""
    angle = torch.arange(128) * 0.7
    plane = torch.randn(2, SIZE, generator=torch.Generator().manual_seed(0))
    values = torch.stack([angle.sin(), angle.cos()], dim=1) @ plane
    blocks = Blocks.alike(values / values.std())
    settings = small("causal", chunk=SIZE, batch_size=2, epochs=20, copies=6, noise=0.02)
    model, _ = train(blocks, settings, device=torch.device("cpu"))
    with torch.no_grad():
        batch = blocks.batch(blocks.lanes(FRAMES))
        errors = (by_lane(model, batch) - batch.blocks.view(-1, FRAMES, SIZE)).square().mean(dim=2)
    assert errors[:, 2:].mean() < 0.03  # of a variance of 1
    assert errors[:, 0].mean() > 0.3  # nothing stands before the first


def test_what_breaks_a_sequence_has_a_larger_score(structured, trained):
    model, _ = trained("causal")
    batch = structured.batch(structured.lanes(FRAMES))
    blocks = batch.blocks.clone()
    blocks[20] = structured.values[40]  # a block of the other tensor
    usual, broken = model.score(batch), model.score(batch.with_blocks(blocks))
    assert broken[20] > usual[batch.present].max()
    assert math.isclose(float(broken[:20].sum()), float(usual[:20].sum()), rel_tol=1e-4)


def test_its_beta_is_of_no_account(structured, small):
    """Without latents there is no KL to be weighed."""
    settings = small("causal", epochs=1, copies=1)
    histories = [
        train(structured, dataclasses.replace(settings, beta=beta), device=torch.device("cpu"))[1] for beta in (0.0, 7.0)
    ]
    assert histories[0] == histories[1]
