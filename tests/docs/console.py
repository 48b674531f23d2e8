"""Run the commands of a page's console blocks and put what they print below them.

`python -m tests.docs.console` does so for docs/first-audit.md, in the project's root, after `make demo`. It takes more
than a minute, so `make docs` leaves it out.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import ROOT

PAGE = ROOT / "docs" / "first-audit.md"
COLUMNS = 100
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def commands(page: str) -> list[str]:
    """The commands of all console blocks, without their prompts."""
    return [line[2:] for block in _BLOCK.findall(page) for line in block.splitlines() if line.startswith("$ ")]


def refreshed(page: str) -> str:
    """The page with each command followed by what it prints now."""
    return _BLOCK.sub(lambda block: f"```console\n{''.join(map(_shown, commands(block[0])))}```", page)


def _shown(command: str) -> str:
    """The command and its output; progress goes elsewhere, and lines lose the spaces that tables end in."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"COLUMNS": str(COLUMNS), "PATH": path}
    done = subprocess.run(
        shlex.split(command), cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    lines = (line.rstrip() for line in done.stdout.splitlines())
    return "".join(f"{line}\n" for line in (f"$ {command}", *lines))


if __name__ == "__main__":
    PAGE.write_text(refreshed(PAGE.read_text()))
