"""Trellis-coded quantisation: the sequence of symbols whose squared error and code length together are smallest.

Viterbi's search over the paths of the state machine (`weightzip.entropy.machine`), with code lengths in its metric
(entropy-coded trellis-coded quantisation, Fischer & Wang 1992):  minimise  sum (u - point)^2 + tradeoff * bits.
Chunks are searched side by side, so that the inner loop runs over contiguous lanes and costs little per state.

What the number of states is worth, as distance from the rate-distortion bound of a Gaussian source at 2.4 bits per value:

    states                           bits from the bound    search, ns per value
    1 (scalar, each symbol priced)   0.256                  -
    8                                0.089                  40
    64                               0.060                  58
    256, which the codecs use        0.048                  100

    Also measured, and in no file: 128 states 0.053 and 68, 512 states 0.044 and 200.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from weightzip.entropy.machine import Machine
from weightzip.kernels import kernel
from weightzip.threads import side_by_side

TRELLIS_TRADEOFF = 0.45  # squared fine steps per bit; 0.35 to 0.5 measured alike on the zoo and on Resemblyzer, the rest worse
NUM_PRICES = 16  # magnitudes that have a price of their own; larger ones cost what the last one does
_LANES = 64  # chunks searched side by side
_FAR = np.float32(1e30)
_LARGEST = np.float32(2.0**30)


def search(
    values: NDArray[np.float32],
    classes: NDArray[np.uint8],
    parts: NDArray[np.int64],
    machine: Machine,
    prices: NDArray[np.float32],
    tradeoff: float,
) -> NDArray[np.int32]:
    """Symbols [n] for values [n] in fine steps; what no chunk of `parts` [m, 2] (start, length) covers stays 0.

    prices: bits of each magnitude [num_classes, 2, NUM_PRICES], its sign included. Costs O(n * states).
    """
    symbols = np.zeros(values.size, np.int32)
    incoming, flat_prices = _incoming(machine), prices.reshape(-1)

    def block(first: int) -> None:
        chunks = parts[first : first + _LANES]
        _search(values, classes, chunks.tolist(), incoming, flat_prices, np.float32(tradeoff), symbols)

    side_by_side(block, range(0, len(parts), _LANES))
    return symbols


def run_machine(symbols: NDArray[np.int32], parts: NDArray[np.int64], machine: Machine) -> NDArray[np.uint8]:
    """The quantiser [n] in force at each symbol."""
    quantisers = np.zeros(symbols.size, np.uint8)
    _run(symbols, parts, machine.next_state, machine.quantiser, quantisers)
    return quantisers


def _incoming(machine: Machine) -> NDArray[np.int64]:
    """Per state its two predecessors with the branch that leads from each: [states, 4] = state, branch, state, branch.

    A branch is 2 * quantiser + parity.
    """
    incoming: list[list[int]] = [[] for _ in range(machine.num_states)]
    for state in range(machine.num_states):
        for parity in (0, 1):
            incoming[machine.next_state[state, parity]] += [state, 2 * int(machine.quantiser[state]) + parity]
    return np.array(incoming, np.int64)


# Not compiled: what has no loop over values in it costs nothing here, and seconds to compile at the first use.
def _search(
    values: NDArray[np.float32],
    classes: NDArray[np.uint8],
    chunks: Sequence[tuple[int, int]],
    incoming: NDArray[np.int64],
    prices: NDArray[np.float32],
    tradeoff: np.float32,
    symbols: NDArray[np.int32],
) -> None:
    """Search some chunks (start, length) side by side, each in a lane of its own."""
    length, lanes = max(size for _, size in chunks), len(chunks)
    block_values, block_classes = np.zeros((length, lanes), np.float32), np.zeros((length, lanes), np.int32)
    for lane, (start, size) in enumerate(chunks):
        block_values[:size, lane] = values[start : start + size]
        block_classes[:size, lane] = classes[start : start + size]
    np.clip(block_values, -_LARGEST, _LARGEST, out=block_values)
    costs = np.zeros((4, length, lanes), np.float32)
    _branch_costs(block_values.reshape(-1), block_classes.reshape(-1), prices, tradeoff, costs.reshape(4, -1))
    for lane, (_, size) in enumerate(chunks):  # after its end a chunk has no costs, so that its best path is its own length's
        costs[:, size:, lane] = 0
    decisions = np.zeros((length, len(incoming) // 8, lanes), np.uint8)
    total, spare = np.full((len(incoming), lanes), _FAR, np.float32), np.zeros((len(incoming), lanes), np.float32)
    total[0] = 0
    final = _add_compare_select(costs, incoming, length, total, spare, decisions)
    for lane, (start, size) in enumerate(chunks):
        part = symbols[start : start + size]
        _trace_back(block_values, block_classes, prices, tradeoff, incoming, final, decisions, lane, part)


@kernel
def _nearest(magnitude, quantiser, parity):  # type: ignore[no-untyped-def]
    """The nearest point of a branch and the next one towards zero, which may be cheaper; points of a branch are 4 apart."""
    odd = np.float32(1) if parity else np.float32(-1)
    offset = odd if quantiser else np.float32(2 * parity)
    lowest = max(offset, np.float32(0))
    point = np.float32(4) * np.floor((magnitude - offset) * np.float32(0.25) + np.float32(0.5)) + offset
    return max(point, lowest), max(point - np.float32(4), lowest)


@kernel
def _branch_costs(values, classes, prices, tradeoff, costs):  # type: ignore[no-untyped-def]
    """Cost of the better candidate of each branch: values [m], classes [m] -> costs [4, m]."""
    for quantiser in range(2):
        for parity in range(2):
            branch = costs[2 * quantiser + parity]
            for i in range(values.shape[0]):
                magnitude = abs(values[i])
                near, far = _nearest(magnitude, quantiser, parity)
                base = np.int32(2 * NUM_PRICES) * classes[i] + np.int32(quantiser * NUM_PRICES)
                first = min(np.int32((near + np.float32(quantiser)) * np.float32(0.5)), np.int32(NUM_PRICES - 1))
                second = min(np.int32((far + np.float32(quantiser)) * np.float32(0.5)), np.int32(NUM_PRICES - 1))
                near_cost = (magnitude - near) * (magnitude - near) + tradeoff * prices[base + first]
                far_cost = (magnitude - far) * (magnitude - far) + tradeoff * prices[base + second]
                branch[i] = min(near_cost, far_cost)


@kernel
def _add_compare_select(costs, incoming, length, total, spare, decisions):  # type: ignore[no-untyped-def]
    """Run the search forward: total [states, lanes] at the start becomes the totals at the end; one bit per decision."""
    num_states, lanes = total.shape
    for t in range(length):
        for group in range(num_states // 8):
            bits = decisions[t, group]
            bits[:] = 0
            for j in range(8):
                state = 8 * group + j
                total0, cost0 = total[incoming[state, 0]], costs[incoming[state, 1], t]
                total1, cost1 = total[incoming[state, 2]], costs[incoming[state, 3], t]
                best = spare[state]
                for lane in range(lanes):
                    x = total0[lane] + cost0[lane]
                    y = total1[lane] + cost1[lane]
                    bits[lane] |= np.uint8(y < x) << np.uint8(j)
                    best[lane] = min(x, y)
        if t % 32 == 31:  # totals stay small enough for float32
            for lane in range(lanes):
                least = spare[0, lane]
                for state in range(num_states):
                    spare[state, lane] -= least
        total, spare = spare, total
    return total


@kernel
def _trace_back(values, classes, prices, tradeoff, incoming, total, decisions, lane, symbols):  # type: ignore[no-untyped-def]
    """Follow the best path of one lane back from its end: values [length, lanes] -> symbols [up to length]."""
    state = 0
    for other in range(total.shape[0]):
        if total[other, lane] < total[state, lane]:
            state = other
    for t in range(values.shape[0] - 1, -1, -1):
        choice = decisions[t, state // 8, lane] >> (state % 8) & 1
        branch = incoming[state, 2 * choice + 1]
        state = incoming[state, 2 * choice]
        if t >= len(symbols):  # the padding after a short chunk
            continue
        quantiser = branch // 2
        magnitude = abs(values[t, lane])
        near, far = _nearest(magnitude, quantiser, branch % 2)
        first = np.int32((near + np.float32(quantiser)) * np.float32(0.5))
        second = np.int32((far + np.float32(quantiser)) * np.float32(0.5))
        base = (2 * classes[t, lane] + quantiser) * NUM_PRICES
        near_cost = (magnitude - near) ** 2 + tradeoff * prices[base + min(first, NUM_PRICES - 1)]
        far_cost = (magnitude - far) ** 2 + tradeoff * prices[base + min(second, NUM_PRICES - 1)]
        symbol = second if far_cost < near_cost else first
        symbol += symbol & 1 != branch % 2  # beyond 2^24, float32 does not tell neighbours apart, but the machine does
        symbols[t] = -symbol if values[t, lane] < 0 else symbol


@kernel
def _run(symbols, parts, next_state, quantiser_of, quantisers):  # type: ignore[no-untyped-def]
    for index in range(len(parts)):
        state = 0
        for position in range(parts[index, 0], parts[index, 0] + parts[index, 1]):
            quantisers[position] = quantiser_of[state]
            state = next_state[state, symbols[position] & 1]
