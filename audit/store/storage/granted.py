"""What a store grants, tried before anything rests on it: that objects can be put, and puts under conditions."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from audit.errors import RunError
from audit.store.storage.files import PARTIAL
from audit.store.storage.objects import Location, ObjectPath

_UNCONDITIONAL = "its store does not keep to If-None-Match and If-Match, so of two writers the later would win"
_ELSEWHERE = "choose a directory, or a store that does"


def check_writable(folder: Location) -> None:
    """See that objects can be put into a folder of a bucket.

    Raises:
        OSError: they cannot.
    """
    if isinstance(folder, ObjectPath):
        with _probe(folder):
            pass


def check_conditions(folder: Location) -> None:
    """See that what commits rest on holds in a folder of a bucket: puts of new objects alone, and over one version.

    Raises:
        RunError: they do not: the store refuses conditions, or ignores them.
        OSError: nothing can be put there.
    """
    if not isinstance(folder, ObjectPath):
        return
    with _probe(folder) as probe:
        try:
            before = probe.version()
            probe.put(b"second")
            ignored = probe.put_if(b"third", before) or not _refuses_new(probe)
        except OSError as error:
            raise RunError(f"{folder}: {_UNCONDITIONAL} ({error.strerror}); {_ELSEWHERE}") from None
        if ignored:
            raise RunError(f"{folder}: {_UNCONDITIONAL}; {_ELSEWHERE}")


def _refuses_new(probe: ObjectPath) -> bool:
    """Whether a put of a new object is refused where there is one."""
    try:
        probe.put_new(b"fourth")
    except FileExistsError:
        return True
    return False


@contextmanager
def _probe(folder: ObjectPath) -> Iterator[ObjectPath]:
    """An object of no use."""
    probe = folder / f"{secrets.token_hex(8)}{PARTIAL}"
    try:
        probe.put(b"first")
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "No such bucket", str(folder)) from None
    try:
        yield probe
    finally:
        probe.unlink(missing_ok=True)
