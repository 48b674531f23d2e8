"""What findings are made from: one row a target, gathered from a run's tables into arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.findings.evidence.box_errors import Attributes, BoxErrors
from audit.findings.records import GIVEN
from audit.store import Shard
from audit.store.layout import CELLS

Features = tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.floating]]
"""Samples [n], slots [n] and the relevance within their heat off the object [n, D], of one shard."""
Frames = Callable[[NDArray[np.int64]], tuple[NDArray[np.floating], NDArray[np.floating]]]
"""Of targets, by their ascending positions [m]: all heat, and the object's share of each cell, each [m, 64]."""


@dataclass(frozen=True)
class Absences:
    """Targets of a class that their sample has not, by its labels and its mask; the mask shows another class.

    Without a label that is by the mask alone. A mask that shows nothing tells nothing, so its targets are not here. A
    million take about 165 MB.

    Attributes:
        sample, slot: [k] which targets.
        class_id: [k] int32.
        probability: [k] float32.
        named: [k] bool, named with confidence.
        boxed: [k] bool, whether boxes stand for the mask.
        unit: [k] int64, numbered with those of `Evidence.unit`.
        heat: [k, 64] float16, share of the map's heat by cell of the frame; NaN for a map without heat on what counts.
        other: [k] int32, the class of the mask that holds most of the heat.
        on_other: [k] float32, share of the heat on it.
    """

    sample: NDArray[np.int64]
    slot: NDArray[np.int16]
    class_id: NDArray[np.int32]
    probability: NDArray[np.float32]
    named: NDArray[np.bool_]
    boxed: NDArray[np.bool_]
    unit: NDArray[np.int64]
    heat: NDArray[np.float16]
    other: NDArray[np.int32]
    on_other: NDArray[np.float32]

    @classmethod
    def none(cls) -> Absences:
        """Of no target."""
        whole, small, single, flag = (np.zeros(0, kind) for kind in (np.int64, np.int32, np.float32, bool))
        heat = np.zeros((0, CELLS * CELLS), np.float16)
        return cls(whole, np.zeros(0, np.int16), small, single, flag, flag, whole, heat, small, single)


@dataclass(frozen=True)
class Evidence:
    """Targets with a map, in the order of samples and slots.

    A million take about 350 MB.

    Attributes:
        classes: names of the classes.
        sample, slot: [n] which targets.
        class_id: [n] int32.
        probability: [n] float32.
        named: [n] bool, named with confidence.
        off: [n] bool, there is a finding about the target.
        known: [n] bool, whether the object is known, by mask or boxes.
        boxed: [n] bool, whether it is known by boxes alone.
        severity: [n] float32, the image score; NaN where nothing is known to judge by.
        wrong: [n] bool, the sample has labels and the class with the highest probability is none of them.
        labelled: [n] bool, the class is a label of the sample; where no sample has labels, all False.
        unit: [n] int64, the same number for targets of one witness, an image with its near-copies or what the rules
            name, from 0 without gaps; see `audit.findings.evidence.units`.
        off_heat, off_area: [n, 64] float16, by cell of the frame; as in `audit.store.layout.SCORES`. The heat is NaN
            for a map without heat on what counts.
        clear: [n] uint64, which cells are clear of the object, as bits; see `frame.bits_as_cells`.
        attributes: name -> (codes [n] int32, -1 for none; values), for each attribute of the manifest.
        context: `target` (position 0..n-1), `class_id`, `heat`, `area`, each [m]: other classes in the target's mask.
        cluster: [n] int32, the target's cluster in its class, -1 for none; None before there are clusters.
        absences: targets beside these, whose object is not in the image.
        error: [n] int8, what is wrong with a detector's box, as its place among `audit.scores.given.errors.ERRORS`,
            -1 where that is not known; None of a classifier.
        boxes: what a detector's boxes were beside the objects there; None where that is not known.
        lost: [n] float32, quick reliance of what was asked wherever its heat lies, NaN of others; None of a run whose
            targets bring no objects along.
        aimed: role of targets that are no classes of an image as a whole: `detected`, `segmented`, `word`; else None.
    """

    classes: tuple[str, ...]
    sample: NDArray[np.int64]
    slot: NDArray[np.int16]
    class_id: NDArray[np.int32]
    probability: NDArray[np.float32]
    named: NDArray[np.bool_]
    off: NDArray[np.bool_]
    known: NDArray[np.bool_]
    boxed: NDArray[np.bool_]
    severity: NDArray[np.float32]
    wrong: NDArray[np.bool_]
    labelled: NDArray[np.bool_]
    unit: NDArray[np.int64]
    off_heat: NDArray[np.float16]
    off_area: NDArray[np.float16]
    clear: NDArray[np.uint64]
    attributes: Attributes
    context: dict[str, NDArray[Any]]
    cluster: NDArray[np.int32] | None = None
    absences: Absences = field(default_factory=Absences.none)
    error: NDArray[np.int8] | None = None
    boxes: BoxErrors | None = None
    lost: NDArray[np.float32] | None = None
    aimed: str | None = None

    def __len__(self) -> int:
        return len(self.sample)

    @property
    def given(self) -> str | None:
        """What the network gave as objects, by its role; None where the manifest has the objects."""
        return None if self.aimed is None else GIVEN.get(self.aimed)

    def take(self, rows: NDArray[np.integer] | slice) -> Evidence:
        """The targets of some rows [m], none twice; their numbers in `unit` stay what they were.

        Nothing is copied of a slice.
        """
        places = np.full(len(self), -1)
        places[rows] = np.arange(len(places[rows]))
        beside = places[self.context["target"]]
        context = {name: values[beside >= 0] for name, values in self.context.items()}
        columns = ((field.name, getattr(self, field.name)) for field in fields(self))
        taken: dict[str, Any] = {name: column[rows] for name, column in columns if isinstance(column, np.ndarray)}
        return replace(
            self,
            **taken,
            attributes={name: (codes[rows], values) for name, (codes, values) in self.attributes.items()},
            context={**context, "target": beside[beside >= 0]},
        )

    def heat_in(self, cells: NDArray[np.bool_] | Sequence[int]) -> NDArray[np.float64]:
        """Share of the heat [n] that lies off the object in some cells, -inf for targets not named with confidence."""
        heat = np.nan_to_num(self.off_heat[:, cells]).sum(axis=1, dtype=np.float64)
        return np.where(self.named, heat, -np.inf)

    def has_value(self, attribute: str, value: str) -> NDArray[np.bool_]:
        """[n] whether the sample's attribute has the value."""
        codes, values = self.attributes[attribute]
        return codes == values.index(value) if value in values else np.zeros(len(self), bool)


class ShardEvidence(NamedTuple):
    """What was found out about the targets of a shard.

    Attributes:
        targets: a row each, as `gather.Gathered` has them, with the `suspicion` of their findings, NaN
            of those without.
        evidence: of the same targets; `off` and `severity` are those of their findings.
    """

    shard: Shard
    targets: pd.DataFrame
    evidence: Evidence
