"""A run in which nothing, or too little, could be processed does not end as if all were well."""

from __future__ import annotations

from pathlib import Path

import pytest
from distributed import Client

from faults.collection import account, camaudit, command, connected, draw_collection, write_model

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("broken", "options", "code"),
    [(8, (), 1), (8, ("--max-failed", "1"), 1), (2, (), 1), (2, ("--max-failed", "0.25"), 0), (0, (), 0)],
    ids=["all", "all, which is never enough", "a quarter", "a quarter, allowed", "none"],
)
def test_a_run_exits_with_1_when_nothing_or_too_little_was_processed_and_says_why(
    broken: int,
    options: tuple[str, ...],
    code: int,
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    draw_collection(tmp_path, 8)
    write_model(tmp_path)
    for index in range(broken):
        (tmp_path / f"{index:03d}.png").write_text("<html>" if index else "")
    with connected(client, monkeypatch):
        assert camaudit(command(tmp_path, *options), monkeypatch) == code
    last = capsys.readouterr().err.strip().splitlines()[-1]
    if code:
        assert last.startswith(f"camaudit: {broken} of 8 samples failed")
        assert "001.png" in last or broken == 2
        assert f"{max(broken - 1, 1)} of them as this one: " in last
    assert (tmp_path / "run/summary.json").exists() == (broken < 8)
    assert account(tmp_path / "run", monkeypatch, capsys)["failed"] == broken
