"""Files and objects written whole or not at all, and what they are known by: digests and versions.

A directory and a bucket differ in how they do so, and only here. Of a file, a name is given in one step to what lies
beside it complete; of an object, the store does that. Both know two conditions: the name is new, or what bears it has
not changed since it was read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from filelock import FileLock

from audit.errors import RunError
from audit.store.storage.objects import Location, ObjectPath

T = TypeVar("T")
R = TypeVar("R")

PARTIAL = ".partial"
_LONGEST = 200
_UNUSUAL = re.compile(r"^\.|\.(?=\.)|(?<=\.)\.|_(?=[_/])|(?<=[_/])_|[^\w./-]")
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
ABSENT = "absent"
"""Stands for the digest of a file that does not exist."""
DIGEST = "sha256"
"""Key of a JSON record under which the digest of all its other keys stands."""
Version = tuple[int, int, int] | str
"""Of a file: its inode, time of change in ns, and size. Of an object: its entity tag."""
READERS = 16
"""Requests that are under way at once."""
_REPLACING = "replacing.lock"
_WAIT_S = 60.0


def write_atomically(
    path: Location, write: Callable[[Path], object], durable: bool = True, exclusive: bool = False
) -> None:
    """Let `write` make a file, flush it to disk if `durable`, and give it its name in one step.

    Raises:
        FileExistsError: `exclusive`, and the name is taken. Of several writers at once one alone gets it.
    """
    if isinstance(path, ObjectPath):
        with _made(write) as made:
            path.put_new(made) if exclusive else path.put(made)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        write(partial)
        if durable:
            _flush(partial)
        _link(partial, path) if exclusive else os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def made_beside(path: Location) -> Iterator[Path]:
    """A file of this machine to write to, which becomes `path` when the context is left without an error.

    Raises:
        OSError: nothing can be written there.
    """
    if isinstance(path, ObjectPath):
        with tempfile.TemporaryDirectory(prefix="camaudit-") as folder:
            made = Path(folder) / path.name
            yield made
            path.put(made)
        return
    partial = _partial(path)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_by_content(path: Location, write: Callable[[Path], object]) -> tuple[Location, str]:
    """Let `write` make a file that is named by its content, and return where it lies and its sha256.

    It is not changed after that: other content has another name, and equal content may be written any number of times.
    `part-00003.parquet` becomes `part-00003.DIGEST.parquet`, with the first 12 hex digits.
    """
    if isinstance(path, ObjectPath):
        with _made(write) as made:
            digest = sha256(made)
            target = path.with_name(_by_content(path, digest))
            target.put(made)
        return target, digest
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        write(partial)
        _flush(partial)
        digest = sha256(partial)
        final = path.with_name(_by_content(path, digest))
        os.replace(partial, final)
    finally:
        partial.unlink(missing_ok=True)
    return final, digest


def write_json(path: Location, record: dict[str, Any], exclusive: bool = False) -> None:
    """Write a record as JSON with its digest, whole or not at all.

    Raises:
        FileExistsError: `exclusive`, and there is one.
    """
    text = _signed(record)
    write_atomically(path, lambda partial: partial.write_bytes(text), exclusive=exclusive)


def replace_json(path: Location, record: dict[str, Any], version: Version) -> bool:
    """Write a record over one that is still of a version, and say whether it was. Of several writers one alone may."""
    if isinstance(path, ObjectPath):
        return path.put_if(_signed(record), str(version))
    with FileLock(path.with_name(_REPLACING), timeout=_WAIT_S):
        try:
            unchanged = version_of(path) == version
        except FileNotFoundError:
            return False
        if unchanged:
            write_json(path, record)
    return unchanged


def read_json(path: Location, advice: str, signed: bool = True) -> dict[str, Any]:
    """Read a record, without its digest.

    Args:
        signed: whether it has to have one; without, a flipped bit may go unseen.
        advice: what to do where it cannot, as the end of a sentence.

    Raises:
        RunError: it cannot be read, is no record, or is not what was written.
    """
    try:
        return load_json(path, advice, signed)
    except OSError as error:
        raise RunError(f"Cannot read {path}: {error}; {advice}") from None


def load_json(path: Location, advice: str, signed: bool = True) -> dict[str, Any]:
    """As `read_json`, for those who tell what is damaged from what cannot be read now.

    Raises:
        OSError: it cannot be read, which may pass.
        RunError: it is no record, or is not what was written.
    """
    if isinstance(path, Path) and path.exists() and not path.is_file():
        raise RunError(f"Expected {path} to be a file, got a folder, FIFO or device; {advice}")
    content = path.read_bytes()
    try:
        record = json.loads(content)
    except ValueError as error:
        raise RunError(f"Cannot read {path}: {error}; {advice}") from None
    if not isinstance(record, dict):
        raise RunError(f"Expected {path} to hold a JSON object, got {type(record).__name__}; {advice}")
    digest = record.pop(DIGEST, None)
    if signed and digest != _digest(record):
        raise RunError(f"Damaged: {path} is not what was written; {advice}")
    return record


def check_digest(path: Location, digest: str, advice: str) -> None:
    """See that a file is what was written. A process reads each file once for it, until the file changes.

    Args:
        digest: its sha256.
        advice: what to do where it is not, as the end of a sentence.

    Raises:
        RunError: it is damaged or gone.
    """
    try:
        version = version_of(path)
    except OSError as error:
        raise RunError(f"Cannot read {path}: {error.strerror}; {advice}") from None
    if _checked.get((str(path), digest)) == version:
        return
    if sha256(path) != digest:
        raise RunError(f"Damaged: {path} is not what was written; {advice}")
    _checked[str(path), digest] = version


def read_checked(path: ObjectPath, digest: str | None, advice: str) -> bytes:
    """The content of an object, seen to be what was written where its digest is known.

    Raises:
        RunError: it is damaged or gone.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"Cannot read {path}: {error.strerror}; {advice}") from None
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise RunError(f"Damaged: {path} is not what was written; {advice}")
    return content


