"""A kind of claim is one class and one line of the registry: the rest of camaudit asks the kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pages import page
from small_run import make_run
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from audit.compare import compare_runs
from audit.export import findings_schema
from audit.findings import Claim, Findings, Rules
from audit.findings.claims.contrasts import claim_id
from audit.findings.claims.kind import ClaimKind, Material
from audit.findings.claims.registry import CLAIM_KINDS
from audit.findings.evidence.targets import Evidence
from audit.findings.judge import flag
from audit.interventions.tried import Tried
from audit.report import write_report
from audit.store import Run
from pipelines.cli import app


class EvenRows(ClaimKind):
    """Images with an even row: nothing to do with what a network sees."""

    name = "even"
    title = "images with an even row"
    family = "class x evenness"
    question = "do images with an even row look off the object?"
    compared_with = "images with an odd row"
    stands = "always"
    numbers = "`rows`: how many"
    chosen = "The images with the smallest rows."

    def test(self, material: Material) -> list[Claim]:
        rows = int((material.evidence.sample % 2 == 0).sum())
        return [
            Claim(
                claim_id=claim_id(self.name, "", "even rows"),
                kind=self.name,
                class_id=None,
                class_name=None,
                subject="even rows",
                targets=rows,
                share=1.0,
                low=0.5,
                high=1.0,
                expected=0.5,
                p=0.01,
                q=0.01,
                fdr=material.rules.fdr,
                family=self.family,
                tested=1,
                found=True,
                rests_on="labels",
                says=f"All {rows} images with an even row are suspicious.",
                details={"rows": rows},
            )
        ]

    def untested(self, material: Material) -> list[str]:
        return ["Odd rows were not tested"]

    def shows(self, claim: Claim, evidence: Evidence) -> NDArray[np.bool_]:
        return np.asarray(evidence.sample % 2 == 0)

    def prominence(self, claim: Claim, evidence: Evidence) -> NDArray[np.floating]:
        return np.where(evidence.sample % 2 == 0, -evidence.sample, -np.inf)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run flagged with one kind more."""
    monkeypatch.setitem(CLAIM_KINDS, EvenRows.name, EvenRows())
    run = Run.open(make_run(tmp_path / "a"))
    flag(run, Rules())
    return run


def printed(run: Run, *options: str) -> str:
    shown = CliRunner().invoke(app, ["findings", str(run.path), *options])
    assert shown.exit_code == 0, shown.output
    return shown.stdout


def test_a_new_kind_is_in_the_record_and_its_schema_and_in_what_is_printed(run: Run) -> None:
    record: dict[str, Any] = json.loads(printed(run, "--json"))
    (claim,) = [claim for claim in record["claims"] if claim["kind"] == "even"]
    assert claim["details"] == {"rows": 3}
    schema = findings_schema()
    assert "even" in schema["$defs"]["claim"]["properties"]["kind"]["enum"]
    pytest.importorskip("jsonschema").Draft202012Validator(schema).validate(record)
    assert claim["says"] in " ".join(printed(run).split())


def test_a_new_kind_is_in_the_summary_with_what_it_left_out(run: Run) -> None:
    summary = Findings(run).summary()
    assert summary is not None
    assert summary["claims"]["even"] == 1
    assert "Odd rows were not tested" in summary["untested"]


def test_a_new_kind_is_on_the_report_with_its_words_and_its_own_examples(run: Run) -> None:
    text = write_report(run).read_text()
    assert "images with an even row" in text
    assert "The images with the smallest rows." in text
    assert text.count("the heat over it") >= 3


def test_a_new_kind_is_compared(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CLAIM_KINDS, EvenRows.name)
    before = Run.open(make_run(tmp_path / "b"))
    monkeypatch.setitem(CLAIM_KINDS, EvenRows.name, EvenRows())
    (new,) = compare_runs(before, run)["claims"]["new"]
    assert new["claim_id"] == "even::even rows"


def test_a_new_kind_says_which_targets_interventions_judge_it_by(run: Run) -> None:
    findings = Findings(run)
    (claim,) = [claim for claim in findings.standing_claims() if claim.kind == "even"]
    targets = findings.targets().select(["sample", "slot", "class_id"]).to_pandas()
    shown = Tried.read(findings, targets).show(claim)
    assert (targets["sample"][shown] % 2 == 0).all()
    assert shown.sum() == (targets["sample"] % 2 == 0).sum() > 0


def test_a_new_kind_is_on_the_dashboard(run: Run) -> None:
    start: AppTest = page("start", run.path)
    assert not start.exception
    assert any("images with an even row are suspicious" in str(block.proto.body) for block in start.get("html"))


def test_claims_of_a_kind_that_is_gone_are_still_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CLAIM_KINDS, EvenRows.name)
    assert "images with an even row are suspicious" in " ".join(printed(run).split())
    assert "images with an even row are suspicious" in write_report(run).read_text()
    assert not page("start", run.path).exception


@pytest.mark.parametrize("kind", list(CLAIM_KINDS))
def test_every_kind_says_in_words_what_it_is(kind: str) -> None:
    words = ("name", "title", "family", "question", "compared_with", "stands", "numbers", "chosen")
    assert all(getattr(CLAIM_KINDS[kind], word) for word in words)
    assert CLAIM_KINDS[kind].question.endswith("?")
