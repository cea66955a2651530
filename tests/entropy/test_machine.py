import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightzip.entropy.machine import CHUNK, SCALAR, chunks, points, trellis

SIZES = [8, 64, 256]
# Ungerboeck 1987, part II, table I: parity-check polynomials for amplitude modulation, and the squared free distance.
POLYNOMIALS = {8: (0o13, 0o04), 64: (0o103, 0o024), 256: (0o515, 0o362)}
FREE_DISTANCE = {8: 10, 64: 14, 256: 16}


def walk(machine, parities):
    """The quantiser at each symbol, one step at a time."""
    state, quantisers = 0, []
    for parity in parities:
        quantisers.append(int(machine.quantiser[state]))
        state = int(machine.next_state[state, parity])
    return quantisers


def squared_free_distance(machine):
    """Of the shortest detour from state 0 back to it (Dijkstra); where the quantiser differs, points are 1 apart or more.

    Points of one quantiser whose symbols differ in parity are 2 apart. The code is linear, so that detours from the zero
    path stand for all others. A change of 4 within one branch is a detour too: 16.
    """

    def weight(state, parity):
        return 1 if machine.quantiser[state] else 4 * parity

    queue = [(weight(0, 1), int(machine.next_state[0, 1]))]
    done = set()
    while queue:
        distance, state = heapq.heappop(queue)
        if state == 0:
            return min(distance, 16)
        if state not in done:
            done.add(state)
            for parity in (0, 1):
                heapq.heappush(queue, (distance + weight(state, parity), int(machine.next_state[state, parity])))
    raise AssertionError("no path returns")


@pytest.mark.parametrize("num_states", SIZES)
def test_every_state_has_two_predecessors(num_states):
    machine = trellis(num_states)
    assert machine.num_states == num_states
    assert machine.next_state.shape == (num_states, 2)
    assert np.bincount(machine.next_state.reshape(-1), minlength=num_states).tolist() == [2] * num_states
    assert (machine.next_state[:, 0] != machine.next_state[:, 1]).all()


@pytest.mark.parametrize("num_states", SIZES)
def test_half_of_the_states_have_each_quantiser(num_states):
    assert trellis(num_states).quantiser.sum() == num_states // 2


@pytest.mark.parametrize("num_states", SIZES)
def test_every_state_is_reached(num_states):
    machine = trellis(num_states)
    reached = {0}
    for _ in range(num_states.bit_length() - 1):
        reached |= {int(after) for state in reached for after in machine.next_state[state]}
    assert len(reached) == num_states


@pytest.mark.parametrize("num_states", SIZES)
def test_paths_satisfy_the_parity_check(num_states):
    """h0(D) quantiser + h1(D) parity = 0, which is what defines the code: existing files depend on it."""
    parities = np.random.default_rng(num_states).integers(0, 2, 400).tolist()
    quantisers = walk(trellis(num_states), parities)
    feedback, forward = POLYNOMIALS[num_states]
    memory = num_states.bit_length() - 1
    for time in range(400):
        check = 0
        for delay in range(min(memory, time) + 1):
            check ^= (feedback >> delay & 1) & quantisers[time - delay] ^ (forward >> delay & 1) & parities[time - delay]
        assert check == 0


@pytest.mark.parametrize("num_states", SIZES)
def test_the_free_distance_is_the_published_one(num_states):
    assert squared_free_distance(trellis(num_states)) == FREE_DISTANCE[num_states]


def test_the_scalar_machine_never_leaves_its_quantiser():
    assert walk(SCALAR, [0, 1, 1, 0, 1]) == [0] * 5


@given(st.lists(st.one_of(st.integers(0, 5), st.integers(CHUNK - 2, CHUNK + 2), st.integers(0, 5 * CHUNK)), max_size=8))
def test_chunks_cover_everything_once_and_no_two_streams(sizes):
    parts = chunks(sizes)
    assert parts.shape == (len(parts), 2)
    expected = 0
    ends = set(np.cumsum(sizes).tolist())
    for start, length in parts.tolist():
        assert start == expected
        assert 0 < length <= CHUNK
        assert not any(start < end < start + length for end in ends)
        assert length == CHUNK or start + length in ends  # short only where its stream ends
        expected = start + length
    assert expected == sum(sizes)


@given(st.lists(st.tuples(st.one_of(st.integers(-3, 3), st.integers(-(2**29), 2**29)), st.integers(0, 1)), max_size=50))
def test_points_are_two_k_and_two_k_less_its_sign(pairs):
    symbols = np.array([symbol for symbol, _ in pairs], np.int32)
    quantisers = np.array([quantiser for _, quantiser in pairs], np.uint8)
    expected = [2 * k if q == 0 or k == 0 else (2 * k - 1 if k > 0 else 2 * k + 1) for k, q in pairs]
    found = points(symbols, quantisers)
    assert found.dtype == np.int32
    assert found.tolist() == expected
