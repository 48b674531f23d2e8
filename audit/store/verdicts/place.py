"""Where the verdict log of a run lies: in its directory; of a run in a bucket, on the machine of those who review it.

SQLite needs a file. Logs of several machines are brought together with `camaudit review import`.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from audit.store import layout
from audit.store.storage.objects import Location, ObjectPath

VARIABLE = "CAMAUDIT_VERDICTS"
"""Environment variable: a file for the verdicts about a run in a bucket."""


def verdict_file(run: Location) -> Path:
    """The file of a run's verdict log, whether or not it is there yet; its folder is."""
    if not isinstance(run, ObjectPath):
        return run / layout.VERDICTS
    named = os.environ.get(VARIABLE)
    path = Path(named) if named else _folder() / f"{run.name or 'run'}-{_digest(run)}.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _folder() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "camaudit" / "verdicts"


def _digest(run: ObjectPath) -> str:
    return hashlib.sha256(str(run).encode()).hexdigest()[:12]
