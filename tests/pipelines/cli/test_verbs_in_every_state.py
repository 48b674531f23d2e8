"""What the verbs say of a run in every state: one line and the right exit code, or what is asked for."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from faults.collection import camaudit
from run_states import SPOILED, STATES
from small_run import make_run

from audit.store import Run

UNFINISHED = "no finished shard.*finish it with `camaudit run`"
UNSCORED = "camaudit score"
UNFLAGGED = "finish it with `camaudit run`, or judge what is done with `camaudit flag"
PENDING = "was not flagged yet, so no threshold is known"
UNREADABLE = "(Cannot read|Damaged: ) ?.*camaudit repair"
OLD = "has run format 2, expected .*audit again into another directory"
GONE = "No run at .*make one with `camaudit run`"
VERB = {
    "status": ("status",),
    "check": ("status", "--check"),
    "findings": ("findings",),
    "record": ("findings", "--json"),
    "review": ("review status",),
    "flag": ("flag",),
    "report": ("report",),
    "table": ("export", "--format", "csv", "-o", "OUT.csv"),
    "masks": ("export", "--format", "voc-png", "-o", "OUT"),
    "coco": ("export", "--format", "coco", "-o", "OUT", "--threshold", "0.5"),
    "metrics": ("metrics", "--threshold", "0.5"),
    "verify": ("verify",),
    "grade": ("grade",),
    "embed": ("embed",),
}
NO_MODEL = "."
"""A drawn run has no model to verify with."""
TOO_SMALL = "no class with 5 images named with confidence: there is nothing to grade"
"""A drawn run has five images in all."""
TOO_FEW = r"keeps what lies under the heat of \d targets, so there is nothing to place"
"""There is no map of fewer than four."""
REFUSED = {
    "no shard yet": dict.fromkeys(("findings", "record", "flag", "report", "review", "table", "grade"), UNFINISHED)
    | {"masks": PENDING, "metrics": UNFINISHED, "embed": TOO_FEW},
    "running": dict.fromkeys(("findings", "record", "report", "review", "table", "grade"), UNFLAGGED)
    | {"masks": PENDING, "embed": TOO_FEW},
    "finished": {},
    "no scores": dict.fromkeys(("findings", "record", "flag", "report", "review", "table", "grade"), UNSCORED)
    | {"masks": PENDING, "embed": TOO_FEW},
    "no masks": {"masks": "has no masks to choose a threshold by; pass --threshold"},
    "all failed": {"masks": "has no masks to choose a threshold by; pass --threshold", "embed": TOO_FEW},
    "images moved": {},
    "damaged part": dict.fromkeys(("flag", "report", "grade", "metrics"), UNREADABLE),
    "older format": dict.fromkeys(VERB, OLD),
    "deleted": dict.fromkeys(VERB, GONE),
}
"""For each state the verbs that are refused, and how."""


def built(state: str, folder: Path) -> Path:
    """A run in a state."""
    path = STATES.get(state, make_run)(folder)
    if state in SPOILED:
        SPOILED[state](path)
    return path


@pytest.mark.parametrize("state", REFUSED)
def test_a_verb_does_what_is_asked_or_says_in_one_line_why_not(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = built(state, tmp_path / "first")
    for name, verb in VERB.items():
        path = tmp_path / name / "run"
        if first.exists():
            shutil.copytree(first, path)
        expected = {"verify": NO_MODEL, "grade": TOO_SMALL, **REFUSED[state]}.get(name)
        arguments = [part.replace("OUT", str(tmp_path / name / "out")) for part in verb[1:]]
        code = camaudit([*verb[0].split(), str(path), *arguments], monkeypatch)
        printed = capsys.readouterr()
        if expected is None:
            assert (code, printed.err) == (1 if (state, name) == ("damaged part", "check") else 0, ""), name
        else:
            assert code == 1, name
            assert printed.out == "", name
            assert re.fullmatch(f"camaudit: .*{expected}.*\n", printed.err), (name, printed.err)


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ("no masks", "No map could be compared with its object (no mask: 5), so no image and no class was judged."),
        ("all failed", "No sample has a map, so no image and no class was judged."),
    ],
)
def test_a_run_in_which_nothing_was_judged_says_why_before_it_lists_nothing(
    state: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(built(state, tmp_path))
    assert camaudit(["findings", path], monkeypatch) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == line
    assert "images have masks; nothing was tested; not tested: off-object shares, " in printed[1]
    assert printed[2].startswith("To test off-object shares, ")
    assert printed[3:5] == ["0 claims found", "0 findings about single images"]
    assert ("oddest of 5 targets" in "".join(printed[5:])) == (state == "no masks")
    assert camaudit(["report", path], monkeypatch) == 0
    page = Path(capsys.readouterr().out.strip()).read_text()
    assert line[:-1] in page
    assert "Nothing was found" not in page


@pytest.mark.parametrize("state", ["no shard yet", "no scores"])
def test_a_refused_flag_leaves_no_findings_behind(state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = built(state, tmp_path)
    assert camaudit(["flag", str(path)], monkeypatch) == 1
    assert not (path / "findings").exists()
    assert not (path / "summary.json").exists()
    assert Run.open(path).account().failed == (0 if state == "no shard yet" else 1)


def test_the_report_of_a_run_whose_images_have_moved_shows_them_once_it_is_told_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = built("images moved", tmp_path)
    pages = []
    for told in ([], ["--root", str(tmp_path / "moved")]):
        assert camaudit(["report", str(path), *told], monkeypatch) == 0
        pages.append(Path(capsys.readouterr().out.strip()).read_text())
    assert ["name their folder with --root" in page for page in pages] == [True, False]
    assert camaudit(["report", str(path), "--root", str(tmp_path / "nowhere")], monkeypatch) == 2
