"""Fixtures that several rooms share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

# Tests run side by side, on small networks: more threads would only wait for one another. Before torch and NumPy load.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from forks import forked_workers
from shared import SHARED

LONGEST = ("tests/browser/", "tests/faults/workers/", "tests/faults/", "tests/pipelines/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rooms whose files take longest come first, so that no worker is left with a long file at the end."""
    items.sort(
        key=lambda item: next((at for at, room in enumerate(LONGEST) if item.nodeid.startswith(room)), len(LONGEST))
    )


@pytest.fixture(scope="session", autouse=True)
def quick_workers() -> Iterator[None]:
    """Clusters of the tests' own process start their workers quickly."""
    with forked_workers():
        yield


@pytest.fixture(autouse=True)
def same_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit's AppTest leaves its script behind as the main module; processes started later would run it."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(autouse=True)
def same_weights() -> None:
    """What a test draws from torch's own generator is the same in every run, alone or among others."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(20260101)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20260101)


@pytest.fixture
def shared_models() -> Path:
    """The folder of trained models that may lie beside the project."""
    folder = SHARED / "models"
    if not folder.is_dir():
        pytest.skip(f"no trained models at {folder}")
    return folder
