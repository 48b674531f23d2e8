"""From a run to its report: one pass over the tables, then the few images that the page shows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.datasets.manifest import Manifest, Track
from audit.errors import RunError
from audit.export import finite, read_causes, read_claims, read_classes, read_effects, read_rules
from audit.export.html import Picture, Report, ShownClaim, ShownTarget, SizeBin, render_report
from audit.findings import wilson_interval
from audit.pictures import Picture as Seen
from audit.pictures import jpeg_bytes, read_target
from audit.render import shrink
from audit.store import Run, Shard, layout
from audit.store.files import write_atomically
from audit.store.tables import read_table
from pipelines.examples import Examples, Part, how_chosen
from pipelines.limits import checks_of, limits_of
from pipelines.report import class_table

_EDGES = (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_SIDE = 288
_MOST_OTHERS = 200
_MOST_FAILURES = 10
_FRAME = layout.CELLS * layout.CELLS


def write_report(run: Run, out: Path | None = None, most: int = 12, track: Track = iter) -> Path:
    """Write a run's report, by default RUN/report/index.html, and return its path.

    Args:
        most: claims with pictures, and findings about targets, at most.
        track: wraps the shards that are read, for a progress bar.

    Raises:
        RunError: the run, or a shard of it, was not flagged yet, or its tables are damaged.
    """
    class_table(run)
    path = run.path / layout.REPORT / layout.PAGE if out is None else out
    page = render_report(gather_report(run, most, track))
    write_atomically(path, lambda partial: partial.write_text(page, encoding="utf-8"))
    return path


def gather_report(run: Run, most: int, track: Track = iter) -> Report:
    """All that the page says, read from the run."""
    found = sorted((claim for claim in read_claims(run) if claim["found"]), key=_rank)
    apart = [claim for claim in found if not claim["details"].get("narrower")][:most]
    others = [claim for claim in found if claim not in apart]
    survey = Survey(run, apart, most, track)
    summary = json.loads((run.path / layout.SUMMARY).read_text())
    manifest = Manifest.open(run.path / layout.MANIFEST, 0, 0)
    return Report(
        name=Path(manifest.root).name or "a collection",
        samples=summary["samples"],
        failures=run.failures(_MOST_FAILURES),
        facts=_facts(run),
        provenance=[*_provenance(run), ("root of the images", str(manifest.root))],
        findings=summary["findings"],
        scored=summary["scores"].get("scored", 0),
        claims=survey.shown_claims(),
        others=others[:_MOST_OTHERS],
        targets=survey.shown_targets(),
        sizes=survey.sizes(),
        checks=checks_of(run),
        limits=limits_of(run, summary, read_classes(run), len(others) - _MOST_OTHERS),
    )


class Survey:
    """One pass over a run's tables for what the report shows."""

    def __init__(self, run: Run, claims: Sequence[Mapping[str, Any]], most: int, track: Track) -> None:
        self._run, self._claims, self._most = run, claims, most
        self._confident = read_rules(run).confident
        self._examples = Examples(run, claims)
        self._named, self._flagged = np.zeros((2, len(_EDGES) - 1), np.int64)
        self._heat = {claim["class_id"]: np.zeros(_FRAME) for claim in claims}
        self._counts = dict.fromkeys(self._heat, 0)
        self._worst = pd.DataFrame()
        for part in self._parts(track):
            self._add_sizes(part.rows)
            self._add_heat(part)
            self._examples.add(part)

    def shown_claims(self) -> list[ShownClaim]:
        """The claims with their pictures."""
        causes = {row["finding"]: finite(row) for row in read_causes(self._run)}
        return [self._shown(claim, causes.get(claim["finding"])) for claim in self._claims]

    def shown_targets(self) -> list[ShownTarget]:
        """The most severe findings about targets, the worst of each class among them, with their pictures."""
        effects = read_effects(self._run)
        if self._worst.empty:
            return []
        turn = self._worst.groupby("class_id").cumcount()
        order = self._worst.assign(turn=turn).sort_values(["turn", "severity"], ascending=[True, False], kind="stable")
        chosen = order.drop(columns="turn").head(self._most).sort_values("severity", ascending=False, kind="stable")
        rows = [finite({str(name): value for name, value in row.items()}) for row in chosen.to_dict("records")]
        return [self._target(row, effects.get((row["sample"], row["slot"]))) for row in rows]

    def sizes(self) -> list[SizeBin]:
        """How often confidently named targets look off the object, by its size; nothing where none was scored."""
        low, high = wilson_interval(self._flagged, self._named)
        bins = [
            SizeBin(*end, int(named), int(flagged), float(a), float(b))
            for end, named, flagged, a, b in zip(pairwise(_EDGES), self._named, self._flagged, low, high, strict=True)
        ]
        some = np.flatnonzero(self._named)
        return bins[some[0] : some[-1] + 1] if len(some) else []

    def _parts(self, track: Track) -> Iterator[Part]:
        for shard in track(self._run.done()):
            if self._run.has_scores(shard):
                yield self._part(shard)

    def _part(self, shard: Shard) -> Part:
        keys = ["sample", "slot"]
        scores = self._run.read("scores", shard, [*keys, "status", "area", "off_heat"])
        chosen = np.flatnonzero(np.isin(scores["status"].to_numpy(zero_copy_only=False), ("scored", "no_mask")))
        columns = [*keys, "class_id", "role", "rank", "probability"]
        targets = self._run.read("targets", shard, columns).to_pandas()
        found = self._findings(shard)
        rows = scores.select([*keys, "status", "area"]).take(chosen).to_pandas().merge(targets, on=keys, how="left")
        rows = rows.merge(found[[*keys, "severity"]], on=keys, how="left")
        rows = rows.assign(named=rows["probability"] >= self._confident, known=rows.pop("status") == "scored")
        heat = scores["off_heat"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, _FRAME)
        return Part(shard, _arrays(rows), np.nan_to_num(heat[chosen]), self._context(shard, rows[keys]))

    def _context(self, shard: Shard, keys: pd.DataFrame) -> dict[str, NDArray[Any]]:
        context = self._run.read("context", shard, ["sample", "slot", "class_id", "heat"]).to_pandas()
        return _arrays(context.merge(keys.assign(place=np.arange(len(keys))), on=["sample", "slot"]))

    def _findings(self, shard: Shard) -> pd.DataFrame:
        path = self._run.path / layout.FINDINGS / layout.part_name(shard.index)
        if not path.exists():
            raise RunError(f"Expected findings at {path}, found none; make them with `camaudit flag {self._run.path}`")
        found: pd.DataFrame = read_table(path).to_pandas()
        best = pd.concat([self._worst, found]) if len(self._worst) else found
        best = best.sort_values(["severity", "sample", "slot"], ascending=[False, True, True])
        self._worst = best.groupby("class_id").head(self._most)
        return found

    def _add_sizes(self, rows: Mapping[str, NDArray[Any]]) -> None:
        counted = rows["named"] & rows["known"]
        off = counted & np.isfinite(rows["severity"])
        self._named += np.histogram(rows["area"][counted], _EDGES)[0]
        self._flagged += np.histogram(rows["area"][off], _EDGES)[0]

    def _add_heat(self, part: Part) -> None:
        for class_id in self._heat:
            own = part.rows["named"]
            if class_id is not None:
                own = own & (part.rows["class_id"] == class_id)
            self._heat[class_id] += part.off_heat[own].sum(axis=0, dtype=np.float64)
            self._counts[class_id] += int(own.sum())

    def _shown(self, claim: Mapping[str, Any], cause: Mapping[str, Any] | None) -> ShownClaim:
        pictures, notices = [], []
        for sample, slot in self._examples.targets(claim):
            seen, about = read_target(self._run, sample, slot, _SIDE)
            notices += seen.notices
            pictures += _overlays(seen, about)[1:2]
        chosen = how_chosen(claim) if pictures else ""
        return ShownClaim(claim, cause, pictures, chosen, self._mean_heat(claim), sorted(set(notices)))

    def _mean_heat(self, claim: Mapping[str, Any]) -> list[float] | None:
        if "heat" in claim["details"] and isinstance(claim["details"]["heat"], list):
            return [float(value) for value in claim["details"]["heat"]]
        if claim["kind"] not in ("spot", "zone") or not self._counts[claim["class_id"]]:
            return None
        mean: list[float] = (self._heat[claim["class_id"]] / self._counts[claim["class_id"]]).tolist()
        return mean

    def _target(self, row: Mapping[str, Any], effect: Mapping[str, Any] | None) -> ShownTarget:
        seen, about = read_target(self._run, row["sample"], row["slot"], _SIDE)
        return ShownTarget(row, effect, _overlays(seen, about), seen.notices)


