"""From a run to its report: one pass over the tables, then the few images that the page shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.concepts.kept import UNTRIED, command, why_none
from audit.concepts.patches import PatchReader
from audit.datasets.reach import BELOW_ROOT, Reach
from audit.errors import RunError
from audit.findings import Claim, Findings
from audit.findings.claims.registry import kind_of
from audit.findings.evidence.targets import Evidence, ShardEvidence
from audit.findings.pages.basis import basis_of
from audit.findings.pages.unjudged import why_unjudged
from audit.findings.records import HEAT_ALONE
from audit.progress import Progress, silent, tracked
from audit.report.html import Note, Report, ShownClaim, SizeBin, render_report
from audit.report.limits import checks_of, limits_of
from audit.report.reviewed import read_reviewed
from audit.report.shown import reads_of, show_claims, show_targets
from audit.stats.intervals import wilson_interval
from audit.store import Run, layout
from audit.store.storage.files import write_atomically
from audit.store.storage.objects import Location
from audit.wording import percent

_EDGES = (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_MOST_UNPICTURED = 200
_MOST_FAILURES = 10


def write_report(
    run: Run, out: Location | None = None, most: int = 12, progress: Progress = silent, reach: Reach = BELOW_ROOT
) -> Location:
    """Write a run's report, by default RUN/report/index.html, and return its path.

    Args:
        most: claims with pictures, and findings about targets, at most.
        reach: which images and masks may be read.

    Raises:
        RunError: the run, or a shard of it, was not flagged yet, or its tables are damaged.
    """
    path = run.path / layout.REPORT / layout.PAGE if out is None else out
    page = render_report(gather_report(run, most, progress, reach))
    write_atomically(path, lambda partial: partial.write_text(page, encoding="utf-8"))
    return path


def gather_report(run: Run, most: int, progress: Progress = silent, reach: Reach = BELOW_ROOT) -> Report:
    """All that the page says, read from the run.

    Raises:
        RunError: as of `write_report`.
    """
    findings = Findings(run)
    classes, summary = findings.classes(), _summary(findings)
    claims = sorted(findings.standing_claims(), key=_rank)
    pictured = [claim for claim in claims if not kind_of(claim).repeats(claim)][:most]
    unpictured = [claim for claim in claims if claim not in pictured]
    survey = Survey(most)
    shards = run.having("scores")
    for part in tracked(progress, "reading", findings.evidence(shards), len(shards)):
        survey.add(part)
    manifest = run.manifest(0, 0)
    read = reads_of(run, reach)
    shown = show_claims(findings, pictured, read, PatchReader(run, reach))
    return Report(
        name=Path(manifest.root).name or "a collection",
        samples=summary["samples"],
        failures=run.failures(_MOST_FAILURES),
        facts=_facts(run),
        provenance=[*_provenance(run), ("root of the images", str(manifest.root))],
        findings=summary["findings"],
        scored=summary["scores"].get("scored", 0),
        unjudged=why_unjudged(summary["scores"]),
        reviewed=read_reviewed(findings, summary),
        basis=basis.lines() if (basis := basis_of(findings)) else [],
        claims=shown,
        concepts=_about_concepts(run, shown),
        unpictured=unpictured[:_MOST_UNPICTURED],
        targets=show_targets(findings, survey.worst(), read),
        sizes=survey.sizes(),
        checks=checks_of(run),
        limits=limits_of(run, summary, classes, len(unpictured) - _MOST_UNPICTURED),
    )


class Survey:
    """One pass over a run's targets for what the report shows of suspicious ones, and of sizes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._named, self._flagged = np.zeros((2, len(_EDGES) - 1), np.int64)
        self._worst = pd.DataFrame()

    def add(self, part: ShardEvidence) -> None:
        """Look through a shard."""
        self._add_sizes(part.evidence, part.targets["area"].to_numpy())
        self._add_worst(part.evidence, part.targets["suspicion"].to_numpy())

    def worst(self) -> list[tuple[int, int]]:
        """Samples and slots of the most suspicious findings about targets, the worst of each class among them.

        A detector's guesses, where no object is known, come last.
        """
        if self._worst.empty:
            return []
        turn = self._worst.groupby("class_id").cumcount()
        order = self._worst.assign(turn=turn).sort_values(
            ["turn", "known", "suspicion"], ascending=[True, False, False], kind="stable"
        )
        chosen = order.head(self._most).sort_values(["known", "suspicion"], ascending=False, kind="stable")
        return list(zip(chosen["sample"].tolist(), chosen["slot"].tolist(), strict=True))

    def sizes(self) -> list[SizeBin]:
        """How often confidently named targets look off the object, by its size; nothing where none was scored."""
        low, high = wilson_interval(self._flagged, self._named)
        bins = [
            SizeBin(*end, int(named), int(flagged), float(a), float(b))
            for end, named, flagged, a, b in zip(pairwise(_EDGES), self._named, self._flagged, low, high, strict=True)
        ]
        some = np.flatnonzero(self._named)
        return bins[some[0] : some[-1] + 1] if len(some) else []

    def _add_sizes(self, evidence: Evidence, area: NDArray[np.floating]) -> None:
        counted = evidence.named & evidence.known
        self._named += np.histogram(area[counted], _EDGES)[0]
        self._flagged += np.histogram(area[counted & evidence.off], _EDGES)[0]

    def _add_worst(self, evidence: Evidence, suspicion: NDArray[np.floating]) -> None:
        names = ("class_id", "known", "sample", "slot")
        flagged = pd.DataFrame({name: getattr(evidence, name)[evidence.off] for name in names})
        flagged["suspicion"] = suspicion[evidence.off]
        rows = pd.concat([self._worst, flagged]) if len(self._worst) else flagged
        rows = rows.sort_values(["known", "suspicion", "sample", "slot"], ascending=[False, False, True, True])
        self._worst = rows.groupby("class_id").head(self._most)


def _summary(findings: Findings) -> dict[str, Any]:
    """summary.json, which `flag` writes last."""
    summary = findings.summary()
    if summary is None:
        path = findings.run.path
        raise RunError(f"{path} was not flagged to the end; again: `camaudit flag {path}`")
    return summary


def _rank(claim: Claim) -> tuple[bool, int, float]:
    """Those on heat alone behind the others; confirmed claims first, refuted ones last, then the most certain."""
    rank = {"confirmed": 0, "refuted": 2}.get(claim.outcome, 1)
    return claim.rests_on == HEAT_ALONE, rank, 1.0 if claim.q is None else claim.q


def _facts(run: Run) -> list[tuple[str, str]]:
    record, classes, rules = run.record, run.classes, Findings(run).rules()
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
            f"a class counts as named with confidence from {percent(rules.confident)}; at most {percent(rules.fdr)} of "
            "what is listed may be luck",
        ),
    ]


def _about_concepts(run: Run, claims: Sequence[ShownClaim]) -> Note | None:
    """That nobody looked for concepts of the claims, or why nobody can."""
    if not claims or any(claim.concepts or claim.lacking for claim in claims):
        return None
    why = why_none(run)
    return Note(why) if why else Note(UNTRIED, command(run))


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
