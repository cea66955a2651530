import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from weightzip.vae.elbo import Losses, Posterior, Prediction


@pytest.fixture
def posterior():
    return Posterior(torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64))


def test_kl_is_that_of_torch_distributions(posterior):
    q = Independent(Normal(posterior.mean, torch.exp(0.5 * posterior.log_variance)), 1)
    p = Independent(Normal(torch.zeros(6, 5, dtype=torch.float64), 1.0), 1)
    torch.testing.assert_close(posterior.kl(), kl_divergence(q, p))


def test_kl_of_the_prior_is_zero():
    assert Posterior(torch.zeros(2, 3), torch.zeros(2, 3)).kl().tolist() == [0, 0]


@pytest.mark.parametrize("log_variance", [torch.tensor(-0.7), torch.linspace(-3, 2, 28).view(4, 7)])
def test_the_likelihood_is_that_of_torch_distributions(log_variance):
    target, mean = torch.randn(4, 7), torch.randn(4, 7)
    expected = -Normal(mean, torch.exp(0.5 * log_variance)).log_prob(target).sum(dim=1)
    torch.testing.assert_close(Prediction(mean, log_variance).nll(target), expected)


def test_one_variance_for_all_is_the_same_as_many_alike():
    target, mean = torch.randn(4, 7), torch.randn(4, 7)
    one = Prediction(mean, torch.tensor(0.3)).nll(target)
    torch.testing.assert_close(Prediction(mean, torch.full((4, 7), 0.3)).nll(target), one)


def test_the_total_is_the_mean_over_what_is_present_and_what_is_besides():
    losses = Losses(torch.tensor([1.0, 2.0, 996.0]), torch.tensor([10.0, 30.0, 1000.0]), besides=torch.tensor(7.0))
    assert float(losses.total(torch.tensor([True, True, False]), beta=0.5)) == 1.5 + 0.5 * 20 + 7
    assert float(losses.total(torch.tensor([True, True, True]), beta=0.0)) == 333 + 7
    assert float(Losses(torch.ones(2), torch.ones(2)).total(torch.tensor([True, True]), beta=1.0)) == 2


def test_a_posterior_is_made_of_the_halves_of_an_encoders_output():
    posterior = Posterior.of(torch.tensor([[1.0, 2.0, -100.0, 100.0], [3.0, 4.0, -1.0, 0.0]]))
    assert posterior.mean.tolist() == [[1, 2], [3, 4]]
    assert posterior.log_variance.tolist() == [[-20, 5], [-1, 0]]
    torch.testing.assert_close(posterior.deviation[1], torch.tensor([math.exp(-0.5), 1.0]))


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
