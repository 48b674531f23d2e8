"""Who works on a run: one process at a time. A file lock in a directory, a lease in a bucket.

A lease is an object that its holder writes anew every few seconds, each time over the very version it wrote before. One
that was not written for `LEASE_S` is nobody's: its holder was killed, or cut off. Both moments are told by the store's
clock, so those of two machines need not agree. A holder that was cut off learns of it at its next renewal. What its
workers commit until then does no harm: of two entries of a shard the first stands.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from audit.errors import RunError
from audit.store import layout
from audit.store.storage.objects import Location, ObjectPath

LEASE_S = 60.0
"""So long a lease holds after it was last written."""
_RENEW_S = 15.0
_LOOK_S = 1.0


@contextmanager
def held(run: Location) -> Iterator[str | None]:
    """Hold a run for this process; yields who held it last if that one ended without letting go.

    Raises:
        RunError: another process holds it, or took it over meanwhile.
    """
    with _leased(run) if isinstance(run, ObjectPath) else _locked(run) as stale:
        yield stale


@contextmanager
def _locked(run: Path) -> Iterator[str | None]:
    lock, holder = FileLock(run / layout.LOCK), run / layout.LOCK_HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise _in_use(run, holder.read_text().strip() if holder.exists() else "another process") from None
    try:
        stale = holder.read_text().strip() if holder.exists() else None
        holder.write_text(f"{_self()}\n")
        yield stale
    finally:  # one that is killed leaves its name
        holder.unlink(missing_ok=True)
        lock.release()


@contextmanager
def _leased(run: ObjectPath) -> Iterator[str | None]:
    lease, stale = _take(run)
    try:
        with lease.renewed():
            yield stale
    finally:
        lease.end()
    if lease.lost:
        raise RunError(f"{run} was taken over by another process, for this one did not reach it in time; try again")


@dataclass
class _Lease:
    """An object that stands for the right to work on a run.

    Attributes:
        version: that was last written; None once it is lost or let go.
        epoch: how many held the run before.
    """

    path: ObjectPath
    version: str | None
    epoch: int
    lost: bool = False

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Write it anew every few seconds, in a thread."""
        over = threading.Event()
        renewer = threading.Thread(target=self._renew, args=(over,), daemon=True, name="lease")
        renewer.start()
        try:
            yield
        finally:
            over.set()
            renewer.join()

    def end(self) -> None:
        """Let the run go, if this process still holds it."""
        with suppress(OSError):
            if self.version is not None and not self.lost and self.path.version() == self.version:
                self.path.unlink(missing_ok=True)

    def _renew(self, over: threading.Event) -> None:
        while self.version is not None and not over.wait(_RENEW_S):
            record = _record(self.epoch)
            with suppress(OSError):  # it may pass; whether the lease was lost, the next write tells
                self.version = _written(self.path, record, self.version)
                self.lost = self.version is None


def _take(run: ObjectPath) -> tuple[_Lease, str | None]:
    """The lease of a run, at once or as soon as the one that stands has run out, and who held that.

    Raises:
        RunError: its holder is alive.
    """
    path, began = run / layout.LOCK, None
    while True:
        record = _record(0)
        with suppress(FileExistsError):
            path.put_new(record)
        try:
            content, version = path.read()
        except FileNotFoundError:  # let go meanwhile
            continue
        if content == record:
            return _Lease(path, version, 0), None
        standing, began = _parsed(content), began or version
        if version != began:
            raise _in_use(run, standing["holder"])
        if _dead(standing) or _age(path) > LEASE_S:
            mine = _record(standing["epoch"] + 1)
            if (taken := _written(path, mine, version)) is not None:
                return _Lease(path, taken, standing["epoch"] + 1), standing["holder"]
        time.sleep(_LOOK_S)


def _written(path: ObjectPath, record: bytes, version: str) -> str | None:
    """The version that stands after a record was put over another; None where somebody else was first."""
    path.put_if(record, version)
    try:
        content, standing = path.read()
    except FileNotFoundError:
        return None
    return standing if content == record else None  # the answer to a put may be lost on the way


def _record(epoch: int) -> bytes:
    about = {"holder": _self(), "machine": _machine(), "pid": os.getpid(), "epoch": epoch}
    return json.dumps({**about, "nonce": secrets.token_hex(8)}).encode()


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        record = json.loads(content)
        return {"holder": str(record["holder"]), "epoch": int(record["epoch"]), **record}
    except (ValueError, KeyError, TypeError):
        return {"holder": "another process", "epoch": 0}


def _dead(standing: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that is no more: nobody has to wait for it."""
    if standing.get("machine") != _machine() or not isinstance(standing.get("pid"), int):
        return False
    try:
        os.kill(standing["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _machine() -> str:
    """Host, its start and the container: where a process number means the same."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux: nothing tells two containers apart
        return f"{socket.gethostname()} {secrets.token_hex(8)}"


def _age(path: ObjectPath) -> float:
    """Seconds since an object was last written, by the clock of its store."""
    probe = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    probe.put(b"")
    try:
        return (probe.modified() - path.modified()).total_seconds()
    finally:
        probe.unlink(missing_ok=True)


def _self() -> str:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {now}"


def _in_use(run: Location, who: str) -> RunError:
    return RunError(f"{run} is in use by {who}; wait for it, or stop it, then try again")
