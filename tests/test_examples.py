"""Which targets a report shows of a claim, against plain loops over all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from claimed_run import claim
from drawn_run import CAMERAS, CLASSES, draw_run

from audit.findings.zones import ZONES
from audit.store import Run
from pipelines.examples import FEW, Examples, Part, how_chosen

COUNT = 64
OTHER = 5


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return draw_run(tmp_path_factory.mktemp("drawn") / "run", COUNT)


@pytest.fixture(scope="module")
def part(run: Run) -> Part:
    rng = np.random.default_rng(3)
    severity = np.where(rng.random(COUNT) < 0.7, rng.random(COUNT), np.nan)
    rows = {
        "sample": np.arange(COUNT),
        "slot": np.zeros(COUNT, int),
        "class_id": np.arange(COUNT) % 2,
        "role": np.array(["label", "predicted"] * (COUNT // 2), object),
        "rank": rng.integers(0, 2, COUNT),
        "probability": rng.random(COUNT),
        "severity": severity,
        "named": rng.random(COUNT) < 0.6,
    }
    place = np.flatnonzero(rng.random(COUNT) < 0.5)
    context = {"place": place, "class_id": rng.integers(4, 7, len(place)), "heat": rng.random(len(place))}
    return Part(run.shards[0], rows, rng.random((COUNT, 64)).astype(np.float16), context)


def chosen(run: Run, part: Part, wanted: dict[str, Any]) -> list[int]:
    examples = Examples(run, [wanted])
    examples.add(part)
    return [sample for sample, _ in examples.targets(wanted)]


def best(scores: dict[int, float]) -> list[int]:
    return sorted(scores, key=lambda row: -scores[row])[:FEW]


def of_class(part: Part, class_id: int) -> list[int]:
    return [row for row in range(COUNT) if part.rows["class_id"][row] == class_id]


def test_a_class_is_shown_by_its_most_severe(run: Run, part: Part) -> None:
    severity = part.rows["severity"]
    expected = best({row: severity[row] for row in of_class(part, 0) if not np.isnan(severity[row])})
    assert chosen(run, part, claim("class", "looks off the object")) == expected


@pytest.mark.parametrize("kind", ["zone", "spot"])
def test_a_place_is_shown_by_named_targets_with_most_heat_there(run: Run, part: Part, kind: str) -> None:
    cells = np.flatnonzero(ZONES["border"].ravel()).tolist() if kind == "zone" else [3, 4, 12]
    wanted = claim(kind, "border", details={"cells": cells} if kind == "spot" else {})
    named = [row for row in of_class(part, 0) if part.rows["named"][row]]
    expected = best({row: sum(float(part.off_heat[row, cell]) for cell in cells) for row in named})
    assert chosen(run, part, wanted) == expected


def test_another_object_is_shown_by_named_targets_with_most_heat_on_it(run: Run, part: Part) -> None:
    on_other = {
        int(place): float(heat)
        for place, class_id, heat in zip(*part.context.values(), strict=True)
        if class_id == OTHER and part.rows["named"][place] and part.rows["class_id"][place] == 0
    }
    assert chosen(run, part, claim("context", CLASSES[OTHER], details={})) == best(on_other)


@pytest.mark.parametrize("measure", ["off_object", "wrong"])
def test_a_group_is_shown_by_its_own_images(run: Run, part: Part, measure: str) -> None:
    cameras = [CAMERAS[row % 7 % 3] for row in range(COUNT)]
    scores = {}
    for row in range(COUNT):
        wrong = part.rows["role"][row] == "label" and part.rows["rank"][row] > 0
        if measure == "wrong" and wrong and cameras[row] == "south":
            scores[row] = float(part.rows["probability"][row])
        if measure == "off_object" and cameras[row] == "south" and not np.isnan(part.rows["severity"][row]):
            scores[row] = float(part.rows["severity"][row])
    details = {"measure": measure, "attribute": "camera", "value": "south"}
    wanted = claim("group", "camera=south", class_id=None, details=details)
    assert chosen(run, part, wanted) == best(scores)


def test_a_cluster_is_shown_by_its_most_typical(run: Run, part: Part) -> None:
    wanted = claim("cluster", "0", details={"sheet": [[9, 0], [2, 0], [5, 0], [7, 0], [1, 0]]})
    assert chosen(run, part, wanted) == [9, 2, 5, 7]


def test_parts_one_after_another_choose_as_one(run: Run, part: Part) -> None:
    wanted = claim("class", "looks off the object")
    halves = Examples(run, [wanted])
    for rows in (slice(0, COUNT // 2), slice(COUNT // 2, COUNT)):
        own = {name: values[rows] for name, values in part.rows.items()}
        halves.add(Part(part.shard, own, part.off_heat[rows], part.context))
    assert [sample for sample, _ in halves.targets(wanted)] == chosen(run, part, wanted)


@pytest.mark.parametrize("kind", ["class", "zone", "spot", "context", "group", "cluster"])
def test_every_kind_says_how_its_examples_were_chosen(kind: str) -> None:
    assert how_chosen(claim(kind, "x")).endswith(".")
