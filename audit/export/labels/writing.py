"""Writing label images in a format: shard by shard, whoever does it, then what joins them.

Each shard leaves a record of what it wrote, written last. A shard whose record says the same labels, and whose files
are all there, is not written again. Files of another format or of other labels are deleted first.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from audit.errors import RunError
from audit.export.labels.kind import PARTS, Collection, LabelFormat, Part, part_name
from audit.export.labels.registry import LABEL_FORMATS
from audit.export.place import check_place, export_record, sign
from audit.progress import Advanced, Progress, silent, stretch
from audit.segmentation import LabelImage, LabelSource
from audit.store import Shard
from audit.store.lock import held
from audit.store.storage.files import check_names, mapped, read_json, sizes_below, sweep_partials, write_json
from audit.store.storage.objects import Location, address, location
from audit.store.storage.uploads import Uploads

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
    out: Location,
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
    kind.check_place(out)
    of = {"format": name, "labels": source.about(), "classes": list(source.classes), "shards": len(run.shards)}
    of |= {"a_folder": Collection.a_folder}
    check_place(run, out, overwrite, of)
    with held(_parts_folder(out)):
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


def _parts_folder(out: Location) -> Location:
    """It holds the lock too: of two exports one would sweep away what the other is about to name."""
    folder = out / PARTS
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_missing(source: LabelSource, name: str, out: Location, progress: Progress, spread: Spread) -> None:
    shards, work = list(source.shards), partial(write_shard, source, name, location(address(out)))
    recorded, is_there = zip(shards, _records(out, shards), strict=True), _look(out)
    todo = [shard for shard, record in recorded if not _stands(record, source.digest(shard), is_there)]
    total = sum(map(len, shards))
    with stretch(progress, "exporting", total, total - sum(map(len, todo))):
        spread(todo, work, progress)


def write_shard(source: LabelSource, name: str, out: Location, shard: Shard) -> int:
    """Write a shard's label images, then the record of what it wrote; returns how many images that were."""
    digest = source.digest(shard)
    earlier = _files(out, shard.index)
    with Uploads() as uploads:
        part = Part(out, shard.index, uploads=uploads)
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


def _join(source: LabelSource, kind: LabelFormat, out: Location) -> Counter[str]:
    """Make what is one file of all shards; returns their counts, summed.

    Raises:
        RunError: the record of a shard cannot be read.
    """
    shards, counts = list(source.shards), Counter[str]()
    for shard, record in zip(shards, _records(out, shards), strict=True):
        if "counts" not in record:
            raise RunError(f"Cannot read {_record_path(out, shard.index)}; run the same command again")
        counts.update(record["counts"])
    payloads = [part_name(shard.index, kind.suffix) for shard in shards] if kind.suffix else []
    with _here(out, payloads, kind.joined) as folder:
        kind.join([folder / name for name in payloads], folder, _collection(source))
    return counts


@contextmanager
def _here(out: Location, payloads: Sequence[str], joined: Sequence[str]) -> Iterator[Path]:
    """A folder on this machine that holds the payloads. What is joined there goes into the bucket when it is left."""
    if isinstance(out, Path):
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="camaudit-") as aside:
        folder = Path(aside)
        for name in payloads:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((out / name).read_bytes())
        yield folder
        for name in joined:
            (out / name).put(folder / name)


Look = Callable[[str, int | None], bool]
"""Whether a file of an export is there, with that many bytes; None of a link or folder."""


def _look(out: Location) -> Look:
    """A bucket is listed once: to ask for each of a million objects would take hours."""
    if isinstance(out, Path):
        return lambda name, size: _is_there(out / name, size)
    sizes = sizes_below(out)
    return lambda name, size: sizes.get(name) == size


def _stands(record: Mapping[str, Any], digest: str, is_there: Look) -> bool:
    return record.get("of") == digest and all(is_there(name, size) for name, size in record["files"].items())


def _is_there(path: Path, size: int | None) -> bool:
    if size is None:
        return path.is_symlink() or path.is_dir()
    return path.is_file() and path.stat().st_size == size


def _record_path(out: Location, shard: int) -> Location:
    return out / part_name(shard, ".json")


def _records(out: Location, shards: Sequence[Shard]) -> list[dict[str, Any]]:
    return mapped(out, lambda shard: _record(out, shard.index), shards)


def _record(out: Location, shard: int) -> dict[str, Any]:
    """What a shard wrote; empty where that is not known."""
    path = _record_path(out, shard)
    try:
        record = read_json(path, _REWRITE)
    except RunError:
        return {}
    check_names(record.get("files", {}), path)
    return record


def _files(out: Location, shard: int) -> Mapping[str, int | None]:
    files: Mapping[str, int | None] = _record(out, shard).get("files", {})
    return files


def _clear(out: Location) -> None:
    """Delete all that an earlier export wrote."""
    earlier = LABEL_FORMATS.get(export_record(out).get("of", {}).get("format", ""))
    _delete(out, earlier.joined if earlier else ())
    records: list[Location] = list((out / PARTS).glob("part-*.json"))
    for path in records:
        _delete(out, _files(out, int(path.stem.removeprefix("part-"))).keys())
        path.unlink()


def _delete(out: Location, names: Iterable[str]) -> None:
    for name in names:
        path = out / name
        if isinstance(path, Path) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
