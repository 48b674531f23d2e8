"""The one table of all targets: its rows, their order, and what they say beside the tables that they come from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn_run import CAMERAS, MARKED, draw_run
from rewritten import put_part

from audit.errors import RunError
from audit.findings import Findings, Rules
from audit.findings.claims.registry import kind_of
from audit.findings.judge import flag
from audit.findings.pages.index import SCHEMA, attributes_as_json, member, unjudged
from audit.findings.pages.oddness import rank_without_masks
from audit.store import Run, layout


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Four fifths have masks, so there are guesses too."""
    run = draw_run(tmp_path_factory.mktemp("drawn") / "run", 3000, masked=0.8, marked=(MARKED, 8, 13, 18))
    flag(run, Rules())
    return run


def index(run: Run) -> pd.DataFrame:
    return Findings(run).index().to_pandas()


def parts(run: Run, table: str) -> pd.DataFrame:
    return pa.concat_tables([run.read(table, shard) for shard in run.done()]).to_pandas()


def test_every_target_has_one_row_with_what_its_tables_say(drawn: Run) -> None:
    rows = index(drawn).set_index(["sample", "slot"]).sort_index()
    targets, scores = (parts(drawn, table).set_index(["sample", "slot"]) for table in ("targets", "scores"))
    assert rows.index.equals(targets.index)
    for name in ("class_id", "class", "role", "probability"):
        assert rows[name].tolist() == targets[name].tolist()
    for name in ("area", "energy", "lift", "best_iou"):
        np.testing.assert_array_equal(rows[name], scores[name])
    assert rows["status"].tolist() == scores["status"].tolist()
    assert rows["id"].tolist() == [f"{sample:07d}" for sample, _ in rows.index]
    assert [json.loads(text)["camera"] for text in rows["attributes"]] == [CAMERAS[s % 7 % 3] for s, _ in rows.index]


def test_findings_come_first_by_suspicion_then_guesses_then_all_others_by_severity(drawn: Run) -> None:
    rows = index(drawn)
    found = Findings(drawn).targets().to_pandas()
    listed = list(zip(rows["sample"], rows["slot"], strict=True))
    assert sorted(listed[: len(found)]) == sorted(zip(found["sample"], found["slot"], strict=True))
    assert rows["rank"].tolist() == list(range(len(rows)))
    head, rest = rows[: len(found)], rows[len(found) :]
    guess = (head["kind"] == "detected").to_numpy()
    assert guess.any()
    assert not guess.all()
    assert (np.diff(guess.astype(int)) >= 0).all()
    for part in (head[~guess], head[guess]):
        assert (np.diff(part["suspicion"]) <= 0).all()
    assert rest["kind"].isna().all()
    assert (np.diff(rest["severity"].fillna(-1)) <= 0).all()
    joined = head.merge(found, on=["sample", "slot"], suffixes=("", "_of"))
    for name in ("kind", "says", "suspicion", "severity"):
        assert joined[name].tolist() == joined[f"{name}_of"].tolist()


def test_targets_without_a_known_object_are_odd_beside_one_another_and_ranked_by_it(drawn: Run) -> None:
    rows = index(drawn).set_index(["sample", "slot"]).sort_index()
    scores, unknown = parts(drawn, "scores"), (rows["status"] == "no_mask").to_numpy()
    quick = parts(drawn, "checks").set_index(["sample", "slot"])["reliance"].reindex(rows.index).to_numpy()
    wrong = (parts(drawn, "targets")["rank"] != 0).to_numpy()
    heat = np.stack(scores["on_heat"].to_numpy()) + np.stack(scores["off_heat"].to_numpy())
    class_id, probability = (rows[name].to_numpy()[unknown] for name in ("class_id", "probability"))
    expected = rank_without_masks(heat[unknown], class_id, probability, wrong[unknown], quick[unknown])
    for name in ("oddness", "border", "corner", "spread"):
        np.testing.assert_allclose(rows[name][unknown], getattr(expected, name), atol=2e-3)
        assert rows[name][~unknown].isna().all()
    rest = rows[unknown & rows["kind"].isna().to_numpy()].sort_values("rank")
    assert (np.diff(rest["oddness"]) <= 0).all()


def test_right_and_predicted_follow_from_the_ranks_of_the_sample(drawn: Run) -> None:
    rows = index(drawn).set_index(["sample", "slot"]).sort_index()
    first = (parts(drawn, "targets")["rank"] == 0).to_numpy()
    assert rows["right"].tolist() == first.tolist()
    assert rows["predicted"].isna().tolist() == (~first).tolist()
    assert (rows["predicted"] == rows["class"])[first].all()


def test_each_target_names_the_standing_claims_that_its_kind_counts_it_for(drawn: Run) -> None:
    findings, rows = Findings(drawn), index(drawn)
    claims = findings.standing_claims()
    listed = {(s, k): set(c) for s, k, c in zip(rows["sample"], rows["slot"], rows["claims"], strict=True)}
    expected: dict[tuple[int, int], set[int]] = {key: set() for key in listed}
    for part in findings.evidence(drawn.done()):
        for place, claim in enumerate(claims):
            event = kind_of(claim).event(claim, part.evidence)
            for row in np.flatnonzero(event == 1):
                expected[part.evidence.sample[row], part.evidence.slot[row]].add(place)
    assert len(claims) > 2
    assert listed == expected


