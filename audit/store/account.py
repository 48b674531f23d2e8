"""What there is to tell of a run: its shards, where they stand, and what is damaged."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shard:
    """A contiguous block of samples: rows start to stop - 1 of the manifest."""

    index: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Account:
    """Where a run stands; processed + failed + pending = samples, always.

    Attributes:
        transient: samples that a resume tries again.
        outdated: shards whose scores are of an earlier scoring than the run's last, which was interrupted.
    """

    samples: int
    processed: int
    failed: int
    pending: int
    transient: int
    shards: int
    shards_done: int
    outdated: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A file of a run that is not what was written.

    Attributes:
        file: its path below the run.
        advice: what to do, as the end of a sentence.
        shard: that it belongs to, if any.
    """

    file: str
    advice: str
    shard: Shard | None = None