def version_of(path: Location) -> Version:
    """Another one where a file or object was replaced or written to.

    Raises:
        OSError: there is none.
    """
    if isinstance(path, ObjectPath):
        return path.version()
    return _version(path.stat())


def versions_in(folder: Location) -> dict[str, Version]:
    """Versions of the files or objects of a folder by their names, told by listing it.

    They are comparable with one another: of an object a store may tell another version when it is asked for it alone.
    """
    if isinstance(folder, ObjectPath):
        return {path.name: version for path, (version, _) in folder.below().items() if path.parent == folder}
    try:
        with os.scandir(folder) as entries:
            return {entry.name: _version(entry.stat()) for entry in entries if entry.is_file()}
    except FileNotFoundError:
        return {}


def stamp_of(path: Location) -> str:
    """Another one when a file is written to, or something in a folder comes, goes or is replaced; empty of nothing."""
    if isinstance(path, ObjectPath):
        try:
            return path.version()
        except FileNotFoundError:
            return hashlib.sha256(repr(sorted(path.below().items())).encode()).hexdigest()
    return str(path.stat().st_mtime_ns) if path.exists() else ""


def mapped(place: Location, read: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What is read for each item at a place: several at once in a bucket, where each takes the time of a request."""
    if isinstance(place, Path):
        return list(map(read, items))
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(read, items))


def size_of(path: Location) -> int:
    """Bytes of a file or object.

    Raises:
        OSError: there is none.
    """
    return path.size() if isinstance(path, ObjectPath) else path.stat().st_size


def sizes_below(folder: Location) -> dict[str, int]:
    """Bytes of every file or object below a folder, links left out, by its path below the folder."""
    if isinstance(folder, ObjectPath):
        return {place.relative_to(folder).as_posix(): size for place, (_, size) in folder.below().items()}
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def sha256(path: Location) -> str:
    """sha256 of a file's bytes, in hex; `ABSENT` where there is no file."""
    if isinstance(path, ObjectPath):
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except FileNotFoundError:
            return ABSENT
    if not path.is_file():  # of a FIFO nobody would ever see the end
        return ABSENT
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_names(artefacts: Iterable[str], record: Location) -> None:
    """See that what a record names lies beside or below it: a run may be a stranger's.

    Raises:
        RunError: it does not.
    """
    for name in artefacts:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise RunError(f"Expected {record} to name files of its run, got {name!r}; do not trust this run")


def sweep_partials(root: Location) -> int:
    """Delete what killed writers left behind, and say how many that were. No object is ever half written."""
    orphans: list[Location]
    if isinstance(root, ObjectPath):
        orphans = list(root.glob(f"*{PARTIAL}"))
    else:
        orphans = [path for path in root.rglob(f"*{PARTIAL}") if path.is_file() or path.is_symlink()]
    for path in orphans:
        path.unlink(missing_ok=True)
    return len(orphans)


def file_stem(sample_id: str) -> str:
    """A sample's id as a file name that stays in its folder and that no other id has.

    `/` becomes `__`, unusual characters (and underscores that could be taken for a `/`) `%XX`; what is too long for a
    file name is cut and ends in a hash of the id.

    >>> file_stem("dogs/../01 a")
    'dogs__%2E%2E__01%20a'
    """
    name = _UNUSUAL.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), sample_id)
    name = name.replace("/", "__")
    if len(name.encode()) <= _LONGEST:
        return name
    return name.encode()[:_LONGEST].decode(errors="ignore") + "-" + hashlib.sha256(sample_id.encode()).hexdigest()[:16]


@contextmanager
def _made(write: Callable[[Path], object]) -> Iterator[Path]:
    """A file on this machine that `write` made, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="camaudit-") as folder:
        path = Path(folder) / f"object{PARTIAL}"
        write(path)
        yield path


def bytes_made(write: Callable[[Path], object]) -> bytes:
    """The content of a file that `write` makes."""
    with _made(write) as made:
        return made.read_bytes()


def _version(state: os.stat_result) -> Version:
    return state.st_ino, state.st_mtime_ns, state.st_size


def _by_content(path: Location, digest: str) -> str:
    return f"{path.stem}.{digest[:12]}{path.suffix}"


def _signed(record: dict[str, Any]) -> bytes:
    record = {name: value for name, value in record.items() if name != DIGEST}
    text = json.dumps(record | {DIGEST: _digest(record)}, indent=1, sort_keys=True, allow_nan=False) + "\n"
    return text.encode()


def _partial(path: Path) -> Path:
    """A name that no other writer has, in this container or another."""
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}{PARTIAL}")


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _link(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _copy_exclusively(partial, path)


def _copy_exclusively(partial: Path, path: Path) -> None:
    """Where a file system has no hard links: not in one step, but one writer alone."""
    with path.open("xb") as file:
        try:
            file.write(partial.read_bytes())
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


_checked: dict[tuple[str, str], Version] = {}
"""Path and digest of files that were what they should be -> the version that they had then."""
