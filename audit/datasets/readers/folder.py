"""Plain folders of images, one subfolder a class or flat, and the rules for names every reader shares."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import pyarrow as pa

from audit.datasets.classes import preview
from audit.datasets.ids import Ids, escaped, is_utf8
from audit.datasets.manifest import Manifest, Sample, storable_path
from audit.datasets.manifest_file import BATCH
from audit.datasets.reach import holding_folder
from audit.datasets.readers.listing import Listing
from audit.errors import ManifestError
from audit.progress import Progress, silent, tracked

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"})

_MIXED = "Expected images of {root} either all in class folders or none, got {loose!r} beside folder {folder!r}; "
_MIXED += "move one or pass classes=() to read all of them without labels"


def read_folder(
    root: str | os.PathLike[str],
    masks: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    mask_kind: str = "binary",
    progress: Progress = silent,
) -> Manifest:
    """Index a folder of images; see `list_folder`."""
    return list_folder(root, masks, classes, mask_kind, progress).manifest()


def list_folder(
    root: str | os.PathLike[str],
    masks: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    mask_kind: str = "binary",
    progress: Progress = silent,
) -> Listing:
    """List the images below a folder: `root/CLASS/.../NAME.jpg`, or `root/NAME.jpg` without labels.

    Every subfolder is a class, in sorted order or that of `classes`. `classes=()` reads any tree without labels. An id
    is the path below `root` without its suffix, kept where two would clash. Names that begin with a dot are left out,
    and symlinked folders are not entered; symlinked images are.

    Args:
        root: the folder of images.
        masks: a folder with the same tree, masks named as their images but `.png`; an image may have none. Where it
            lies beside `root`, the manifest's root is the folder that holds both.
        classes: the class names, when a flat folder has them elsewhere or their order matters.
        mask_kind: one of `MASK_KINDS`.
        progress: told of every image.

    Raises:
        ManifestError: the folder cannot be listed, holds no image, is half flat, or has a subfolder outside `classes`.
    """
    base, drawn = os.path.abspath(root), os.path.abspath(masks) if masks is not None else None
    images = _Paths(path for path in list_files(base, skip=drawn) if is_image(path))
    names = tuple(classes) if classes is not None else _class_folders(base, images, drawn)
    ids = Ids.among(lambda: ((_stem(path), path) for path in images))
    class_ids = {name: (place,) for place, name in enumerate(names)}
    top = base if drawn is None else holding_folder([base, drawn]) or base
    pngs = _mask_paths(top, drawn) if drawn is not None else {}
    samples = (
        Sample(
            id=ids.choose(_stem(path), path),
            image=stored_path(top, _below(top, base, path)),
            labels=_labels(path, class_ids),
            mask=pngs.get(_stem(path)),
        )
        for path in tracked(progress, "indexing", images, len(images))
    )
    return Listing(samples, names, top, mask_kind)


def list_files(root: str, skip: str | None = None) -> Iterator[str]:
    """Paths below `root`, relative, with '/', sorted; nothing hidden, nothing behind a symlinked folder or in `skip`.

    Raises:
        ManifestError: a folder is missing or may not be read.
    """
    try:
        yield from _walk(root, skip)
    except OSError as error:
        raise ManifestError(f"Expected a folder to read at {error.filename}, got: {error.strerror}; check it") from None


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]


def is_image(path: str) -> bool:
    """Whether the suffix is one of `IMAGE_SUFFIXES`, in any case."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


def stored_path(root: str, path: str) -> str:
    """A path as the manifest keeps it: as given below `root`, or a `file:` URL where it is not valid UTF-8."""
    return path if is_utf8(path) else storable_path(os.path.join(root, path))


class _Paths:
    """Paths in their order, in a third of the room that a list of them takes."""

    def __init__(self, paths: Iterable[str]) -> None:
        coming = iter(paths)
        batches = iter(lambda: list(map(os.fsencode, islice(coming, BATCH))), [])
        self._chunks = [pa.array(batch, pa.binary()) for batch in batches]

    def __iter__(self) -> Iterator[str]:
        return (os.fsdecode(path) for chunk in self._chunks for path in chunk.to_pylist())

    def __len__(self) -> int:
        return sum(map(len, self._chunks))


def _walk(root: str, skip: str | None) -> Iterator[str]:
    """Files in their order. A folder's name ends in '/' beside others, so what lies in it comes where it belongs."""
    pending = [""]
    while pending:
        path = pending.pop()
        if path and not path.endswith("/"):
            yield path
            continue
        with os.scandir(os.path.join(root, path) if path else root) as entries:
            names = sorted(name for entry in entries if (name := _name(entry, skip)))
        pending.extend(path + name for name in reversed(names))


def _name(entry: os.DirEntry[str], skip: str | None) -> str:
    """Of a file, or of a folder with '/'; empty for what is left out."""
    if entry.name.startswith(".") or entry.path == skip:
        return ""
    if entry.is_dir(follow_symlinks=False):
        return f"{entry.name}/"
    return entry.name if _is_file(entry) else ""


def _is_file(entry: os.DirEntry[str]) -> bool:
    """A regular file or a link to anything but a folder: a dangling link stays, for the run to record as missing."""
    return entry.is_file(follow_symlinks=False) or (entry.is_symlink() and not entry.is_dir())


def _class_folders(root: str, images: Iterable[str], skip: str | None) -> tuple[str, ...]:
    """Subfolders as class names, empty ones too so that ids do not depend on what is inside; none for a flat folder."""
    nested = sorted({path.split("/", 1)[0] for path in images if "/" in path})
    loose = next((path for path in images if "/" not in path), None)
    if not nested:
        return ()
    if loose is not None:
        raise ManifestError(_MIXED.format(root=root, loose=loose, folder=nested[0]))
    with os.scandir(root) as entries:
        folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False) and entry.path != skip]
    return tuple(escaped(entry.name) for entry in sorted(folders, key=lambda e: e.name) if entry.name[0] != ".")


def _labels(path: str, class_ids: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    if not class_ids or "/" not in path:
        return ()
    name = escaped(path.split("/", 1)[0])
    if name not in class_ids:
        raise ManifestError(f"Expected class folders among {preview(class_ids)}, got {name!r} at {path!r}; rename it")
    return class_ids[name]


def _mask_paths(root: str, masks: str) -> dict[str, str]:
    """Stored path of each mask, below `root` where it lies there, by its path below `masks` without suffix."""
    pngs = (path for path in list_files(masks) if path.lower().endswith(".png"))
    return {path[: -len(".png")]: stored_path(root, _below(root, masks, path)) for path in pngs}


def _below(root: str, folder: str, path: str) -> str:
    """A path of `folder` as one of `root`, absolute where the folder does not lie in it."""
    if folder == root:
        return path
    return os.path.join(folder, path).removeprefix(f"{root.rstrip('/')}/")
