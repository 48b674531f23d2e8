"""A drawn run in every state that a reviewer can meet it in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from small_run import make_run

from audit.store import layout
from audit.store.storage.files import read_json, write_json

Build = Callable[[Path], Path]
"""From a folder to the directory of a run that is drawn in it."""


def _moved(folder: Path) -> Path:
    path = make_run(folder)
    (folder / "images").rename(folder / "moved")
    return path


def _damaged(folder: Path) -> Path:
    """The first part of the scores is cut in half."""
    path = make_run(folder)
    part = min((path / "scores").iterdir())
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    return path


STATES: dict[str, Build] = {
    "no shard yet": partial(make_run, shards=0, flagged=False),
    "running": partial(make_run, shards=1, flagged=False),
    "finished": make_run,
    "no scores": partial(make_run, scored=False),
    "no masks": partial(make_run, masks=False),
    "all failed": partial(make_run, readable=0),
    "images moved": _moved,
    "damaged part": _damaged,
}
"""States in which a run can be opened."""


def age(run: Path) -> None:
    """Make the run one of an older format."""
    path = run / layout.RUN_JSON
    write_json(path, read_json(path, "") | {"format": 2})


SPOILED: dict[str, Callable[[Path], object]] = {"older format": age, "deleted": shutil.rmtree}
"""What can become of a run while it is open."""
