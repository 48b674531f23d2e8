"""The pages' queries against pandas: filters, orders, pages, verdicts, runs that were not flagged or are damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawn_run import CLASSES, MARKED, draw_run
from rewritten import part_of, put_findings
from small_run import HOSTILE, TARGETS, make_run

from audit.findings import Findings, Rules
from audit.findings.judge import flag
from audit.findings.pages.embedding import Embedding, embed
from audit.findings.records import Effect
from audit.store import Run, layout
from audit.store.tables.records import columns_of
from audit.store.verdicts.log import VerdictLog
from dashboards import tables as reading
from dashboards.browsing.filters import SORTS, Filters, order_by
from dashboards.tables import PAGE, RunTables

SAMPLES = 2000
CLASS = CLASSES[MARKED]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunTables, pd.DataFrame]:
    """A run with findings, guesses and claims, and interventions on two of its targets; and all rows."""
    run = draw_run(tmp_path_factory.mktemp("drawn") / "run", SAMPLES, masked=0.8, marked=(MARKED, 8, 13, 18))
    flag(run, Rules())
    effects = [effect(sample, outcome) for sample, outcome in ((3, "confirmed"), (4, "refuted"))]
    put_findings(run, layout.EFFECTS, columns_of(Effect, effects), Effect.schema())
    rows = Findings(run).index().to_pandas()
    return RunTables(run), rows.assign(subject=[f"{s}:{k}" for s, k in zip(rows["sample"], rows["slot"], strict=True)])


def effect(sample: int, outcome: str) -> Effect:
    falls = dict.fromkeys(("hot", "random", "object", "background"), 0.5)
    told = {"class_id": 3, "class_name": CLASS, "arm": "flagged", "severity": 0.5, "probability": 0.9, "reliance": 0.5}
    return Effect(sample=sample, slot=0, id=f"{sample:07d}", outcome=outcome, **told, **falls)


def camera(rows: pd.DataFrame) -> Any:
    return rows["attributes"].map(lambda text: json.loads(text)["camera"])


Keep = Callable[[pd.DataFrame], Any]
CASES: list[tuple[Filters, Keep]] = [
    (Filters(), lambda f: f["sample"] >= 0),
    (Filters(class_name=CLASS), lambda f: f["class"] == CLASS),
    (Filters(class_name="' OR 1 = 1 --"), lambda f: f["sample"] < 0),
    (Filters(kind="any"), lambda f: f["kind"].notna()),
    (Filters(kind="none"), lambda f: f["kind"].isna()),
    (Filters(kind="detected"), lambda f: f["kind"] == "detected"),
    (Filters(cluster=0, class_name=CLASS), lambda f: (f["cluster"] == 0) & (f["class"] == CLASS)),
    (Filters(attribute="camera=east"), lambda f: camera(f) == "east"),
    (Filters(attribute="camera=eas"), lambda f: f["sample"] < 0),
    (Filters(outcome="confirmed"), lambda f: f["sample"] == 3),
    (Filters(outcome="not tested"), lambda f: ~f["sample"].isin([3, 4])),
    (Filters(answer="right"), lambda f: f["right"] == True),  # noqa: E712 (it holds None as well)
    (Filters(answer="wrong"), lambda f: f["right"] == False),  # noqa: E712
    (Filters(status="no_mask", role="label"), lambda f: f["status"] == "no_mask"),
    (Filters(probability=0.9, severity=0.2), lambda f: (f["probability"] >= 0.9) & (f["severity"] >= 0.2)),
    (Filters(area_from=0.1, area_to=0.3), lambda f: f["area"].between(0.1, 0.3)),
    (Filters(text="012"), lambda f: f["id"].str.contains("012")),
    (Filters(text="EAST"), lambda f: camera(f) == "east"),
]


@pytest.mark.parametrize(("filters", "keep"), CASES, ids=[filters.says() or "all" for filters, _ in CASES])
def test_chosen_targets_are_those_of_pandas(
    drawn: tuple[RunTables, pd.DataFrame], filters: Filters, keep: Keep
) -> None:
    tables, rows = drawn
    expected = rows[keep(rows)]["subject"].tolist()
    assert tables.count(filters) == len(expected)
    assert tables.subjects(filters) == expected
    assert [row["subject"] for row in tables.page(filters)] == expected[:PAGE]


@pytest.mark.parametrize("sort", [*SORTS, *(f"-{name}" for name in SORTS)])
def test_pages_follow_one_another_in_every_order_and_what_is_unknown_comes_last(
    drawn: tuple[RunTables, pd.DataFrame], sort: str
) -> None:
    tables, rows = drawn
    name, back = sort.removeprefix("-") or "rank", sort.startswith("-")
    rising = (name in ("rank", "energy", "q_low", "lift", "best_iou", "area", "id", "class")) != back
    own = rows[rows["class"].isin(CLASSES[:4])].sort_values([name, "rank"], ascending=[rising, True])
    shown: list[str] = []
    for number in range(40):
        chosen = [row["subject"] for row in tables.page(sort=sort, page=number, size=60) if row["class"] in CLASSES[:4]]
        shown += chosen
    assert shown == own["subject"].tolist()


def test_a_page_may_bring_the_beginning_of_the_next(drawn: tuple[RunTables, pd.DataFrame]) -> None:
    tables, rows = drawn
    read = [row["subject"] for row in tables.page(page=1, size=10, ahead=5)]
    assert read == rows["subject"].tolist()[10:25]


def test_an_order_that_nobody_knows_is_the_tables_own() -> None:
    assert order_by("; DROP TABLE targets") == order_by("") == "rank"


def test_filters_come_back_from_an_address_as_they_went_into_it() -> None:
    for filters, _ in CASES:
        assert Filters.from_query(filters.to_query()) == filters
    assert (
        Filters.from_query({"cluster": "x", "severity": "nan", "area_to": "1e999", "class": "", "sort": "id"})
        == Filters()
    )


def test_a_claim_has_the_targets_that_its_row_names(drawn: tuple[RunTables, pd.DataFrame]) -> None:
    tables, rows = drawn
    assert tables.claims()
    for place, claim in enumerate(tables.claims()):
        expected = rows[[place in claims for claims in rows["claims"]]]["subject"].tolist()
        assert tables.claim_subjects(claim.claim_id) == expected
    assert tables.claim_subjects("no:such:claim") == []


def test_a_filter_on_verdicts_goes_by_what_reviewers_decided_together(
    drawn: tuple[RunTables, pd.DataFrame], tmp_path: Path
) -> None:
    tables, rows = drawn
    log = VerdictLog(tmp_path / "log.sqlite")
    log.add_all(["1:0", "2:0", "3:0", "claim:is:none"], "agree", "Ana")
    log.add_all(["2:0"], "disagree", "Ben")
    log.add_all(["3:0", "4:0"], "unsure", "Ben")
    standing = log.standing()
    assert set(tables.subjects(Filters(verdict="agree"), standing=standing)) == {"1:0", "3:0"}
    assert set(tables.subjects(Filters(verdict="conflict"), standing=standing)) == {"2:0"}
    assert set(tables.subjects(Filters(verdict="unsure"), standing=standing)) == {"4:0"}
    assert tables.count(Filters(verdict="any"), standing) == 4
    assert tables.count(Filters(verdict="none"), standing) == len(rows) - 4
    assert tables.count(Filters(verdict="none")) == len(rows)
    own = {subject: {"Ana": of["Ana"]} for subject, of in standing.items() if "Ana" in of}
    assert tables.count(Filters(verdict="agree"), own) == 3


def test_values_to_choose_from_are_those_that_occur(drawn: tuple[RunTables, pd.DataFrame]) -> None:
    tables, rows = drawn
    assert tables.values("class") == list(CLASSES)
    assert tables.values("kind") == sorted(rows["kind"].dropna().unique())
    own = rows[(rows["class"] == CLASS) & rows["cluster"].notna()]
    assert tables.values("cluster", Filters(class_name=CLASS)) == sorted(own["cluster"].unique())
    assert set(tables.attributes) == {"camera"}
    counts = camera(rows).value_counts()
    assert counts[tables.attributes["camera"]].is_monotonic_decreasing
    with pytest.raises(ValueError, match="Expected `column` to be one of class, role"):
        tables.values("says")


def test_a_target_brings_its_scores_and_the_samples_attributes(drawn: tuple[RunTables, pd.DataFrame]) -> None:
    tables, _ = drawn
    target = tables.target(3, 0)
    assert target is not None
    assert target["attributes"] == {"camera": "north"}
    assert len(target["inside"]) == layout.LEVELS
    assert target["id"] == "0000003"
    assert tables.target(3, 1) is None
    assert tables.target(10**12, 0) is None
    known = tables.effect(3, 0)
    assert known is not None
    assert known.outcome == "confirmed"
    assert tables.effect(5, 0) is None
    assert tables.sample_number("0000017") == 17


def test_a_count_is_made_once_for_a_filter(
    drawn: tuple[RunTables, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, _ = drawn
    filters = Filters(text="7", area_to=0.123)
    count = tables.count(filters)
    monkeypatch.setattr(tables, "_execute", lambda *_: pytest.fail("asked again"))
    assert tables.count(replace(filters)) == count


def test_opening_reads_the_one_table_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.open(make_run(tmp_path))
    for table in ("targets", "scores", "samples"):
        for shard in range(3):
            part_of(run, table, shard).unlink()
    tables = RunTables(run)
    assert tables.notices == []
    assert tables.count() == len(TARGETS)
    assert len(tables.page()) == len(TARGETS)
    assert tables.sample(0) is None
    assert "cannot be read; recompute with: camaudit repair" in tables.why_unknown(0)


@pytest.mark.parametrize("options", [{"flagged": False}, {"scored": False}, {"flagged": False, "shards": 1}])
def test_a_run_without_findings_is_browsed_by_what_its_parts_hold(tmp_path: Path, options: dict[str, Any]) -> None:
    tables = RunTables(Run.open(make_run(tmp_path, **options)))
    count = 2 if options.get("shards") else len(TARGETS)
    rows = tables.page()
    assert tables.notices == []
    assert tables.count() == len(rows) == count
    assert [row["probability"] for row in rows] == sorted((row["probability"] for row in rows), reverse=True)
    assert {row["class"] for row in tables.page(Filters(class_name=HOSTILE))} == {HOSTILE}
    assert tables.findings_count() == 0
    assert {row["status"] for row in rows} == ({"scored"} if options.get("scored", True) else {"not_scored"})


def test_a_run_that_goes_on_reads_its_new_shards_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = draw_run(tmp_path / "run", 600)
    last, entry = run.shards[2], run.entry(run.shards[2])
    assert entry is not None
    run.withdraw(last)
    assert RunTables(run).count() == 512
    run.ledger.enter(last.index, entry, None)
    read: list[int] = []
    unjudged = reading.unjudged
    monkeypatch.setattr(reading, "unjudged", lambda run, shard: read.append(shard.index) or unjudged(run, shard))
    tables = RunTables(run)
    assert tables.count() == 600
    assert read == [2]
    ranks = [row["rank"] for row in tables.page(size=600)]
    assert ranks == list(range(600))


def test_a_damaged_table_of_targets_is_a_notice_and_the_parts_stand_in(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    index = path / layout.FINDINGS / layout.INDEX
    index.write_bytes(index.read_bytes()[:100])
    tables = RunTables(Run.open(path))
    (notice,) = tables.notices
    assert "index.parquet is not what was written" in notice
    assert f"again: `camaudit flag {path}`" in notice
    assert tables.count() == len(TARGETS)


def test_statuses_and_means_are_the_summarys_and_without_one_those_of_the_table(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    flagged = RunTables(Run.open(path))
    told = [flagged.statuses(table) for table in ("samples", "targets", "scores")]
    assert told == [{"processed": 5, "failed": 1}, {"ok": 5}, {"scored": 5}]
    means = flagged.means()
    (path / layout.SUMMARY).unlink()
    (path / layout.FINDINGS / layout.FINDINGS_LEDGER).unlink()
    bare = RunTables(Run.open(path))
    assert [bare.statuses(table) for table in ("samples", "targets", "scores")] == told
    for name, value in bare.means().items():
        np.testing.assert_allclose(value, means[name], rtol=1e-6)


def test_what_is_known_of_the_targets_on_the_map_is_what_their_rows_say(
    drawn: tuple[RunTables, pd.DataFrame], tmp_path: Path
) -> None:
    run, rows = drawn[0].run, drawn[1].set_index("subject")
    embed(run)
    tables = RunTables(run)
    assert tables.points is not None
    keys = zip(tables.points["sample"].to_pylist(), tables.points["slot"].to_pylist(), strict=True)
    own = rows.loc[[f"{sample}:{slot}" for sample, slot in keys]]
    known = tables.known_of_points
    assert list(known["class"]) == own["class"].tolist()
    assert [list(claims) for claims in known["claims"]] == [list(claims) for claims in own["claims"]]
    assert [-1 if cluster is None else cluster for cluster in known["cluster"]] == own["cluster"].fillna(-1).tolist()
    np.testing.assert_array_equal(np.array(known["severity"], float), own["severity"])
    log = VerdictLog(tmp_path / "log.sqlite")
    log.add_all(own.index[:3], "agree", "Ana")
    assert tables.on_map(Filters()).all()
    assert tables.on_map(Filters(class_name=CLASS)).tolist() == (own["class"] == CLASS).tolist()
    left = tables.on_map(Filters(verdict="agree"), log.standing())
    assert np.flatnonzero(left).tolist() == [0, 1, 2]


def test_neighbours_are_those_of_the_embedding(drawn: tuple[RunTables, pd.DataFrame]) -> None:
    run = drawn[0].run
    embed(run)
    tables = RunTables(run)
    assert tables.neighbours("3:0", 5) == [f"{sample}:{slot}" for sample, slot in Embedding(run).nearest(3, 0, 5)]
    assert tables.neighbours("3:7", 5) == []
    assert tables.neighbours("a:claim:id", 5) == []
    near = tables.neighbours("3:0", 5)
    assert [row["subject"] for row in tables.rows(["3:0", "9999999:0", *near])] == ["3:0", *near]
