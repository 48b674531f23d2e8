"""Where a run comes from: its manifest, the time, and the versions of what computed it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from audit.datasets.manifest import Manifest
from audit.datasets.manifest_file import ManifestFile
from audit.store import layout

_VERSIONS = ("camaudit", "torch", "torchvision", "numpy", "zarr", "pyarrow", "pillow")


def provenance(manifest: Manifest | ManifestFile, record: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json says of a new run: `record`, and what holds of every run."""
    return {
        **record,
        "format": layout.FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "scoring": 0,
        "classes": list(manifest.classes),
        "manifest": {"fingerprint": manifest.fingerprint, "samples": len(manifest)},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _VERSIONS}},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
