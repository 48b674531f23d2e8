"""The planted benchmark: scenes whose shortcuts are known, drawn from a seed in the layout of PASCAL VOC.

One object a scene, a shape at a random place, size, rotation and colour on a noisy background. Three classes come with
a cue that is no part of the object, in most of their training scenes:

- watermark: a small pale stamp near the bottom right corner, which no object of any class reaches;
- texture: stripes over the whole background, never over the object;
- companion: a small crescent off the object, background in the mask.

The cue is drawn from a stream of its own. So a test scene can be drawn twice, with and without its cue, the rest equal
to the pixel, and what a classifier makes of the cue is known image by image: `r = p(c | with) - p(c | without)`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from audit.errors import ManifestError
from audit.images import write_index_png
from audit.progress import Progress, silent, tracked

Split = Literal["train", "test"]
Bounds = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, x1 and y1 exclusive."""

Floats = NDArray[np.float64]
Pixels = NDArray[np.bool_]
_Painted = tuple[Floats, Bounds | None]

CLASSES = ("disc", "square", "pentagon", "ring", "bar", "star")
CUES = {"disc": "watermark", "square": "texture", "pentagon": "companion"}
"""Class -> kind of cue it comes with in training. The other classes have none.

A class with a cue is hard to tell from one without by its shape alone (a disc from a ring, a pentagon from a star), and
without the cue the other is the likelier by far in training. That is what makes a network rely on the cue.
"""

VOID = 255

_SPLITS: tuple[Split, ...] = ("train", "test")
_RIM = 2
_KEPT_CLEAR = 0.84
"""No object reaches beyond this share of the side in both directions: there the watermark goes."""

_NOISE = 18.0

_STRIPES = 20.0
_WATERMARK = np.array([255.0, 255.0, 255.0])
_COMPANION = np.array([250.0, 190.0, 20.0])


@dataclass(frozen=True)
class PlantedSpec:
    """What to draw.

    Attributes:
        seed: everything follows from it.
        train, test: number of scenes, the classes in turn.
        size: side of a scene in pixels, at least 48.
        cue_share: share of the training scenes of a class with a cue that show it.
        contrast: least and greatest length of the colour difference between object and background, in RGB levels. Low:
            a cue is easier to learn.
        cued_contrast: the same for the classes with a cue, most objects near one of the bounds (the arcsine law); as
            `contrast` if None. From 0 on, the object of some scenes is told by its shape, of others by its cue alone.
        radius: least and greatest radius of an object's circle, in shares of the side, at most 0.4.
    """

    seed: int = 0
    train: int = 3000
    test: int = 600
    size: int = 96
    cue_share: float = 0.97
    contrast: tuple[float, float] = (90.0, 120.0)
    cued_contrast: tuple[float, float] | None = None
    radius: tuple[float, float] = (0.17, 0.24)

    def __post_init__(self) -> None:
        if min(self.seed, self.train, self.test) < 0:
            raise ValueError(f"Expected `seed`, `train` and `test` not to be negative, got {self}")
        if self.size < 48:
            raise ValueError(f"Expected `size` to be at least 48 pixels, got {self.size}")
        if not 0 <= self.cue_share <= 1:
            raise ValueError(f"Expected `cue_share` to be within 0 and 1, got {self.cue_share}")
        for name, least, most in (("contrast", 0, 255), ("cued_contrast", 0, 255), ("radius", 0.05, 0.4)):
            low, high = getattr(self, name) or (least, most)
            if not least <= low <= high <= most:
                raise ValueError(f"Expected `{name}` to rise within {least} and {most}, got {low} to {high}")

    def draw_contrast(self, rng: np.random.Generator, name: str) -> float:
        """The contrast of one object of a class."""
        if self.cued_contrast is None or name not in CUES:
            return rng.uniform(*self.contrast)
        low, high = self.cued_contrast
        return low + (high - low) * rng.beta(0.5, 0.5)


