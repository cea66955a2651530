"""The search room: the coarsest setting that still meets a target. Never knows what the setting does."""

from weightzip.search.approach import approach_limit
from weightzip.search.bisect import bisect_log
from weightzip.search.share import balanced, tolerances

__all__ = ["approach_limit", "balanced", "bisect_log", "tolerances"]
