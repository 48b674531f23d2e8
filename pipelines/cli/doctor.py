"""The verb that says what this machine has."""

from __future__ import annotations

import platform
import shutil
from importlib.metadata import version

from pipelines.cli.options.common import Json
from pipelines.cli.printing import print_json, print_pairs
from pipelines.run.cores import usable_cores


def doctor(as_json: Json = False) -> None:
    """Say what this machine has: versions, cores, memory, GPU.

    And whether there is a compiler, and a browser for the tests.

    Example: camaudit doctor
    """
    record = examine()
    print_json(record) if as_json else print_pairs(record)


def examine() -> dict[str, str]:
    """Versions, cores, memory, GPU and compiler, by name."""
    import psutil
    import torch

    packages = ("torch", "torchvision", "dask", "zarr", "pandas", "scikit-image", "pycocotools", "streamlit")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "cores": str(usable_cores()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "compiler": shutil.which("c++") or shutil.which("g++") or "none",
        "chromium": shutil.which("chromium") or shutil.which("google-chrome") or "none (browser tests need one)",
    }
