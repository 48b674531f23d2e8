"""What is judged against the planted truth: rankings within a class, rates by size, the report's rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.planted.truth import auroc_within, image_scores
from tests.benchmarks.truth.bench_truth import (
    Row,
    Trial,
    clean_rows,
    markdown,
    mixed_rows,
    size_rates,
    strong_rows,
    void_rows,
)
from tests.benchmarks.truth.causes import Causes


def test_auroc_within_is_the_mean_over_classes_with_a_cue_in_which_reliance_varies(rng: np.random.Generator) -> None:
    table = pd.DataFrame({"class": np.repeat(["disc", "square", "ring"], 20), "cue": np.repeat(["a", "b", None], 20)})
    relies = np.concatenate([rng.random(20) < 0.5, np.ones(20, bool), rng.random(20) < 0.5])
    scores = rng.random(60).round(1)
    pairs = [(scores[i], scores[j]) for i in range(20) if relies[i] for j in range(20) if not relies[j]]
    expected = np.mean([1.0 if high > low else 0.5 if high == low else 0.0 for high, low in pairs])
    assert auroc_within(scores, relies, table) == pytest.approx(expected)
    assert np.isnan(auroc_within(scores, np.ones(60, bool), table))


def test_every_score_is_higher_for_the_more_suspicious() -> None:
    columns = ("class", "probability", "p_high", "energy", "attainable", "lift", "centre_distance", "quick")
    rows = [("disc", 1.0, 0.01, 0.5, 0.6, 4.0, 0.0, np.nan), ("disc", 0.9, 0.9, 0.01, 0.6, 0.2, 0.4, 0.8)]
    table = pd.DataFrame(rows, columns=list(columns))
    for name, values in image_scores(table).items():
        assert values[1] > values[0], name


def test_flag_rates_go_by_quarters_from_the_smallest_objects_to_the_largest() -> None:
    area = np.array([8, 1, 2, 7, 3, 6, 4, 5], float)
    flagged = np.isin(area, [1, 2, 3, 8])
    assert size_rates(area, flagged) == ([1.0, 0.5, 0.0, 0.5], 2.0)
    assert size_rates(area, np.zeros(8, bool))[1] == 1.0
    assert size_rates(area, area == 1)[1] == np.inf


def trial(regime: str, finding: bool, kinds: list[str | None]) -> Trial:
    classes: list[dict[str, Any]] = [
        {"class": "disc", "cue": "watermark", "relies": 0.5, "accuracy_without_cue": 0.5, "finding": finding},
        {"class": "ring", "cue": None, "relies": 0.0, "accuracy_without_cue": 0.95, "finding": False},
    ]
    scores: dict[str, Any] = {"suspicion": 0.995, "1 - energy": 0.7, "low confidence": None}
    table = pd.DataFrame({"kind": kinds, "probability": 0.9, "area": np.arange(len(kinds)), "p_high": 0.0})
    table["energy"] = 0.2
    found = {"classes": classes, "auroc": scores, "auroc_within": scores, "void": False}
    return Trial(regime, 0, found, table, Causes([], pd.DataFrame(), pd.DataFrame(), {}))


def rows_by_name(rows: Any) -> dict[str, Row]:
    return {row.what: row for row in rows}


def test_in_strong_every_cue_must_be_found_and_no_other_class_accused() -> None:
    rows = rows_by_name(strong_rows([trial("strong", True, []), trial("strong", False, [])]))
    assert (rows["strong: planted shortcuts found"].reached, rows["strong: planted shortcuts found"].met) == (
        "1 of 2",
        False,
    )
    assert rows["strong: classes without any accused"].met
    assert rows["strong: AUROC, suspicion"].met
    assert rows["strong: AUROC, 1 - energy"].met is None
    assert rows["strong: AUROC, low confidence"].reached == "undefined"


def test_in_mixed_reliance_must_divide_each_class_and_the_score_must_follow_it() -> None:
    rows = rows_by_name(mixed_rows([trial("mixed", True, [])]))
    assert all(row.met for row in rows.values() if row.met is not None)


def test_in_clean_any_accused_class_and_too_many_flags_miss() -> None:
    kinds: list[str | None] = ["indifferent", *[None] * 39]
    rows = rows_by_name(clean_rows([trial("clean", False, kinds)]))
    assert rows["clean: findings at class level"].met
    assert (rows["clean: share of confident targets flagged"].reached, True) == (
        "0.0250",
        rows["clean: share of confident targets flagged"].met,
    )
    assert rows["clean: flag rate, smallest against largest objects"].met is False
    assert not rows_by_name(clean_rows([trial("clean", True, kinds)]))["clean: findings at class level"].met


def test_a_regime_that_was_not_run_has_no_rows_and_a_class_not_learnt_is_told() -> None:
    assert not [*strong_rows([]), *mixed_rows([]), *clean_rows([]), *void_rows([])]
    row = next(void_rows([trial("mixed", True, [])]))
    assert (row.reached, row.met) == ("0.950", True)


def test_the_report_is_a_markdown_table() -> None:
    lines = markdown([Row("a", ">= 1", "2", True), Row("b", "", "3")]).splitlines()
    assert lines[2:] == ["| a | >= 1 | 2 | met |", "| b |  | 3 |  |"]
