"""What tests of readers share: empty files, and what a reader made of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.datasets import Manifest, Sample, Track

needs_bytes_in_names = pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def recorder(seen: list[Any]) -> Track:
    def track(items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            seen.append(item)
            yield item

    return track


def by_id(manifest: Manifest) -> dict[str, Sample]:
    return {sample.id: sample for sample in manifest}
