"""Which label images are exported: of a run's plain maps or of a label set, how they are cut, which are believed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from audit.errors import RunError
from audit.findings import Findings
from audit.progress import Progress, silent
from audit.segmentation import ThresholdedRun
from audit.segmentation.cut import OTSU, Cut
from audit.segmentation.label_set import LabelSet
from audit.segmentation.labels import LabelSource
from audit.segmentation.quality import Masks, best_cut
from audit.store import Run, Shard
from audit.store.label_store import LabelStore


@dataclass(frozen=True)
class PseudoMasks:
    """What is asked of pseudo-masks.

    Raises:
        ValueError: a value that cannot be, or two that do not go together.

    Attributes:
        threshold: 0..1, or `otsu` for a label set; None for the best, of the run's summary or of `chosen_on`.
        roles: of the targets that make masks of plain maps.
        labels: name of a label set; None for the run's plain maps. All that follows is for label sets alone.
        chosen_on: label set, with masks, whose best threshold is taken.
        by_class: whether each class has its own of these.
        band: pixels that miss or pass the threshold by at most half of it are not decided.
        keep: share of the masks that are believed, the most trusted; the pixels of others are not decided.
        without_findings: whether masks of targets that are findings are not believed.
    """

    threshold: float | str | None = None
    roles: tuple[str, ...] = ("label",)
    labels: str | None = None
    chosen_on: LabelStore | None = None
    by_class: bool = False
    band: float = 0.0
    keep: float = 1.0
    without_findings: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"Expected --keep above 0 and up to 1, got {self.keep}")
        if self.threshold is not None and self.chosen_on is not None:
            raise ValueError("Expected --threshold or --threshold-from, got both")
        if self.by_class and self.chosen_on is None:
            raise ValueError("Expected --threshold-from beside --by-class, to choose them on")
        of_sets = (self.threshold == OTSU, self.chosen_on, self.band, self.keep < 1, self.without_findings)
        if self.labels is None and any(of_sets):
            raise ValueError("Expected --labels beside what is asked of a label set; `camaudit labels RUN` makes one")

    def of(self, run: Run, progress: Progress = silent) -> LabelSource:
        """The label images that are asked for.

        Raises:
            RunError: no threshold is given or known, or one was to be chosen on the very masks.
        """
        if self.labels is None:
            threshold = _threshold_of(run) if self.threshold is None else float(self.threshold)
            return ThresholdedRun(run, threshold, self.roles)
        store = LabelStore.open(run, self.labels)
        source = LabelSet(store, self._cut(store, progress), leave_out=flagged if self.without_findings else None)
        if self.keep == 1:
            return source
        masks = Masks.of(store, source.cut, progress).rows
        confidence = masks.loc[masks["named"] > 0, "confidence"].dropna()
        return replace(source, least=float(confidence.quantile(1 - self.keep))) if len(confidence) else source

    def _cut(self, store: LabelStore, progress: Progress) -> Cut:
        if self.chosen_on is not None:
            _refuse_own_masks(store, self.chosen_on)
            return best_cut(self.chosen_on, self.by_class, self.band, progress)
        if self.threshold is None:
            raise RunError(
                f"Expected --threshold or --threshold-from for the label set {self.labels!r}; "
                f"`camaudit labels {store.run.path} --name {self.labels}` says what is best where masks are known"
            )
        return Cut(None if self.threshold == OTSU else float(self.threshold), band=self.band)


def flagged(run: Run, shard: Shard) -> set[tuple[int, int]]:
    """Samples and class ids of a shard's targets that are findings.

    Raises:
        RunError: the shard was not flagged yet.
    """
    found = Findings(run).of_shard(shard, ["sample", "class_id"])
    return set(zip(found["sample"].to_pylist(), found["class_id"].to_pylist(), strict=True))


def _refuse_own_masks(store: LabelStore, chosen_on: LabelStore) -> None:
    """A threshold that is chosen on the masks that it is scored on is too good."""
    mine, theirs = (of.run.record["manifest"]["fingerprint"] for of in (store, chosen_on))
    if mine == theirs:
        raise RunError(
            f"Expected --threshold-from other samples than those of {store.run.path}, got the same: "
            "what is tuned on masks cannot be scored on them. Name another run, or the threshold itself"
        )


def _threshold_of(run: Run) -> float:
    """The threshold that the run's summary holds."""
    findings = Findings(run)
    summary = findings.summary()
    if summary is None:
        raise RunError(f"{run.path} was not flagged yet, so no threshold is known; pass --threshold")
    findings.check()
    try:
        threshold = None if summary["mean_iou"] is None else float(summary["threshold"])
    except (KeyError, TypeError, ValueError):
        raise RunError(f"The summary of {run.path} is damaged; again: `camaudit flag {run.path}`") from None
    if threshold is None:
        raise RunError(f"{run.path} has no masks to choose a threshold by; pass --threshold")
    return threshold
