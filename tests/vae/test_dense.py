import pytest
import torch
from torch.distributions import Normal

from weightzip.vae import INVERSE_SLOPE, Blocks, DenseVAE, Sizes
from weightzip.vae.elbo import Posterior


def dense(block, latent, hidden, seed=0):
    return DenseVAE(Sizes(block, latent, hidden), torch.Generator().manual_seed(seed))


@pytest.fixture
def model():
    return dense(12, 3, 8)


def batch(blocks):
    """Of blocks [n, size] of which nothing is known."""
    return Blocks.alike(blocks).batch(torch.arange(len(blocks))[:, None])


def decode(model, latents):
    """Of latents [n, latent]."""
    return model.decode(latents, torch.zeros(len(latents)).long(), torch.zeros(len(latents), 0, model.sizes.block))


def test_shapes(model):
    posterior = model.posterior(batch(torch.randn(5, 12)))
    assert (posterior.mean.shape, posterior.log_variance.shape) == ((5, 3), (5, 3))
    prediction = decode(model, posterior.mean)
    assert (prediction.mean.shape, prediction.log_variance.shape) == ((5, 12), ())


def test_the_decoder_is_two_layers_with_a_leaky_relu(model):
    first, bias, second, mean = model.decoder.parameters()
    latents = torch.randn(4, 3)
    before = latents @ first.T + bias
    expected = torch.maximum(before, before / INVERSE_SLOPE) @ second.T + mean
    torch.testing.assert_close(decode(model, latents).mean, expected)


def test_the_initialisation_comes_from_the_generator_alone(model):
    torch.manual_seed(123)
    again = dense(12, 3, 8)
    other = dense(12, 3, 8, seed=1)
    for name, parameter in model.state_dict().items():
        assert torch.equal(parameter, again.state_dict()[name])
    assert not torch.equal(model.encoder[0].weight, other.encoder[0].weight)


def test_initial_activations_keep_the_inputs_scale():
    model = dense(500, 3, 500)
    assert 0.9 < float(model.encoder[0](torch.randn(200, 500)).detach().std()) < 1.1


def test_the_losses_are_the_negative_elbo(model):
    """E_q[log p(x, z) - log q(z|x)] by torch.distributions, over many samples, is minus the sum of the two losses."""
    block = torch.randn(1, 12)
    with torch.no_grad():
        model.log_variance.fill_(-0.5)
        many = block.expand(40_000, 12)
        losses = model.losses(batch(many), torch.Generator().manual_seed(0))
        posterior = model.posterior(batch(many))
        q = Normal(posterior.mean, torch.exp(0.5 * posterior.log_variance))
        z = q.sample()
        likelihood = Normal(decode(model, z).mean, torch.exp(torch.tensor(-0.25))).log_prob(many).sum(1)
        elbo = (likelihood + Normal(0, 1).log_prob(z).sum(1) - q.log_prob(z).sum(1)).mean()
    torch.testing.assert_close((losses.reconstruction + losses.kl).mean(), -elbo, rtol=0.005, atol=0)


def test_a_score_is_the_negative_elbo_at_the_posteriors_mean(model):
    blocks = torch.randn(5, 12)
    posterior = model.posterior(batch(blocks))
    likelihood = Normal(decode(model, posterior.mean).mean, 1.0).log_prob(blocks).sum(1)
    torch.testing.assert_close(model.score(batch(blocks)), posterior.kl() - likelihood)


def test_the_gradient_reaches_every_parameter(model):
    losses = model.losses(batch(torch.randn(5, 12)), torch.Generator().manual_seed(0))
    torch.autograd.backward(losses.total(torch.ones(5, dtype=torch.bool), beta=1.0))
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
    posterior = model.posterior(batch(torch.full((1, 12), 1e6)))
    assert posterior.log_variance.min() >= -20
    assert posterior.log_variance.max() <= 5
    assert torch.isfinite(posterior.kl()).all()
