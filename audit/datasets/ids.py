"""Ids of samples: a short name where no other has it, else a full one. Names are asked for again; hashes are held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ids:
    """How samples are named.

    Attributes:
        several: short names that more than one sample has.
        whole: whether all have their full names, for a full one is the short one of another.
    """

    several: frozenset[str]
    whole: bool

    @classmethod
    def among(cls, names: Callable[[], Iterable[tuple[str, str]]]) -> Ids:
        """How to name all samples.

        Args:
            names: gives the short and the full name of each; it is called several times.
        """
        brief = cls(repeated(lambda: (short for short, _ in names())), whole=False)
        clash = brief.several and repeated(lambda: (brief._chosen(*pair) for pair in names()))
        return cls(brief.several, whole=bool(clash))

    def choose(self, short: str, full: str) -> str:
        """The id of a sample; bytes that are not UTF-8 are written as escapes."""
        name = self._chosen(short, full)
        return name if is_utf8(name) else escaped(name)

    def _chosen(self, short: str, full: str) -> str:
        return full if self.whole or short in self.several else short


def unique_ids(short: Sequence[str], full: Sequence[str]) -> list[str]:
    """For each item its short name where no other has it, else its full one; all full if that still clashes.

    Bytes that are not UTF-8 are written as escapes.

    >>> unique_ids(["a", "b", "b"], ["a.jpg", "b.jpg", "b.png"])
    ['a', 'b.jpg', 'b.png']
    """
    ids = Ids.among(lambda: zip(short, full, strict=True))
    return [ids.choose(*pair) for pair in zip(short, full, strict=True)]


def repeated(names: Callable[[], Iterable[str]]) -> frozenset[str]:
    """Names that occur more than once; of millions the hashes are held, and those of equal hash looked into.

    Args:
        names: gives them; it is called again where hashes are equal.
    """
    hashes = np.fromiter(map(hash, names()), np.int64)
    hashes.sort()  # where it lies: a copy would be held beside it
    clashing = frozenset(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if not clashing:
        return frozenset()
    times = Counter(name for name in names() if hash(name) in clashing)
    return frozenset(name for name, count in times.items() if count > 1)


def is_utf8(name: str) -> bool:
    """Whether a file name decoded by the system is text, without surrogates for stray bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def escaped(name: str) -> str:
    """A file name decoded by the system, with escapes for stray bytes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