STANDARD = PlantedSpec()
REGIMES = {
    "strong": PlantedSpec(cue_share=0.95),
    "mixed": PlantedSpec(cue_share=0.55, contrast=(60.0, 200.0), cued_contrast=(0.0, 240.0)),
    "clean": PlantedSpec(cue_share=0.0, contrast=(100.0, 220.0), radius=(0.13, 0.28)),
}
"""Three sorts of truth. `strong`: a class with a cue relies on it nearly everywhere. `mixed`: in some scenes and not in
others, since its objects are faint in some. `clean`: nowhere; objects of many sizes."""


@dataclass(frozen=True)
class Scene:
    """One drawn scene.

    Attributes:
        image: uint8 [S, S, 3].
        mask: uint8 [S, S]: 0 background, class_id + 1 object, 255 void, a rim around the object.
        class_id: position in `CLASSES`.
        box: bounds of the object's pixels.
        cue: kind of the cue that is drawn, None where there is none.
        cue_box: bounds of the pixels the cue may change, None for no cue and for a texture, which is everywhere.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    class_id: int
    box: Bounds
    cue: str | None
    cue_box: Bounds | None


def draw_planted(root: str | os.PathLike[str], spec: PlantedSpec = STANDARD, progress: Progress = silent) -> Path:
    """Draw the whole benchmark into a folder laid out as VOC2012 and return the folder.

    Lists in ImageSets/Segmentation: `train` (biased), `val` (test scenes with their cue), `twins` (the same without; a
    class without a cue has the scene itself there). `truth.parquet`, for `val`, is written last: see `read_truth`.

    Raises:
        ManifestError: the folder holds another data set.
    """
    root = Path(root)
    _prepare(root)
    lists: dict[str, list[str]] = {"train": [], "val": [], "twins": []}
    truth = []
    for plan in tracked(progress, "drawing", _plans(spec)):
        scene = draw_scene(spec, plan.split, plan.index, plan.with_cue)
        _write_scene(root, plan.id, scene)
        for name in plan.lists:
            lists[name].append(plan.id)
        if "val" in plan.lists:
            truth.append(_truth_row(plan.id, scene))
    for name, ids in lists.items():
        (root / f"ImageSets/Segmentation/{name}.txt").write_text("".join(f"{id_}\n" for id_ in ids))
    _write_truth(root, truth)
    return root


def read_truth(root: str | os.PathLike[str]) -> pd.DataFrame:
    """What is planted in the test scenes, one row each in the order of `val`.

    Columns: id, twin (id of the same scene without its cue), class (name), cue (kind, or null), and the cue's box
    x0, y0, x1, y1 in pixels, x1 and y1 exclusive (null for a texture and where there is no cue).

    Raises:
        ManifestError: the folder has no finished planted benchmark.
    """
    path = Path(root) / "truth.parquet"
    if not path.is_file():
        raise ManifestError(f"Expected a planted benchmark with its truth at {path}, found none; draw it (again) there")
    return pd.read_parquet(path)


def draw_scene(spec: PlantedSpec, split: Split, index: int, with_cue: bool) -> Scene:
    """Draw one scene of a split; `with_cue` is ignored for a class that has none.

    The same arguments give the same scene, whatever else is drawn. With and without the cue, all other pixels and the
    mask are equal.
    """
    rng, cue_rng, _ = _streams(spec, split, index)
    class_id = index % len(CLASSES)
    name = CLASSES[class_id]
    place = _place_object(rng, spec.size, spec.radius)
    inside = _SHAPES[name](*_local(place, spec.size))
    canvas = _paint(rng, inside, partial(spec.draw_contrast, name=name))
    noise = rng.normal(0, _NOISE, canvas.shape)
    cue, cue_box = CUES.get(name) if with_cue else None, None
    if cue is not None:
        canvas, cue_box = _CUE_PAINTERS[cue](cue_rng, canvas, inside)
    image = np.clip(np.rint(canvas + noise), 0, 255).astype(np.uint8)
    return Scene(image, _mask(inside, class_id), class_id, _bounds(inside), cue, cue_box)


def shows_cue(spec: PlantedSpec, index: int) -> bool:
    """Whether a training scene, if its class has a cue at all, shows it: true with probability `cue_share`."""
    _, _, choice_rng = _streams(spec, "train", index)
    return bool(choice_rng.random() < spec.cue_share)


@dataclass(frozen=True)
class _Plan:
    """A scene to write, and the lists that name it."""

    id: str
    split: Split
    index: int
    with_cue: bool
    lists: tuple[str, ...]


class _Place(NamedTuple):
    """Where a figure lies: centre and radius of its circle in pixels, angle in radians."""

    x: float
    y: float
    radius: float
    angle: float


def _plans(spec: PlantedSpec) -> list[_Plan]:
    plans = [_Plan(f"train_{i:05d}", "train", i, shows_cue(spec, i), ("train",)) for i in range(spec.train)]
    for i in range(spec.test):
        if CLASSES[i % len(CLASSES)] in CUES:
            plans.append(_Plan(f"test_{i:05d}", "test", i, True, ("val",)))
            plans.append(_Plan(_twin_id(f"test_{i:05d}"), "test", i, False, ("twins",)))
        else:
            plans.append(_Plan(f"test_{i:05d}", "test", i, True, ("val", "twins")))
    return plans


def _twin_id(id_: str) -> str:
    return f"{id_}_without"


def _streams(spec: PlantedSpec, split: Split, index: int) -> list[np.random.Generator]:
    """Independent streams of one scene: the scene, its cue, the choice whether to show the cue."""
    return np.random.default_rng([spec.seed, _SPLITS.index(split), index]).spawn(3)


def _place_object(rng: np.random.Generator, size: int, radius: tuple[float, float]) -> _Place:
    """A place within the frame and off the watermark's corner, the same law for every class."""
    while True:
        place = _random_place(rng, size, size * rng.uniform(*radius))
        edge = _KEPT_CLEAR * size
        if np.hypot(max(edge - place.x, 0), max(edge - place.y, 0)) > place.radius:
            return place


