"""The map array of a run: Zarr v3, one Zarr shard for each of the run's shards, every chunk checksummed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec

from audit.errors import RunError

_NAME = "map"
_CHUNK = 64


def create_maps(path: Path, samples: int, slots: int, grid: tuple[int, int], shard_size: int) -> None:
    """Create the array [samples, slots, h, w], empty (NaN)."""
    chunk = _chunk_length(shard_size)
    group = zarr.open_group(path, mode="w")
    group.create_array(
        _NAME,
        shape=(samples, slots, *grid),
        chunks=(chunk, slots, *grid),
        shards=(shard_size, slots, *grid),
        dtype="float16",
        fill_value=np.nan,
        serializer=BytesCodec(),
        # The checksum comes last, over the bytes as stored: a flipped bit is an error, never a wrong number.
        compressors=[BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle", typesize=2), Crc32cCodec()],
        dimension_names=("sample", "slot", "y", "x"),
    )


def write_maps(path: Path, start: int, maps: NDArray[np.float16]) -> None:
    """Write a whole shard [n, K, h, w] that begins at sample `start`. Only one writer may hold a shard."""
    array = _open(path, "r+")
    assert array.shards is not None
    # Zarr would merge with what is there, and could not where that is damaged.
    shard_file(path, start // array.shards[0]).unlink(missing_ok=True)
    array[start : start + len(maps)] = maps


def read_maps(path: Path, start: int, stop: int) -> NDArray[np.float16]:
    """Maps [stop - start, K, h, w] as stored.

    Raises:
        RunError: a chunk is damaged.
    """
    try:
        array = _open(path, "r")
        _refuse_empty(path, array, start, stop)
        return np.asarray(array[start:stop])
    except (ValueError, OSError, RuntimeError) as error:
        run = path.parent
        raise RunError(
            f"Damaged maps of samples {start} to {stop - 1} in {path} ({error}); run `camaudit repair {run}`"
        ) from None


def shard_file(path: Path, shard: int) -> Path:
    """The file that holds a shard; it does not exist while all of the shard's maps are NaN."""
    return path / _NAME / "c" / str(shard) / "0" / "0" / "0"


def maps_size(path: Path) -> int:
    """Bytes of a run's maps on disk."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _open(path: Path, mode: Literal["r", "r+"]) -> zarr.Array[Any]:
    array = zarr.open_array(path / _NAME, mode=mode)
    return array.with_config({"write_empty_chunks": False})


def _refuse_empty(path: Path, array: zarr.Array[Any], start: int, stop: int) -> None:
    """An emptied shard file would read as if it held no maps."""
    assert array.shards is not None
    for shard in range(start // array.shards[0], (stop - 1) // array.shards[0] + 1):
        file = shard_file(path, shard)
        if file.exists() and not file.stat().st_size:
            raise OSError(f"{file} is empty")


def _chunk_length(shard_size: int) -> int:
    """Samples in a chunk: at most 64, and a divisor of the shard."""
    return next(length for length in range(min(_CHUNK, shard_size), 0, -1) if shard_size % length == 0)
