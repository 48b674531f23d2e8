"""Concepts are kept whole, told when they hold no more, and found damaged when they are."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copyfile, copytree

import numpy as np
import pytest
from bucket import new_bucket, served
from claimed_run import make_claimed_run
from drawn_concepts import ASKED, drawn, keep_drawn
from rewritten import put_part
from small_run import make_run

from audit.concepts.kept import About, Concepts, command, hex_maps, why_none
from audit.errors import RunError
from audit.export import findings_record, findings_schema
from audit.findings import Findings, Rules
from audit.findings.judge import flag
from audit.store import Run, layout
from audit.store.storage.files import read_json, write_atomically, write_json
from audit.store.storage.objects import location

SPOT = About("square", "spot:square:x 88-100 %")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_claimed_run(tmp_path_factory.mktemp("claimed"))


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Run:
    return Run.open(copytree(made, tmp_path / "run"))


def read(run: Run) -> Concepts:
    return Concepts(Findings(Run.open(run.path)))


def is_current(run: Run, about: About) -> bool:
    kept = read(run).of(about)
    assert kept is not None
    return kept.current


def test_what_is_kept_is_read_again_as_it_was(run: Run) -> None:
    kept = keep_drawn(run, SPOT)
    again = read(run).of(SPOT)
    assert again is not None
    assert (again.concepts, again.asked, again.current) == (kept.concepts, ASKED, True)
    assert read(run).of(About("square")) is None  # the class is another matter than a claim about it


def test_maps_come_back_to_a_255th(rng: np.random.Generator, run: Run) -> None:
    maps = rng.random((3, 6, 8))
    targets = [[row, 0, 0] for row in range(3)]
    concept = drawn(run, SPOT, 1, patches={"targets": targets, "maps": hex_maps(maps)})
    np.testing.assert_allclose(concept.maps((6, 8)), maps, atol=0.5 / 255 + 1e-6)


def test_concepts_of_a_claim_are_stale_once_the_findings_are_others_and_of_a_class_once_the_ledger_is(run: Run) -> None:
    keep_drawn(run, SPOT)
    keep_drawn(run, About("square"))
    assert [kept.current for kept in read(run).all()] == [True, True]
    flag(Run.open(run.path), Rules(confident=0.9))
    assert (is_current(run, SPOT), is_current(run, About("square"))) == (False, True)
    samples = run.read("samples", run.shards[0]).to_pydict()
    put_part(run, "samples", 0, samples | {"look": [7, 8]})
    assert not is_current(run, About("square"))


def test_what_interventions_say_leaves_concepts_as_they_are(run: Run) -> None:
    keep_drawn(run, SPOT)
    ledger = run.path / layout.FINDINGS / layout.FINDINGS_LEDGER
    record = read_json(ledger, "")
    write_json(ledger, record | {"artefacts": record["artefacts"] | {layout.EFFECTS: "0" * 64}})
    assert is_current(run, SPOT)


@pytest.mark.parametrize(
    "changes",
    [
        {"concepts": [{"way": "nmf"}]},
        {"concepts": 3},
        {"made_from": None, "concepts": [[]]},
        {"asked": 3},
    ],
)
def test_a_file_that_does_not_hold_concepts_is_told_in_a_line(run: Run, changes: dict[str, object]) -> None:
    keep_drawn(run, SPOT)
    (path,) = (run.path / layout.CONCEPTS).glob("*.json")
    write_json(path, read_json(path, "") | changes)
    with pytest.raises(RunError, match=r"^Expected .* to hold concepts as this camaudit writes them; again: `camaudit"):
        read(run).of(SPOT)


def test_a_sample_that_the_run_does_not_have_and_a_flipped_bit_are_told(run: Run) -> None:
    maps = hex_maps(np.zeros((1, 6, 8)))
    far = drawn(run, SPOT, 1, patches={"targets": [[99, 0, 0]], "maps": maps})
    Concepts(Findings(run)).write(SPOT, ASKED, [far])
    with pytest.raises(RunError, match="to hold concepts as this camaudit"):
        read(run).of(SPOT)
    (path,) = (run.path / layout.CONCEPTS).glob("*.json")
    path.write_text(path.read_text().replace("0.98", "0.99"))
    with pytest.raises(RunError, match=r"^Damaged: .*; again: `camaudit units .* --claim 'spot:square:x 88-100 %'"):
        read(run).of(SPOT)


def test_findings_as_json_have_current_concepts_by_the_schema(run: Run) -> None:
    keep_drawn(run, SPOT)
    keep_drawn(run, About("square"), places=1)
    record = json.loads(json.dumps(findings_record(Run.open(run.path))))
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator(findings_schema()).validate(record)
    told = [(row["claim_id"], row["class"], row["place"], row["cosine"]) for row in record["concepts"]]
    assert told == [(None, "square", 1, 0.98), (SPOT.claim_id, "square", 1, 0.98), (SPOT.claim_id, "square", 2, None)]
    flag(Run.open(run.path), Rules(confident=0.9))
    assert [row["claim_id"] for row in findings_record(Run.open(run.path))["concepts"]] == [None]


def test_a_run_in_a_bucket_keeps_them_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(monkeypatch) as faults:
        root = location(f"{new_bucket(faults).url}/run")
        for file in (path for path in run.path.rglob("*") if path.is_file()):
            write_atomically(root / file.relative_to(run.path).as_posix(), lambda made, of=file: copyfile(of, made))
        keep_drawn(Run.open(root), SPOT)
        (kept,) = Concepts(Findings(Run.open(root))).all()
        assert (kept.about, kept.current, len(kept.concepts)) == (SPOT, True, 2)


def test_runs_that_can_have_none_say_why(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path, flagged=False))
    assert why_none(run) == ""
    boxes = {"config": run.record["config"] | {"roles": ["detected"]}}
    assert "boxes, regions or words" in why_none(Run(run.path, run.record | boxes))
    assert "the input's resolution" in why_none(Run(run.path, run.record | {"encoding": "int8"}))


def test_the_command_names_what_is_asked_for(run: Run) -> None:
    assert command(run) == f"camaudit units {run.path} --concepts 4"
    assert command(run, About("stop sign")).endswith("--class 'stop sign' --concepts 4")
    asked = {"count": 7, "way": "pca", "seed": 3, "images": 300, "removals": 64}
    assert command(run, About("disc"), asked).endswith("--class disc --concepts 7 --way pca --seed 3")
    assert command(run, None, {"count": 7, "way": "nmf", "seed": 0}).endswith(f"{run.path} --concepts 7")
    assert command(run, None, {"count": "4; rm", "way": "$(rm)"}).endswith(" --concepts '4; rm' --way '$(rm)'")


@pytest.mark.parametrize(
    ("cosine", "told"),
    [
        (0.9, "Cosine over draws: 0.90 or more"),
        (0.42, "Lost in a draw: cosine 0.42"),
        (None, "Too few images to draw again"),
    ],
)
def test_a_concept_says_whether_it_comes_back(run: Run, cosine: float | None, told: str) -> None:
    assert f". {told}" in drawn(run, SPOT, 2, cosine=cosine).said()


def test_a_damaged_file_is_left_out_of_what_was_found_with_a_warning(run: Run) -> None:
    keep_drawn(run, SPOT)
    keep_drawn(run, About("square"), places=1)
    (path,) = (run.path / layout.CONCEPTS).glob("claim*.json")
    path.write_text("{")
    with pytest.warns(RuntimeWarning, match=r"^Left out: Cannot read .*; again: `camaudit units ") as warned:
        record = findings_record(Run.open(run.path))
    assert len(warned) == 1
    assert [row["claim_id"] for row in record["concepts"]] == [None]
