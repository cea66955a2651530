import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from weightzip.vae.elbo import Posterior, gaussian_nll


@pytest.fixture
def posterior():
    return Posterior(torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64))


def test_kl_is_that_of_torch_distributions(posterior):
    q = Independent(Normal(posterior.mean, torch.exp(0.5 * posterior.log_variance)), 1)
    p = Independent(Normal(torch.zeros(6, 5, dtype=torch.float64), 1.0), 1)
    torch.testing.assert_close(posterior.kl(), kl_divergence(q, p))


def test_kl_of_the_prior_is_zero():
    assert Posterior(torch.zeros(2, 3), torch.zeros(2, 3)).kl().tolist() == [0, 0]


def test_the_likelihood_is_that_of_torch_distributions():
    target, mean = torch.randn(4, 7), torch.randn(4, 7)
    log_variance = torch.tensor(-0.7)
    expected = -Normal(mean, torch.exp(0.5 * log_variance)).log_prob(target).sum(dim=1)
    torch.testing.assert_close(gaussian_nll(target, mean, log_variance), expected)


def test_samples_have_the_posteriors_mean_and_variance():
    mean, log_variance = torch.tensor([[-2.0, 0.5, 3.0]]), torch.tensor([[-4.0, 0.0, 1.0]])
    many = Posterior(mean.expand(100_000, 3), log_variance.expand(100_000, 3))
    samples = many.sample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples.mean(dim=0), mean[0], atol=0.02, rtol=0)
    torch.testing.assert_close(samples.var(dim=0), log_variance[0].exp(), atol=0, rtol=0.02)


def test_samples_are_those_of_their_generator(posterior):
    first, second = (posterior.sample(torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


def test_a_sample_carries_the_gradient_to_its_mean_and_variance():
    """The reparameterisation: dz/dmean = 1 and dz/dlogvar = (z - mean) / 2."""
    mean = torch.randn(3, 2, requires_grad=True)
    log_variance = torch.randn(3, 2, requires_grad=True)
    sample = Posterior(mean, log_variance).sample(torch.Generator().manual_seed(0))
    torch.autograd.backward(sample.sum())
    torch.testing.assert_close(mean.grad, torch.ones(3, 2))
    torch.testing.assert_close(log_variance.grad, (sample - mean).detach() / 2)
