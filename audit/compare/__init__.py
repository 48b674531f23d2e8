"""Two runs side by side: the same samples under two models, or under two versions of the data."""

from audit.compare.moved import CHANGES, most_moved, moved_targets
from audit.compare.runs import compare_runs

__all__ = ["CHANGES", "compare_runs", "most_moved", "moved_targets"]
