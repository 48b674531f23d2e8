"""Images and masks with bytes changed, cut out, doubled or cut off: refused in words or read; no crash, no hang."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from audit.datasets import Readable, Sample, decode_sample, read_objects
from audit.images import Fit
from faults.campaign.rows import Row

_SIDE = 48
_BATCH = 1250
_SLOWEST_S = 60
_KINDS = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "TIFF": "tif", "BMP": "bmp", "WEBP": "webp", "PPM": "ppm"}


def mutate_files(folder: Path, count: int, seed: int, say: Callable[[str], None]) -> list[Row]:
    """Read so many mutated images and masks, in processes of their own."""
    say(f"reading {count} mutated images and masks")
    rows = []
    for what, share in (("mutated image", count - count // 4), ("mutated mask", count // 4)):
        row = Row(what, identical=None)
        for start in range(0, share, _BATCH):
            size = min(_BATCH, share - start)
            for failure in _in_a_process(folder / what.replace(" ", "-"), what, seed, start, size):
                row.count(failure)
        rows.append(row)
    return rows


def _in_a_process(folder: Path, what: str, seed: int, start: int, size: int) -> list[str]:
    """What went wrong with each, '' where nothing did; a crash or a hang counts against all of the batch."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_read_batch, folder, what, seed, start, size).result(timeout=_SLOWEST_S + size / 20)
        except (BrokenProcessPool, TimeoutError) as error:
            return [f"{start} to {start + size - 1}: {type(error).__name__}"] * size


def _read_batch(folder: Path, what: str, seed: int, start: int, size: int) -> list[str]:
    failures = []
    for number in range(start, start + size):
        generator = np.random.default_rng([seed, number, what == "mutated mask"])
        try:
            said = _read_mask(folder, generator) if what == "mutated mask" else _read_image(folder, generator)
        except Exception as error:  # what a campaign is for
            said = f"{type(error).__name__}: {error}"
        failures.append(f"{number}: {said}" if said else "")
    return failures


def _read_image(folder: Path, generator: np.random.Generator) -> str:
    kind = str(generator.choice(list(_KINDS)))
    path = folder / f"image.{_KINDS[kind]}"
    path.write_bytes(_mutated(_drawn(generator, kind), generator))
    decoded = decode_sample(0, Sample("a", str(path)), Fit(_SIDE, "squash"))
    if not isinstance(decoded, Readable):
        return "" if decoded.reason and "\n" not in decoded.reason else f"reason {decoded.reason!r}"
    right = decoded.pixels.shape == (_SIDE, _SIDE, 3) and decoded.pixels.dtype == np.uint8
    return "" if right else f"pixels {decoded.pixels.shape} {decoded.pixels.dtype}"


def _read_mask(folder: Path, generator: np.random.Generator) -> str:
    mask = Image.fromarray(generator.integers(0, 3, (_SIDE, _SIDE), np.uint8)).convert("P")
    data = BytesIO()
    mask.save(data, str(generator.choice(["PNG", "TIFF", "BMP"])))
    path = folder / "mask.png"
    path.write_bytes(_mutated(data.getvalue(), generator))
    objects = read_objects(Sample("a", "a.jpg", (0,), str(path)), "index", (_SIDE, _SIDE), 2)
    if objects.mask is None:
        return "" if objects.reason and "\n" not in objects.reason else f"reason {objects.reason!r}"
    values = set(np.unique(objects.mask).tolist())
    return "" if objects.mask.shape == (_SIDE, _SIDE) and values <= {-1, 0, 1, 2} else f"mask with {values}"


def _drawn(generator: np.random.Generator, kind: str) -> bytes:
    """An image file of a few kilobytes."""
    pixels = generator.integers(0, 256, (int(generator.integers(1, 80)), int(generator.integers(1, 80)), 3), np.uint8)
    mode = str(generator.choice(["RGB", "L", "P", "RGBA", "CMYK"]))
    image = Image.fromarray(pixels)
    data = BytesIO()
    try:
        image.convert(mode).save(data, kind)
    except (OSError, ValueError, KeyError):  # a mode that this kind does not have
        data = BytesIO()
        image.save(data, kind)
    return data.getvalue()


def _mutated(content: bytes, generator: np.random.Generator) -> bytes:
    """The file with one to eight changes; its header is hit as often as all the rest."""
    data = bytearray(content)
    for _ in range(int(generator.integers(1, 9))):
        end = min(64, len(data)) if generator.random() < 0.5 else len(data)
        place = int(generator.integers(max(end, 1)))
        match int(generator.integers(5)):
            case 0:
                data[place : place + 1] = bytes([data[place] ^ 1 << int(generator.integers(8))]) if data else b""
            case 1:
                data[place : place + 4] = generator.bytes(4)
            case 2:
                del data[place : place + int(generator.integers(1, 40))]
            case 3:
                data[place:place] = data[place : place + int(generator.integers(1, 40))]
            case _:
                del data[max(place, 1) :]
    return bytes(data)
