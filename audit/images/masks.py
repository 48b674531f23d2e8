"""Reading object masks: index images, binary images and COCO regions, all to one kind of array.

A mask here is int16 [H, W] over the upright image: 0 background, i + 1 class i, `VOID` where the truth is unknown.

Index images hold stored values, never colours or scaled greys: a palette's index, a grey sample as it stands in the
file (of any PNG bit depth). 255 is void; an image of 16 bits also has 65535 for void, and there 255 is a class once
there are 255 of them. Only kinds that keep such values are read: PNG, TIFF, BMP; GIF writers renumber palettes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pycocotools.mask
from numpy.typing import NDArray
from PIL import Image

from audit.errors import ImageError, MaskError
from audit.images.reading import open_upright, read_bytes
from audit.wording import one_line, shorten

VOID = -1
"""Value of pixels whose truth is unknown; they take no part in scores."""

MAX_CLASSES = 32766
"""Most classes that an int16 mask can tell apart."""

DEEP_VOID_INDEX = 65535
"""What void is in an index image of 16 bits."""

_KINDS = ("PNG", "TIFF", "BMP")
VOID_INDEX = 255
"""Stands for `VOID` in an index image of 8 bits."""

_FARTHEST = 1e9
_LONGEST_RUN_BITS = 40
_LONGEST_REASON = 300


class Annotated(Protocol):
    """What is asked of a sample (`audit.datasets.manifest.Sample` is one): this room does not know the manifest's."""

    @property
    def id(self) -> str: ...
    @property
    def labels(self) -> tuple[int, ...]: ...
    @property
    def mask(self) -> str | None: ...
    @property
    def regions(self) -> str | None: ...


def read_mask(sample: Annotated, mask_kind: str, size: tuple[int, int], class_count: int) -> NDArray[np.int16]:
    """The sample's mask, int16 [H, W]: 0 background, i + 1 class i, `VOID`. Its mask file goes before its regions.

    Args:
        sample: has a mask file or COCO regions.
        mask_kind: `index` or `binary`, of mask files; see `audit.datasets.manifest.MASK_KINDS`.
        size: (height, width) of the upright image in pixels.
        class_count: number of known classes.

    Raises:
        MaskError: no mask; missing or undecodable; not an index image; another size; an unknown class; all void.
        TransientError: the mask could not be read now.
    """
    if mask_kind not in ("index", "binary"):
        raise ValueError(f"Expected `mask_kind` to be one of index, binary, got {mask_kind!r}")
    if not 0 < class_count <= MAX_CLASSES:
        raise ValueError(f"Expected `class_count` from 1 to {MAX_CLASSES}, got {class_count}")
    if sample.mask is not None:
        mask, source = _read_file(sample, sample.mask, mask_kind, size, class_count), one_line(sample.mask)
    elif sample.regions is not None:
        mask, source = _draw(sample, sample.regions, size, class_count), f"the regions of {sample.id!r}"
    else:
        raise MaskError(f"Expected a mask or regions for sample {sample.id!r}, got neither; score it without a mask")
    if not (mask != VOID).any():
        raise MaskError(f"Expected some pixels that are not void, got only void in {source}")
    return mask


class Boxed(Protocol):
    """What is asked of a box (`audit.datasets.manifest.Box` is one): upright pixels, x1 and y1 exclusive."""

    @property
    def class_id(self) -> int: ...
    @property
    def x0(self) -> float: ...
    @property
    def y0(self) -> float: ...
    @property
    def x1(self) -> float: ...
    @property
    def y1(self) -> float: ...


def box_fault(box: Boxed, class_count: int) -> str | None:
    """What is wrong with a box, as the end of a sentence: its class or its corners; None where nothing is."""
    if not (isinstance(box.class_id, Integral) and 0 <= box.class_id < class_count):
        return f"a class below {class_count}, got {shorten(box.class_id)}"
    corners = (box.x0, box.y0, box.x1, box.y1)
    # What is not finite fails the comparison too.
    if not all(isinstance(corner, Real) and abs(corner) <= _FARTHEST for corner in corners):
        return f"corners that are numbers of pixels, got {shorten(corners)}"
    if box.x0 > box.x1 or box.y0 > box.y1:
        return f"corners x0, y0 up to x1, y1, got {shorten(corners)}"
    return None