def _arrays(rows: pd.DataFrame) -> dict[str, NDArray[Any]]:
    return {str(name): rows[name].to_numpy() for name in rows}


def _overlays(seen: Seen, about: str) -> list[Picture]:
    """The image, the heat over it with the object outlined, the object outlined; what there is of them."""
    if seen.image is None:
        return []
    heat = seen.overlay(0.55)
    shown = {f"{about}: the image": seen.with_contour(seen.image, wanted=False)}
    if heat is not None:
        shown[f"{about}: the heat over it"] = seen.with_contour(heat)
    if seen.target is not None:
        shown[f"{about}: the object outlined"] = seen.with_contour(seen.image)
    return [Picture(jpeg_bytes(shrink(pixels, _SIDE)), alt) for alt, pixels in shown.items()]


def _rank(claim: Mapping[str, Any]) -> tuple[int, float]:
    """Confirmed claims first, refuted ones last, then the most certain."""
    rank = {"confirmed": 0, "refuted": 2}.get(claim["outcome"], 1)
    return rank, 1.0 if claim["q"] is None else claim["q"]


def _facts(run: Run) -> list[tuple[str, str]]:
    record, classes, rules = run.record, run.classes, read_rules(run)
    shown = ", ".join(classes[:12]) + (f" and {len(classes) - 12} more" if len(classes) > 12 else "")
    height, width = record["grid"]
    return [
        ("Images", f"{run.samples:,}"),
        ("Classes", f"{len(classes)}: {shown}"),
        ("Model", Path(record["source"]["model"]).name),
        ("Heat", f"{record['config']['method']} at layer {record['model']['layer']}, {height} x {width} values a map"),
        ("Audited", _day(record["created"])),
        ("This page", _day(datetime.now(UTC).isoformat())),
        (
            "Rules",
            f"a class counts as named with confidence from {rules.confident:.0%}; at most {rules.level:.0%} of what is "
            f"listed may be luck".replace("%", " %"),
        ),
    ]


def _day(moment: str) -> str:
    return moment[:16].replace("T", " ") + " UTC"


def _provenance(run: Run) -> list[tuple[str, str]]:
    record = run.record
    return [
        ("manifest", record["manifest"]["fingerprint"]),
        ("model's weights", record["model"]["fingerprint"]),
        *((name, str(version)) for name, version in record["versions"].items()),
        ("model", str(record["source"]["model"])),
        ("command", str(record.get("command", "not noted"))),
    ]
