"""Which targets are tried, and which of them a claim is about: on a run with drawn tables, against plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn_run import draw_run

from audit.findings import Claim, Findings, Rules
from audit.findings.claims.registry import kind_of
from audit.findings.judge import flag
from audit.interventions import suspects
from audit.interventions.suspects import draw_suspects
from audit.interventions.tried import Tried, share_lost
from audit.store import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    drawn = draw_run(tmp_path_factory.mktemp("tried") / "run", 2000)
    flag(drawn, Rules())
    return drawn


def tried_in(run: Run) -> Tried:
    """Drawn targets that rely by chance, half of which could not be changed."""
    rng = np.random.default_rng(0)
    table = draw_suspects(run, 80)
    reliance = np.where(np.arange(len(table)) % 2, np.nan, rng.random(len(table)))
    plain = {"object": 0.9, "foreign": np.nan, "background": 0.1, "colour": 0.1}
    return Tried.read(Findings(run), table.assign(place=range(len(table)), reliance=reliance, **plain))


def shows(run: Run, claim: Claim, sample: int, slot: int) -> bool:
    (shard,) = Findings(run).evidence([run.shards[sample // run.record["shard_size"]]])
    of_target = (shard.evidence.sample == sample) & (shard.evidence.slot == slot)
    return bool(kind_of(claim).shows(claim, shard.evidence)[of_target][0])


def test_a_claims_arms_are_the_targets_that_show_it_their_controls_and_others(run: Run) -> None:
    tried = tried_in(run)
    claim = next(claim for claim in Findings(run).standing_claims() if claim.kind in ("spot", "zone"))
    rows = tried.table.to_dict("records")
    about = [
        row
        for row in rows
        if row["arm"] == "flagged"
        and row["class_id"] == claim.class_id
        and shows(run, claim, row["sample"], row["slot"])
    ]
    theirs = {row["control"] for row in about}
    others = [row for row in rows if row["arm"] == "control"]
    expected = {
        "reliance": about,
        "controls": [row for row in others if row["place"] in theirs],
        "unflagged": [row for row in others if row["class_id"] == claim.class_id],
        "unaccused": [row for row in others if row["class_id"] != claim.class_id],
    }
    arms = tried.arms(claim, {claim.class_id})
    for name, chosen in expected.items():
        values = [row["reliance"] for row in chosen]
        np.testing.assert_array_equal(getattr(arms, name), [value for value in values if not np.isnan(value)])
    assert 0 < len(arms.controls) < len(expected["controls"])
    assert len(arms.known) == len(arms.possible) == len(arms.object_share) == len(arms.reliance)


def test_the_flagged_are_drawn_by_severity_and_one_without_a_control_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Findings(run).targets().to_pandas().set_index(["sample", "slot"])["severity"]
    monkeypatch.setattr(suspects, "match_controls", lambda _class, _probability, drawn, _free: np.full(len(drawn), -1))
    table = draw_suspects(run, 30)
    assert (table["control"] == -1).all()
    assert (table["arm"] == "flagged").all()
    keys = pd.MultiIndex.from_frame(table[["sample", "slot"]])
    np.testing.assert_array_equal(table["severity"], found.loc[keys])
    assert table["severity"].max() == found.max()


def test_controls_of_targets_whose_object_is_known_are_such_targets(tmp_path: Path) -> None:
    masked = 300
    drawn = draw_run(tmp_path / "run", 2 * masked, masked=0.5)
    flag(drawn, Rules())
    table = draw_suspects(drawn, 60)
    assert (table.loc[table["arm"] == "flagged", "sample"] < masked).any()
    assert (table.loc[table["arm"] == "control", "sample"] < masked).all()


def test_of_a_unit_the_worst_of_each_class_may_be_drawn() -> None:
    rows = {"class_id": [0, 0, 0, 1, 1], "unit": [5, 5, 6, 5, 5], "worst": [0.2, 0.7, 0.1, np.nan, -0.5]}
    kept = suspects._one_a_unit(pd.DataFrame(rows))
    assert kept["worst"].tolist() == [0.7, 0.1, -0.5]


def test_no_more_than_all_is_lost_or_won() -> None:
    assert share_lost([2, -2, 0.3], [0.5, 0.5, 0.6]).tolist() == [1, -1, 0.5]