def test_clusters_are_those_of_the_members(drawn: Run) -> None:
    rows, members = index(drawn), Findings(drawn).members().to_pandas()
    joined = rows.merge(members, on=["sample", "slot"], how="left", suffixes=("", "_of"))
    assert joined["cluster"].fillna(-1).tolist() == joined["cluster_of"].fillna(-1).tolist()
    assert joined["cluster"].max() > 0


def test_a_class_as_a_whole_is_shown_by_its_targets_off_the_object(drawn: Run) -> None:
    claims = Findings(drawn).standing_claims()
    place = next(place for place, claim in enumerate(claims) if claim.kind == "class")
    of_claim = index(drawn).pipe(lambda rows: rows[[place in own for own in rows["claims"]]])
    assert len(of_claim)
    assert of_claim["kind"].notna().all()
    assert set(of_claim["class"]) == {claims[place].class_name}


def test_targets_that_could_not_be_scored_are_listed_with_the_reason(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "run", 600)
    shard = run.shards[1]
    states = [("scored", "no_map", "absent", "no_map")[row % 4] for row in range(len(shard))]
    maps = ["no_evidence" if status == "no_map" else "ok" for status in states]
    put_part(run, "targets", 1, run.read("targets", shard).to_pydict() | {"status": maps})
    put_part(run, "scores", 1, run.read("scores", shard).to_pydict() | {"status": states})
    flag(run, Rules())
    rows, targets = index(run), parts(run, "targets")
    assert len(rows) == len(targets)
    scores = parts(run, "scores")
    expected = np.where(targets["status"] == "ok", scores["status"], targets["status"])
    assert rows.sort_values(["sample", "slot"])["status"].tolist() == expected.tolist()
    assert set(expected) == {"scored", "absent", "no_evidence"}


def test_without_labels_nobody_knows_what_is_right(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "run", 300)
    for shard in run.done():
        table = run.read("targets", shard)
        put_part(run, "targets", shard.index, table.set_column(4, "role", pa.array(["predicted"] * len(table))))
    flag(run, Rules())
    assert index(run)["right"].isna().all()


def test_a_shard_that_is_not_judged_has_the_same_columns_without_what_was_found(drawn: Run) -> None:
    (shard, *_) = drawn.done()
    rows, judged = unjudged(drawn, shard), index(drawn)
    assert rows.schema == SCHEMA
    own = judged[judged["sample"].between(shard.start, shard.stop - 1)].sort_values("sample").reset_index(drop=True)
    found = rows.to_pandas().sort_values("sample").reset_index(drop=True)
    for name in ("id", "class", "role", "probability", "predicted", "right", "status", "area", "energy", "attributes"):
        pd.testing.assert_series_equal(found[name], own[name])
    for name in ("kind", "says", "suspicion", "cluster", "claims"):
        assert found[name].isna().all()
    assert (np.diff(rows["probability"].to_numpy()) <= 0).all()


def test_the_index_is_named_with_its_digest_and_refused_where_it_was_changed(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "run", 300)
    flag(run, Rules())
    path = Findings(run).index_file()
    assert pq.ParquetFile(path).metadata.num_rows == 300
    path.write_bytes(path.read_bytes()[:-9] + b"flipped!!")
    with pytest.raises(RunError, match=r"index\.parquet is not what was written; again: `camaudit flag"):
        Findings(run).index()
    assert [damage.file for damage in Findings(run).damaged()] == [f"{layout.FINDINGS}/{layout.INDEX}"]


def test_findings_of_an_earlier_camaudit_have_no_index_and_say_what_to_do(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "run", 300)
    flag(run, Rules())
    findings = Findings(run)
    findings.made_from.artefacts.pop(layout.INDEX)
    with pytest.raises(RunError, match="flagged without a table of all targets; make it again: `camaudit flag"):
        findings.index_file()


def test_attributes_with_quotes_stay_one_member_of_one_object() -> None:
    values = ['no"rth", "b": "1', "ü\\", None]
    texts = attributes_as_json(pa.table({"id": ["a", "b", "c"], 'si"te': values, "b": ["2", None, "3"]}))
    assert [json.loads(text) for text in texts.to_pylist()] == [
        {'si"te': values[0], "b": "2"},
        {'si"te': values[1]},
        {"b": "3"},
    ]
    assert [member("b", "1") in text for text in texts.to_pylist()] == [False, False, False]
    assert [member("b", "2") in text for text in texts.to_pylist()] == [True, False, False]


def test_the_first_rows_of_the_index_are_the_most_suspicious_findings(drawn: Run) -> None:
    findings = Findings(drawn)
    told = findings.targets().select(["suspicion", "kind", "q_low"])
    evident, guesses = findings.counted()
    guessed = [kind == "detected" for kind in told["kind"].to_pylist()]
    assert (evident, guesses) == (guessed.count(False), guessed.count(True))
    assert min(evident, guesses) > 0
    leading = findings.leading(0, evident + guesses, ["suspicion", "kind", "q_low"])
    assert leading["suspicion"].equals(told["suspicion"])
    assert leading["kind"].to_pylist().index("detected") == evident
    some = findings.leading(3, 9, ["id"])["id"].to_pylist()
    assert some == findings.index(["id"])["id"].to_pylist()[3:9]


def test_findings_are_read_without_what_makes_them() -> None:
    heavy = "{'scipy', 'pandas', 'sklearn', 'torch'}"
    rooms = "audit.findings, audit.findings.pages.unfound, audit.findings.pages.basis"
    code = f"import sys, {rooms}; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
