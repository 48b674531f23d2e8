"""A place in an object store (S3, Google Cloud Storage, Azure), with what a run needs of `pathlib.Path`.

An object is written whole or not at all by the store itself. What a run needs beyond that are two conditions: put where
there is none yet, and put where there is still the version that was read. Every store kept here grants both.
"""

from __future__ import annotations

import errno
import io
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import obstore
from obstore.store import ObjectStore

from audit.errors import RunError
from audit.images.buckets import ABSENT, named_errors, store_of
from audit.images.locations import is_url
from audit.wording import one_line

if TYPE_CHECKING:
    from obstore import GetOptions, PutMode

KINDS = ("s3", "gs", "az", "abfs")
"""Kinds of URL that a run may have."""

_CONFLICT = re.compile(r"\b409\b|Conflict")
_TRIES = 8
_FIRST_WAIT_S = 0.05
Version = str
"""Of an object: its entity tag, another one for every content; in Google's store its generation, one a write."""


@dataclass(frozen=True, order=True)
class ObjectPath:
    """A place in a bucket.

    Attributes:
        root: `s3://bucket`.
        key: what follows the bucket, without slashes around it; empty for the bucket.

    Every operation on it raises `OSError`, as those on a file do: `FileNotFoundError`, `PermissionError`, or of no
    special kind where the store cannot be reached after it was asked again and again for three minutes.
    """

    root: str
    key: str = ""

    @classmethod
    def parse(cls, url: str) -> ObjectPath:
        """From `s3://bucket/a/b`.

        Raises:
            RunError: it is no such URL.
        """
        kind, _, rest = url.partition("://")
        bucket, _, key = rest.partition("/")
        parts = [part for part in key.split("/") if part]
        if kind not in KINDS or not bucket or ".." in parts:
            raise RunError(f"Expected a URL as s3://BUCKET/FOLDER, of {', '.join(KINDS)}, got {one_line(url)}")
        return cls(f"{kind}://{bucket}", "/".join(parts))

    def __str__(self) -> str:
        return f"{self.root}/{self.key}" if self.key else self.root

    def __truediv__(self, name: str) -> ObjectPath:
        return ObjectPath(self.root, f"{self.key}/{name}" if self.key else name)

    # What the name says

    @property
    def name(self) -> str:
        """Last part of the key."""
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        """The same without its suffix."""
        return PurePosixPath(self.key).stem

    @property
    def suffix(self) -> str:
        """`.parquet`; empty where there is none."""
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> ObjectPath:
        """One part less."""
        return ObjectPath(self.root, self.key.rpartition("/")[0])

    @property
    def parents(self) -> list[ObjectPath]:
        """All folders that it lies in, the nearest first, the bucket last."""
        parents = map(str, PurePosixPath(self.key).parents)
        return [ObjectPath(self.root, "" if parent == "." else parent) for parent in parents]

    def with_name(self, name: str) -> ObjectPath:
        """Another place beside this one."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> ObjectPath:
        """The same place with another suffix."""
        return self.with_name(self.stem + suffix)

    def relative_to(self, folder: ObjectPath) -> PurePosixPath:
        """The part of the key that follows a folder's."""
        return PurePosixPath(self.key).relative_to(folder.key)

    def absolute(self) -> ObjectPath:
        """The same: a URL has no working directory."""
        return self

    resolve = absolute

    # What is there

    def exists(self) -> bool:
        """Whether there is an object, or one below."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether there is an object."""
        try:
            self.version()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there is an object below."""
        return any(True for _ in self.iterdir())

    def version(self) -> Version:
        """Changes with every content."""
        return self._version(self._head())

    def size(self) -> int:
        """Bytes of the object."""
        return int(self._head()["size"])

    def modified(self) -> datetime:
        """When it was last written, by the clock of the store."""
        when: datetime = self._head()["last_modified"]
        return when

    def iterdir(self) -> Iterator[ObjectPath]:
        """Objects of this folder, and folders below."""
        with self._named():
            listed = obstore.list_with_delimiter(store_of(self.root), f"{self.key}/" if self.key else None)
        keys = [*listed["common_prefixes"], *(meta["path"] for meta in listed["objects"])]
        return (ObjectPath(self.root, key.rstrip("/")) for key in sorted(keys))

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """Objects whose key below this folder matches, part by part; nothing begins with `**`."""
        first, _, rest = pattern.partition("/")
        for place in self.iterdir():
            if fnmatchcase(place.name, first):
                yield from place.glob(rest) if rest else (place,)

    def rglob(self, pattern: str) -> Iterator[ObjectPath]:
        """Objects below this folder, at any depth, whose name matches."""
        return (place for place in self.below() if fnmatchcase(place.name, pattern))

    def below(self) -> dict[ObjectPath, tuple[Version, int]]:
        """All objects below this folder, with version and size in bytes."""
        with self._named():
            chunks = obstore.list(store_of(self.root), f"{self.key}/" if self.key else None)
            metas = [meta for chunk in chunks for meta in chunk]
        return {ObjectPath(self.root, meta["path"]): (self._version(meta), meta["size"]) for meta in metas}

    # Reading and writing

    def read_bytes(self) -> bytes:
        """The object's content."""
        with self._named():
            return obstore.get(store_of(self.root), self.key).bytes().to_bytes()

    def read_text(self, encoding: str = "utf-8") -> str:
        """The same as text."""
        return self.read_bytes().decode(encoding)

    def read(self) -> tuple[bytes, Version]:
        """Content and version of the same moment."""
        with self._named():
            got = obstore.get(store_of(self.root), self.key)
            return got.bytes().to_bytes(), self._version(got.meta)

    def open(self) -> io.RawIOBase:
        """The content of the version that stands now, of which only what is asked for is read: a request a range.

        Once another is written over it, reading raises `OSError`.
        """
        meta = self._head()
        return _Ranges(self, int(meta["size"]), self._version(meta))

    def read_range(self, start: int, stop: int, version: Version) -> bytes:
        """Bytes `start:stop` of a version of the object.

        Raises:
            OSError: it is of another by now.
        """
        of: GetOptions = {"version": version} if self._by_generation else {"if_match": version}
        try:
            with self._named():
                got = obstore.get(store_of(self.root), self.key, options={**of, "range": (start, stop)})
                return got.bytes().to_bytes()
        except FileExistsError:
            raise OSError(errno.ESTALE, "Another version was written meanwhile", str(self)) from None

    def put(self, content: bytes | Path) -> None:
        """Write the object, whatever was there."""
        self._put(content, "overwrite", lambda: False)

    def put_new(self, content: bytes | Path) -> None:
        """Write the object where there is none. Of several writers at once one alone gets it.

        Raises:
            FileExistsError: there is one. A writer whose answer was lost on the way may be told so of its own.
        """
        self._put(content, "create", self.is_file)

    def put_if(self, content: bytes | Path, version: Version) -> bool:
        """Write the object if it is still of a version, and say whether that was so. False may be said of one's own."""
        try:
            mode: PutMode = {"version": version} if self._by_generation else {"e_tag": version}
            self._put(content, mode, lambda: self.version() != version)
        except (FileExistsError, FileNotFoundError):
            return False
        return True

    def _put(self, content: bytes | Path, mode: PutMode, taken: Callable[[], bool]) -> None:
        """Put, and again while another writer of the same key is in the way (409), which says nothing of who wins.

        Args:
            taken: whether a refusal is true.
        """
        for turn in range(_TRIES):
            try:
                with self._named():
                    obstore.put(store_of(self.root), self.key, content, mode=mode, use_multipart=_in_parts(mode))
            except OSError as error:
                refused = isinstance(error, FileExistsError) or _CONFLICT.search(str(error))
                if not refused or turn + 1 == _TRIES or taken():
                    raise
                time.sleep(_FIRST_WAIT_S * 2**turn * (0.5 + random.random()))
            else:
                return

    def copy_to(self, other: ObjectPath) -> None:
        """Copy it within its bucket; nothing passes through this machine."""
        with self._named():
            obstore.copy(store_of(self.root), self.key, other.key)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object. A store need not say whether there was one, so no error tells."""
        with self._named():
            try:
                obstore.delete(store_of(self.root), self.key)
            except ABSENT:
                if not missing_ok:
                    raise

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: folders are there as soon as an object lies in them."""

    def store(self) -> ObjectStore:
        """A store whose root is this folder, as Zarr takes it."""
        return store_of(str(self))

    @property
    def _by_generation(self) -> bool:
        """Whether the store compares generations: Google's does, and no entity tags."""
        return self.root.startswith("gs:")

    def _version(self, meta: Any) -> Version:
        """A list tells no generation, so its versions are comparable with those of lists alone."""
        told = meta["version"] if self._by_generation else None
        return str(told or meta["e_tag"] or meta["last_modified"].isoformat())

    def _head(self) -> Any:
        with self._named():
            return obstore.head(store_of(self.root), self.key)

    def _named(self) -> AbstractContextManager[None]:
        return named_errors(self)


