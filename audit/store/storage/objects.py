"""A place in an object store (S3, Google Cloud Storage, Azure), with what a run needs of `pathlib.Path`.

An object is written whole or not at all by the store itself. What a run needs beyond that are two conditions: put where
there is none yet, and put where there is still the version that was read. Every store kept here grants both.
"""

from __future__ import annotations

import errno
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import obstore
from obstore import exceptions
from obstore.store import ObjectStore, from_url

from audit.errors import RunError
from audit.images.locations import is_url
from audit.wording import one_line

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import ClientConfig

KINDS = ("s3", "gs", "az", "abfs")
"""Kinds of URL that a run may have."""

_CONFLICT = re.compile(r"\b409\b|Conflict")
_ABSENT = (exceptions.NotFoundError, FileNotFoundError)  # some operations raise the one, some the other
_NO_BUCKET = re.compile("NoSuchBucket|ContainerNotFound")
_METADATA = "169.254.169.254"
"""Where a machine of the vendor is asked for credentials when the environment has none."""
_TRIES = 8
_FIRST_WAIT_S = 0.05
_ENDPOINTS = ("AWS_ENDPOINT_URL", "GOOGLE_BASE_URL", "AZURE_STORAGE_ENDPOINT")
"""Where the environment names another server than the vendor's."""
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
            listed = obstore.list_with_delimiter(_store(self.root), f"{self.key}/" if self.key else None)
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
            chunks = obstore.list(_store(self.root), f"{self.key}/" if self.key else None)
            metas = [meta for chunk in chunks for meta in chunk]
        return {ObjectPath(self.root, meta["path"]): (self._version(meta), meta["size"]) for meta in metas}

    # Reading and writing

    def read_bytes(self) -> bytes:
        """The object's content."""
        with self._named():
            return obstore.get(_store(self.root), self.key).bytes().to_bytes()

    def read_text(self, encoding: str = "utf-8") -> str:
        """The same as text."""
        return self.read_bytes().decode(encoding)

    def read(self) -> tuple[bytes, Version]:
        """Content and version of the same moment."""
        with self._named():
            got = obstore.get(_store(self.root), self.key)
            return got.bytes().to_bytes(), self._version(got.meta)

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
                    obstore.put(_store(self.root), self.key, content, mode=mode, use_multipart=_in_parts(mode))
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
            obstore.copy(_store(self.root), self.key, other.key)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object. A store need not say whether there was one, so no error tells."""
        with self._named():
            try:
                obstore.delete(_store(self.root), self.key)
            except _ABSENT:
                if not missing_ok:
                    raise

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: folders are there as soon as an object lies in them."""

    def store(self) -> ObjectStore:
        """A store whose root is this folder, as Zarr takes it."""
        return _store(str(self))

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
            return obstore.head(_store(self.root), self.key)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the store as those of files, with the URL."""
        try:
            yield
        except _ABSENT:
            raise FileNotFoundError(errno.ENOENT, "No such object, or no such bucket", str(self)) from None
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            raise FileExistsError(errno.EEXIST, "There is such an object", str(self)) from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            reason = f"Access denied; check the credentials in the environment: {_reason(error)}"
            raise PermissionError(errno.EACCES, reason, str(self)) from None
        except exceptions.BaseError as error:
            if _NO_BUCKET.search(str(error)):
                raise FileNotFoundError(errno.ENOENT, "No such bucket", str(self)) from None
            if _METADATA in str(error):
                raise PermissionError(errno.EACCES, "No credentials in the environment", str(self)) from None
            raise OSError(errno.EIO, f"Object store failed: {_reason(error)}", str(self)) from None


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


@cache
def _store(url: str) -> ObjectStore:
    """The store of a bucket or folder. How to reach it stands in the environment, by the names of each vendor."""
    options: ClientConfig = {"timeout": "120s"}
    if any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS):  # who names one means it
        options["allow_http"] = True
    try:
        return from_url(url, client_options=options)
    except exceptions.BaseError as error:
        raise RunError(f"Cannot use {one_line(url)}: {_reason(error)}") from None


def _in_parts(mode: PutMode) -> bool | None:
    """Large objects are sent in parts, which knows no condition."""
    return None if mode == "overwrite" else False


def _reason(error: BaseException) -> str:
    return one_line(str(error).partition("\n")[0])[:300]
