"""What is shown while a run goes on."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from audit.progress import Advanced, Began, Ended, Event, Noted, Passed, stretch
from pipelines.run.shards import shard as shards
from pipelines.run.shards.shard import PASSES
from pipelines.terminal import TerminalProgress


class Worker:
    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def log_event(self, topic: str, message: Any) -> None:
        self.events.append((topic, message))


def test_a_worker_tells_how_many_images_went_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    monkeypatch.setattr(shards, "get_worker", lambda: worker)
    tell = shards._Teller()
    tell(16)
    assert worker.events == []  # not more than once a second
    monkeypatch.setattr(shards, "_TELL_EVERY_S", 0.0)
    tell(4)
    tell(1)
    assert worker.events == [(PASSES, 20), (PASSES, 1)]


def test_without_a_scheduler_nobody_is_told() -> None:
    shards._Teller()(16)


def shown(progress: TerminalProgress, name: str) -> str:
    assert progress._bars is not None
    return str(progress._bars.tasks[0].fields[name])


def test_the_bar_shows_passes_beside_samples_for_a_method_of_many() -> None:
    progress = TerminalProgress()
    with stretch(progress, "auditing", 10, passes=5010):
        progress(Passed(1500))
        assert shown(progress, "passes") == "1,500 of 5,010 passes"
        progress(Passed(9000))  # a shard taken again counts twice
        assert shown(progress, "passes") == "5,010 of 5,010 passes"
    with stretch(progress, "auditing", 10):
        progress(Passed(7))
        assert shown(progress, "passes") == ""


def test_the_bar_counts_what_is_done_and_what_failed() -> None:
    progress = TerminalProgress()
    with stretch(progress, "auditing", 10, done=3):
        progress(Advanced(4))
        assert shown(progress, "failed") == ""
        progress(Advanced(2, failed=1))
        assert shown(progress, "failed") == "1 failed"
        assert progress._bars is not None
        assert progress._bars.tasks[0].completed == 9
    assert progress._bars is None


def test_notes_are_printed_as_they_are_with_a_bar_and_without(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TerminalProgress(Console(width=20))
    progress(Noted("no [bold] here, and no line is broken"))
    with stretch(progress, "auditing"):
        progress(Noted("above the bar"))
    said = capsys.readouterr().out
    assert "no [bold] here, and no line is broken" in said
    assert "above the bar" in said


def test_a_stretch_ends_whatever_happens_in_it() -> None:
    told: list[Event] = []
    with pytest.raises(ZeroDivisionError), stretch(told.append, "auditing", 2):
        print(1 // 0)
    assert told == [Began("auditing", 2), Ended()]
