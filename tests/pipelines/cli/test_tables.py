"""What verbs print for people: tables that fit the terminal, and names that are never cut."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from claimed_run import make_claimed_run
from faults.collection import camaudit
from paired_runs import Target, make_run

from pipelines.asked import Trial
from pipelines.cli import printing
from pipelines.cli.tables import fitting, named, needed, numbers, print_table, words
from pipelines.experiments.faithfulness import MEASURES

Capture = pytest.CaptureFixture[str]

LONG = "left-ventricular outflow tract with a pacemaker lead in view"
FACE = "archive/2024-03-07/hospital-b/scanner-3/000000000000417.jpg"
RULES = re.compile("[┏┡└┃│━─┳╇┻┓┩┘┴ \n]+")


def test_the_names_that_these_tests_use_are_long() -> None:
    assert min(len(LONG), len(FACE)) >= 59


def unfolded(shown: str) -> str:
    """What was printed, without the lines of tables and without spaces, column by column."""
    rows = [[cell.strip() for cell in re.split("[┃│]", line)[1:-1]] for line in shown.splitlines() if "│" in line]
    columns = zip(*(row for row in rows if len(row) == max(map(len, rows))), strict=True)
    return "\n".join("".join(column).replace(" ", "") for column in columns)


def widest_line_of_tables(shown: str) -> int:
    return max(len(line) for line in shown.splitlines() if line and line[0] in "┏┡└┃│")


@pytest.fixture
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


FINDING_COLUMNS = [
    numbers("severity", ["0.780", "0.5"]),
    words("kind", ["indifferent", "avoids"], rank=1),
    named("sample", [FACE, "b"]),
    named("class", [LONG, "cat"]),
    numbers("energy", ["0.028", "0.1"], rank=2),
    numbers("area", ["0.094", "0.2"], rank=2),
]


@pytest.mark.parametrize("width", [80, 60, 44], indirect=True)
def test_a_long_id_and_a_long_class_are_folded_and_lose_no_character(width: int, capsys: Capture) -> None:
    print_table("Findings", FINDING_COLUMNS)
    shown = capsys.readouterr().out
    assert widest_line_of_tables(shown) <= width
    for name in (LONG, FACE):
        assert name.replace(" ", "") in unfolded(shown)
    assert "…" not in shown


@pytest.mark.parametrize("width", [80, 60], indirect=True)
def test_columns_go_in_their_order_and_the_table_says_which(width: int, capsys: Capture) -> None:
    print_table("Findings", FINDING_COLUMNS)
    shown = capsys.readouterr().out
    gone = {80: "energy, area", 60: "kind, energy, area"}[width]
    assert f"not shown at this width: {gone}; --wide shows all" in shown
    assert ("indifferent" in shown) == (width == 80)


@pytest.mark.parametrize("width", [60], indirect=True)
def test_a_wide_table_has_every_column_and_folds_nothing(width: int, capsys: Capture) -> None:
    print_table("Findings", FINDING_COLUMNS, wide=True)
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if FACE in line)
    assert LONG in row
    assert "0.094" in row
    assert "not shown" not in shown


def test_columns_of_one_rank_go_together() -> None:
    room = needed(FINDING_COLUMNS, 24) - 1
    assert [column.title for column in fitting(FINDING_COLUMNS, room)] == ["severity", "kind", "sample", "class"]


def test_a_name_wide_in_the_terminal_counts_by_its_cells(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_table("", [named("class", ["犬" * 30])])
    assert unfolded(capsys.readouterr().out) == "犬" * 30


@pytest.mark.parametrize(("columns", "room"), [("72", 72), ("300", 300), ("", 120)])
def test_a_pipe_has_the_columns_that_it_is_told_and_else_120(
    columns: str, room: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    print_table("Much", [named("class", ["x" * 400])])
    assert widest_line_of_tables(capsys.readouterr().out) == room


@pytest.mark.parametrize("width", [80, 60], indirect=True)
def test_findings_fit_and_keep_sample_and_class(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    run = make_claimed_run(tmp_path)
    capsys.readouterr()
    assert camaudit(["findings", str(run)], monkeypatch) == 0
    shown = capsys.readouterr().out
    assert widest_line_of_tables(shown) <= width
    assert all(title in shown for title in ("severity", "sample", "class", "share [95 %]"))
    assert "not shown at this width" in shown
    assert camaudit(["findings", str(run), "--wide"], monkeypatch) == 0
    shown = capsys.readouterr().out
    assert all(title in shown for title in ("lift", "area", "q_low", "role"))
    assert "not shown" not in shown


@pytest.mark.parametrize("width", [80, 60], indirect=True)
def test_a_comparison_names_a_long_class_and_a_long_id_in_full(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("paired_runs.CLASSES", (LONG, "car"))
    make_run(tmp_path / "a", [Target(FACE, LONG), Target("b", LONG)])
    make_run(tmp_path / "b", [Target(FACE, LONG, off=True), Target("b", LONG)], classes=[LONG])
    capsys.readouterr()
    assert camaudit(["compare", str(tmp_path / "a"), str(tmp_path / "b")], monkeypatch) == 0
    shown = capsys.readouterr().out
    assert widest_line_of_tables(shown) <= width
    assert LONG.replace(" ", "") in RULES.sub("", shown)
    assert f"  {FACE}: {LONG}, severity" in shown
    assert "…" not in shown


@pytest.mark.parametrize("width", [80, 60], indirect=True)
def test_measures_of_faithfulness_keep_the_runs_own_method(width: int, capsys: Capture) -> None:
    mean = {"mean": 0.123, "low": 0.1, "high": 0.2}
    maps = dict.fromkeys(("smoothgrad:gradcam", "random", "centre"), dict.fromkeys(MEASURES, mean))
    record = {"method": "smoothgrad:gradcam", "targets": Trial.targets, "failed": [], "measures": maps}
    printing.print_faithfulness(record | {"less_random": maps})
    shown = capsys.readouterr().out
    assert widest_line_of_tables(shown) <= width
    assert "smoothgrad:gradcam" in shown
    assert "centre" in shown.splitlines()[-1]


@pytest.mark.parametrize("width", [80, 60], indirect=True)
def test_sanity_of_many_methods_shows_the_first_and_a_sentence_for_each(width: int, capsys: Capture) -> None:
    curve = {"rank_correlation": [0.5, 0.1], "ssim": [0.25, None], "half": 0.1, "passes": True}
    methods = {f"{name}:gradcam": curve for name in ("smoothgrad", "multiscale", "flip", "again", "more")}
    record = {"samples": 4, "randomised_down_to": [LONG, "stem"], "methods": methods, "rule": "a rule"}
    printing.print_sanity(record, Path("sanity.png"))
    shown = capsys.readouterr().out
    assert widest_line_of_tables(shown) <= width
    assert shown.count("passes: its maps change") == len(methods)
    assert LONG.replace(" ", "") in unfolded(shown)


@pytest.mark.parametrize("width", [80, 60], indirect=True)
def test_the_truth_of_the_demo_keeps_class_cue_and_finding(width: int, capsys: Capture) -> None:
    row = {"class": "disc", "cue": "watermark", "relies": 0.8, "accuracy_without_cue": 0.2, "off_object": 1.0}
    planted = {"classes": [row | {"finding": True}], "auroc": {"severity": 0.9, "lift": None}, "void": False}
    printing.print_truth(planted)
    shown = capsys.readouterr().out
    assert widest_line_of_tables(shown) <= width
    assert all(word in shown for word in ("disc", "watermark", "finding", "severity 0.900"))
    assert ("0.20" in shown) == (width == 80)


@pytest.mark.parametrize("width", [80, 60], indirect=True)
def test_claims_that_were_verified_are_named_as_people_wrote_them(width: int, capsys: Capture) -> None:
    cause = {"claim_id": "spot:n01%3A cat:x 88-100 %25", "outcome": "confirmed", "says": "Without it p falls."}
    outcomes = {"flagged": {"confirmed": 3}, "control": {"refuted": 3}}
    record = {"targets": 6, "failed": [], "outcomes": outcomes, "causes": [cause], "random_weights": None}
    printing.print_verified(record)
    shown = capsys.readouterr().out
    assert widest_line_of_tables(shown) <= width
    assert "spot:n01: cat:x 88-100 % confirmed: Without it p falls." in shown
