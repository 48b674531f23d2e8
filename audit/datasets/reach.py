"""Which files may be read to show a run. It may be a stranger's, and its manifest names any path and any root.

So a file has to lie, all links followed, below the manifest's root, and that root must be a folder of images: not one
that holds everything, as `/` or the folder of all homes. What the user names goes before what the manifest names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from audit.errors import ImageError
from audit.images import is_remote, local_path
from audit.wording import one_line

_SYSTEM = ("/proc", "/sys", "/dev")


@dataclass(frozen=True)
class Reach:
    """What may be read of the images and masks that a manifest names.

    Attributes:
        root: folder that the user names, to which the manifest's root has moved; None for the manifest's.
        outside: whether files outside the root may be read.
        remote: whether URLs may be called.
    """

    root: str | None = None
    outside: bool = False
    remote: bool = False

    def locate(self, path: str, root: str) -> str:
        """Where a path is read from: a file of this machine without any links, or a URL.

        Args:
            path: of an image or mask, as a manifest's samples have it.
            root: of the manifest.

        Raises:
            ImageError: it may not be read.
        """
        place = self._moved(local_path(path), local_path(root))
        if is_remote(place):
            return self._checked_url(place)
        try:
            file = os.path.realpath(place)
        except ValueError as error:  # a NUL byte
            raise ImageError(f"Expected a path, got {one_line(path)}: {error}; index the collection again") from None
        if not self.outside:
            self._check_inside(file, path, local_path(root))
        return file

    def _moved(self, path: str, root: str) -> str:
        """The path below the folder that the user names, if it was relative or lay below the root."""
        if self.root is None or path.startswith(f"{self.root}/"):
            return path
        below = f"{root.rstrip('/')}/"
        if root and path.startswith(below):
            return f"{self.root}/{path.removeprefix(below)}"
        return path if os.path.isabs(path) or is_remote(path) else f"{self.root}/{path}"

    def _checked_url(self, url: str) -> str:
        if not self.remote:
            raise ImageError(f"Expected a file of this machine, got {one_line(url)}; URLs are read with --remote alone")
        return url

    def _check_inside(self, file: str, path: str, root: str) -> None:
        if self.root is None and is_wide(root):
            named = f"got the root {one_line(root)}" if root else "got no root"
            raise ImageError(
                f"Expected a manifest whose root is a folder of images, {named}, so {one_line(path)} was not read; "
                "name the folder of the images with --root, or read what the manifest names with --allow-outside"
            )
        folder = os.path.realpath(self.root or root)
        if not _holds(folder, file):
            leads = "" if file == path else f", which is {one_line(file)}"
            raise ImageError(
                f"Expected a file below the root {one_line(folder)}, got {one_line(path)}{leads}; "
                "it is read with --allow-outside, if you trust this run"
            )


BELOW_ROOT = Reach()
"""What may be read unless the user says otherwise: files below the manifest's root."""


def is_wide(folder: str) -> bool:
    """Whether a folder holds too much to be a collection's: all files, a home or all homes, or the system's own.

    >>> is_wide("/"), is_wide("/proc/self"), is_wide("")
    (True, True, True)
    """
    if not os.path.isabs(folder):
        return True
    real, home = os.path.realpath(folder), os.path.realpath(os.path.expanduser("~"))
    return _holds(real, home) or any(_holds(place, real) for place in _SYSTEM)


def holding_folder(folders: Iterable[str]) -> str | None:
    """The narrowest folder that holds all of some absolute ones; None where that is too wide for a collection's root.

    >>> holding_folder(["/data/photos", "/data/masks"])
    '/data'
    >>> holding_folder(["/photos", "/masks"])
    """
    folder = os.path.commonpath(list(folders))
    return None if is_wide(folder) else folder


def _holds(folder: str, path: str) -> bool:
    return os.path.commonpath([folder, path]) == folder
