"""Settings of two codecs at the same error."""

import math

import pytest

from weightzip.measure.equal_error import decibels, matching_step, nearest_integer


@pytest.mark.parametrize(("mse", "snr"), [(0.1, 10.0), (1.0, 0.0), (10.0, -10.0), (0.0, math.inf)])
def test_decibels(mse, snr):
    assert decibels(mse) == pytest.approx(snr)


@pytest.mark.parametrize("wanted", [4.0, 13.1, 14.4, 20.0, 95.0, 200.0])
def test_the_nearest_integer_is_that_of_a_full_search(wanted):
    asked = []

    def snr(setting):
        asked.append(setting)
        return 5.2 - 1.5 * setting

    found = nearest_integer(snr, wanted, low=-60, high=0)
    assert found == min(range(-60, 1), key=lambda setting: abs(5.2 - 1.5 * setting - wanted))
    assert len(asked) == len(set(asked)) <= 8
    assert set(asked) <= set(range(-60, 1))


@pytest.mark.parametrize("wanted", [0.6, 0.05, 0.01, 1e-4])
@pytest.mark.parametrize(
    "error",
    [lambda step: step**2 / 12, lambda step: 1 - math.exp(-(step**1.6) / 5), lambda step: min(1.0, 40 * step**2)],
    ids=["straight", "bent", "far off"],
)
def test_a_matching_step_is_within_a_hundredth(error, wanted):
    probes = []

    def asked(step):
        probes.append(step)
        return error(step)

    assert error(matching_step(asked, wanted)) == pytest.approx(wanted, rel=0.0101)
    assert len(probes) <= 16


def test_where_no_step_matches_the_nearest_is_taken():
    """An error that jumps from a tenth of the wanted one to twice it."""
    assert matching_step(lambda step: 0.01 if step < 1.3 else 0.2, 0.1) >= 1.3


def test_no_error_at_all_is_no_reason_to_search_forever():
    probes = []

    def none(step):
        probes.append(step)
        return 0.0

    assert matching_step(none, 0.0) > 0
    assert len(probes) < 40
