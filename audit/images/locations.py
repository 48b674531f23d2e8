"""Where images and masks may lie: at a path, or at a URL of one of a few kinds.

A manifest may be a stranger's. The list is closed, since fsspec knows dozens of kinds of URL: some read any file of
this machine by another name, some chain one URL to the next with `::`, some talk to whatever host they name.
"""

from __future__ import annotations

import re

from audit.errors import TransientError
from audit.wording import one_line

BUCKETS = ("s3", "gs", "gcs", "az", "abfs")
REMOTE = ("http", "https", *BUCKETS)
"""Kinds of URL that are read over a network."""
EXTRA = "http"
"""Of camaudit, which brings the package that reads `http` and `https`."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]*)://")
_KINDS = f"file, {', '.join(REMOTE)}"


def is_url(path: str) -> bool:
    """Whether a path is a URL of any kind.

    >>> is_url("s3://bucket/a.jpg"), is_url("photos/a://b.jpg")
    (True, False)
    """
    return "://" in path and _URL.match(path) is not None


def is_remote(path: str) -> bool:
    """Whether a path is read over a network, if at all."""
    return is_url(path) and _kind(path) != "file"


def location_fault(path: str) -> str | None:
    """Why nothing is read from a path or URL, as the end of a sentence; None where it may be.

    >>> location_fault("simplecache::s3://bucket/a.jpg")
    'a path, or one URL of file, http, https, s3, gs, gcs, az, abfs; got simplecache::s3://bucket/a.jpg'
    """
    if not is_remote(path) or (_kind(path) in REMOTE and "::" not in path):
        return None
    return f"a path, or one URL of {_KINDS}; got {one_line(path)}"


def in_bucket(path: str) -> bool:
    """Whether a path is a URL of an object store."""
    return _kind(path) in BUCKETS


def read_remote(url: str) -> bytes:
    """The content of a remote URL that has no `location_fault`.

    Raises:
        TransientError: the package that reads this kind of URL is not installed.
        Exception: of whoever reads it.
    """
    if in_bucket(url):
        from audit.images.buckets import read_object

        return read_object(url)
    import fsspec.core

    try:
        system, path = fsspec.core.url_to_fs(url)
        content: bytes = system.cat_file(path)
    except ImportError as error:
        raise TransientError(
            f"Cannot read {one_line(url)}: {one_line(error)}; "
            f"install what is missing with: pip install 'camaudit[{EXTRA}]', then resume"
        ) from None
    return content


def _kind(url: str) -> str:
    match = _URL.match(url)
    return match[1] if match else ""
