"""From which score on a block is flagged, told by the scores of the checkpoint itself, some of which may be those of faults.

scores of all blocks, of each large tensor --the bulk's upper end, extrapolated--> limit of each block
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FEWEST = 64  # blocks that can tell what is usual
_START, _END = 0.90, 0.97  # quantiles; beyond the second one there may be faults
_LENGTHS = 3.8  # of the step between both, from the first one up to the limit
_LARGE = 256  # blocks of a group that has a limit of its own


def limits(scores: Tensor, groups: Tensor, usual: Tensor) -> Tensor:
    """Scores [n] above these [n] are flagged: chosen so that a clean checkpoint has less than one in a thousand of them.

    groups: int64 [n]. usual: bool [n], the scores that tell. A block has to stand out from the whole checkpoint and, in a large
    group, from that too. The limit lies 3.8 times as far above the 90th percentile as the 97th does, the 2 in 10,000 point of a
    generalised Pareto tail (Pickands 1975) of shape -0.13; shapes that are fitted to a few dozen scores are too uncertain, and
    further up there may be faults. Infinite for fewer than 64 scores.
    """
    if int(usual.sum()) < FEWEST:
        return torch.full_like(scores, math.inf)
    found = torch.full_like(scores, _limit(scores[usual]))
    for number in torch.unique(groups).tolist():
        members = groups == number
        if int((members & usual).sum()) >= _LARGE:
            found[members] = found[members].clamp_min(_limit(scores[members & usual]))
    return found


def _limit(scores: Tensor) -> float:
    order = scores.double().sort()[0]
    start, end = (float(order[int(share * (len(order) - 1))]) for share in (_START, _END))
    return start + _LENGTHS * (end - start)
