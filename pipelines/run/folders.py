"""Plain folders as a run is given them: what can be refused before torch is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeGuard

from audit.datasets import Manifest
from audit.errors import ManifestError
from audit.store.storage.objects import Location, Place, address, location

_OF_VOC = ("ImageSets", "JPEGImages")


def check_folder(path: Path, out: Place) -> None:
    """Refuse a folder that is no plain one, or that the run would lie in.

    Raises:
        ManifestError: so it is.
    """
    if Path(address(out)).is_relative_to(os.path.abspath(path)):
        raise ManifestError(
            f"Expected a run outside of the folder of images, got {out} in {path}; choose another --out"
        )
    if any(all((root / name).is_dir() for name in _OF_VOC) for root in (path, *path.glob("VOC*"))):
        raise ManifestError(f"{path} is laid out as PASCAL VOC; index it with its masks: camaudit index voc {path}")


def is_folder(path: Location) -> TypeGuard[Path]:
    """Whether a collection is a folder of images; of a bucket none is.

    Raises:
        ManifestError: it is a folder of a bucket.
    """
    if isinstance(path, Path):
        return path.is_dir()
    if not path.is_file() and path.is_dir():
        raise ManifestError(
            f"Expected a manifest at {path}, got a folder; list its images in a table, then index that: "
            f"camaudit index table TABLE --root {path} -o MANIFEST"
        )
    return False


def attributes_of(collection: Place, out: Place) -> tuple[str, ...]:
    """Names of the attributes of a manifest; a folder has none.

    Raises:
        ManifestError: the manifest cannot be read, or the folder is refused.
    """
    path = location(collection)
    if not is_folder(path):
        return Manifest.open(path, 0, 0).attributes
    check_folder(path, out)
    return ()
