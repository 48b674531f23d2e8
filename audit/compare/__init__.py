"""Two runs side by side: the same samples under two models, or under two versions of the data."""

from audit.compare.runs import compare_runs

__all__ = ["compare_runs"]
