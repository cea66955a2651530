import pytest
import torch
from torch.distributions import Normal

from weightzip.vae import INVERSE_SLOPE, DenseVAE
from weightzip.vae.elbo import Posterior


@pytest.fixture
def model():
    return DenseVAE(chunk=12, latent=3, hidden=8, generator=torch.Generator().manual_seed(0))


def test_shapes(model):
    posterior = model.posterior(torch.randn(5, 12))
    assert (posterior.mean.shape, posterior.log_variance.shape) == ((5, 3), (5, 3))
    assert model.decode(posterior.mean).shape == (5, 12)


def test_the_decoder_is_two_layers_with_a_leaky_relu(model):
    first, bias, second, mean = model.decoder.parameters()
    latents = torch.randn(4, 3)
    before = latents @ first.T + bias
    expected = torch.maximum(before, before / INVERSE_SLOPE) @ second.T + mean
    torch.testing.assert_close(model.decode(latents), expected)


def test_the_initialisation_comes_from_the_generator_alone(model):
    torch.manual_seed(123)
    again = DenseVAE(chunk=12, latent=3, hidden=8, generator=torch.Generator().manual_seed(0))
    other = DenseVAE(chunk=12, latent=3, hidden=8, generator=torch.Generator().manual_seed(1))
    for name, parameter in model.state_dict().items():
        assert torch.equal(parameter, again.state_dict()[name])
    assert not torch.equal(model.encoder[0].weight, other.encoder[0].weight)


def test_initial_activations_keep_the_inputs_scale():
    model = DenseVAE(chunk=500, latent=3, hidden=500, generator=torch.Generator().manual_seed(0))
    assert 0.9 < float(model.encoder[0](torch.randn(200, 500)).detach().std()) < 1.1


def test_the_losses_are_the_negative_elbo(model):
    """E_q[log p(x, z) - log q(z|x)] by torch.distributions, over many samples, is minus the sum of the two losses."""
    block = torch.randn(1, 12)
    with torch.no_grad():
        model.log_variance.fill_(-0.5)
        many = block.expand(40_000, 12)
        reconstruction, kl = model.losses(many, torch.Generator().manual_seed(0))
        posterior = model.posterior(many)
        q = Normal(posterior.mean, torch.exp(0.5 * posterior.log_variance))
        z = q.sample()
        likelihood = Normal(model.decode(z), torch.exp(torch.tensor(-0.25))).log_prob(many).sum(1)
        elbo = (likelihood + Normal(0, 1).log_prob(z).sum(1) - q.log_prob(z).sum(1)).mean()
    torch.testing.assert_close((reconstruction + kl).mean(), -elbo, rtol=0.005, atol=0)


def test_the_gradient_reaches_every_parameter(model):
    reconstruction, kl = model.losses(torch.randn(5, 12), torch.Generator().manual_seed(0))
    torch.autograd.backward((reconstruction + kl).mean())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_gradient_of_the_kl_is_its_derivative():
    """d KL / d mean = mean and d KL / d logvar = (variance - 1) / 2."""
    mean = torch.randn(2, 3, requires_grad=True)
    log_variance = torch.randn(2, 3, requires_grad=True)
    torch.autograd.backward(Posterior(mean, log_variance).kl().sum())
    torch.testing.assert_close(mean.grad, mean.detach())
    torch.testing.assert_close(log_variance.grad, (log_variance.detach().exp() - 1) / 2)


def test_an_extreme_encoder_keeps_its_variance_finite(model):
    posterior = model.posterior(torch.full((1, 12), 1e6))
    assert posterior.log_variance.min() >= -20
    assert posterior.log_variance.max() <= 5
    assert torch.isfinite(posterior.kl()).all()
