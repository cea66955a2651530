"""The convolutional VAE and the squeezed one, against what Kim et al. 2018 describe."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Normal, kl_divergence

from weightzip.vae import Blocks, Sizes, VAESettings, build_family
from weightzip.vae.families.squeezed import Fire
from weightzip.vae.family import plane

PUBLISHED = Sizes(block=256, latent=100, hidden=1)
BOTH = ("conv", "squeezed")


def layers(module, *kinds):
    """All layers of these kinds, in order."""
    return [layer for layer in module.modules() if isinstance(layer, kinds)]


def num_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def batch(num_blocks):
    blocks = Blocks.alike(torch.randn(num_blocks, 256, generator=torch.Generator().manual_seed(0)))
    return blocks.batch(blocks.lanes(1))


@pytest.mark.parametrize("name", BOTH)
def test_the_published_settings(name):
    settings = VAESettings.of(name)
    assert (settings.latent, settings.learning_rate, settings.batch_size) == (100, 2e-4, 64)


def test_the_encoder_has_four_convolutions_the_last_without_padding():
    model = build_family("conv", PUBLISHED)
    convolutions = layers(model.encoder, nn.Conv2d)
    assert [layer.in_channels for layer in convolutions] == [1, 16, 32, 64]
    assert [layer.out_channels for layer in convolutions] == [16, 32, 64, 128]
    assert {layer.kernel_size for layer in convolutions} == {(3, 3)}
    assert {layer.stride for layer in convolutions} == {(1, 1)}
    assert [layer.padding for layer in convolutions] == [(1, 1)] * 3 + [(0, 0)]
    (dense,) = layers(model.encoder, nn.Linear)
    assert (dense.in_features, dense.out_features) == (128 * 14 * 14, 2 * 100)


def test_the_decoder_has_five_transposed_convolutions_down_to_one_channel():
    model = build_family("conv", PUBLISHED)
    convolutions = layers(model.decoder, nn.ConvTranspose2d)
    assert [layer.in_channels for layer in convolutions] == [1, 128, 64, 32, 16]
    assert [layer.out_channels for layer in convolutions] == [128, 64, 32, 16, 1]
    assert {layer.kernel_size for layer in convolutions} == {(3, 3)}
    (dense,) = layers(model.decoder, nn.Linear)
    assert (dense.in_features, dense.out_features) == (100, 2 * 256)


def test_every_convolution_is_followed_by_a_batch_norm_and_a_relu():
    model = build_family("conv", PUBLISHED)
    for network, convolution, count in ((model.encoder, nn.Conv2d, 4), (model.decoder, nn.ConvTranspose2d, 5)):
        kinds = [type(layer) for layer in layers(network, convolution, nn.BatchNorm2d, nn.ReLU, nn.Linear)]
        assert kinds == [convolution, nn.BatchNorm2d, nn.ReLU] * count + [nn.Linear]


@pytest.mark.parametrize("name", BOTH)
def test_nothing_follows_the_last_dense_layers(name):
    model = build_family(name, PUBLISHED)
    assert type(model.encoder[-1]) is type(model.decoder[-1]) is nn.Linear


@pytest.mark.parametrize("name", BOTH)
def test_weights_are_those_of_glorot_and_bengio_and_biases_zero(name):
    """Uniform within sqrt(6 / (inputs + outputs)), each counted with the size of the kernel."""
    for layer in layers(build_family(name, PUBLISHED), nn.Conv2d, nn.ConvTranspose2d, nn.Linear):
        inputs, outputs = layer.weight.shape[:2]
        bound = math.sqrt(6 / ((inputs + outputs) * layer.weight[0, 0].numel()))
        assert layer.weight.abs().max() <= bound
        if layer.weight.numel() > 1000:
            assert float(layer.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert not layer.bias.any()


@pytest.mark.parametrize("name", BOTH)
def test_batch_norms_remember_with_a_decay_of_nine_tenths(name):
    """The first layers see one channel of known statistics: after one batch a tenth is that of the batch."""
    model = build_family(name, PUBLISHED).train()
    norms = layers(model, nn.BatchNorm2d)
    seen = []
    norms[0].register_forward_hook(lambda norm, inputs, output: seen.append(inputs[0].detach()))
    model.posterior(batch(8))
    torch.testing.assert_close(norms[0].running_mean, 0.1 * seen[0].mean(dim=(0, 2, 3)))
    variance = seen[0].transpose(0, 1).flatten(1).var(dim=1)
    torch.testing.assert_close(norms[0].running_var, 0.9 + 0.1 * variance)
    assert {norm.momentum for norm in norms} == {0.1}


@pytest.mark.parametrize("name", BOTH)
def test_every_element_has_a_variance_within_reason(name):
    model = build_family(name, PUBLISHED).eval()
    nn.init.normal_(model.decoder[-1].weight, std=100.0)
    prediction = model.decode(torch.randn(5, 100), torch.zeros(5).long(), torch.zeros(5, 0, 256))
    assert prediction.mean.shape == prediction.log_variance.shape == (5, 256)
    assert prediction.log_variance.min() == -10
    assert prediction.log_variance.max() == 10


@pytest.mark.parametrize("name", BOTH)
def test_the_loss_is_the_negative_elbo(name):
    model = build_family(name, PUBLISHED).eval()
    blocks = batch(6)
    losses = model.losses(blocks, torch.Generator().manual_seed(1))
    posterior = model.posterior(blocks)
    latents = posterior.sample(torch.Generator().manual_seed(1))
    prediction = model.decode(latents, blocks.tensor, blocks.blocks[:, None][:, :0])
    likelihood = Normal(prediction.mean, torch.exp(0.5 * prediction.log_variance)).log_prob(blocks.blocks).sum(dim=1)
    prior = kl_divergence(Normal(posterior.mean, posterior.deviation), Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(losses.reconstruction, -likelihood, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(losses.kl, prior, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", BOTH)
def test_the_encoder_sees_a_block_as_a_plane(name):
    """A convolution moves with what it sees: in the middle of the plane, a step of one row is a step of one row."""
    model = build_family(name, PUBLISHED).eval()
    convolutional = model.encoder[:-2]  # without flattening and the dense layer
    point = torch.zeros(2, 16, 16)
    point[0, 7, 7] = point[1, 8, 7] = 1.0
    maps = convolutional(point.flatten(1))
    torch.testing.assert_close(maps[1, :, 5:12], maps[0, :, 4:11])
    assert not torch.allclose(maps[1], maps[0])


def test_a_fire_module_squeezes_to_16_and_expands_to_16_and_32():
    for convolution in (nn.Conv2d, nn.ConvTranspose2d):
        fire = Fire(48, convolution)
        squeeze, narrow, wide = layers(fire, convolution)
        assert [(layer.in_channels, layer.out_channels) for layer in (squeeze, narrow, wide)] == [(48, 16), (16, 16), (16, 32)]
        assert [layer.kernel_size for layer in (squeeze, narrow, wide)] == [(1, 1), (1, 1), (3, 3)]
        assert fire(torch.randn(2, 48, 5, 7)).shape == (2, 48, 5, 7)


def test_a_fire_module_is_its_convolutions_side_by_side():
    fire = Fire(3, nn.Conv2d).eval()
    nn.init.normal_(fire.after[0].running_mean)
    maps = torch.randn(2, 3, 5, 7)
    squeeze, narrow, wide = layers(fire, nn.Conv2d)
    squeezed = squeeze(maps)
    both = torch.cat([narrow(squeezed), wide(squeezed)], dim=1)
    mean, scale = fire.after[0].running_mean.view(1, -1, 1, 1), math.sqrt(1 + fire.after[0].eps)
    torch.testing.assert_close(fire(maps), ((both - mean) / scale).clamp_min(0))


def test_the_squeezed_encoder_has_four_fire_modules_and_the_decoder_ends_in_one_channel():
    model = build_family("squeezed", PUBLISHED)
    assert len(layers(model.encoder, Fire)) == 4
    assert not layers(model.encoder, nn.ConvTranspose2d)
    assert not layers(model.decoder, nn.Conv2d)
    assert len(layers(model.decoder, Fire)) == 3
    squeeze, last = layers(model.decoder, nn.ConvTranspose2d)[-2:]
    assert (squeeze.out_channels, squeeze.kernel_size, last.out_channels, last.kernel_size) == (16, (1, 1), 1, (3, 3))


def test_the_squeezed_networks_are_smaller():
    conv, squeezed = (build_family(name, PUBLISHED) for name in BOTH)
    assert num_parameters(squeezed.decoder) <= 0.8 * num_parameters(conv.decoder)
    maps = [layers(model.encoder, nn.Conv2d) for model in (conv, squeezed)]
    assert sum(map(num_parameters, maps[1])) <= 0.3 * sum(map(num_parameters, maps[0]))


@given(st.integers(1, 5000))
def test_a_plane_is_as_square_as_divisors_allow(size):
    rows, features = plane(size)
    assert rows * features == size
    assert rows <= features
    assert all(size % between for between in range(rows + 1, math.isqrt(size) + 1))
