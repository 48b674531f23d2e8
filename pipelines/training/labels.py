"""Labels to train a segmentation network on: a folder of index PNGs, one a sample, and how sure each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.datasets import Manifest, Sample
from audit.errors import ImageError, ManifestError, MaskError
from audit.images import decode_image, map_ahead, read_bytes, read_index_mask
from audit.images.masks import VOID_INDEX
from audit.progress import Progress, silent, tracked
from audit.store.storage.files import file_stem, read_json
from audit.wording import shorten

RECORD = "camaudit-export.json"
"""File in a folder of labels that says what they are of."""
MOST_CLASSES = 254
_AHEAD = 16

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True)
class Labelled:
    """A sample with its label image.

    Attributes:
        label: path of its index PNG.
        confidence: 0..1; 1 where nothing is said.
    """

    sample: Sample
    label: str
    confidence: float = 1.0


@dataclass(frozen=True)
class Survey:
    """What lies in the labels.

    Attributes:
        samples: those whose image can be read and whose label says something.
        pixels: [C + 2] of background, each class, and 255.
        unreadable: samples whose image cannot be read.
        empty: samples whose label is 255 everywhere.
    """

    samples: list[Labelled]
    pixels: NDArray[np.int64]
    unreadable: int
    empty: int


def find_labels(manifest: Manifest, folder: Path) -> list[Labelled]:
    """Samples of a manifest that have a label in a folder, named by `audit.store.storage.files.file_stem`,
    there or in one of its numbered folders.

    Raises:
        ManifestError: none has; the labels are of other classes, or were not written to the end.
    """
    classes = len(manifest.classes)
    if classes > MOST_CLASSES:
        raise ManifestError(f"Label images hold {MOST_CLASSES} classes at most, the manifest has {classes}")
    _check_record(manifest, folder)
    # An export of many samples puts them into numbered folders.
    nested = {path.name: path for path in folder.glob("[0-9]*/*.png")}
    names = {sample.id: f"{file_stem(sample.id)}.png" for sample in manifest}
    paths = {name: nested.get(names[name], folder / names[name]) for name in names}
    found = [Labelled(sample, str(paths[sample.id])) for sample in manifest if paths[sample.id].is_file()]
    if not found:
        first = next(iter(manifest)).id
        raise ManifestError(
            f"Expected label images in {folder}, found none for any of {len(manifest)} samples; "
            f"that of {first!r} would be {file_stem(first)}.png"
        )
    return found


def with_confidence(samples: Sequence[Labelled], path: Path) -> list[Labelled]:
    """The samples with the confidence that a CSV file says, columns `id` and `confidence`; of several rows the mean.

    Raises:
        ManifestError: it is no such file, or a sample is missing in it.
    """
    try:
        table = pd.read_csv(path, dtype={"id": str})[["id", "confidence"]]
        said = table.astype({"confidence": float}).groupby("id")["confidence"].mean().to_dict()
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ManifestError(f"Expected a CSV file with the columns id and confidence at {path}: {reason}") from None
    missing = [labelled.sample.id for labelled in samples if not 0 <= said.get(labelled.sample.id, -1) <= 1]
    if missing:
        raise ManifestError(
            f"Expected a confidence from 0 to 1 for every labelled sample in {path}, "
            f"{len(missing)} have none, the first {shorten(missing[0])!r}"
        )
    return [Labelled(item.sample, item.label, said[item.sample.id]) for item in samples]


def most_confident(samples: Sequence[Labelled], share: float) -> list[Labelled]:
    """The most confident share of the samples, at least one, in their order; of equal ones the first."""
    count = max(round(share * len(samples)), 1)
    ranked = np.argsort([-item.confidence for item in samples], kind="stable")[:count]
    return [samples[place] for place in np.sort(ranked)]


def read_pair(labelled: Labelled, class_count: int) -> Pair:
    """The upright image uint8 [H, W, 3] and the index mask uint8 [H, W], 255 where nothing is known.

    Raises:
        ImageError, TransientError: the image cannot be read.
        MaskError: the label cannot, has another size, or names a class that does not exist.
    """
    sample = labelled.sample
    image = decode_image(read_bytes(sample.image), sample.image)
    mask = read_index_mask(labelled.label, sample.id, image.shape[:2], class_count)
    return image, mask.astype(np.uint8)


def survey(samples: Sequence[Labelled], class_count: int, progress: Progress = silent) -> Survey:
    """Read everything once, so that what is wrong is said before the training begins.

    Raises:
        MaskError: a label does not fit its image or the classes, or there is nothing but background.
        ImageError: no image can be read.
    """
    found = Survey([], np.zeros(class_count + 2, np.int64), 0, 0)
    unreadable, empty, reason = 0, 0, ""
    read = map_ahead(lambda item: (item, _counted(item, class_count)), samples, _AHEAD)
    for labelled, counts in tracked(progress, "reading labels", read, len(samples)):
        if isinstance(counts, ImageError):
            unreadable, reason = unreadable + 1, reason or str(counts)
        elif not counts[:-1].any():
            empty += 1
        else:
            found.samples.append(labelled)
            found.pixels[:] += counts
    if unreadable == len(samples):
        raise ImageError(f"Expected readable images, found none of {unreadable}, the first: {reason}")
    if not found.pixels[1:-1].any():
        of = f"{len(samples)} label images"
        raise MaskError(f"Expected objects to learn, found nothing but background and 255 in {of}; lower the threshold")
    return Survey(found.samples, found.pixels, unreadable, empty)


def _counted(labelled: Labelled, class_count: int) -> Any:
    """Pixels [C + 2] of background, each class, and 255; or why the image cannot be read."""
    try:
        _, mask = read_pair(labelled, class_count)
    except ImageError as error:
        return error
    counts = np.bincount(mask.ravel(), minlength=VOID_INDEX + 1)
    return np.append(counts[: class_count + 1], counts[VOID_INDEX])


def _check_record(manifest: Manifest, folder: Path) -> None:
    if not folder.is_dir():
        raise ManifestError(f"Expected a folder of label images, got {folder}; write one with camaudit export")
    if not (folder / RECORD).is_file():
        return
    record = read_json(folder / RECORD, "write the labels again")
    if not record.get("finished", True):
        raise ManifestError(f"Expected finished labels in {folder}, they were interrupted; write them to the end")
    classes = record.get("classes") or record.get("of", {}).get("classes")  # of camaudit segment; of camaudit export
    if classes is not None:
        check_classes(classes, manifest, f"of the labels in {folder}")


def check_classes(classes: Sequence[str], manifest: Manifest, of: str) -> None:
    """See that classes are those of a manifest, in the same order.

    Raises:
        ManifestError: they are not.
    """
    if tuple(classes) != manifest.classes:
        raise ManifestError(
            f"Expected the classes {of} to be the manifest's, {shorten(', '.join(manifest.classes))}, "
            f"got {shorten(', '.join(classes))}"
        )
