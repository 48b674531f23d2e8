"""Masks with the level of the highest map beside them: NumPy archives, or one Zarr store."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from audit.export.labels.kind import Collection, LabelFormat, Part
from audit.segmentation import LabelImage
from audit.store.storage.files import PARTIAL, write_atomically

_STORE = "labels.zarr"
_ROOT = "zarr.json"
_GROUP = '{"zarr_format": 3, "node_type": "group", "attributes": {}}'
_KILLED = re.compile(rf"\.[0-9a-f]{{16}}{re.escape(PARTIAL)}$")


class Npz(LabelFormat):
    """ID.npz a sample, with the arrays of `_arrays`; read without pickle."""

    name = "npz"
    says = "one NumPy archive an image: mask, the highest map's levels, confidences"

    def write(self, images: Iterator[LabelImage], part: Part, collection: Collection) -> None:
        """Write them."""
        for image in images:
            part.write(f"{collection.stem(image)}.npz", partial(_save_npz, _arrays(image)))


class Zarr(LabelFormat):
    """`labels.zarr`, Zarr v3: a group a sample with the arrays of `_arrays`; attributes hold its id, row and image."""

    name = "zarr"
    says = "one Zarr store, a group an image: mask, the highest map's levels, confidences"
    needs_disk = "groups that are each given their name in one step"
    joined = (f"{_STORE}/{_ROOT}",)

    def write(self, images: Iterator[LabelImage], part: Part, collection: Collection) -> None:
        """Write a group of each beside its name, then give it its name."""
        for image in images:
            name = f"{_STORE}/{group_name(image, collection)}"
            _write_group(part.folder / name, image, collection)
            part.files[name] = None

    def join(self, payloads: Sequence[Path], out: Path, collection: Collection) -> None:
        """Sweep what killed writers left; write the root, which every reader begins from."""
        store = out / _STORE
        for killed in filter(_KILLED.search, map(str, (*store.glob(f"*{PARTIAL}"), *store.glob(f"*/*{PARTIAL}")))):
            shutil.rmtree(killed)
        for folder in collection.folders:
            write_atomically(store / folder / _ROOT, lambda path: path.write_text(_GROUP))
        beside = out / f"{_STORE}.{secrets.token_hex(8)}{PARTIAL}"
        zarr.create_group(beside, attributes={"classes": list(collection.classes)})
        write_atomically(out / _STORE / _ROOT, lambda path: shutil.copyfile(beside / _ROOT, path))
        shutil.rmtree(beside)


def group_name(image: LabelImage, collection: Collection) -> str:
    """Of a sample's group: its file name, but for that of a group's metadata."""
    folder, slash, stem = collection.stem(image).rpartition("/")
    return folder + slash + (stem if stem != _ROOT else _ROOT.replace(".", "%2E"))


def _arrays(image: LabelImage) -> dict[str, NDArray[Any]]:
    """What is kept of a label image.

    `mask` [H, W] int16: 0 background, i + 1 class i, -1 unknown; `soft` [H, W] uint8: the highest map's level, where
    one is kept; `class_ids` and `confidence` [k], a mask each.
    """
    class_ids = image.class_ids
    confidence = np.array([image.confidence[class_id] for class_id in class_ids], np.float32)
    arrays: dict[str, NDArray[Any]] = {"mask": image.mask, "class_ids": np.array(class_ids, np.int32)}
    arrays["confidence"] = confidence
    return arrays if image.soft is None else arrays | {"soft": image.soft}


def _save_npz(arrays: dict[str, NDArray[Any]], path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _write_group(path: Path, image: LabelImage, collection: Collection) -> None:
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PARTIAL}")
    name = collection.image_name(image.sample)
    try:
        attributes = {"id": image.sample.id, "row": image.row, "image": name}
        group = zarr.create_group(beside, attributes=attributes)
        for key, values in _arrays(image).items():
            chunks = tuple(max(side, 1) for side in values.shape)
            group.create_array(key, data=values, chunks=chunks)
        if path.exists():
            shutil.rmtree(path)
        os.rename(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
