"""Ctrl-C and SIGTERM: both end work in order, and neither cuts through what has to be whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

GRACE_S = 20.0
"""How long work that is under way may take after SIGTERM; cluster managers follow it by SIGKILL after 30 s or more."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell reports it."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM: as Ctrl-C, but whoever sent it will not wait for long."""


class Interrupts:
    """What was heard of signals.

    Attributes:
        exit_code: 143 once SIGTERM was heard, else 130, as a shell reports them.
    """

    def __init__(self) -> None:
        self.exit_code = INTERRUPTED
        self._holding = 0
        self._held: type[KeyboardInterrupt] | None = None

    def hear(self, number: int, _frame: object) -> None:
        """Take a signal: raise in the main thread, at once or when what is held is done."""
        kind = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if kind is Terminated:
            self.exit_code = 143
        if not self._holding:
            raise kind
        self._held = kind

    @contextmanager
    def hold(self) -> Iterator[None]:
        """A signal that comes meanwhile counts afterwards."""
        self._holding += 1
        try:
            yield
        finally:
            self._holding -= 1
            kind = None if self._holding else self._held
            if kind is not None:
                self._held = None
                raise kind


_heard = Interrupts()


def listen() -> Interrupts:
    """Listen from now on, to the end of the process."""
    _heard.exit_code = INTERRUPTED
    for number in _SIGNALS:
        signal.signal(number, _heard.hear)
    return _heard


@contextmanager
def listening() -> Iterator[Interrupts]:
    """Ctrl-C raises KeyboardInterrupt and SIGTERM its `Terminated`, in the main thread; elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield Interrupts()
        return
    before = [signal.signal(number, _heard.hear) for number in _SIGNALS]
    if _heard.hear not in before:  # what was heard of by who listened before is over
        _heard.exit_code = INTERRUPTED
    try:
        yield _heard
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """What is done here is not cut through by a signal; processes that it starts get theirs."""
    with _heard.hold():
        yield


@contextmanager
def whole() -> Iterator[None]:
    """What is done here is not cut through by a signal, and threads and processes that it starts never get one.

    A terminal sends Ctrl-C to all processes, and a cluster manager SIGTERM. Workers would die of it, where the run
    wants to let them finish.
    """
    resource_tracker.ensure_running()  # its start, at the first process, would open the ears again
    with _heard.hold():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def grace(interrupt: KeyboardInterrupt) -> float | None:
    """Seconds that work under way has to finish; None for as long as it takes."""
    return GRACE_S if isinstance(interrupt, Terminated) else None


def ignore_further() -> None:
    """Nothing is left to interrupt: the last line is printed, and the process ends."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
