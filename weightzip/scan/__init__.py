"""The scan room: which blocks of a checkpoint's weights do not belong where they are. Never knows how a file is compressed.

tensors --ranges--> blocks of 64 --elements, features, describe--> figures --detect, one per family--> surprises
    surprises --ensemble, with weights found on injected `faults`--> scores --threshold--> flags --picture--> PNG

>>> import torch
>>> weights = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
>>> weights[10] = 0
>>> scan({"weight": weights}, family="dense").flagged[0].start
640
"""

from weightzip.scan.picture import draw_scan
from weightzip.scan.scanning import ENSEMBLE, Flag, ScanResult, check_family, scan

__all__ = ["ENSEMBLE", "Flag", "ScanResult", "check_family", "draw_scan", "scan"]
