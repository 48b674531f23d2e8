"""Local copies of objects, for readers that want a file: DuckDB, memory maps, weights.

They lie in the user's cache, named by what is in them, and are never changed. Those nobody asked for in a month go.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from audit.store.storage.files import check_digest, read_checked, sha256, write_atomically
from audit.store.storage.objects import Location, ObjectPath

_DAYS_KEPT = 30


def local_copy(path: Location, digest: str, advice: str) -> Path:
    """The file itself, or a copy of the object, seen to be what was written.

    Args:
        digest: its sha256.
        advice: what to do where it is damaged, as the end of a sentence.

    Raises:
        RunError: it is damaged or gone.
    """
    if not isinstance(path, ObjectPath):
        check_digest(path, digest, advice)
        return path
    copy = _folder() / f"{digest}{path.suffix}"
    if sha256(copy) != digest:
        content = read_checked(path, digest, advice)
        write_atomically(copy, lambda partial: partial.write_bytes(content), durable=False)
        _forget_old(copy.parent)
    with suppress(OSError):
        os.utime(copy)
    return copy


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "camaudit"


def _forget_old(folder: Path) -> None:
    oldest = time.time() - _DAYS_KEPT * 24 * 3600
    for path in folder.iterdir():
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
