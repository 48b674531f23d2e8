"""What reviewers decided, for other tools: as a table, as JSON, as attributes of COCO annotations, as FiftyOne tags."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from audit.datasets.manifest import Sample
from audit.errors import RunError
from audit.export.labels.kind import Collection
from audit.export.tables import reviewers_told, write_csv
from audit.store import Run
from audit.store.storage.files import write_atomically
from audit.store.storage.objects import Location
from audit.store.tables.records import finite
from audit.store.verdicts.decided import Standing, decided
from audit.store.verdicts.log import BoxCorners, Verdict, VerdictLog, target_of, target_subject

FORMAT = 1
"""Of the JSON file."""
_SCHEMA = pa.schema(
    [
        ("subject", pa.string()),  # SAMPLE:SLOT, or a claim's `claim_id`
        ("sample", pa.int64()),  # row in the manifest; null of a claim, as all about targets
        ("slot", pa.int16()),
        ("id", pa.string()),
        ("class", pa.string()),
        ("decision", pa.string()),
        ("reviewer", pa.string()),
        ("together", pa.string()),  # what all reviewers come to: agree, disagree, unsure, conflict
        ("note", pa.string()),
        ("time", pa.string()),
        ("batch", pa.string()),
        ("x0", pa.float64()),  # the box that the reviewer drew with this verdict, in upright pixels
        ("y0", pa.float64()),
        ("x1", pa.float64()),
        ("y1", pa.float64()),
        ("key", pa.string()),  # of the row, the same in every log that holds it
    ]
)


def export_verdicts(run: Run, out: Location) -> int:
    """Write the verdicts that stand, CSV or JSON by the suffix of `out`, and return how many.

    Raises:
        RunError: there is none, or the log cannot be read.
    """
    standing = _standing(run)
    table = pa.Table.from_pylist(_rows(run, standing), _SCHEMA)
    if out.suffix == ".csv":
        write_csv(table, out)
    else:
        about = {"path": str(run.path), "manifest": run.record["manifest"]["fingerprint"]}
        _write_json(out, {"format": FORMAT, "run": about, "verdicts": finite(table.to_pylist())})
    return int(table.num_rows)


def export_coco(run: Run, out: Location) -> int:
    """Write COCO annotations that carry what reviewers together say, one a target, or one a box that they drew.

    COCO has no tags. Its readers take what else an annotation holds: FiftyOne its own fields, CVAT and Datumaro those
    in `attributes`; so both hold `verdict` and `reviewers`. Where no box was drawn the annotation's is the whole image,
    and `drawn` is false.

    Raises:
        RunError: there is none, or the log cannot be read.
    """
    standing, boxes = _standing(run), VerdictLog.of(run).boxes()
    said, by_sample = decided(standing), _by_sample(_targets(run, standing))
    sizes, collection = _sizes(run, set(by_sample)), Collection(run.classes, str(run.manifest(0, 0).root))
    images, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
    for sample, listed in _samples(run, by_sample):
        height, width = sizes[sample]
        name, subjects = collection.image_name(listed), [target["subject"] for target in by_sample[sample]]
        tags = sorted({said[subject] for subject in subjects})
        images.append({"id": sample + 1, "file_name": name, "height": height, "width": width, "tags": tags})
        for target in by_sample[sample]:
            subject = target["subject"]
            about = {"verdict": said[subject], "reviewers": reviewers_told(standing[subject]), "subject": subject}
            drawn: list[BoxCorners | None] = [*boxes.get(subject, [])]
            annotations += [_annotation(target, box, sizes[sample], about) for box in drawn or [None]]
    numbered = [{"id": number, **annotation} for number, annotation in enumerate(annotations, 1)]
    categories = [{"id": class_id, "name": name} for class_id, name in enumerate(run.classes, 1)]
    _write_json(out, {"images": images, "annotations": numbered, "categories": categories})
    return len(annotations)


def export_fiftyone(run: Run, out: Location) -> int:
    """Write the tags of each image, by its path: what reviewers together say, alone and with the class.

    Raises:
        RunError: there is none, or the log cannot be read.
    """
    standing = _standing(run)
    said, by_sample = decided(standing), _by_sample(_targets(run, standing))
    tags = {
        listed.image: sorted({tag for target in by_sample[sample] for tag in _tags(said[target["subject"]], target)})
        for sample, listed in _samples(run, by_sample)
    }
    _write_json(out, {"tags": tags})
    return len(tags)


def _tags(said: str, target: Mapping[str, Any]) -> tuple[str, str]:
    return said, f"{said} {target['class']}"


def _standing(run: Run) -> Standing:
    log = VerdictLog.of(run)
    log.check()
    standing = log.standing()
    if not standing:
        raise RunError(f"{run.path} has no verdict yet; give some with `camaudit dashboard {run.path}`")
    return standing


def _rows(run: Run, standing: Standing) -> list[dict[str, Any]]:
    """A row a verdict that stands, in the order in which they were given."""
    said, targets = decided(standing), _targets(run, standing)
    given = sorted((one for by in standing.values() for one in by.values()), key=lambda one: (one.time, one.number))
    return [_row(verdict, said[verdict.subject], targets) for verdict in given]


def _row(verdict: Verdict, together: str, targets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    sample, slot = target_of(verdict.subject) or (None, None)
    target = targets.get(verdict.subject, {})
    corners = dict(zip(("x0", "y0", "x1", "y1"), verdict.box or (None,) * 4, strict=True))
    own = {name: getattr(verdict, name) for name in ("subject", "decision", "reviewer", "note", "time", "batch", "key")}
    about = {name: target.get(name) for name in ("id", "class")}
    return {**own, **about, "sample": sample, "slot": slot, "together": together, **corners}


def _targets(run: Run, standing: Standing) -> dict[str, dict[str, Any]]:
    """What the run knows of the targets with a verdict, by subject: columns of `targets`, the sample's id."""
    wanted = {key for subject in standing if (key := target_of(subject)) is not None}
    owners = {sample // run.record["shard_size"] for sample, _ in wanted}
    found: dict[str, dict[str, Any]] = {}
    for shard in (shard for shard in run.done() if shard.index in owners):
        ids = run.read("samples", shard, ["id"])["id"].to_pylist()
        for row in run.read("targets", shard, ["sample", "slot", "class_id", "class"]).to_pylist():
            if (row["sample"], row["slot"]) in wanted:
                subject = target_subject(row["sample"], row["slot"])
                found[subject] = row | {"id": ids[row["sample"] - shard.start], "subject": subject}
    return found


def _by_sample(targets: Mapping[str, dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    by_sample: dict[int, list[dict[str, Any]]] = {}
    for target in targets.values():
        by_sample.setdefault(target["sample"], []).append(target)
    return by_sample


def _samples(run: Run, wanted: Iterable[int]) -> Iterable[tuple[int, Sample]]:
    """Samples by their rows."""
    chosen = set(wanted)
    for shard in run.shards:
        if chosen & set(range(shard.start, shard.stop)):
            for row, sample in enumerate(run.manifest(shard.start, shard.stop), shard.start):
                if row in chosen:
                    yield row, sample


def _sizes(run: Run, samples: set[int]) -> dict[int, tuple[int, int]]:
    """Height and width of upright images."""
    sizes: dict[int, tuple[int, int]] = {}
    for shard in run.done():
        if samples & set(range(shard.start, shard.stop)):
            table = run.read("samples", shard, ["sample", "height", "width"])
            rows = table.filter(pc.is_in(table["sample"], pa.array(sorted(samples), pa.int64()))).to_pylist()
            sizes |= {row["sample"]: (row["height"], row["width"]) for row in rows}
    return sizes


def _annotation(
    target: Mapping[str, Any], box: BoxCorners | None, size: tuple[int, int], about: Mapping[str, Any]
) -> dict[str, Any]:
    x0, y0, x1, y1 = box or (0.0, 0.0, float(size[1]), float(size[0]))
    said = {**about, "drawn": box is not None}
    return {
        "image_id": target["sample"] + 1,
        "category_id": target["class_id"] + 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "iscrowd": 0,
        **said,
        "attributes": said,
    }


def _write_json(out: Location, record: Mapping[str, Any]) -> None:
    write_atomically(out, partial(_dump, record))


def _dump(record: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
