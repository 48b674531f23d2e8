"""What `camaudit findings` prints: the record that JSON Schema describes, and the claims as sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from claimed_run import CLAIMS, make_claimed_run
from small_run import make_run
from typer.testing import CliRunner

from audit.errors import RunError
from audit.export import findings_schema
from audit.findings import Claim, ClassFinding, Finding, Findings, Outcome
from audit.store import Run, layout
from audit.store.storage.files import write_json
from audit.store.tables.records import finite
from pipelines.cli import app

SCHEMA = findings_schema()


def printed(path: Path) -> dict[str, Any]:
    shown = CliRunner().invoke(app, ["findings", str(path), "--json"])
    assert shown.exit_code == 0, shown.output
    record: dict[str, Any] = json.loads(shown.output, parse_constant=pytest.fail)
    return record


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return printed(make_claimed_run(tmp_path_factory.mktemp("claimed")))


def test_the_record_is_as_its_schema_says(record: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(record)


def test_a_run_without_claims_is_as_the_schema_says(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    bare = printed(make_run(tmp_path))
    jsonschema.Draft202012Validator(SCHEMA).validate(bare)
    assert bare["causes"] == []
    assert bare["claims"] == []


@pytest.mark.parametrize(
    ("name", "schema", "more"),
    [
        ("class", ClassFinding.schema(), set()),
        ("claim", Claim.schema(), {"outcome", "verdict", "reviewers"}),
        ("target", Finding.schema(), {"outcome", "reliance", "verdict", "reviewers"}),
        ("cause", Outcome.schema(), set()),
    ],
)
def test_the_schema_has_every_column_of_the_tables(name: str, schema: Any, more: set[str]) -> None:
    described = SCHEMA["$defs"][name]
    assert set(described["properties"]) == set(schema.names) | more
    assert set(described["required"]) == set(described["properties"])


def test_claims_come_found_first_then_by_q_with_their_outcomes(record: dict[str, Any]) -> None:
    order = [(not claim["found"], 2 if claim["q"] is None else claim["q"]) for claim in record["claims"]]
    assert order == sorted(order)
    outcomes = {claim["claim_id"]: claim["outcome"] for claim in record["claims"]}
    assert outcomes[CLAIMS[0]["claim_id"]] == "confirmed"
    assert set(outcomes.values()) == {"confirmed", "not tested"}


def test_details_are_objects_and_unknown_numbers_null(record: dict[str, Any]) -> None:
    spot = next(claim for claim in record["claims"] if claim["kind"] == "spot")
    assert spot["details"]["box"] == [0.875, 0.75, 1, 1]
    assert record["causes"][0]["control_effect"] is None


def test_targets_have_the_outcome_of_their_own_intervention(record: dict[str, Any]) -> None:
    outcomes = {target["sample"]: (target["outcome"], target["reliance"]) for target in record["targets"]}
    assert outcomes[0][0] == "confirmed"
    assert outcomes[0][1] == pytest.approx(0.6)
    assert {outcome for sample, outcome in outcomes.items() if sample} == {("not tested", None)}


def test_found_claims_are_printed_as_sentences_with_their_outcome(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["findings", str(make_claimed_run(tmp_path))]).output
    assert "5 claims found" in shown
    assert f"{CLAIMS[0]['says']} (confirmed, q 0.004, rests on masks)" in shown
    assert "The heat of square lies on 0. (not tested, rests on masks)" in shown
    assert "That may be chance" not in shown
    assert max(map(len, shown.splitlines())) < 520


def test_what_is_not_finite_is_null_at_any_depth() -> None:
    nan = float("nan")
    assert finite({"a": [nan, 1.0, {"b": (float("inf"), 2)}], "c": "nan"}) == {
        "a": [None, 1.0, {"b": [None, 2]}],
        "c": "nan",
    }


def test_a_run_flagged_by_rules_of_old_says_how_to_go_on(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    summary = json.loads((path / layout.SUMMARY).read_text())
    write_json(path / layout.SUMMARY, summary | {"rules": {"level": 0.05, "chance": 0.1}})
    with pytest.raises(RunError, match="camaudit flag"):
        Findings(Run.open(path)).rules()


def test_the_channels_of_claims_are_told_with_their_patches(record: dict[str, Any]) -> None:
    standing = {row["claim_id"] for row in record["claims"] if row["found"]}
    assert record["channels"]
    assert {row["claim_id"] for row in record["channels"]} <= standing
    first = next(row for row in record["channels"] if row["claim_id"].startswith("spot"))
    assert (first["place"], first["channel"], first["against"], first["apart"]) == (1, 3, "nothing", False)
    assert first["patches"]["targets"] == [[0, 0, 47], [2, 0, 47]]
