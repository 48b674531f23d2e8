"""What a worker must have before it is given work: this camaudit, and sight of the run and of the images.

Workers of another machine may have another version, another mount, or none. Each is asked before its first task. What
is wrong is told in one line that names the worker.
"""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from uuid import uuid4

from distributed import Client

from audit.errors import AuditError, ImageError
from audit.images import is_remote, local_path
from audit.progress import Noted, Progress, silent
from audit.store import Run
from audit.store.storage.files import PARTIAL, read_json, write_json
from audit.store.storage.objects import Location, location
from audit.wording import size

PACKAGES = ("camaudit", "torch", "zarr", "distributed")
SHARED = "put it on a file system that all machines share at the same path, or name it by a URL"

_EXACT = ("camaudit",)
_PAUSES_S = (0.2, 1.0)
"""Between looks for a file that another machine has just written."""


@dataclass(frozen=True)
class Needs:
    """What a worker has to see.

    Attributes:
        run: it reads this.
        into_run: whether it writes there too.
        out: folder that it writes to, which is there.
    """

    run: str
    into_run: bool = False
    out: str | None = None


@dataclass(frozen=True)
class Question:
    """What each worker is asked.

    Attributes:
        created: when the run was laid out, which tells it from another at the same path.
        files: images and masks that the driver sees.
        token: what the driver wrote, into a file named by it, wherever the worker is to write.
    """

    needs: Needs
    created: str
    files: tuple[str, ...]
    token: str

    def notes(self, run: Run) -> list[Location]:
        """The files that the driver wrote. One that a kill leaves behind is swept with other partial files."""
        places = [*([run.path] if self.needs.into_run else []), *([location(self.needs.out)] if self.needs.out else [])]
        return [place / f".probe-{self.token}{PARTIAL}" for place in places]


@dataclass(frozen=True)
class Sight:
    """What a worker says of itself.

    Attributes:
        versions: of Python and of `PACKAGES`; None of one that is not installed.
        unseen: what it does not see and why, in words.
    """

    host: str
    versions: Mapping[str, str | None]
    unseen: tuple[str, ...] = ()


def versions() -> dict[str, str | None]:
    """Of this process."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def look_around(question: Question) -> Sight:
    """What a worker answers; nothing that it sees or not is an exception."""
    unseen = [*_unseen_run(question), *(f"the file {file}" for file in question.files if not _is_file(file))]
    return Sight(socket.gethostname(), versions(), tuple(unseen))


def objections(sight: Sight, own: Mapping[str, str | None]) -> tuple[list[str], list[str]]:
    """Which differences of versions forbid a worker's work, and which are only to be told of."""
    refused, told = list[str](), list[str]()
    for name, ours in own.items():
        theirs = sight.versions.get(name)
        if theirs == ours:
            continue
        difference = f"has {name} {theirs or 'not at all'}, this process {ours}"
        (refused if name in _EXACT or _major(theirs) != _major(ours) else told).append(difference)
    return refused, told


class Probe:
    """Asks workers as they come."""

    def __init__(self, client: Client, question: Question, progress: Progress = silent) -> None:
        self._client, self._question, self._progress = client, question, progress
        self._own = versions()

    def __call__(self, workers: Collection[str]) -> dict[str, str | None]:
        """Why each of the workers cannot be given work, None of one that can; who does not answer is left out."""
        answers = self._client.run(look_around, self._question, workers=sorted(workers), on_error="return")
        # A worker that has gone, or is about to, is an OSError.
        asked = {worker: answer for worker, answer in answers.items() if not isinstance(answer, OSError)}
        faults = {worker: self._fault(worker, answer) for worker, answer in asked.items()}
        admitted = [worker for worker, fault in faults.items() if fault is None]
        if admitted:
            self._tell(admitted)
        return faults

    def _fault(self, worker: str, answer: Sight | BaseException) -> str | None:
        """What forbids a worker's work, in one line that names it."""
        if isinstance(answer, BaseException):
            reason = " ".join(str(answer).split())[:200] or type(answer).__name__
            return f"Worker {worker} cannot load camaudit {self._own['camaudit']} ({reason}); install it there"
        name = f"Worker {worker} on {answer.host}"
        refused, told = objections(answer, self._own)
        if answer.unseen:
            return f"{name} does not see what it has to work on: {answer.unseen[0]}; {SHARED}"
        if refused:
            return f"{name} {refused[0]}; give all machines the same environment"
        for difference in told:
            self._progress(Noted(f"{name} {difference}"))
        return None

    def _tell(self, workers: Collection[str]) -> None:
        """How much there is to work with."""
        known = self._client.scheduler_info(n_workers=-1)["workers"]
        threads = sum(known[worker]["nthreads"] for worker in workers if worker in known)
        memory = sum(known[worker]["memory_limit"] or 0 for worker in workers if worker in known)
        amount = f"{size(memory)} of memory" if memory else "memory without a limit"
        self._progress(Noted(f"workers that came: {len(workers)}, with {threads} threads and {amount}"))


@contextmanager
def question_about(needs: Needs) -> Iterator[Question]:
    """What workers are to be asked; the files that they are to see lie there while the context is open."""
    run = Run.open(needs.run)
    question = Question(needs, str(run.record["created"]), tuple(_first_files(run)), uuid4().hex)
    with ExitStack() as stack:
        for note in question.notes(run):
            stack.callback(note.unlink, missing_ok=True)
            write_json(note, {"token": question.token})
        yield question


def _first_files(run: Run) -> list[str]:
    """The first sample's image and mask, as far as they are files and are seen from here."""
    samples = list(run.manifest(0, 1))
    names = [name for sample in samples for name in (sample.image, sample.mask) if name and not is_remote(name)]
    return [name for name in names if _is_file(name)]


def _unseen_run(question: Question) -> list[str]:
    path = question.needs.run
    try:
        run = Run.open(path)
    except (AuditError, OSError) as error:
        return [f"the run {path} ({error})"]
    if str(run.record["created"]) != question.created:
        return [f"the run {path} (there is another at that path)"]
    return [fault for note in question.notes(run) for fault in _unseen_note(note, question.token)]


def _unseen_note(note: Location, token: str) -> list[str]:
    """Read what the driver wrote, write beside it, delete that again."""
    for pause in (*_PAUSES_S, None):
        try:
            if read_json(note, "")["token"] != token:
                return [f"{note.parent} (there is another folder at that path)"]
            break
        except (AuditError, OSError):
            if pause is None:
                return [f"{note.parent} (what was just written there is not seen)"]
            time.sleep(pause)
    own = note.with_name(f".probe-{uuid4().hex}{PARTIAL}")
    try:
        write_json(own, {"token": token})
        own.unlink()
    except OSError as error:
        return [f"{note.parent} (it cannot write there: {error.strerror})"]
    return []


def _is_file(path: str) -> bool:
    try:
        return Path(local_path(path)).is_file()
    except (ImageError, OSError):
        return False


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _major(text: str | None) -> str:
    return (text or "").partition(".")[0]
