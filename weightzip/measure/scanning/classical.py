"""Detectors of scikit-learn on the very figures that the families see, at the library's own settings.

They learn from the same blocks as the families, without the worst twentieth, and their scores are standardised alike.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weightzip.errors import UsageError
from weightzip.scan.describe import Scanned
from weightzip.scan.detect import ordinary, surprise

CLASSICAL = ("Isolation Forest", "LOF", "One-Class SVM", "Elliptic Envelope")
_BLOCKS = 16_384  # that a detector learns from, at most, as the families do
_SVM_BLOCKS = 8_192  # a support vector machine's time grows with the square
_SCORED = 8_192  # blocks at a time


def classical_surprise(name: str, scanned: Scanned, seed: int) -> Tensor:
    """How odd each block is by one of `CLASSICAL`, [n], as `Detector.surprise`. Raises UsageError without scikit-learn."""
    blocks = ordinary(scanned, _SVM_BLOCKS if name == "One-Class SVM" else _BLOCKS, seed).values.double().numpy()
    with warnings.catch_warnings():  # figures that depend on each other are no news, and the library copes with them
        warnings.filterwarnings("ignore", "The covariance matrix associated to your dataset is not full rank")
        detector = _build(name, seed).fit(blocks)
    values = scanned.blocks.values.double().numpy()
    parts = [detector.score_samples(values[start : start + _SCORED]) for start in range(0, len(values), _SCORED)]
    raw = torch.from_numpy(-np.concatenate(parts)).float()
    return surprise(raw, scanned)


def _build(name: str, seed: int) -> Any:
    try:
        from sklearn.covariance import EllipticEnvelope
        from sklearn.ensemble import IsolationForest
        from sklearn.neighbors import LocalOutlierFactor
        from sklearn.svm import OneClassSVM
    except ImportError as error:
        raise UsageError(
            "the comparison of scans needs scikit-learn; install it with `pip install weightzip[bench]`"
        ) from error
    match name:
        case "Isolation Forest":
            return IsolationForest(random_state=seed)
        case "LOF":
            return LocalOutlierFactor(novelty=True)
        case "One-Class SVM":
            return OneClassSVM()
        case _:
            return EllipticEnvelope(random_state=seed)
