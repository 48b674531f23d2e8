"""What planting, training and the demo made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.wording import decimal
from pipelines.cli.printing.lines import line
from pipelines.cli.printing.runs import print_audited
from pipelines.cli.tables import named, numbers, print_table, whole, words

if TYPE_CHECKING:
    from pipelines.planted.demo import Demonstration


def print_demonstration(shown: Demonstration, wide: bool = False) -> None:
    """Print the demo's run, and its findings beside the truth."""
    print_audited(shown.audited)
    print_truth(shown.planted, wide)
    line(f"\nbrowse it: camaudit dashboard {shown.audited.run.path}")


def print_truth(planted: Mapping[str, Any], wide: bool = False) -> None:
    """Print what a planted benchmark's audit found beside what was planted."""
    rows = planted["classes"]
    columns = [
        named("class", (row["class"] for row in rows)),
        words("planted cue", (row["cue"] or "-" for row in rows)),
        numbers("relies on it", (f"{row['relies']:.2f}" for row in rows), rank=2),
        numbers("accuracy\nwithout", (f"{row['accuracy_without_cue']:.2f}" for row in rows), rank=3),
        numbers("off object", (f"{row['off_object']:.2f}" for row in rows), rank=1),
        words("finding", ("finding" if row["finding"] else "-" for row in rows)),
    ]
    print_table("Findings beside the truth", columns, wide)
    ranked = ", ".join(f"{name} {value:.3f}" for name, value in planted["auroc"].items() if value is not None)
    line(f"AUROC against reliance: {ranked}")
    if planted["void"]:
        line("void: a class without a cue was not learnt; train longer")


def print_planted(manifest: Path, cue: str, counts: Mapping[str, int]) -> None:
    """Print how many images have the cue now, and which were left as they were."""
    text = "{planted} of {of_class} images of the class and {elsewhere} of {others} others have the {cue} now"
    line(f"{manifest}: {text.format(**counts, others=counts['samples'] - counts['of_class'], cue=cue)}")
    if counts["no_place"] or counts["unreadable"]:
        line(f"left as they were: {counts['no_place']} without a free place, {counts['unreadable']} unreadable")


def print_trained(checkpoint: Path, record: Mapping[str, Any]) -> None:
    """Print on how many samples a model was trained, with what loss it ended, and what was measured."""
    samples, unreadable = record["samples"], record["unreadable"]
    line(f"{checkpoint}: {samples} samples ({unreadable} unreadable), last mean loss {record['loss']:.4f}")
    _print_measured(record, ("mean_average_precision", "accuracy"))


def print_distilled(checkpoint: Path, record: Mapping[str, Any]) -> None:
    """Print on how many labels a network was trained, with what loss it ended, and what was measured."""
    left_out = {"images unreadable": record["unreadable"], "labels 255 everywhere": record["empty"]}
    notes = "".join(f", {count} {what}" for what, count in left_out.items() if count)
    line(f"{checkpoint}: {record['samples']} labels{notes}, last mean loss {record['loss']:.4f}")
    _print_measured(record, ("mean_iou",))


def _print_measured(record: Mapping[str, Any], names: Sequence[str]) -> None:
    if record["validated"]:
        figures = ", ".join(f"{name.replace('_', ' ')} {decimal(record[name])}" for name in names if name in record)
        line(f"epoch {record['epoch']}, on {record['validated']} other samples: {figures}")
    line(f"epoch by epoch: {record['record']}, {record['curve']}")


def print_segmented(out: Path, summary: Mapping[str, Any]) -> None:
    """Print how many masks a network made, and how they lie on the true ones."""
    line(f"{out}: {summary['masks']} masks, {summary['failed']} failed")
    for failure in summary["failures"]:
        line(f"  failed {whole(failure['id'])}: {failure['failed']}")
    if summary["scored"]:
        line(f"mean IoU {decimal(summary['mean_iou'])} on {summary['scored']} masks")
        occurring = {name: decimal(iou) for name, iou in summary["iou"].items() if iou is not None}
        print_table("IoU", [named("class", occurring), numbers("IoU", occurring.values())])
