"""Areas under curves of scores against labels, as scikit-learn computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from torch import Tensor

from weightzip.interface import JSON

PARTIAL = 0.1  # of the false positive rate, up to which a partial area is taken


@dataclass(frozen=True)
class Areas:
    """auc: under the ROC curve. partial_auc: of that up to p = 0.1, standardised so that chance has 0.5 (McClish 1989).

    pr_auc: average precision.
    """

    auc: float
    partial_auc: float
    pr_auc: float

    @staticmethod
    def of(scores: Tensor, positive: Tensor) -> Areas | None:
        """Of scores [n] for labels bool [n]; None where all labels are the same."""
        from sklearn.metrics import average_precision_score, roc_auc_score

        labels, values = positive.numpy(), scores.double().numpy()
        if labels.all() or not labels.any():
            return None
        partial = roc_auc_score(labels, values, max_fpr=PARTIAL)
        return Areas(float(roc_auc_score(labels, values)), float(partial), float(average_precision_score(labels, values)))

    @staticmethod
    def mean(areas: Sequence[Areas | None]) -> Areas | None:
        """Of those that there are."""
        rows = [(each.auc, each.partial_auc, each.pr_auc) for each in areas if each is not None]
        return Areas(*np.mean(rows, axis=0).tolist()) if rows else None

    def to_json(self) -> dict[str, JSON]:
        """With these field names."""
        return asdict(self)
