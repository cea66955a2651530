import numpy as np
import pytest
import torch

from weightzip.baselines import Codebook, UniformQuantisation
from weightzip.baselines.codebook import fit_codebook, nearest


def mean_square_error(restored, original):
    return (restored - original).double().square().mean().item()


# Least mean square error of any scalar quantiser for a unit Gaussian, with as many levels (Max 1960, table I).
@pytest.mark.parametrize(("bits", "optimum"), [(1, 0.3634), (2, 0.1175), (3, 0.03454), (4, 0.009497), (5, 0.002499)])
def test_a_gaussian_is_quantised_as_well_as_can_be(recode, gaussian, bits, optimum):
    error = mean_square_error(recode(Codebook(bits), gaussian)["weight"], gaussian["weight"])
    assert error == pytest.approx(optimum, rel=0.03)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("law", ["gaussian", "laplace", "student", "uniform", "lognormal"])
def test_k_means_is_no_worse_than_a_uniform_grid(recode, bits, law):
    rng = np.random.default_rng(1)
    sample = {
        "gaussian": rng.normal(size=(50, 400)),
        "laplace": rng.laplace(size=(50, 400)),
        "student": rng.standard_t(3, size=(50, 400)),
        "uniform": rng.uniform(-1, 1, size=(50, 400)),
        "lognormal": rng.lognormal(size=(50, 400)),
    }[law]
    weight = torch.from_numpy(sample.astype(np.float32))
    codebook = recode(Codebook(bits), {"weight": weight})["weight"]
    uniform = recode(UniformQuantisation(bits, "tensor"), {"weight": weight})["weight"]
    assert mean_square_error(codebook, weight) <= mean_square_error(uniform, weight)


def test_few_distinct_values_come_back_exactly(recode):
    weight = torch.tensor([-1.5, -0.25, 0.0, 2.0])[torch.randint(4, (30, 40))]
    assert torch.equal(recode(Codebook(2), {"weight": weight})["weight"], weight)


def test_every_weight_takes_the_entry_nearest_to_it():
    values = np.random.default_rng(0).normal(size=3000).astype(np.float32)
    codebook = fit_codebook(values, 4)
    brute_force = np.abs(values[:, None] - codebook).min(axis=1)
    assert np.array_equal(np.abs(values - codebook[nearest(codebook, values)]), brute_force)


def test_the_entries_are_the_means_of_their_cells():
    values = np.random.default_rng(0).normal(size=3000).astype(np.float32)
    codebook = fit_codebook(values, 3)
    cells = nearest(codebook, values)
    means = [values[cells == entry].mean() for entry in range(8)]
    assert np.allclose(means, codebook, rtol=2**-10, atol=0.002), "up to the entries' own rounding"


def test_an_outlier_does_not_ruin_the_other_entries(recode):
    weight = torch.randn(40, 100)
    weight[0, 0] = -1e4
    restored = recode(Codebook(6), {"weight": weight})["weight"]
    assert mean_square_error(restored[1:], weight[1:]) < 0.001


def test_a_tensor_smaller_than_its_codebook_is_kept_in_half_precision(recode, section_bytes):
    weight = torch.randn(4, 25)
    assert torch.equal(recode(Codebook(8), {"weight": weight})["weight"], weight.half().float())
    assert section_bytes(Codebook(8), {"weight": weight}) < 2 * 100 + 10


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_size_is_that_of_the_indices_and_the_codebook(section_bytes, bits):
    weight = torch.rand(100, 1000)  # flat: cells equally likely, no entropy to save
    nominal = 100_000 * bits / 8 + 2 * 2**bits
    assert 0.99 * nominal < section_bytes(Codebook(bits), {"weight": weight}) < 1.01 * nominal
