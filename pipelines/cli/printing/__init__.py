"""All that verbs print: tables and sentences for people, JSON for programs. They go to standard output."""

from pipelines.cli.printing.compared import print_comparison
from pipelines.cli.printing.found import print_findings, print_verified
from pipelines.cli.printing.lines import as_written, line, print_json, print_pairs
from pipelines.cli.printing.made import (
    print_demonstration,
    print_distilled,
    print_planted,
    print_segmented,
    print_trained,
    print_truth,
)
from pipelines.cli.printing.measured import (
    print_detections,
    print_faithfulness,
    print_graded,
    print_labels,
    print_sanity,
)
from pipelines.cli.printing.reviewed import print_review
from pipelines.cli.printing.runs import (
    print_audited,
    print_basis,
    print_methods,
    print_opening,
    print_status,
    print_summary,
)
from pipelines.cli.printing.seen import print_alike, print_channels, print_concepts

__all__ = [
    "as_written",
    "line",
    "print_alike",
    "print_audited",
    "print_basis",
    "print_channels",
    "print_comparison",
    "print_concepts",
    "print_demonstration",
    "print_detections",
    "print_distilled",
    "print_faithfulness",
    "print_findings",
    "print_graded",
    "print_json",
    "print_labels",
    "print_methods",
    "print_opening",
    "print_pairs",
    "print_planted",
    "print_review",
    "print_sanity",
    "print_segmented",
    "print_status",
    "print_summary",
    "print_trained",
    "print_truth",
    "print_verified",
]
