"""Shortcuts planted at exactly the share that is certified: how often are they found?

Each function draws a collection in which hardly anything is off the object, asks a kind what it would have found, and
plants just that. Every image of the class gets it by chance of its own, so counts vary as they would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from drawn_classes import Classes, share_by_class
from made_collections import Collection, Law, anywhere, draw_collection
from made_evidence import draw_evidence, material, plant_context
from numpy.typing import NDArray

from audit.findings import Rules
from audit.findings.claims.absent import Absent
from audit.findings.claims.context import Contexts
from audit.findings.claims.groups import Groups
from audit.findings.claims.kind import ClaimKind, Material
from audit.findings.claims.spots import Spots
from audit.findings.claims.whole_class import WholeClasses
from audit.findings.claims.zones import Zones
from audit.findings.evidence.frame import bits_as_cells
from audit.findings.evidence.targets import Absences, Evidence
from audit.findings.power import Detectable

Found = Callable[[int, int], bool | None]
"""Whether it was found, from a seed and images a class; None where nothing is certified."""


def whole_class(seed: int, images: int, honest: float = 0.01) -> bool | None:
    """Off the object; so are other images, rarely."""
    rng = np.random.default_rng([seed, 1])
    law = share_by_class(honest, honest, images=images)
    nothing = Material(draw_evidence(1), Rules(), classes=law.findings(seed))
    share = _of_class("class 0", WholeClasses().detectable(nothing))
    if share is None:
        return None
    planted = rng.random(images * law.classes) < share

    def off(class_id: NDArray, area: NDArray, probability: NDArray) -> NDArray:
        return np.where(planted & (class_id == 0), 1.0, honest)

    return 0 in Classes(off, images=images).accused(seed)


def spot(seed: int, images: int) -> bool | None:
    """To one place of the frame, that most of the class's images leave free."""
    honest = draw_collection(Law(anywhere, 0.0), 8, images, seed)
    free = np.flatnonzero(bits_as_cells(honest.evidence.clear[:images]).mean(axis=0) > 0.5)
    row, column = divmod(int(np.random.default_rng([seed, 2]).choice(free)), 8)
    return _place(Spots(), honest, ((row + 0.5) / 8, (column + 0.5) / 8), seed)


def zone(seed: int, images: int) -> bool | None:
    """To one of the four corners."""
    row, column = np.random.default_rng([seed, 3]).choice([0.08, 0.92], 2).tolist()
    return _place(Zones(), draw_collection(Law(anywhere, 0.0), 8, images, seed), (row, column), seed)


def _place(kind: ClaimKind, honest: Collection, place: tuple[float, float], seed: int) -> bool | None:
    share = _of_class("class 0", kind.detectable(honest.material))
    if share is None:
        return None
    images = len(honest.heat) // 8
    there = Law(anywhere, 1.0, lambda rng, class_id: np.tile(place, (len(class_id), 1)))
    chosen = np.random.default_rng([seed, 4]).random(len(honest.heat)) < share
    planted = honest.with_some_of(draw_collection(there, 8, images, seed), chosen & (honest.evidence.class_id == 0))
    return any(claim.found and claim.class_id == 0 for claim in kind.test(planted.material))


def context(seed: int, images: int) -> bool | None:
    """To another object, beside others as large; of these images some look at it by chance."""
    evidence = draw_evidence(images * 8, 8, seed, per_image=1)
    evidence = replace(evidence, off=evidence.off & (np.random.default_rng(seed).random(len(evidence)) < 0.2))
    rows = [row for row in Contexts().detectable(material(evidence)) if row.share is not None]
    if not rows:
        return None
    row = rows[seed % len(rows)]
    assert row.class_name is not None
    ids = evidence.classes.index(row.class_name), evidence.classes.index(row.subject)
    planted = plant_context(evidence, *ids, rate=row.share or 0, seed=seed)
    found = (claim for claim in Contexts().test(material(planted)) if claim.found)
    return any((claim.class_name, claim.subject) == (row.class_name, row.subject) for claim in found)


def absent(seed: int, images: int) -> bool | None:
    """Named without its object; so are one in a hundred of all."""
    rng = np.random.default_rng([seed, 5])
    gone = rng.random(8 * images) < 0.01
    share = _of_class("class 0", Absent().detectable(material(_named(gone, images, seed))))
    if share is None:
        return None
    gone[:images] |= rng.random(images) < share
    return any(claim.found and claim.class_id == 0 for claim in Absent().test(material(_named(gone, images, seed))))


def _named(gone: NDArray[np.bool_], images: int, seed: int) -> Evidence:
    """Eight classes of so many images; those that are gone without their object."""
    class_id = np.repeat(np.arange(8), images).astype(np.int32)
    evidence = draw_evidence(len(class_id), 8, seed, per_image=1)
    evidence = replace(evidence, class_id=class_id, named=np.ones(len(class_id), bool))
    rows, count = np.flatnonzero(gone), int(gone.sum())
    absences = Absences(
        sample=evidence.sample[rows],
        slot=evidence.slot[rows],
        class_id=class_id[rows],
        probability=np.full(count, 0.9, np.float32),
        named=np.ones(count, bool),
        boxed=np.zeros(count, bool),
        unit=evidence.unit[rows],
        heat=np.full((count, 64), 1 / 64, np.float16),
        other=((class_id[rows] + 1) % 8).astype(np.int32),
        on_other=np.full(count, 0.1, np.float32),
    )
    return replace(evidence.take(np.flatnonzero(~gone)), absences=absences)


def group(seed: int, images: int) -> bool | None:
    """Named wrongly; so are others."""
    evidence = draw_evidence(images * 8, 8, seed, per_image=1, groups=(4,))
    rows = {row.subject: row.share for row in Groups().detectable(material(evidence)) if row.how.endswith("wrongly")}
    share = rows.get("a0=v1")
    if share is None:
        return None
    chance = np.random.default_rng([seed, 6]).random(len(evidence))
    planted = replace(evidence, wrong=np.where(evidence.attributes["a0"][0] == 1, chance < share, evidence.wrong))
    found = (claim for claim in Groups().test(material(planted)) if claim.found and claim.class_id is None)
    return any(claim.subject == "a0=v1" and claim.details["measure"] == "wrong" for claim in found)


def _of_class(name: str, rows: list[Detectable]) -> float | None:
    return next((row.share for row in rows if row.class_name == name), None)


KINDS: dict[str, Found] = {
    "class": whole_class,
    "spot": spot,
    "zone": zone,
    "context": context,
    "absent": absent,
    "group": group,
}
"""By kind of claim."""


def coverage(kind: str, draws: int, images: int, first: int = 0) -> tuple[float, int]:
    """How often it was found, and in how many draws, of seeds from the first on, something was certified."""
    found = [known for seed in range(first, first + draws) if (known := KINDS[kind](seed, images)) is not None]
    return (float(np.mean(found)) if found else float("nan")), len(found)
