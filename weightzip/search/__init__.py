"""The search room: the coarsest setting that still meets a target. Never knows what the setting does."""

from weightzip.search.bisect import bisect_log

__all__ = ["bisect_log"]
