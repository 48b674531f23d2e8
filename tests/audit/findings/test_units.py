"""Units of evidence: images that are one witness have one vote, and what that is worth where nothing is planted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_run import CAMERAS, CLASSES, draw_run
from faults.collection import camaudit
from made_evidence import CELLS, draw_evidence, in_bursts, material, plant_heat
from rewritten import put_part
from typer.testing import CliRunner

from audit.compare import compare_runs
from audit.compare.pairs import MEASURES, Pairs, compare_all
from audit.datasets import ManifestFile
from audit.errors import ManifestError, RunError
from audit.findings import Findings, Rules
from audit.findings.claims.groups import Groups
from audit.findings.claims.spots import Spots
from audit.findings.claims.votes import one_vote
from audit.findings.claims.zones import Zones
from audit.findings.dependence import units_said
from audit.findings.evidence.targets import Evidence
from audit.findings.evidence.units import units_of
from audit.findings.judge import flag
from audit.interventions.suspects import draw_suspects
from audit.store import Run
from audit.store.storage.files import read_json
from pipelines.cli import app

FRAMES = 5
CORNER = np.zeros((CELLS, CELLS), bool)
CORNER[-2:, -2:] = True


def bursts(seed: int, frames: int) -> Evidence:
    """About 40 images of each of 20 classes in bursts; what they show owes nothing to the class."""
    return in_bursts(draw_evidence(800 // frames, 20, seed, per_image=1), frames, seed)


def by_burst(evidence: Evidence, frames: int) -> Evidence:
    return replace(evidence, unit=evidence.sample // frames)


def share_with_claims(drawn: list[Evidence]) -> dict[str, float]:
    """Share of collections about which there is a claim, by kind."""
    kinds = (Zones(), Spots(), Groups())
    return {
        kind.name: float(np.mean([any(row.found for row in kind.test(material(one))) for one in drawn]))
        for kind in kinds
    }


@pytest.mark.parametrize(("frames", "spot"), [(2, 0.0), (5, 0.8)])
def test_images_of_a_burst_are_no_evidence_by_themselves_and_one_together(frames: int, spot: float) -> None:
    drawn = [bursts(seed, frames) for seed in range(60)]
    by_image = share_with_claims(drawn[:10])
    assert by_image["spot"] >= spot
    assert max(share_with_claims([by_burst(one, frames) for one in drawn]).values()) <= 0.06


def test_a_corner_that_half_of_the_bursts_of_a_class_rest_on_is_found_by_bursts() -> None:
    found = []
    for seed in range(20):
        evidence = draw_evidence(1200, 20, seed, per_image=1)
        shows = (evidence.class_id == 3) & (np.random.default_rng(seed).random(len(evidence)) < 0.5)
        evidence = in_bursts(plant_heat(evidence, np.flatnonzero(shows), CORNER, 0.9), FRAMES, seed)
        found.append(any(row.found and row.class_id == 3 for row in Spots().test(material(by_burst(evidence, FRAMES)))))
    assert np.mean(found) >= 0.95


def test_the_vote_of_a_unit_owes_nothing_to_its_size() -> None:
    rng = np.random.default_rng(0)
    size = np.repeat([1, 2, 9], 4000)
    unit = np.repeat(np.arange(len(size)), size)
    shows = rng.random(len(unit)) < 0.2
    votes = shows[one_vote(np.zeros_like(unit), unit)]
    for number in (1, 2, 9):
        assert votes[size == number].mean() == pytest.approx(0.2, abs=0.02)


def compared(seed: int, unit_of_frames: int) -> tuple[float, float]:
    """p of the flips and the lower end of the risen share, of two runs of one law over 80 bursts."""
    rng = np.random.default_rng(seed)
    sample = np.arange(80 * FRAMES)
    off = np.repeat(rng.random((2, 80)) < 0.3, FRAMES, axis=1) ^ (rng.random((2, len(sample))) < 0.05)
    values = dict.fromkeys(MEASURES, off.astype(float))
    measures, flips = compare_all(Pairs(sample, sample // unit_of_frames, np.zeros_like(sample), **values))
    return flips.p, measures["off_object"].low


def test_two_runs_of_one_law_differ_by_chance_alone_where_bursts_are_units() -> None:
    images, units = (np.array([compared(seed, frames) for seed in range(60)]) for frames in (1, FRAMES))
    assert np.mean(images[:, 0] <= 0.05) > 0.2
    assert np.mean(units[:, 0] <= 0.05) <= 0.06
    assert np.mean(units[:, 1] > 0) <= 0.06


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return draw_run(tmp_path_factory.mktemp("units") / "run", 600)


def test_images_of_one_value_are_a_unit_and_those_without_one_are_their_own(
    drawn: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sample, look = np.array([0, 0, 7, 1, 2, 3]), np.array([11, 11, 12, 13, 14, 15]) << 40
    camera = [CAMERAS.index(CAMERAS[row % 7 % 3]) for row in sample.tolist()]
    assert camera == [0, 0, 0, 1, 2, 0]
    assert units_of(drawn, sample, look, "camera").tolist() == [0, 0, 0, 1, 2, 0]
    manifest = drawn.manifest()
    values = manifest.table["camera"].to_pylist()
    values[:4] = [None, None, None, None]
    without = manifest.table.set_column(manifest.table.column_names.index("camera"), "camera", [values])
    file = ManifestFile.open(replace(manifest, table=without).save(tmp_path / "manifest.parquet"))
    monkeypatch.setattr(Run, "manifest_file", file)
    alike = np.array([1 << 40, 1 << 40, 9, 1 << 40, -1, -2])
    assert units_of(drawn, sample, alike, "camera").tolist() == [0, 0, 1, 0, 2, 2]


def test_a_unit_that_is_no_attribute_is_refused_in_a_line_and_findings_stay(
    drawn: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flag(drawn, Rules())
    line = "Expected as unit an attribute of the manifest, which has camera; got 'patient'"
    with pytest.raises(ManifestError, match=line):
        flag(drawn, Rules(unit="patient"))
    assert camaudit(["flag", str(drawn.path), "--unit", "patient"], monkeypatch) == 1
    assert line in capsys.readouterr().err
    assert Findings(drawn).current
    with pytest.raises(ValueError, match="Expected `unit` to name an attribute"):
        Rules(unit="")


def test_findings_remember_their_unit_and_count_by_it(drawn: Run, tmp_path: Path) -> None:
    summary = flag(drawn, Rules(unit="camera", tolerated=0.01))
    findings = Findings(drawn)
    assert findings.rules() == Rules(unit="camera", tolerated=0.01)
    assert summary["units"] == {"attribute": "camera", "number": 3, "images": 600, "doubt": ""}
    assert units_said(summary) == "Images of one camera count as one: 3 units of 600 images"
    assert {row.confident for row in findings.classes()} <= {2, 3}
    suspects = draw_suspects(drawn, 200).query("arm == 'flagged'")
    camera = suspects["sample"] % 7 % 3
    assert not suspects.assign(camera=camera).duplicated(["class_id", "camera"]).any()
    other = draw_run(tmp_path / "run", 600)
    flag(other, Rules(tolerated=0.01))
    with pytest.raises(RunError, match=f"got unit camera in {drawn.path} and unit None in"):
        compare_runs(drawn, other)
    flag(other, Rules(unit="camera", tolerated=0.01))
    flips = compare_runs(drawn, other)["flips"]
    assert flips["worse"] + flips["better"] <= 3


def test_a_summary_says_that_images_look_dependent_unless_a_unit_was_named(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "run", 300)
    assert units_said(flag(run, Rules())) == ""
    for shard in run.shards:
        samples = run.read("samples", shard).to_pydict()
        samples["look"] = [
            (row // 6 * 0x9E3779B97F4A7C15 ^ 0b1111111 << row % 6 * 9) % 2**63 for row in samples["sample"]
        ]
        put_part(run, "samples", shard.index, samples)
    said = units_said(flag(run, Rules()))
    assert said.startswith("Images may not be independent: ")
    assert "--unit" in said
    assert read_json(run.path / "summary.json", "")["units"]["doubt"] == said
    assert units_said(flag(run, Rules(unit="camera"))).startswith("Images of one camera")


def test_copies_in_different_classes_leave_each_class_its_vote(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "run", 200)
    for shard in run.shards:
        samples = run.read("samples", shard).to_pydict() | {"look": [2**40 - 1] * len(shard)}
        put_part(run, "samples", shard.index, samples)
    assert flag(run, Rules())["units"]["number"] == 1
    assert {row.confident for row in Findings(run).classes()} == {1}
    assert len(Findings(run).classes()) == len(CLASSES)


def test_flagging_again_keeps_the_unit_unless_another_is_asked_for(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "run", 300)
    flag(run, Rules(unit="camera"))
    for options, unit in ((["--fdr", "0.1"], "camera"), (["--unit", "image"], None), ([], None)):
        done = CliRunner().invoke(app, ["flag", str(run.path), *options])
        assert done.exit_code == 0, done.output
        assert Findings(Run.open(run.path)).rules().unit == unit
