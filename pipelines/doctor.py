"""What this machine has."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import version

import psutil
import torch


def examine() -> dict[str, str]:
    """Versions, cores, memory, GPU and compiler, by name."""
    packages = ("torch", "torchvision", "dask", "zarr", "pandas", "scikit-image", "pycocotools", "streamlit")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "compiler": shutil.which("c++") or shutil.which("g++") or "none",
        "chromium": shutil.which("chromium") or shutil.which("google-chrome") or "none (browser tests need one)",
    }
