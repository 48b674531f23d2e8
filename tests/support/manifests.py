"""What tests of readers share: empty files, and what a reader made of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from audit.datasets import Manifest, Sample
from audit.progress import Advanced, Began, Ended, Event

needs_bytes_in_names = pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def told_of_all(task: str, count: int) -> list[Event]:
    """What a listener hears of so many things done one by one."""
    return [Began(task, count), *[Advanced()] * count, Ended()]


def by_id(manifest: Manifest) -> dict[str, Sample]:
    return {sample.id: sample for sample in manifest}