def draw_boxes(boxes: Sequence[Boxed], size: tuple[int, int], class_count: int) -> NDArray[np.int16]:
    """Boxes as a mask, int16 [H, W]: 0 background, i + 1 class i; a smaller box lies over a larger one.

    Raises:
        MaskError: a box has no known class, or its corners are not finite or overturned.
    """
    for place, box in enumerate(boxes):
        if fault := box_fault(box, class_count):
            raise MaskError(f"Expected box {place} to have {fault}; correct it and index again")
    mask = np.zeros(size, np.int16)
    for box in sorted(boxes, key=lambda box: (box.y1 - box.y0) * (box.x1 - box.x0), reverse=True):
        rows, columns = (slice(max(round(a), 0), max(round(b), 0)) for a, b in ((box.y0, box.y1), (box.x0, box.x1)))
        mask[rows, columns] = box.class_id + 1
    return mask


def object_mask(mask: NDArray[np.int16], class_id: int) -> NDArray[np.bool_]:
    """Pixels of the class: bool [H, W]."""
    selected: NDArray[np.bool_] = mask == class_id + 1
    return selected


def values_in(mask: NDArray[np.integer]) -> NDArray[np.integer]:
    """Values that occur in a mask [H, W], ascending."""
    flat = mask.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1])  # of runs of pixels: few, and sorting all takes 20 times as long
    return np.unique(np.append(flat[ends], flat[-1:]))


def class_ids(mask: NDArray[np.int16]) -> tuple[int, ...]:
    """Classes present in the mask, ascending."""
    return tuple(int(value) - 1 for value in values_in(mask) if value > 0)


