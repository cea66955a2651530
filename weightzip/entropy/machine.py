"""The state machine of trellis-coded quantisation, which encoder and decoder run alike.

Two quantisers share the reconstruction points: with symbol k, quantiser 0 stands for 2k steps and quantiser 1 for
2k - sign(k); zero belongs to both. A machine driven by the symbols' parities says which is in force, so that sequences of
points are the paths of a convolutional code (Marcellin & Fischer 1990, "Trellis coded quantization of memoryless and
Gauss-Markov sources"; the union of quantisers with a common zero as in JPEG 2000, part 2, and as in the dependent
quantisation of VVC and of ISO/IEC 15938-17).

    state --quantiser of the state--> point of k --parity of k--> next state
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# The kernels of `streams` hold this number as a constant, but what numba caches of them is renewed only when their own file
# changes: whoever changes it here must touch that file as well.
CHUNK = 2048  # symbols after which the machine starts anew: the lanes that are searched side by side

# Parity-check polynomials with the largest free distance for amplitude modulation (Ungerboeck 1987, part II, table I). Files
# are written with 256 states; the others were measured beside it, and 8 are few enough for tests that try every sequence.
_POLYNOMIALS = {8: (0o13, 0o04), 64: (0o103, 0o024), 256: (0o515, 0o362)}


@dataclass(frozen=True)
class Machine:
    """next_state: uint8 [states, 2], by the symbol's parity; quantiser: uint8 [states], 0 or 1. It starts in state 0."""

    next_state: NDArray[np.uint8]
    quantiser: NDArray[np.uint8]

    @property
    def num_states(self) -> int:
        """How many states the machine has."""
        return len(self.quantiser)


SCALAR = Machine(np.zeros((1, 2), np.uint8), np.zeros(1, np.uint8))  # one quantiser: plain rounding to even points


@lru_cache
def trellis(num_states: int) -> Machine:
    """The systematic feedback encoder of the code with 8, 64 or 256 states, in observer form (Ungerboeck 1982, figure 9)."""
    checks = _POLYNOMIALS[num_states]
    memory = num_states.bit_length() - 1
    states = np.arange(num_states)
    output = states >> (memory - 1) & 1
    inputs = np.arange(2)
    following = np.zeros((num_states, 2), np.int64)
    for stage in range(memory):
        before = states >> (stage - 1) & 1 if stage else np.zeros_like(states)
        feedback, forward = (check >> (memory - stage) & 1 for check in checks)
        bit = before[:, None] ^ (output & feedback)[:, None] ^ (inputs & forward)[None, :]  # [states, 2]
        following |= bit << stage
    return Machine(following.astype(np.uint8), output.astype(np.uint8))


def chunks(stream_sizes: list[int]) -> NDArray[np.int64]:
    """Start and length of every chunk [n, 2] of streams that lie one after the other; no chunk holds parts of two."""
    parts: list[tuple[int, int]] = []
    start = 0
    for size in stream_sizes:
        parts += [(start + offset, min(CHUNK, size - offset)) for offset in range(0, size, CHUNK)]
        start += size
    return np.array(parts, np.int64).reshape(-1, 2)


def points(symbols: NDArray[np.int32], quantisers: NDArray[np.uint8]) -> NDArray[np.int32]:
    """What symbols stand for, in fine steps; quantisers [n] as the machine has them."""
    shifted: NDArray[np.int32] = 2 * symbols - np.sign(symbols) * quantisers.astype(np.int32)
    return shifted
