"""The map arrays of a run: Zarr v3, one Zarr shard for each of the run's shards, every chunk checksummed.

A shard's file is named by its content, `c/3/0/0/0.DIGEST`, and counts once a ledger entry names it. The name that
readers of Zarr look for, `c/3/0/0/0`, links to it.

Maps at a layer's resolution are `float16`. Maps at the input's resolution are `int8`: steps in the array `map`, one
sample a chunk, and what a step is worth in the array `scale` beside it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore, MemoryStore

from audit.errors import RunError
from audit.store.files import write_atomically, write_by_content
from audit.store.quantised import Quantised

ENCODINGS = {"float16": 16, "int8": 8}
"""How the values of maps are kept, and in how many bits."""

Maps = NDArray[np.float16] | Quantised
"""Maps [n, K, h, w] as a run of either encoding keeps them."""

_MAP = "map"
_SCALE = "scale"
_CHUNK = 64


def create_maps(
    path: Path, samples: int, slots: int, grid: tuple[int, int], shard_size: int, encoding: str = "float16"
) -> None:
    """Create the array [samples, slots, h, w], empty (NaN), and for the encoding `int8` its scale [samples, slots]."""
    group = zarr.open_group(path, mode="w")
    eight_bits = encoding == "int8"
    group.create_array(
        _MAP,
        shape=(samples, slots, *grid),
        chunks=(1 if eight_bits else _chunk_length(shard_size), slots, *grid),
        shards=(shard_size, slots, *grid),
        dtype=encoding,
        fill_value=0 if eight_bits else np.nan,
        serializer=BytesCodec(),
        compressors=_compressors(ENCODINGS[encoding] // 8),
        dimension_names=("sample", "slot", "y", "x"),
    )
    if eight_bits:
        group.create_array(
            _SCALE,
            shape=(samples, slots),
            chunks=(shard_size, slots),
            dtype="float32",
            fill_value=np.nan,
            serializer=BytesCodec(),
            compressors=_compressors(4),
            dimension_names=("sample", "slot"),
        )


def empty_maps(shape: tuple[int, ...], encoding: str) -> Maps:
    """Room in memory for the maps of a shard, none there yet; it is filled and read like an array."""
    return Quantised.empty(shape) if encoding == "int8" else np.full(shape, np.nan, np.float16)


def write_maps(path: Path, start: int, maps: Maps) -> dict[Path, str]:
    """Write a whole shard [n, K, h, w] that begins at sample `start`, to files named by their content.

    Returns:
        The files with their sha256; none for what is all NaN. They are read once a ledger entry names them.
    """
    values: dict[str, NDArray[Any]] = (
        {_SCALE: maps.scale, _MAP: maps.steps} if isinstance(maps, Quantised) else {_MAP: maps}
    )
    written: dict[Path, str] = {}
    for name, array in values.items():
        for key, content in _encoded(path / name, start, array).items():
            file, digest = write_by_content(path / name / key, partial(_write_bytes, content))
            written[file] = digest
    return written


def read_maps(path: Path, start: int, stop: int, files: Iterable[Path]) -> NDArray[np.floating]:
    """Maps [stop - start, K, h, w]: float16, or float32 where they are kept at 8 bits; NaN where there is none.

    Args:
        files: of the shards that hold them, as `write_maps` named them; a shard without files has no maps.

    Raises:
        RunError: a chunk is damaged, or a file is gone.
    """
    try:
        named = {_key(path, file): file for file in files}
        for file in named.values():
            _refuse_empty(file)
        array = zarr.open_array(_Named(path / _MAP, named), mode="r", zarr_format=3)
        values = np.asarray(array[start:stop])
        if array.dtype != np.int8:
            return values
        scale = zarr.open_array(_Named(path / _SCALE, named), mode="r", zarr_format=3)
        return Quantised(values, np.asarray(scale[start:stop]))[:]
    except (ValueError, OSError, RuntimeError) as error:
        run = path.parent
        raise RunError(
            f"Damaged maps of samples {start} to {stop - 1} in {path} ({error}); run `camaudit repair {run}`"
        ) from None


def publish_maps(path: Path, shard: int, files: Iterable[Path]) -> None:
    """Give a shard's files the names that readers of Zarr look for: links, or copies where there are no links."""
    named = {file.with_suffix(""): file for file in files}
    for name in (path / _MAP / "c" / str(shard) / "0" / "0" / "0", path / _SCALE / "c" / str(shard) / "0"):
        file = named.get(name)
        if file is None:
            name.unlink(missing_ok=True)
        elif not (name.is_symlink() and os.readlink(name) == file.name):
            write_atomically(name, partial(_link_or_copy, file), durable=False)


def map_files(path: Path) -> Iterator[tuple[int, Path]]:
    """Every shard's files, whether or not an entry names them, each with the number of its shard."""
    for array in (_MAP, _SCALE):
        for file in (path / array / "c").rglob("0.*"):
            yield int(file.relative_to(path / array / "c").parts[0]), file


def metadata_files(path: Path) -> list[Path]:
    """What says how the arrays are to be read."""
    return sorted(path.rglob("zarr.json"))


def maps_size(path: Path) -> int:
    """Bytes of a run's maps on disk."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


class _Named(LocalStore):
    """An array of which each chunk lies in the file that a ledger entry names, and nowhere else."""

    def __init__(self, root: Path, files: Mapping[str, Path]) -> None:
        super().__init__(root, read_only=True)
        self._files = {key: file.name for key, file in files.items()}

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The content of a key; None where no entry names a file."""
        if key.startswith("c/"):
            name = self._files.get(f"{self.root.name}/{key}")
            if name is None:
                return None
            key = f"{key.rpartition('/')[0]}/{name}"
        return await super().get(key, prototype, byte_range)


def _key(path: Path, file: Path) -> str:
    """Array and key of the chunk that a file holds."""
    return file.relative_to(path).with_suffix("").as_posix()


def _encoded(array: Path, start: int, values: NDArray[Any]) -> dict[str, bytes]:
    """Key and content of the shard's chunk, none if it is all fill, as Zarr writes it."""
    as_buffer = default_buffer_prototype().buffer.from_bytes
    chunks = {"zarr.json": as_buffer((array / "zarr.json").read_bytes())}
    array_of_one = zarr.open_array(MemoryStore(chunks), mode="r+", zarr_format=3)
    target = array_of_one.with_config({"write_empty_chunks": False})
    target[start : start + len(values)] = values
    return {key: chunk.to_bytes() for key, chunk in chunks.items() if key != "zarr.json"}


def _write_bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _link_or_copy(file: Path, name: Path) -> None:
    try:
        name.symlink_to(file.name)
    except OSError:
        shutil.copyfile(file, name)


def _refuse_empty(file: Path) -> None:
    """An emptied or lost file would read as if it held no maps."""
    if not file.stat().st_size:
        raise OSError(f"{file} is empty")


def _compressors(bytes_a_value: int) -> list[BloscCodec | Crc32cCodec]:
    """The checksum comes last, over the bytes as stored: a flipped bit is an error, never a wrong number."""
    return [BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle", typesize=bytes_a_value), Crc32cCodec()]


def _chunk_length(shard_size: int) -> int:
    """Samples in a chunk: at most 64, and a divisor of the shard."""
    return next(length for length in range(min(_CHUNK, shard_size), 0, -1) if shard_size % length == 0)