class _Ranges(io.RawIOBase):
    """A file to read, of a version of an object."""

    def __init__(self, path: ObjectPath, size: int, version: Version) -> None:
        self._path, self._size, self._version, self._place = path, size, version, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(start + offset, 0)
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        stop = self._size if size is None or size < 0 else min(self._place + size, self._size)
        if stop <= self._place:
            return b""
        content = self._path.read_range(self._place, stop, self._version)
        self._place += len(content)
        return content


Location = Path | ObjectPath
"""Where a run lies: a directory, or a folder of a bucket."""


Place = str | os.PathLike[str] | ObjectPath
"""A location, or what names one."""


def location(place: Place) -> Location:
    """Where a path or URL leads.

    Raises:
        RunError: it is a URL of another kind.
    """
    if isinstance(place, ObjectPath | Path):
        return place
    text = os.fspath(place)
    meant = is_url(text) or (text.partition(":")[0] in KINDS and ":" in text)  # s3:/bucket would be a folder named so
    return ObjectPath.parse(text) if meant else Path(text)


def address(place: Place) -> str:
    """The same as text, wherever it is read: a URL, or an absolute path."""
    found = location(place)
    return str(found) if isinstance(found, ObjectPath) else os.path.abspath(found)


def below(place: Location, folder: Location) -> str:
    """The part of a place that follows a folder's, with slashes."""
    return str(place).removeprefix(f"{folder}/").replace(os.sep, "/")


def _in_parts(mode: PutMode) -> bool | None:
    """Large objects are sent in parts, which knows no condition."""
    return None if mode == "overwrite" else False
