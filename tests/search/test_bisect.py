import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from weightzip.search import bisect_log

POSITIVE = st.floats(1e-6, 1e6)


@given(POSITIVE, POSITIVE, POSITIVE, st.integers(1, 20))
def test_what_is_found_was_probed_and_passed(safe, bold, edge, probes):
    assume(max(safe, bold) > 1.001 * min(safe, bold))
    passed, calls = [], []

    def passes(setting):
        calls.append(setting)
        good = setting <= edge if bold > safe else setting >= edge
        passed.extend([setting] if good else [])
        return good

    found = bisect_log(passes, safe=safe, bold=bold, probes=probes)
    assert len(calls) <= probes
    assert calls[0] == safe
    if safe not in passed:
        assert found is None
        assert len(calls) == 1
    else:
        assert found in passed
        assert found == (max(passed) if bold > safe else min(passed))


@pytest.mark.parametrize("edge", [0.002, 0.3, 7.9])
def test_it_comes_as_near_as_its_probes_allow(edge):
    found = bisect_log(lambda step: step <= edge, safe=2.0**-10, bold=8.0, probes=14)
    assert edge / 2 ** (13 / 2**13) <= found <= edge


def test_it_goes_down_as_well_as_up():
    found = bisect_log(lambda step: step >= 0.1, safe=8.0, bold=2.0**-10, probes=14)
    assert 0.1 <= found <= 0.1 * 2 ** (13 / 2**13)


def test_one_probe_tries_only_the_safe_setting():
    assert bisect_log(lambda step: True, safe=0.5, bold=8.0, probes=1) == 0.5
