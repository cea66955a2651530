import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightzip.search import balanced, tolerances

PARTS = st.lists(st.tuples(st.floats(1e-3, 1e3), st.integers(1, 10**9)), min_size=1, max_size=8)


def test_each_part_is_asked_for_itself():
    limits = [0.5, 3.0, 20.0]
    found = tolerances(lambda part, setting: setting <= limits[part], 3, finest=0.125, coarsest=64.0, probes=12)
    for setting, limit in zip(found, limits, strict=True):
        assert 0.99 * limit < setting <= limit


def test_a_part_that_bears_nothing_has_the_finest_setting():
    asked = []

    def bears(part, setting):
        asked.append((part, setting))
        return part == 1

    assert tolerances(bears, 2, finest=0.25, coarsest=16.0, probes=9) == [0.25, pytest.approx(16.0, rel=0.03)]
    assert asked[0] == (0, 0.25)
    assert len(asked) == 1 + 9


def test_no_parts():
    assert tolerances(lambda part, setting: True, 0, finest=1.0, coarsest=2.0, probes=3) == []
    assert balanced([], []) == []


def test_damages_are_in_proportion_to_sizes():
    """A part at its tolerance does damage 1; what parts do together is 1 too."""
    settings = balanced([2.0, 0.1, 7.0], [100, 300, 600])
    damages = [(setting / tolerance) ** 2 for setting, tolerance in zip(settings, [2.0, 0.1, 7.0], strict=True)]
    assert damages == pytest.approx([0.1, 0.3, 0.6])


@given(PARTS, st.integers(0, 7), st.integers(0, 7), st.floats(0.3, 3.0))
def test_no_exchange_between_two_parts_buys_bits(parts, first, second, factor):
    """Bits are -size log2(setting); the sum of damages stays what it is."""
    tolerated, sizes = zip(*parts, strict=True)
    settings = balanced(tolerated, sizes)
    first, second = first % len(parts), second % len(parts)
    damages = [(setting / tolerance) ** 2 for setting, tolerance in zip(settings, tolerated, strict=True)]
    assert sum(damages) == pytest.approx(1.0)
    other = list(damages)
    if first != second:
        moved = min(damages[first] * abs(factor - 1), 0.9 * damages[first], 0.9 * damages[second])
        other[first] += math.copysign(moved, factor - 1)
        other[second] -= math.copysign(moved, factor - 1)

    def bits(shares):
        return -sum(0.5 * size * math.log2(share) for size, share in zip(sizes, shares, strict=True)) / sum(sizes)

    assert bits(other) >= bits(damages) - 1e-9


def test_a_part_without_weights_gets_no_share():
    assert balanced([1.0, 1.0], [0, 5]) == [0.0, 1.0]
