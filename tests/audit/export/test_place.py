"""An export goes where nothing lies; over an earlier one of the same collection only where that was asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from small_run import make_run
from typer.testing import CliRunner

from audit.errors import RunError
from audit.export import FORMATS, LABEL_FORMATS, PseudoMasks, export_run
from audit.store import Run, layout
from audit.store.storage.files import read_json, write_json
from audit.store.verdicts.log import VerdictLog
from pipelines.cli import app

ALL = PseudoMasks(0.5)
OUT = dict.fromkeys(LABEL_FORMATS, "masks") | {
    "csv": "findings.csv",
    "parquet": "findings.parquet",
    "verdicts": "verdicts.csv",
    "verdicts-coco": "coco.json",
    "verdicts-fiftyone": "tags.json",
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """With a verdict to export."""
    run = Run.open(make_run(tmp_path / "here"))
    VerdictLog.of(run).add("0:0", "agree", "Ana")
    return run


def test_the_places_below_are_of_every_format() -> None:
    assert OUT.keys() == FORMATS.keys() | LABEL_FORMATS.keys()


def contents(out: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", sorted(OUT.keys() - {"cvat"}))  # whose label map cannot hold the run's class names
def test_a_second_export_is_refused_and_made_if_that_is_asked(name: str, run: Run, tmp_path: Path) -> None:
    out = tmp_path / OUT[name]
    export_run(run, name, out, ALL)
    with pytest.raises(RunError, match=r"Expected --out to be new, got .*; choose another, or --overwrite"):
        export_run(run, name, out, ALL)
    export_run(run, name, out, ALL, overwrite=True)


def test_a_refused_export_leaves_the_earlier_one_as_it_was(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "masks"
    export_run(run, "voc-png", out, PseudoMasks(0.0))
    before = contents(out)
    with pytest.raises(RunError, match=f"an export of {run.path}"):
        export_run(run, "voc-png", out, PseudoMasks(0.9))
    assert contents(out) == before


def test_the_export_of_another_collection_is_never_written_over(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "masks"
    export_run(run, "voc-png", out, ALL)
    record = out / "camaudit-export.json"
    write_json(record, {**read_json(record, ""), "manifest": "0" * 16, "run": "/runs/other"})
    with pytest.raises(RunError, match=r"which holds an export of /runs/other; choose another$"):
        export_run(run, "voc-png", out, ALL, overwrite=True)


def test_a_run_is_no_place_for_an_export(run: Run) -> None:
    for place in ("", "masks", "findings/deep/masks"):
        with pytest.raises(RunError, match=f"of the run .*{run.path.name}; choose another"):
            export_run(run, "voc-png", run.path / place, ALL, overwrite=True)
    with pytest.raises(RunError, match="choose another"):
        export_run(run, "parquet", run.path / layout.MANIFEST, ALL, overwrite=True)
    assert list(run.damaged()) == []


def test_a_folder_of_other_files_is_never_taken(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="a folder with other files"):
            export_run(run, "voc-png", out, ALL, overwrite=overwrite)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_an_export_that_was_interrupted_is_told_and_gone_on_with(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "masks"

    def die(*_arguments: object, **_named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("audit.export.labels.voc.write_index_png", die)
        with pytest.raises(KeyboardInterrupt):
            export_run(run, "voc-png", out, ALL)
    assert not read_json(out / "camaudit-export.json", "")["finished"]
    with pytest.raises(RunError, match="choose another, or --overwrite"):
        export_run(run, "voc-png", out, PseudoMasks(0.7))
    export_run(run, "voc-png", out, ALL)
    assert read_json(out / "camaudit-export.json", "")["finished"]


def test_masks_of_samples_that_have_failed_since_are_not_left_beside_the_new_ones(tmp_path: Path) -> None:
    out = tmp_path / "masks"
    export_run(Run.open(make_run(tmp_path / "first")), "voc-png", out, ALL)
    assert len(list(out.glob("*.png"))) == 5
    export_run(Run.open(make_run(tmp_path / "second", readable=4)), "voc-png", out, ALL, overwrite=True)
    assert not (out / "e.png").exists()
    assert len(list(out.glob("*.png"))) == 4


def test_the_verb_overwrites_if_it_is_told_to(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "masks"
    arguments = ["export", str(run.path), "--format", "voc-png", "-o", str(out), "--threshold"]
    assert CliRunner().invoke(app, [*arguments, "0"]).exit_code == 0
    assert isinstance(CliRunner().invoke(app, [*arguments, "1"]).exception, RunError)
    assert CliRunner().invoke(app, [*arguments, "1", "--overwrite"]).exit_code == 0
    with Image.open(out / "a.png") as mask:
        assert mask.getcolors() is not None