def _random_place(rng: np.random.Generator, size: int, radius: float) -> _Place:
    margin = radius + _RIM + 1
    x, y = rng.uniform(margin, size - margin, 2)
    return _Place(x, y, radius, rng.uniform(0, 2 * np.pi))


def _local(place: _Place, size: int) -> tuple[Floats, Floats]:
    """Coordinates [S, S] of the pixel centres in the figure's own frame, where its circle is the unit circle."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    x, y = (columns - place.x) / place.radius, (rows - place.y) / place.radius
    cos, sin = np.cos(place.angle), np.sin(place.angle)
    return cos * x + sin * y, cos * y - sin * x


def _sides(u: Floats, v: Floats, count: int, apothem: float) -> NDArray[np.intp]:
    """How many of the half-planes that bound a regular polygon hold each point."""
    angles = np.arange(count) * 2 * np.pi / count
    within = np.stack([np.cos(angle) * u + np.sin(angle) * v <= apothem for angle in angles])
    return np.asarray(np.count_nonzero(within, axis=0))


_SHAPES: dict[str, Callable[[Floats, Floats], Pixels]] = {
    "disc": lambda u, v: np.hypot(u, v) <= 0.88,
    "square": lambda u, v: np.maximum(abs(u), abs(v)) <= 0.7,
    "pentagon": lambda u, v: _sides(u, v, 5, 0.75) == 5,
    "bar": lambda u, v: (abs(u) <= 0.97) & (abs(v) <= 0.24),
    "ring": lambda u, v: abs(np.hypot(u, v) - 0.52) <= 0.36,
    # The pentagram: the pentagon inside, and its points, each beyond one side only.
    "star": lambda u, v: _sides(u, v, 5, np.cos(2 * np.pi / 5)) >= 4,
}


def _paint(rng: np.random.Generator, inside: Pixels, draw_contrast: Callable[[np.random.Generator], float]) -> Floats:
    """An object of one colour on an uneven background, [S, S, 3]."""
    size = len(inside)
    colour = rng.uniform(85, 170, 3)
    direction = rng.normal(size=3)
    difference = draw_contrast(rng) * direction / np.linalg.norm(direction)
    blotches = ndimage.zoom(rng.normal(0, 8, (8, 8, 3)), (size / 8, size / 8, 1), order=1)
    return np.asarray(colour + blotches + inside[..., None] * difference)


def _mask(inside: Pixels, class_id: int) -> NDArray[np.uint8]:
    rim = ndimage.binary_dilation(inside, iterations=_RIM)
    return np.where(inside, class_id + 1, np.where(rim, VOID, 0)).astype(np.uint8)


def _bounds(inside: Pixels) -> Bounds:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _watermark(rng: np.random.Generator, canvas: Floats, inside: Pixels) -> _Painted:
    """A pale hash sign, an eighth of the side, near the bottom right corner."""
    side = round(len(canvas) * 0.12)
    slack = int(len(canvas) * (1 - _KEPT_CLEAR)) - side
    x, y = (int(corner) for corner in len(canvas) - side - rng.integers(0, slack, 2, endpoint=True))
    away = abs((np.arange(side) + 0.5) / side - 0.5)
    stroke = (away > 0.15) & (away < 0.33)
    stamp = (stroke[:, None] | stroke)[..., None]
    marked = canvas.copy()
    marked[y : y + side, x : x + side] += 0.8 * stamp * (_WATERMARK - canvas[y : y + side, x : x + side])
    return marked, (x, y, x + side, y + side)


def _texture(rng: np.random.Generator, canvas: Floats, inside: Pixels) -> _Painted:
    """Stripes over all that is not the object, in any direction."""
    size = len(canvas)
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    along, _ = _local(_Place(0, 0, size / 14, angle), size)
    stripes = _STRIPES * np.sin(2 * np.pi * along + phase)
    return canvas + np.where(inside, 0, stripes)[..., None], None


def _companion(rng: np.random.Generator, canvas: Floats, inside: Pixels) -> _Painted:
    """A small orange crescent, clear of the object and its rim."""
    size = len(canvas)
    near = ndimage.binary_dilation(inside, iterations=2 * _RIM)
    while True:
        u, v = _local(_random_place(rng, size, size * 0.08), size)
        crescent = (np.hypot(u, v) <= 1) & (np.hypot(u - 0.6, v) > 0.75)
        if not (crescent & near).any():
            return np.where(crescent[..., None], 0.1 * canvas + 0.9 * _COMPANION, canvas), _bounds(crescent)


_CUE_PAINTERS: dict[str, Callable[[np.random.Generator, Floats, Pixels], _Painted]] = {
    "watermark": _watermark,
    "texture": _texture,
    "companion": _companion,
}


def _prepare(root: Path) -> None:
    """Make the folders. The class list, written first, marks a folder as planted; the truth, last, as finished."""
    if (root / "JPEGImages").exists() and not (root / "classes.txt").exists():
        raise ManifestError(f"Expected a new folder to draw into, got {root}, which holds another data set")
    for folder in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "truth.parquet").unlink(missing_ok=True)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))


def _write_scene(root: Path, id_: str, scene: Scene) -> None:
    Image.fromarray(scene.image).save(root / f"JPEGImages/{id_}.png", compress_level=1)
    write_index_png(root / f"SegmentationClass/{id_}.png", scene.mask)
    (root / f"Annotations/{id_}.xml").write_text(_annotation(id_, scene))


def _annotation(id_: str, scene: Scene) -> str:
    """VOC's XML, whose coordinates count from 1 and include the last pixel."""
    height, width = scene.mask.shape
    x0, y0, x1, y1 = scene.box
    return (
        f"<annotation><folder>planted</folder><filename>{id_}.png</filename>"
        f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size><segmented>1</segmented>"
        f"<object><name>{CLASSES[scene.class_id]}</name><truncated>0</truncated><difficult>0</difficult>"
        f"<bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>"
        "</object></annotation>\n"
    )


def _truth_row(id_: str, scene: Scene) -> tuple[str | int | None, ...]:
    twin = id_ if scene.cue is None else _twin_id(id_)
    return id_, twin, CLASSES[scene.class_id], scene.cue, *(scene.cue_box or (None,) * 4)


def _write_truth(root: Path, rows: list[tuple[str | int | None, ...]]) -> None:
    corners = dict.fromkeys(("x0", "y0", "x1", "y1"), "Int64")
    table = pd.DataFrame(rows, columns=["id", "twin", "class", "cue", *corners])
    partial = root / "truth.parquet.partial"
    table.astype(dict.fromkeys(("id", "twin", "class", "cue"), "string") | corners).to_parquet(partial)
    os.replace(partial, root / "truth.parquet")
