"""The files of a run's maps, and their names; what is in them, `arrays.py` alone reads and writes, for Zarr takes long.

A shard's file is named by its content, `part-00003.DIGEST`, and counts once a ledger entry names it. The name that
readers of Zarr look for, `c.3.0.0.0`, links to it, and in a bucket is a copy. So an array is one folder, however many
shards it has.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit.store import layout
from audit.store.maps.quantised import Quantised
from audit.store.storage.files import PARTIAL, sizes_below, write_atomically
from audit.store.storage.objects import Location, ObjectPath

ENCODINGS = {"float16": 16, "int8": 8}
"""How the values of maps are kept, and in how many bits."""

Maps = NDArray[np.float16] | Quantised
"""Maps [n, K, h, w] as a run of either encoding keeps them."""

MAP, SCALE = "map", "scale"
KEYS = {MAP: "c.{}.0.0.0", SCALE: "c.{}.0"}
"""The chunk of a shard in each array."""


def empty_maps(shape: tuple[int, ...], encoding: str) -> Maps:
    """Room in memory for the maps of a shard, none there yet; it is filled and read like an array."""
    return Quantised.empty(shape) if encoding == "int8" else np.full(shape, np.nan, np.float16)


def publish_maps(path: Location, shard: int, files: Iterable[Location]) -> None:
    """Give a shard's files the names that readers of Zarr look for: links, or copies where there are no links."""
    named = {file.parent.name: file for file in files}
    for array, key in KEYS.items():
        _publish(path / array / key.format(shard), named.get(array))


def map_files(path: Location) -> Iterator[tuple[int, Location]]:
    """Every shard's files, whether or not an entry names them, each with the number of its shard."""
    for array in KEYS:
        for file in (path / array).glob("part-*.*"):
            if file.suffix != PARTIAL:
                yield layout.shard_of_part(file.name), file


def metadata_files(path: Location) -> list[Location]:
    """What says how the arrays are to be read."""
    return sorted(path.rglob("zarr.json"))


def maps_size(path: Location) -> int:
    """Bytes of a run's maps, those that other readers see a second time left out."""
    return sum(size for name, size in sizes_below(path).items() if "/c." not in name)


def _publish(name: Location, file: Location | None) -> None:
    if file is None:
        name.unlink(missing_ok=True)
    elif isinstance(name, ObjectPath) and isinstance(file, ObjectPath):
        file.copy_to(name)
    elif isinstance(name, Path) and isinstance(file, Path) and not _is_link_to(name, file):
        write_atomically(name, partial(_link_or_copy, file), durable=False)


def _is_link_to(name: Path, file: Path) -> bool:
    return name.is_symlink() and os.readlink(name) == file.name


def _link_or_copy(file: Path, name: Path) -> None:
    try:
        name.symlink_to(file.name)
    except OSError:
        shutil.copyfile(file, name)
