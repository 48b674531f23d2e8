"""One image under other methods: a process of its own draws it, for pages load neither torch nor a model."""

from __future__ import annotations

import atexit
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from audit.errors import AuditError
from dashboards.state import Context

METHODS = ("gradcam", "gradcam++", "layercam", "hirescam", "eigencam", "occlusion")
"""Those that are drawn beside one another."""


@dataclass(frozen=True)
class Drawing:
    """A process that draws, and the PNG that it writes."""

    process: subprocess.Popen[str]
    picture: Path

    @property
    def running(self) -> bool:
        """Whether it still draws."""
        return self.process.poll() is None

    def result(self) -> bytes:
        """The PNG.

        Raises:
            AuditError: it could not be drawn.
        """
        if self.process.returncode == 0 and self.picture.exists():
            return self.picture.read_bytes()
        said = (self.process.stderr.read() if self.process.stderr else "").strip().splitlines()
        raise AuditError(said[-1] if said else "The methods were not drawn")


def can_draw() -> bool:
    """Whether torch is there, without which no method runs."""
    return importlib.util.find_spec("torch") is not None


def draw(context: Context, target: Mapping[str, Any]) -> Drawing:
    """Begin to draw a target under `METHODS`, once; what was begun before is gone on with."""
    return _begin(str(context.run.path), context.image_of(target["sample"]), target["class"], context.model)


def command(run: str, image: str, class_name: str, model: str | None, out: str) -> list[str]:
    """What draws it, without the program. Code is run only where the server was started with its name."""
    methods = [part for method in METHODS for part in ("--method", method)]
    named = [f"--model={model}"] if model else []
    return ["explain", image, f"--run={run}", f"--class={class_name}", f"--out={out}", *methods, *named]


@lru_cache(maxsize=64)
def _begin(run: str, image: str, class_name: str, model: str | None) -> Drawing:
    folder = tempfile.TemporaryDirectory(prefix="camaudit-")
    atexit.register(folder.cleanup)
    picture = Path(folder.name) / "methods.png"
    parts = [sys.executable, "-m", "pipelines", *command(run, image, class_name, model, str(picture))]
    process = subprocess.Popen(parts, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return Drawing(process, picture)
