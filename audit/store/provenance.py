"""Where a run comes from: its manifest, the time, the versions of what computed it; and whether two come from one."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from audit.datasets.manifest import Manifest
from audit.datasets.manifest_file import ManifestFile
from audit.store import layout

_VERSIONS = ("camaudit", "torch", "torchvision", "numpy", "zarr", "pyarrow", "pillow")
_COMPARED = ("config", "model")
_DETECTED = "detected"
"""Role of the targets of a detector's run."""


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


def is_readable(record: Mapping[str, Any]) -> bool:
    """Whether a run of such a record is read as it is: of this format, or of an older one that is the same for it."""
    match record:
        case {"format": layout.ALIKE, "config": {"roles": [*roles]}}:
            return _DETECTED not in roles
        case _:
            return record.get("format") in (layout.FORMAT, layout.ALIKE)


def differences(record: Mapping[str, Any], asked: Mapping[str, Any], manifest_fingerprint: str) -> list[str]:
    """What differs between a run's record and what is asked of it now: `name: old -> new`."""
    old = {**_flatten(record), "manifest": record["manifest"]["fingerprint"]}
    new = {**_flatten(asked), "manifest": manifest_fingerprint}
    names = sorted(old.keys() | new.keys())
    return [f"{n}: {old.get(n)} -> {new.get(n)}" for n in names if _plain(old.get(n)) != _plain(new.get(n))]


def _flatten(record: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{part}.{name}": value for part in _COMPARED for name, value in record.get(part, {}).items()}


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(value))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