def voc_palette() -> NDArray[np.uint8]:
    """PASCAL VOC's colours: uint8 [256, 3].

    The bits of an index, lowest first, go to red, green and blue in turn, filling each channel from its highest bit.
    """
    index = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= ((index >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    return palette


def write_index_png(path: str | Path, index: NDArray[np.uint8]) -> None:
    """Write an index image as PNG with VOC's colours; see `index_png`."""
    Path(path).write_bytes(index_png(index))


def index_png(index: NDArray[np.uint8]) -> bytes:
    """An index image (uint8 [H, W]; 0 background, i + 1 class i, 255 void) as PNG with VOC's colours.

    The same indices give the same bytes.
    """
    if index.dtype != np.uint8 or index.ndim != 2:
        raise ValueError(f"Expected a uint8 index image [H, W], got {index.dtype} {list(index.shape)}")
    image = Image.fromarray(index)
    image.putpalette(voc_palette().tobytes())
    png = BytesIO()
    image.save(png, "PNG")
    return png.getvalue()


def read_index_mask(path: str, sample_id: str, size: tuple[int, int], class_count: int) -> NDArray[np.int16]:
    """An index image as a mask, int16 [H, W], as `read_mask` gives it; it may be void everywhere.

    Raises:
        MaskError, TransientError: as `read_mask`.
    """
    return _from_indices(_sized_values(path, sample_id, size), path, class_count)


def _read_file(
    sample: Annotated, path: str, mask_kind: str, size: tuple[int, int], class_count: int
) -> NDArray[np.int16]:
    stored = _sized_values(path, sample.id, size)
    if mask_kind == "binary":
        return np.where(stored != 0, _only_label(sample, path, class_count) + 1, 0).astype(np.int16)
    return _from_indices(stored, path, class_count)


def _sized_values(path: str, sample_id: str, size: tuple[int, int]) -> NDArray[Any]:
    stored = _stored_values(path, sample_id)
    if stored.shape != size:
        raise MaskError(
            f"Expected a mask of {_extent(size)}, the size of the upright image, got {_extent(stored.shape)} "
            f"in {one_line(path)}"
        )
    return stored


def _stored_values(path: str, sample_id: str) -> NDArray[Any]:
    """Values as they stand in the file: uint8, uint16 or int32 [H, W]."""
    try:
        data = read_bytes(path)
        image = open_upright(data, path, kinds=_KINDS)
    except ImageError as error:
        raise MaskError(f"Mask of sample {sample_id!r}: {error}") from None
    if image.mode not in ("P", "L", "1", "I") and not image.mode.startswith("I;16"):
        raise MaskError(f"Expected a class-index mask (palette or grey), got {image.mode} in {one_line(path)}")
    values = np.asarray(image)
    return values.astype(np.uint8) if image.mode == "1" else values // _grey_step(data)


def _grey_step(data: bytes) -> int:
    """What Pillow multiplies the samples of a PNG of 2 or 4 grey bits by, to fill 8."""
    bits, colour_type = data[24:26]
    shallow_grey = data.startswith(b"\x89PNG") and colour_type == 0 and bits in (2, 4)
    return 255 // (2**bits - 1) if shallow_grey else 1


def _from_indices(stored: NDArray[Any], path: str, class_count: int) -> NDArray[np.int16]:
    void = stored == (VOID_INDEX if stored.dtype == np.uint8 else DEEP_VOID_INDEX)
    if class_count < VOID_INDEX:
        void |= stored == VOID_INDEX
    unknown = np.unique(stored[~void & ((stored < 0) | (stored > class_count))])
    if unknown.size:
        raise MaskError(
            f"Expected indices 0 to {class_count} or 255 (void), got {', '.join(map(str, unknown[:5]))} "
            f"in {one_line(path)}; check that the mask and the class names belong together"
        )
    indices = stored.astype(np.int16)
    indices[void] = VOID
    return indices


def _only_label(sample: Annotated, path: str, class_count: int) -> int:
    if len(sample.labels) != 1:
        raise MaskError(
            f"Expected exactly one label beside a binary mask, got {len(sample.labels)} for sample {sample.id!r} "
            f"({one_line(path)}); use an index mask"
        )
    if not 0 <= sample.labels[0] < class_count:
        raise MaskError(f"Expected a class below {class_count}, got {sample.labels[0]} for {one_line(path)}")
    return sample.labels[0]


def _draw(sample: Annotated, regions: str, size: tuple[int, int], class_count: int) -> NDArray[np.int16]:
    """COCO regions as a mask: objects, and crowds as void, small ones over large ones."""
    try:
        drawn = [_region(region, size, class_count) for region in json.loads(regions)]
    except Exception as error:  # what hostile JSON makes fail has no common ancestor: nesting, memory, overflow ...
        raise MaskError(f"Cannot draw the regions of sample {sample.id!r}: {_reason(error)}; index it again") from None
    mask = np.zeros(size, np.int16)
    for value, shape in sorted(drawn, key=lambda region: -int(region[1].sum())):
        mask[shape] = value
    return mask


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "they take more memory than there is"
    return f"no {error} given" if isinstance(error, KeyError) else shorten(error, _LONGEST_REASON)


def _region(region: dict[str, Any], size: tuple[int, int], class_count: int) -> tuple[int, NDArray[np.bool_]]:
    """The value of a region in the mask, and its pixels."""
    given = (region["height"], region["width"])
    if given != size:
        raise ValueError(f"expected regions of {_extent(size)}, the size of the upright image, got {_extent(given)}")
    class_id, segmentation = int(region["class_id"]), region["segmentation"]
    if not 0 <= class_id < class_count:
        raise ValueError(f"expected a class below {class_count}, got {class_id}")
    shape = _fill_polygons(segmentation, size) if isinstance(segmentation, list) else _fill_runs(segmentation, size)
    return (VOID if region["iscrowd"] else class_id + 1), shape


def _fill_polygons(polygons: list[list[float]], size: tuple[int, int]) -> NDArray[np.bool_]:
    for polygon in polygons:
        # With four numbers pycocotools would take it for a box.
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"expected polygons of three points or more, got {len(polygon)} numbers")
        if not np.isfinite(polygon).all() or np.abs(polygon).max() > 10 * max(size):
            raise ValueError("expected polygons within the image, got coordinates far outside it")
    if not polygons:
        raise ValueError("expected at least one polygon, got none")
    runs = pycocotools.mask.merge(pycocotools.mask.frPyObjects(polygons, *size))
    filled: NDArray[np.uint8] = pycocotools.mask.decode(runs)
    return filled.astype(bool)


def _fill_runs(encoded: dict[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Run lengths of 0, 1, 0 ... down the columns. pycocotools leaves pixels that no run covers uninitialised."""
    if tuple(encoded["size"]) != size:
        raise ValueError(f"expected run lengths over {_extent(size)}, got {_extent(tuple(encoded['size']))}")
    counts = encoded["counts"]
    runs = _unpack(counts) if isinstance(counts, str) else [int(run) for run in counts]
    if min(runs, default=0) < 0 or sum(runs) != size[0] * size[1]:
        raise ValueError(f"expected run lengths that fill {_extent(size)}, got a sum of {sum(runs)}")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(size, order="F")


def _unpack(text: str) -> list[int]:
    """COCO's compressed run lengths.

    Five bits a character from code 48, lowest first; bit 32 while more follow, bit 16 of the last for a negative
    number. From the fourth run on, the number is the difference to the run before the last.
    """
    runs: list[int] = []
    number = shift = 0
    for character in text:
        code = ord(character) - 48
        number |= (code & 31) << shift
        shift += 5
        if shift > _LONGEST_RUN_BITS:
            raise ValueError("expected run lengths of an image, got one without end")
        if code & 32:
            continue
        if code & 16:
            number -= 1 << shift
        runs.append(number + runs[-2] if len(runs) > 2 else number)
        number = shift = 0
    return runs


def _extent(size: tuple[int, ...]) -> str:
    return f"{' x '.join(map(str, size))} (height x width)"
