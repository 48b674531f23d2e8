"""The map arrays of a run: Zarr v3, one Zarr shard for each of the run's shards, every chunk checksummed.

Maps at a layer's resolution are `float16`. Maps at the input's resolution are `int8`: steps in the array `map`, one
sample a chunk, and what a step is worth in the array `scale` beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest, Store
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore, MemoryStore, ObjectStore, WrapperStore

from audit.errors import RunError
from audit.store import layout
from audit.store.maps.files import ENCODINGS, KEYS, MAP, SCALE, Maps
from audit.store.maps.quantised import Quantised
from audit.store.storage.files import size_of, write_by_content
from audit.store.storage.objects import Location, ObjectPath

_CHUNK = 64
_FLAT: dict[str, Any] = {"name": "default", "separator": "."}


def create_maps(
    path: Location, samples: int, slots: int, grid: tuple[int, int], shard_size: int, encoding: str = "float16"
) -> None:
    """Create the array [samples, slots, h, w], empty (NaN), and for the encoding `int8` its scale [samples, slots]."""
    group = zarr.open_group(_store(path), mode="w", zarr_format=3)
    eight_bits = encoding == "int8"
    group.create_array(
        MAP,
        shape=(samples, slots, *grid),
        chunks=(1 if eight_bits else _chunk_length(shard_size), slots, *grid),
        shards=(shard_size, slots, *grid),
        dtype=encoding,
        fill_value=0 if eight_bits else np.nan,
        serializer=BytesCodec(),
        compressors=_compressors(ENCODINGS[encoding] // 8),
        chunk_key_encoding=_FLAT,
        dimension_names=("sample", "slot", "y", "x"),
    )
    if eight_bits:
        group.create_array(
            SCALE,
            shape=(samples, slots),
            chunks=(shard_size, slots),
            dtype="float32",
            fill_value=np.nan,
            serializer=BytesCodec(),
            compressors=_compressors(4),
            chunk_key_encoding=_FLAT,
            dimension_names=("sample", "slot"),
        )


def write_maps(path: Location, start: int, maps: Maps) -> dict[Location, str]:
    """Write a whole shard [n, K, h, w] that begins at sample `start`, to files named by their content.

    Returns:
        The files with their sha256; none for what is all NaN. They are read once a ledger entry names them.
    """
    values: dict[str, NDArray[Any]] = (
        {SCALE: maps.scale, MAP: maps.steps} if isinstance(maps, Quantised) else {MAP: maps}
    )
    written: dict[Location, str] = {}
    for name, array in values.items():
        for key, content in _encoded(path / name, start, array).items():
            part = path / name / f"part-{int(key.split('.')[1]):05d}"
            file, digest = write_by_content(part, partial(_write_bytes, content))
            written[file] = digest
    return written


def read_maps(path: Location, start: int, stop: int, files: Iterable[Location]) -> NDArray[np.floating]:
    """Maps [stop - start, K, h, w]: float16, or float32 where they are kept at 8 bits; NaN where there is none.

    Args:
        files: of the shards that hold them, as `write_maps` named them; a shard without files has no maps.

    Raises:
        RunError: a chunk is damaged, or a file is gone.
    """
    try:
        named = list(files)
        for file in named:
            _refuse_empty(file)
        array = zarr.open_array(_named(path, MAP, named), mode="r", zarr_format=3)
        values = np.asarray(array[start:stop])
        if array.dtype != np.int8:
            return values
        scale = zarr.open_array(_named(path, SCALE, named), mode="r", zarr_format=3)
        return Quantised(values, np.asarray(scale[start:stop]))[:]
    except (ValueError, OSError, RuntimeError) as error:
        run = path.parent
        raise RunError(
            f"Damaged maps of samples {start} to {stop - 1} in {path} ({error}); run `camaudit repair {run}`"
        ) from None


class _Named(WrapperStore[Store]):
    """An array of which each chunk lies in the file that a ledger entry names, and nowhere else."""

    def __init__(self, store: Store, files: Mapping[str, str]) -> None:
        super().__init__(store)
        self._files = files

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The content of a key; None where no entry names a file."""
        name = self._files.get(key) if key.startswith("c.") else key
        prototype = prototype or default_buffer_prototype()
        return None if name is None else await self._store.get(name, prototype, byte_range)


def _named(path: Location, array: str, files: Iterable[Location]) -> _Named:
    own = (file.name for file in files if file.parent.name == array)
    names = {KEYS[array].format(layout.shard_of_part(name)): name for name in own}
    return _Named(_store(path / array, read_only=True), names)


def _store(path: Location, read_only: bool = False) -> Store:
    if isinstance(path, ObjectPath):
        return ObjectStore(path.store(), read_only=read_only)
    return LocalStore(path, read_only=read_only)


def _encoded(array: Location, start: int, values: NDArray[Any]) -> dict[str, bytes]:
    """Key and content of the shard's chunk, none if it is all fill, as Zarr writes it."""
    as_buffer = default_buffer_prototype().buffer.from_bytes
    chunks = {"zarr.json": as_buffer((array / "zarr.json").read_bytes())}
    array_of_one = zarr.open_array(MemoryStore(chunks), mode="r+", zarr_format=3)
    target = array_of_one.with_config({"write_empty_chunks": False})
    target[start : start + len(values)] = values
    return {key: chunk.to_bytes() for key, chunk in chunks.items() if key != "zarr.json"}


def _write_bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _refuse_empty(file: Location) -> None:
    """An emptied or lost file would read as if it held no maps."""
    if not size_of(file):
        raise OSError(f"{file} is empty")


def _compressors(bytes_a_value: int) -> list[BloscCodec | Crc32cCodec]:
    """The checksum comes last, over the bytes as stored: a flipped bit is an error, never a wrong number."""
    return [BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle", typesize=bytes_a_value), Crc32cCodec()]


def _chunk_length(shard_size: int) -> int:
    """Samples in a chunk: at most 64, and a divisor of the shard."""
    return next(length for length in range(min(_CHUNK, shard_size), 0, -1) if shard_size % length == 0)
