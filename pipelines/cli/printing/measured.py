"""What tells whether maps, labels and the audit itself can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audit.wording import decimal
from pipelines.cli.printing.lines import line
from pipelines.cli.tables import named, numbers, print_table, words

if TYPE_CHECKING:
    from audit.findings.grading import Graded
    from audit.store.storage.objects import Location

_MOST_CLASSES = 20


def print_graded(graded: Graded, wide: bool = False) -> None:
    """Print from which share of a class's images a planted shortcut was found, beside the formula's."""
    from audit.wording import percent

    rows = graded.grades
    if rows:
        columns = [
            named("class", (row.class_name for row in rows)),
            words("a shortcut is found", (row.how for row in rows)),
            numbers("images", (row.images for row in rows), rank=2),
            numbers("planted in", ("-" if row.least is None else percent(row.least) for row in rows)),
            numbers("by formula", ("-" if row.certified is None else percent(row.certified) for row in rows), rank=1),
        ]
        print_table(f"The least share of images in which it is found in 95 % of {graded.draws} draws", columns, wide)
    for text in graded.painted:
        line(text)
    for text in graded.left_out:
        line(f"not graded: {text}")


def print_labels(record: Mapping[str, Any], wide: bool = False) -> None:
    """Print how many label images there are, and how good they are where masks are known."""
    counts = f"{record['processed']} label images, {record['failed']} failed, {record['pending']} pending"
    line(f"{record['labels']}: {counts}")
    for failure in record["failures"]:
        line(f"  failed: sample {failure['sample']}: {failure['reason']}")
    if not record["thresholds"]:
        line("no masks are known, so nothing says which threshold is best; 0.3 to 0.5 is usual")
        return
    rows = record["thresholds"]
    columns = [
        words("threshold", (row["threshold"] for row in rows)),
        numbers("mean IoU", (decimal(row["mean_iou"]) for row in rows)),
    ]
    print_table("Label images against the masks", columns, wide)
    classes = [row for row in record["classes"] if row["iou"] is not None][: _MOST_CLASSES + 1]
    columns = [
        named("class", (row["class"] for row in classes)),
        numbers("IoU", (decimal(row["iou"]) for row in classes)),
        numbers("own best threshold", (decimal(row["threshold"]) for row in classes)),
    ]
    print_table(f"Classes at the best threshold, {len(classes)} of {len(record['classes'])}", columns, wide)
    kept = ", ".join(f"{row['share']:.0%} {decimal(row['mean_iou'])}" for row in record["by_trust"])
    line(f"mean IoU of the images most trusted: {kept}")


def print_detections(record: Mapping[str, Any], wide: bool = False) -> None:
    """Print average precision, and a detector's boxes by what is wrong with them."""
    if not record["images"]:
        line("No object of any image is known, so nothing can be measured. Index the collection with boxes or masks.")
        return
    precisions = {row["class"]: row for row in record["classes"]}
    names = list(record["errors"])
    columns = [
        named("class", names),
        *(
            numbers(title, (decimal(precisions.get(name, {}).get(key)) for name in names))
            for title, key in (("AP", "ap"), ("AP at 0.5", "ap50"))
        ),
        *(numbers(kind, (record["errors"][name][kind] for name in names), rank=1) for kind in _kinds(record)),
    ]
    print_table(f"{record['objects']} objects in {record['images']} images", columns, wide)
    means = (f"{name} {decimal(record[key])}" for name, key in _PRECISIONS.items())
    line(f"{', '.join(means)}: means over classes, as COCO measures them")


_PRECISIONS = {"AP": "ap", "AP at 0.5": "ap50", "AP at 0.75": "ap75"}


def _kinds(record: Mapping[str, Any]) -> list[str]:
    return list(next(iter(record["errors"].values()), {}))


def print_sanity(record: Mapping[str, Any], picture: Location, wide: bool = False) -> None:
    """Print the curves as a table, and a sentence a method."""
    from pipelines.experiments.sanity import verdict_line

    methods = record["methods"]
    stages = record["randomised_down_to"]
    columns = [
        named("randomised down to", stages),
        *(
            numbers(name, (_similarity(curve, stage) for stage in range(len(stages))), rank)
            for rank, (name, curve) in enumerate(methods.items())
        ),
    ]
    title = f"Rank correlation (SSIM) of {record['samples']} maps with those of the model as it is"
    print_table(title, columns, wide)
    for name, curve in methods.items():
        line(f"{name} {verdict_line(curve)}")
    line(f"rule: {record['rule']}; {picture}")


def _similarity(curve: Mapping[str, Any], stage: int) -> str:
    ssim = curve["ssim"][stage]
    return f"{curve['rank_correlation'][stage]:.2f} ({'-' if ssim is None else f'{ssim:.2f}'})"


def print_faithfulness(record: Mapping[str, Any], wide: bool = False) -> None:
    """Print the measures of each map, and how the run's method differs from a random map on the same targets."""
    from pipelines.experiments.faithfulness import MEASURES

    method = record["method"]
    ranks = {"centre": 3, "random": 2, f"{method}\nless random": 1}
    maps = record["measures"] | {f"{method}\nless random": record["less_random"][method]}
    columns = [
        words("measure", (f"{measure}\n({better})" for measure, better in MEASURES.items())),
        *(
            numbers(name, (_interval(means[measure]) for measure in MEASURES), ranks.get(name, 0))
            for name, means in maps.items()
        ),
    ]
    title = f"Faithfulness on {record['targets']} targets, {len(record['failed'])} unreadable [95 %]"
    print_table(title, columns, wide)


def _interval(mean: Mapping[str, float]) -> str:
    return f"{mean['mean']:.3f}\n[{mean['low']:.3f}, {mean['high']:.3f}]"
