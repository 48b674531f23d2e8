"""Trials of mutants: in a copy of the project, the tests of a room and of those that exercise it, until one fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from queue import SimpleQueue

from tests.mutation.mutants import Mutant

ROOMS = {
    "stats": ("tests/audit/stats", "tests/audit/findings"),
    "scores": ("tests/audit/scores", "tests/audit/findings/test_findings.py", "tests/audit/datasets/test_objects.py"),
    "interventions": ("tests/audit/interventions", "tests/pipelines/experiments/test_verify.py"),
    "findings": (
        *("tests/audit/findings", "tests/audit/compare", "tests/audit/export", "tests/audit/report"),
        "tests/faults/store/test_strange_runs.py",
    ),
}
"""Room -> tests, its own first."""
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
CAUGHT, SURVIVED, SAME = "caught", "survived", "equivalent"
_LEAST_S = 60.0
_TIMES = 3.0


@dataclass(frozen=True)
class Trial:
    """A mutant and what became of it: caught, survived, or equivalent, as somebody found who looked at it."""

    mutant: Mutant
    outcome: str


@dataclass(frozen=True)
class Equivalent:
    """Mutants that no test can tell from the original, or that need not be told.

    Attributes:
        path: of the module, or a pattern, as `*`.
        before, after: the lines that differ; under a pattern any lines of which these are a part.
        why: they are.
    """

    path: str
    before: str
    after: str
    why: str

    def is_of(self, mutant: Mutant) -> bool:
        """Whether a mutant is one of these."""
        if "*" in self.path:
            changed = mutant.before.replace(self.before, self.after)
            return fnmatch(mutant.path, self.path) and self.before in mutant.before and changed == mutant.after
        return (self.path, self.before, self.after) == (mutant.path, mutant.before, mutant.after)


def try_mutants(
    root: Path, work: Path, room: str, mutants: Sequence[Mutant], jobs: int, deadline: float
) -> Iterator[Trial]:
    """Each mutant with its outcome, as they come; none begins after the deadline, by `time.monotonic`.

    Raises:
        RuntimeError: a test fails without any change.
    """
    trees: SimpleQueue[Path] = SimpleQueue()
    for number in range(jobs):
        trees.put(_copy(root, work / str(number)))
    known, patience = equivalent(), _patience(work / "0", room)

    def attempt(mutant: Mutant) -> Trial | None:
        if any(row.is_of(mutant) for row in known):
            return Trial(mutant, SAME)
        if time.monotonic() > deadline:
            return None
        tree = trees.get()
        original = (tree / mutant.path).read_text()
        try:
            (tree / mutant.path).write_text(mutant.source)
            return Trial(mutant, SURVIVED if _pass(tree, _tests(tree, room, mutant.path), patience) else CAUGHT)
        finally:
            (tree / mutant.path).write_text(original)
            trees.put(tree)

    with ThreadPoolExecutor(jobs) as pool:
        yield from filter(None, pool.map(attempt, mutants))


def equivalent() -> list[Equivalent]:
    """What `equivalent.toml` lists."""
    return [Equivalent(**row) for row in tomllib.loads(EQUIVALENT.read_text())["mutant"]]


def _copy(root: Path, tree: Path) -> Path:
    """The files of the project as they are, but for what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (root / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, tree / name)
    return tree


def _patience(tree: Path, room: str) -> float:
    """Seconds after which a mutant is taken to hang."""
    began = time.monotonic()
    if not _pass(tree, ROOMS[room], None):
        raise RuntimeError(f"Expected the tests of {room} to pass before anything is changed; see {tree}")
    return max(_LEAST_S, _TIMES * (time.monotonic() - began))


def _tests(tree: Path, room: str, module: str) -> list[str]:
    """Files of tests: by room, in each those first that name the module."""
    name = Path(module).stem
    files = [sorted((tree / tests).rglob("test_*.py")) or [tree / tests] for tests in ROOMS[room]]
    ordered = [sorted(group, key=lambda file: name not in file.read_text()) for group in files]
    return [str(file.relative_to(tree)) for group in ordered for file in group]


def _pass(tree: Path, tests: Sequence[str], patience: float | None) -> bool:
    """Whether all tests pass in time."""
    # Compiled modules are told apart by size and second: a mutant would pass for the one before.
    apart = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
    process = subprocess.Popen(
        command, cwd=tree, env=os.environ | apart, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        return process.wait(patience) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
