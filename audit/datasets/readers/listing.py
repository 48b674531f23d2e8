"""What a reader lists: samples one after another, for a manifest in memory, or for one that is written as they come."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa

from audit.datasets.manifest import (
    Manifest,
    Sample,
    checked_names,
    checked_root,
    no_sample,
    sample_tables,
)
from audit.datasets.manifest_file import Head, ManifestFile, write_manifest


@dataclass(frozen=True)
class Listing:
    """Samples, which come once, and what holds of all of them.

    Attributes:
        attributes: that samples may have.
    """

    samples: Iterable[Sample]
    classes: tuple[str, ...]
    root: str
    mask_kind: str = "index"
    attributes: tuple[str, ...] = ()

    def manifest(self) -> Manifest:
        """The manifest, whole.

        Raises:
            ManifestError: see `Manifest.from_samples`.
        """
        return Manifest.from_samples(self.samples, self.classes, self.root, self.mask_kind)

    def save(self, path: str | os.PathLike[str]) -> ManifestFile:
        """Write the manifest while the samples come, of which a batch is held.

        Raises:
            ManifestError: see `Manifest.from_samples`; nothing is written then.
        """
        head = Head(checked_names(self.classes, self.mask_kind), checked_root(self.root), self.mask_kind)
        tables = sample_tables(self.samples, len(head.classes), self.attributes)
        write_manifest(Path(path), _some(tables, head.root), head, self.attributes)
        return ManifestFile.open(path)


def _some(tables: Iterator[pa.Table], root: str) -> Iterator[pa.Table]:
    """The tables, of which there has to be one."""
    for first in tables:
        return chain([first], tables)
    raise no_sample(root)
