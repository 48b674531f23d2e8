"""False alarms and power where the truth is drawn, more often than tests have time for.

`PYTHONPATH=tests/support python -m tests.benchmarks.truth.simulated --draws 200`
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from drawn_places import avoidance_found
from made_collections import (
    Collection,
    Law,
    anywhere,
    at_the_bottom,
    draw_collection,
    filling_the_frame,
    heads,
    large_first,
    line,
    small_in_the_sky,
)
from made_evidence import CELLS, draw_evidence, material, plant_heat
from masked_parts import hidden_precision
from paired_runs import change_between, draw_alike, draw_shortcut

from audit.findings import Rules
from audit.findings.claims.fixed import Fixed
from audit.findings.claims.registry import all_claims
from audit.findings.evidence.targets import Evidence

CLASSES = 20
BASE_RATES = ((0.4, 0.4), (0.4, 0.2), (0.4, 0.1), (0.3, 0.6))


def compared(draws: int) -> None:
    """How often B is called worse: of one law with A; and with a cue in a fifth of a class of 100 images."""

    def worse(seed: int, planted: bool, copies: int) -> bool:
        changes = change_between(*draw_alike(seed, planted, copies=copies))
        return any(change.q <= Rules().fdr for change in changes)

    for planted in (True, False):
        for copies in (1, 4):
            alarms = np.mean([worse(seed, planted, copies) for seed in range(draws)])
            print(f"compare, one law, planted {planted}, copies {copies}: worse in {alarms:.3f}")
    found = [
        any(change.q <= Rules().fdr and "class 9" in change.name for change in change_between(*draw_shortcut(seed)))
        for seed in range(draws)
    ]
    print(f"compare, a cue in a fifth of a class of 100: found in {np.mean(found):.3f}")


def avoided(draws: int) -> None:
    """False discoveries and power of `avoids` among 10,000 targets, and power of all of them tested together."""
    cases = {
        "none": lambda class_id, rng: np.zeros(len(class_id), bool),
        "a hundredth, of one class": lambda class_id, rng: (class_id == 3) & (rng.random(len(class_id)) < 0.2),
        "a hundredth, of all classes": lambda class_id, rng: rng.random(len(class_id)) < 0.01,
        "three hundredths, of all classes": lambda class_id, rng: rng.random(len(class_id)) < 0.03,
    }
    for name, avoids in cases.items():
        rate, power, together = np.mean([avoidance_found(seed, avoids) for seed in range(draws)], axis=0)
        print(f"avoids, {name}: false {rate:.3f}, found {power:.3f}, all together {together:.3f}")


def detected(draws: int) -> None:
    """How often the interval that a detector states holds what the masks put aside would say."""
    for masked, unmasked in BASE_RATES:
        for telling in (0.9, 0.95):
            stated = [hidden_precision(seed, masked, unmasked, telling) for seed in range(draws)]
            given = [one for one in stated if one is not None]
            covered = np.mean([share.low <= hidden <= share.high for share, hidden in given]) if given else np.nan
            print(
                f"detector, base rate {masked} with masks, {unmasked} without, telling {telling}: "
                f"given {len(given)} of {draws}, interval holds in {covered:.3f}"
            )


def long_tail(draws: int) -> None:
    """False discoveries and power with 1,000 classes of 5 to 20 images, ten of them with a corner in 70 %."""
    corner = np.zeros((CELLS, CELLS), bool)
    corner[-1, -1] = True
    false, power = [], []
    for seed in range(draws):
        evidence, marked = _of_many_classes(seed), range(10)
        shows = np.random.default_rng(seed).random(len(evidence)) < 0.7
        evidence = plant_heat(evidence, np.flatnonzero(np.isin(evidence.class_id, marked) & shows), corner)
        claims = [
            claim for claim in all_claims(material(evidence)).claims if claim.found and claim.class_id is not None
        ]
        wrong = [claim.class_id not in marked for claim in claims]
        false.append(np.mean(wrong) if wrong else 0.0)
        power.append(len({claim.class_id for claim in claims} & set(marked)) / len(marked))
    print(f"1,000 classes of 5 to 20 images: false {np.mean(false):.3f}, found {np.mean(power):.3f}")


def kept_to_a_place(draws: int) -> None:
    """How often `fixed` accuses a class that looks at its objects, or their heads, and how often it finds a line."""
    for law in (
        Law(small_in_the_sky),
        Law(at_the_bottom),
        Law(large_first, looked_at=heads),
        Law(filling_the_frame, looked_at=heads),
        Law(small_in_the_sky, looked_at=heads),
        Law(at_the_bottom, spread=1.4),
    ):
        for images, astray in itertools.product((8, 16, 40), (0.1, 0.4)):
            own = replace(law, wrong=astray)
            accused = [_accused(draw_collection(own, CLASSES_OF_PLACES, images, seed)) for seed in range(draws)]
            name = f"{law.boxes.__name__}{' by their heads' if law.looked_at else ''}, {astray} astray"
            print(f"fixed, {name}, {images} images: a false claim in {np.mean([bool(ids) for ids in accused]):.3f}")
    for spread, images in itertools.product((1.4, 2.8), (16, 40, 100)):
        accused = [_accused(_with_a_broad_class(spread, images, seed)) for seed in range(draws)]
        false = np.mean([bool(ids) for ids in accused])
        print(f"fixed, a class with maps of spread {spread}, {images} images: a false claim in {false:.3f}")
    for objects, images in itertools.product((anywhere, large_first, filling_the_frame), (6, 8, 10, 16)):
        found = [0 in _accused(_with_a_line(objects, images, seed)) for seed in range(draws)]
        print(f"fixed, a line in 83 % of {images} images, {objects.__name__}: found in {np.mean(found):.3f}")


CLASSES_OF_PLACES = 12


def _accused(collection: Collection) -> set[int | None]:
    return {claim.class_id for claim in Fixed().test(collection.material) if claim.found}


def _with_a_broad_class(spread: float, images: int, seed: int) -> Collection:
    """Objects are anywhere; the maps of class 0 see far, so their middles keep nearer to the frame's."""
    narrow, broad = (
        draw_collection(Law(anywhere, 0.1, spread=each), CLASSES_OF_PLACES, images, seed) for each in (0.7, spread)
    )
    return narrow.with_some_of(broad, narrow.evidence.class_id == 0)


def _with_a_line(objects: Callable[..., Any], images: int, seed: int) -> Collection:
    honest = draw_collection(Law(objects, 0.1), CLASSES_OF_PLACES, images, seed)
    marked = draw_collection(Law(objects, 0.0, looked_at=line), CLASSES_OF_PLACES, images, seed)
    shows = np.random.default_rng(seed).random(len(honest.evidence)) < 0.83
    return honest.with_some_of(marked, (honest.evidence.class_id == 0) & shows)


def _of_many_classes(seed: int) -> Evidence:
    rng = np.random.default_rng(seed)
    counts = rng.integers(5, 21, 1000)
    evidence = draw_evidence(int(counts.sum()), 1000, seed, per_image=1)
    return replace(evidence, class_id=np.repeat(np.arange(1000, dtype=np.int32), counts))


def main() -> None:
    """Print a line a condition."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    draws = parser.parse_args().draws
    for part in (compared, avoided, detected, long_tail, kept_to_a_place):
        part(draws)


if __name__ == "__main__":
    main()
