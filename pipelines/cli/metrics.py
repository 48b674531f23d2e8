"""The verb `metrics`: the field's measures of a run, as a table or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pipelines.cli.options.common import Json, MaskThreshold, RunPath, Wide, names, right_use
from pipelines.cli.options.groups import LabelSetOptions, spread
from pipelines.cli.printing import line, print_detections, print_json
from pipelines.cli.tables import named, numbers, print_table
from pipelines.terminal import TerminalProgress


@spread
def metrics(
    run_path: RunPath,
    label_set: LabelSetOptions,
    threshold: MaskThreshold = None,
    roles: Annotated[str, typer.Option(help="Targets that make pseudo-masks.")] = "label",
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Measure masks and maps: mean IoU, MaxBoxAcc, PxAP, pointing.

    Of a detector: average precision, and its boxes by what is wrong with them.

    Mean IoU, boundary IoU and boundary F are of pseudo-masks. MaxBoxAcc, PxAP, localization errors, relevance and the
    pointing game are of the maps of labels.

    Example: camaudit metrics runs/val --json
    """
    from audit.attribution.targets import DETECTED
    from audit.scores.given.detection_metrics import measure_detections
    from audit.scores.metrics.registry import measure_run
    from audit.store import Run
    from pipelines.run.config import known_roles, mapped_roles

    with right_use():
        chosen = known_roles(names(roles))
    run = Run.open(run_path)
    if run.record["config"]["roles"] == [DETECTED]:
        measured = measure_detections(run, TerminalProgress())
        print_json(measured) if as_json else print_detections(measured, wide)
        return
    if label_set.labels is None:
        mapped_roles(run, chosen)
    source = label_set.masks(threshold, chosen).of(run, TerminalProgress())
    record = measure_run(source, TerminalProgress())
    print_json(record) if as_json else _print(record, wide)


def _print(record: Mapping[str, Any], wide: bool) -> None:
    segmentation, at = record["segmentation"], record["labels"].get("threshold")
    if not segmentation["images"]:
        line("No image has a mask: only what boxes tell can be measured. Index the collection with masks for the rest.")
    rows = [row for row in segmentation["classes"] if row["iou"] is not None]
    if rows:
        columns = [_column(title, rows, key) for title, key in _SEGMENTATION.items()]
        title = f"pseudo-masks{'' if at is None else f' at threshold {_told(at)}'}, {segmentation['images']} images"
        print_table(title, [named("class", [row["class"] for row in rows]), *columns], wide)
    lines = _lines(record)
    width = max(len(name) for name, *_ in lines)
    for name, value, about in lines:
        line(f"{name:<{width}}  {value:<5}  {about}")


_SEGMENTATION = {"IoU": "iou", "boundary IoU": "boundary_iou", "boundary F": "boundary_f", "images": "images"}
_MEANS = {"mean IoU": "mean_iou", "mean boundary IoU": "mean_boundary_iou", "mean boundary F": "mean_boundary_f"}
_BOXES = {"MaxBoxAcc": "max_box_acc", "MaxBoxAccV2": "max_box_acc_v2"}
_ERRORS = {"top-1 localization error": "top1_error", "top-5 localization error": "top5_error"}
_RELEVANCE = {"relevance rank accuracy": "rank_accuracy", "relevance mass accuracy": "mass_accuracy"}
_POINTS = {"": "hit", ", 15 px": "hit_15px", ", centre": "centre_hit", ", centre, 15 px": "centre_hit_15px"}


def _lines(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value, and what it is of."""
    parts = {name: record[name] for name in ("segmentation", "boxes", "pixels", "relevance")}
    classes = "mean over classes"
    lines = [(name, _number(parts["segmentation"][key]), classes) for name, key in _MEANS.items()]
    boxes = parts["boxes"]
    lines += [(name, _number(boxes.get(key)), f"{boxes['targets']} targets") for name, key in _BOXES.items()]
    lines += [(name, _number(boxes.get(key)), f"{boxes.get('images', 0)} images") for name, key in _ERRORS.items()]
    lines += [("PxAP", _number(parts["pixels"]["px_ap"]), f"{parts['pixels']['targets']} targets")]
    targets = f"mean over {parts['relevance']['targets']} targets"
    lines += [(name, _number(parts["relevance"][key]), targets) for name, key in _RELEVANCE.items()]
    for which, points in record["pointing"].items():
        for said, key in _POINTS.items():
            pointed = points[key]
            about = f"{classes}, {pointed['targets']} targets"
            lines.append((f"pointing, {which}{said}", _number(pointed["mean_accuracy"]), about))
    return lines


def _column(title: str, rows: list[dict[str, Any]], key: str) -> Any:
    return numbers(title, (row[key] or "-" if key == "images" else _number(row[key]) for row in rows))


def _told(threshold: float | str) -> str:
    return threshold if isinstance(threshold, str) else f"{threshold:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
