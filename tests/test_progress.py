"""What is shown while a run goes on."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines import shards
from pipelines.progress import sample_bar
from pipelines.shards import PASSES


class Worker:
    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def log_event(self, topic: str, message: Any) -> None:
        self.events.append((topic, message))


def test_a_worker_tells_how_many_images_went_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    monkeypatch.setattr(shards, "get_worker", lambda: worker)
    tell = shards._teller()
    tell(16)
    assert worker.events == []  # not more than once a second
    monkeypatch.setattr(shards, "_TELL_EVERY_S", 0.0)
    tell(4)
    tell(1)
    assert worker.events == [(PASSES, 20), (PASSES, 1)]


def test_without_a_scheduler_nobody_is_told() -> None:
    shards._teller()(16)


def test_the_bar_shows_passes_beside_samples_for_a_method_of_many() -> None:
    with sample_bar("auditing", 10, passes=5010) as bar:
        bar.passed(1500)
        assert bar._bar.tasks[0].fields["passes"] == "1,500 of 5,010 passes"
        bar.passed(9000)  # a shard taken again counts twice
        assert bar._bar.tasks[0].fields["passes"] == "5,010 of 5,010 passes"
    with sample_bar("auditing", 10) as bar:
        bar.passed(7)
        assert bar._bar.tasks[0].fields["passes"] == ""
