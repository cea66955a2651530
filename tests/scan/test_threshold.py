import math

import pytest
import torch

from weightzip.scan.threshold import limits


def scores_of(count, seed=0):
    deviations = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)).square().mean(1)
    return torch.log1p((deviations - deviations.median()).clamp_min(0) * 3)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [900, 20_000])
def test_hardly_any_of_clean_scores_is_flagged(seed, count):
    scores = scores_of(count, seed)
    groups, usual = torch.zeros(count, dtype=torch.int64), torch.ones(count, dtype=torch.bool)
    flagged = int((scores > limits(scores, groups, usual)).sum())
    assert flagged <= (0 if count < 1000 else count // 1000)


def test_one_in_a_hundred_faults_hardly_moves_the_limit():
    scores = scores_of(5000)
    groups, usual = torch.zeros(5000, dtype=torch.int64), torch.ones(5000, dtype=torch.bool)
    clean = float(limits(scores, groups, usual)[0])
    scores[::100] = 10.0
    damaged = limits(scores, groups, usual)
    assert clean <= float(damaged[0]) < 1.3 * clean
    assert bool((scores[::100] > damaged[::100]).all())


def test_an_odd_tensor_has_a_limit_of_its_own():
    scores = torch.cat([scores_of(20_000), 3 * scores_of(400, 1)])
    groups = torch.arange(20_400) // 20_000
    found = limits(scores, groups, torch.ones(20_400, dtype=torch.bool))
    assert float(found[-1]) > 1.5 * float(found[0])


def test_too_few_scores_flag_nothing():
    few = torch.arange(10.0)
    assert limits(few, torch.zeros(10, dtype=torch.int64), few >= 0).tolist() == [math.inf] * 10
