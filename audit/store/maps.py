"""The map arrays of a run: Zarr v3, one Zarr shard for each of the run's shards, every chunk checksummed.

Maps at a layer's resolution are `float16`. Maps at the input's resolution are `int8`: steps in the array `map`, one
sample a chunk, and what a step is worth in the array `scale` beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec

from audit.errors import RunError
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


def write_maps(path: Path, start: int, maps: Maps) -> None:
    """Write a whole shard [n, K, h, w] that begins at sample `start`. Only one writer may hold a shard."""
    array = _open(path, _MAP, "r+")
    assert array.shards is not None
    shard = start // array.shards[0]
    # Zarr would merge with what is there, and could not where that is damaged.
    for file in shard_files(path, shard):
        file.unlink(missing_ok=True)
    here = slice(start, start + len(maps))
    if isinstance(maps, Quantised):
        _open(path, _SCALE, "r+")[here] = maps.scale
        array[here] = maps.steps
    else:
        array[here] = maps


def read_maps(path: Path, start: int, stop: int) -> NDArray[np.floating]:
    """Maps [stop - start, K, h, w]: float16, or float32 where they are kept at 8 bits; NaN where there is none.

    Raises:
        RunError: a chunk is damaged.
    """
    try:
        array = _open(path, _MAP, "r")
        assert array.shards is not None
        _refuse_empty(path, range(start // array.shards[0], (stop - 1) // array.shards[0] + 1))
        values = np.asarray(array[start:stop])
        if array.dtype != np.int8:
            return values
        return Quantised(values, np.asarray(_open(path, _SCALE, "r")[start:stop]))[:]
    except (ValueError, OSError, RuntimeError) as error:
        run = path.parent
        raise RunError(
            f"Damaged maps of samples {start} to {stop - 1} in {path} ({error}); run `camaudit repair {run}`"
        ) from None


def shard_file(path: Path, shard: int) -> Path:
    """The file that holds a shard's maps; it does not exist while all of them are NaN."""
    return path / _MAP / "c" / str(shard) / "0" / "0" / "0"


def shard_files(path: Path, shard: int) -> list[Path]:
    """All files of a shard: its maps, and their scale where they have one."""
    scale = path / _SCALE
    return [shard_file(path, shard), *([scale / "c" / str(shard) / "0"] if scale.is_dir() else [])]


def maps_size(path: Path) -> int:
    """Bytes of a run's maps on disk."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _open(path: Path, name: str, mode: Literal["r", "r+"]) -> zarr.Array[Any]:
    array = zarr.open_array(path / name, mode=mode)
    return array.with_config({"write_empty_chunks": False})


def _compressors(bytes_a_value: int) -> list[BloscCodec | Crc32cCodec]:
    """The checksum comes last, over the bytes as stored: a flipped bit is an error, never a wrong number."""
    return [BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle", typesize=bytes_a_value), Crc32cCodec()]


def _refuse_empty(path: Path, shards: range) -> None:
    """An emptied shard file would read as if it held no maps."""
    for file in (file for shard in shards for file in shard_files(path, shard)):
        if file.exists() and not file.stat().st_size:
            raise OSError(f"{file} is empty")


def _chunk_length(shard_size: int) -> int:
    """Samples in a chunk: at most 64, and a divisor of the shard."""
    return next(length for length in range(min(_CHUNK, shard_size), 0, -1) if shard_size % length == 0)
