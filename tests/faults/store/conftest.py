"""A bucket for a test, of a store that a file of tests has to itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bucket import Bucket, Faults, new_bucket, served


@pytest.fixture(scope="module")
def store() -> Iterator[Faults]:
    with pytest.MonkeyPatch.context() as patch, served(patch) as faults:
        yield faults


@pytest.fixture
def bucket(store: Faults, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bucket:
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    store.forget()
    return new_bucket(store)
