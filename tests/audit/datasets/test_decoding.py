"""A sample as the network will see it, or why it cannot: two types, never half of each."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audit.datasets import Sample
from audit.datasets.decoding import Readable, Unreadable, decode_sample
from audit.errors import TransientError
from audit.images.reading import difference_hash
from audit.images.views import Fit, View

FIT = Fit(16, "crop", resize=16)


def draw(folder: Path) -> Sample:
    picture = np.random.default_rng(3).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(picture).save(folder / "a.png")
    return Sample("a", str(folder / "a.png"))


def test_a_readable_sample_has_its_pixels_and_all_that_the_run_keeps_of_it(tmp_path: Path) -> None:
    sample = draw(tmp_path)
    image = decode_sample(7, sample, FIT)
    assert isinstance(image, Readable)
    assert (image.row, image.sample, image.size) == (7, sample, (20, 30))
    assert image.pixels.shape == (16, 16, 3)
    assert image.view == View(5.0, 0.0, 25.0, 20.0)
    assert image.digest == hashlib.blake2b(Path(sample.image).read_bytes(), digest_size=8).hexdigest()
    assert image.look == difference_hash(image.pixels)


def test_a_sample_that_is_no_image_or_too_large_has_its_reason(tmp_path: Path) -> None:
    sample = draw(tmp_path)
    large = decode_sample(0, sample, FIT, max_pixels=599)
    gone = decode_sample(3, Sample("b", str(tmp_path / "b.png")), FIT)
    assert isinstance(large, Unreadable)
    assert "at most 599 pixels" in large.reason
    assert isinstance(gone, Unreadable)
    assert (gone.row, gone.transient) == (3, False)
    assert "No such file" in gone.reason


def test_a_failure_that_may_pass_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(path: str) -> bytes:
        raise TransientError(f"Cannot read {path}")

    monkeypatch.setattr("audit.datasets.decoding.read_bytes", away)
    sample = draw(tmp_path)
    assert decode_sample(0, sample, FIT) == Unreadable(0, sample, f"Cannot read {sample.image}", transient=True)
