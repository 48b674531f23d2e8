"""Writing label images in a format: shard by shard, whoever does it, then what joins them.

Each shard leaves a record of what it wrote, written last. A shard whose record says the same labels, and whose files
are all there, is not written again. Files of another format or of other labels are deleted first.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from audit.errors import RunError
from audit.export.labels.kind import PARTS, Collection, LabelFormat, Part
from audit.export.labels.registry import LABEL_FORMATS
from audit.export.place import check_place, export_record, sign
from audit.progress import Advanced, Progress, silent, stretch
from audit.segmentation import LabelImage, LabelSource
from audit.store import Shard
from audit.store.storage.files import check_names, read_json, sweep_partials, write_json

_IMAGES = "images"
_REWRITE = "choose another --out"

Work = Callable[[Shard], int]
"""Writes a shard and says how many images that were."""


class Spread(Protocol):
    """Has `work` done for every shard, here or elsewhere."""

    def __call__(self, shards: list[Shard], work: Work, progress: Progress) -> None:
        """Do them all, and tell of each."""


def one_by_one(shards: list[Shard], work: Work, progress: Progress) -> None:
    """In this process."""
    for shard in shards:
        images = work(shard)
        progress(Advanced(len(shard), len(shard) - images))


def export_labels(
    source: LabelSource,
    name: str,
    out: Path,
    progress: Progress = silent,
    overwrite: bool = False,
    spread: Spread = one_by_one,
) -> str:
    """Write all label images of a source to the folder `out`, and say in one line what was written.

    An export that was interrupted is gone on with. `camaudit-export.json` says what it is of, and whether it is whole.

    Args:
        name: of `LABEL_FORMATS`.
        overwrite: whether an earlier export of the same collection may be written over; of the same format and labels
            only shards that have changed are.

    Raises:
        RunError: a place that is taken, or classes that the format cannot hold.
    """
    kind, run = LABEL_FORMATS[name], source.run
    kind.check(source.classes)
    of = {"format": name, "labels": source.about(), "classes": list(source.classes), "shards": len(run.shards)}
    of |= {"a_folder": Collection.a_folder}
    check_place(run, out, overwrite, of)
    with _held(out):
        if export_record(out).get("of", of) != of:
            _clear(out)
        sign(run, out, False, of)
        sweep_partials(out)
        _write_missing(source, name, out, progress, spread)
        counts = _join(source, kind, out)
        sign(run, out, True, of)
    threshold = source.about().get("threshold")
    at = f" at threshold {threshold:.3f}" if isinstance(threshold, float) else ""
    return f"{out}: {counts[_IMAGES]} pseudo-masks{at}{kind.notes(counts)}"


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Hold a folder of exports for this process: two would sweep away what the other is about to name."""
    (out / PARTS).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / PARTS / "lock", timeout=0):
            yield
    except Timeout:
        raise RunError(f"{out} is in use by another export; wait for it, or stop it, then try again") from None


def _write_missing(source: LabelSource, name: str, out: Path, progress: Progress, spread: Spread) -> None:
    shards, work = list(source.shards), partial(write_shard, source, name, Path(os.path.abspath(out)))
    todo = [shard for shard in shards if not _is_written(out, shard, source.digest(shard))]
    total = sum(map(len, shards))
    with stretch(progress, "exporting", total, total - sum(map(len, todo))):
        spread(todo, work, progress)


def write_shard(source: LabelSource, name: str, out: Path, shard: Shard) -> int:
    """Write a shard's label images, then the record of what it wrote; returns how many images that were."""
    digest = source.digest(shard)
    earlier, part = _files(out, shard.index), Part(out, shard.index)
    LABEL_FORMATS[name].write(_counted(source.images(shard), part), part, _collection(source))
    _delete(out, earlier.keys() - part.files.keys())
    write_json(_record_path(out, shard.index), {"of": digest, "files": part.files, "counts": dict(part.counts)})
    return part.counts[_IMAGES]


def _counted(images: Iterator[LabelImage], part: Part) -> Iterator[LabelImage]:
    for image in images:
        part.counts[_IMAGES] += 1
        yield image


def _collection(source: LabelSource) -> Collection:
    return Collection(source.classes, source.run.manifest(0, 0).root, source.run.samples)


def _join(source: LabelSource, kind: LabelFormat, out: Path) -> Counter[str]:
    """Make what is one file of all shards; returns their counts, summed."""
    parts = [Part(out, shard.index) for shard in source.shards]
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(_record(out, part.shard)["counts"])
    payloads = [out / part.payload(kind.suffix) for part in parts] if kind.suffix else []
    kind.join(payloads, out, _collection(source))
    return counts


def _is_written(out: Path, shard: Shard, digest: str) -> bool:
    record = _record(out, shard.index)
    return record.get("of") == digest and all(_is_there(out / name, size) for name, size in record["files"].items())


def _is_there(path: Path, size: int | None) -> bool:
    if size is None:
        return path.is_symlink() or path.is_dir()
    return path.is_file() and path.stat().st_size == size


def _record_path(out: Path, shard: int) -> Path:
    return out / PARTS / f"part-{shard:05d}.json"


def _record(out: Path, shard: int) -> dict[str, Any]:
    path = _record_path(out, shard)
    try:
        record = read_json(path, _REWRITE) if path.exists() else {}
    except RunError:  # damaged: as if it were not there
        return {}
    check_names(record.get("files", {}), path)
    return record


def _files(out: Path, shard: int) -> Mapping[str, int | None]:
    files: Mapping[str, int | None] = _record(out, shard).get("files", {})
    return files


def _clear(out: Path) -> None:
    """Delete all that an earlier export wrote."""
    earlier = LABEL_FORMATS.get(export_record(out).get("of", {}).get("format", ""))
    _delete(out, earlier.joined if earlier else ())
    for path in sorted((out / PARTS).glob("part-*.json")):
        _delete(out, _files(out, int(path.stem.removeprefix("part-"))).keys())
        path.unlink()


def _delete(out: Path, names: Iterable[str]) -> None:
    for name in names:
        path = out / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
