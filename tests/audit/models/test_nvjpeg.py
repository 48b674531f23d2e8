"""The GPU's JPEG decoder, through a stand-in that keeps its rules and answers with the CPU's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.io
from numpy.typing import NDArray
from PIL import Image

from audit.datasets import Readable, Sample, Unreadable, decode_sample
from audit.datasets.decoding import decode_samples
from audit.errors import ModelError
from audit.images import Fit
from audit.images.reading import plain_jpeg
from audit.models import nvjpeg
from audit.models.device import Halving
from audit.models.nvjpeg import NvJpeg

FIT = Fit(32)
GPU = torch.device("cuda")
REFUSED = b"refused"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Files of each call of the stand-in: lists of bytes on the CPU, no turns, nothing where it refuses one."""
    made: list[int] = []
    decode = torchvision.io.decode_jpeg

    def stand_in(files: list[torch.Tensor], mode: str, device: torch.device) -> list[torch.Tensor]:
        made.append(len(files))
        assert (mode, device) == ("RGB", GPU)
        assert isinstance(files, list)
        assert all(file.dtype == torch.uint8 and file.ndim == 1 and file.is_contiguous() for file in files)
        if any(REFUSED in file.numpy().tobytes() for file in files):
            raise RuntimeError("Error while decoding JPEG images: Failed to get image info: 3")
        return decode(files, mode)

    monkeypatch.setattr(torchvision.io, "decode_jpeg", stand_in)
    monkeypatch.setattr(torch.cuda, "Stream", lambda _device: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda _stream: nullcontext())
    return made


def picture(mode: str = "RGB") -> Image.Image:
    rows, columns = np.mgrid[:24, :36]
    pixels = np.stack([rows * 10, columns * 7, 255 - rows * 5], axis=2).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(kind: str = "JPEG", mode: str = "RGB", turn: int = 1, **options: object) -> bytes:
    file, exif = BytesIO(), Image.Exif()
    exif[0x0112] = turn
    picture(mode).save(file, kind, exif=exif, **options)
    return file.getvalue()


FILES: dict[str, bytes] = {
    **{f"turned {turn}": encoded(turn=turn, quality=95) for turn in range(1, 9)},
    "progressive": encoded(progressive=True, quality=95),
    "png": encoded("PNG"),
    "grey": encoded(mode="L"),
    "cmyk": encoded(mode="CMYK"),
    "coded as RGB": encoded(keep_rgb=True),
    "cut short": encoded()[:-200],
    "refused": encoded(comment=REFUSED),
    "none": b"no image",
}
PLAIN = [name for name in FILES if name.startswith(("turned", "progressive", "refused"))]


def read(tmp_path: Path, jpegs: Callable[[list[bytes]], list[NDArray[np.uint8] | None]]) -> list[Readable | Unreadable]:
    return decode_samples(listed(tmp_path), FIT, jpegs)


def listed(tmp_path: Path) -> list[tuple[int, Sample]]:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    names = [*FILES, "missing"]
    return [(row, Sample(name, str(tmp_path / name))) for row, name in enumerate(names, 100)]


def test_only_whole_jpegs_of_three_colours_are_given_to_it() -> None:
    assert [name for name, data in FILES.items() if plain_jpeg(data) is not None] == PLAIN
    assert plain_jpeg(FILES["turned 1"], max_pixels=24 * 36 - 1) is None
    assert plain_jpeg(FILES["turned 6"] + b"\0\0") == 6


def test_images_are_what_pillow_gives_but_for_some_levels_and_the_rest_is_its_own(
    tmp_path: Path, calls: list[int]
) -> None:
    jpegs = NvJpeg(GPU)
    found = read(tmp_path, jpegs)
    for (row, sample), ours in zip(listed(tmp_path), found, strict=True):
        theirs = decode_sample(row, sample, FIT)
        if isinstance(theirs, Unreadable) or isinstance(ours, Unreadable):
            assert ours == theirs
            continue
        assert (ours.row, ours.sample, ours.size, ours.view, ours.digest) == (
            row,
            sample,
            theirs.size,
            theirs.view,
            theirs.digest,
        )
        levels = np.abs(ours.pixels.astype(int) - theirs.pixels).max()
        assert levels <= (4 if sample.id in PLAIN and sample.id != "refused" else 0), sample.id
    # One to try it, then all together, and as one is refused each alone.
    assert calls == [1, len(PLAIN), *[1] * len(PLAIN)]
    assert (jpegs.decoded, jpegs.refused) == (len(PLAIN) - 1, 1)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("Error while decoding JPEG images: CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("Error while decoding JPEG images: Failed to decode batch: 5\nException raised from"),
    ],
)
def test_a_full_gpu_halves_lists_and_refuses_nothing(
    error: RuntimeError, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    jpegs, most, plain = NvJpeg(GPU), 2, torchvision.io.decode_jpeg

    def short_of_memory(files: list[torch.Tensor], *given: Any, **named: Any) -> list[torch.Tensor]:
        if len(files) > most:
            raise error
        return plain(files, *given, **named)

    monkeypatch.setattr(torchvision.io, "decode_jpeg", short_of_memory)
    monkeypatch.setattr(nvjpeg, "_HALVING", Halving())
    files = [FILES[name] for name in PLAIN]
    with pytest.warns(RuntimeWarning, match="halving"):
        images = jpegs(files)
    assert [image is None for image in images] == [name == "refused" for name in PLAIN]
    assert max(calls) == 2
    most = 0
    with pytest.raises(torch.cuda.OutOfMemoryError):
        jpegs(files)
    assert (jpegs.decoded, jpegs.refused) == (len(PLAIN) - 1, 1)


def test_without_a_gpu_or_a_torchvision_that_has_it_it_is_refused_in_one_line(
    calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match=r"^Expected a GPU for --jpeg-decoder nvjpeg, got the device cpu; leave"):
        NvJpeg(torch.device("cpu"))

    def missing(*_given: object, **_named: object) -> None:
        raise RuntimeError("decode_jpegs_cuda: torchvision not compiled with nvJPEG support\nmore")

    monkeypatch.setattr(torchvision.io, "decode_jpeg", missing)
    with pytest.raises(ModelError, match=r"^torchvision does not decode on this GPU \(.*nvJPEG support\); leave"):
        NvJpeg(GPU)
    assert not calls
