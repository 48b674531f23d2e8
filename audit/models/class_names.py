"""Names of a model's outputs, from a file or from what its author left on it, and which classes they stand for."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.datasets.classes import ClassMapping, map_classes
from audit.errors import ModelError

_ATTRIBUTES = ("classes", "class_names", "id2label", "CLASSES")


@dataclass(frozen=True)
class OutputNames:
    """What is known of the names of a model's outputs.

    Attributes:
        count: of the outputs.
        names: one each; None where they have none.
        stated: whether the user or the weights say so; else it is an attribute that does.
    """

    count: int
    names: tuple[str, ...] | None
    stated: bool

    @classmethod
    def of(cls, stated: tuple[str, ...] | None, module: Any, code: Any, count: int) -> OutputNames:
        """The stated names, or those of an attribute of the module or of the code that builds it.

        Raises:
            ModelError: there are more or fewer stated names than outputs.
        """
        if stated is not None and len(stated) != count:
            raise ModelError(f"Expected {count} class names, one for each output of the model, got {len(stated)}")
        return cls(count, stated or names_on(module, code, count=count), stated is not None)

    def mapping(self, classes: Sequence[str] | None, file: str | None) -> ClassMapping:
        """The outputs of a data set's classes; of the model's own if None: its names, or `class 0`, `class 1` ...

        What an attribute says is no promise: where it has not all names of as many classes, they go by position.

        Raises:
            ModelError: see `map_classes`.
        """
        own = distinct(self.names) if self.names else tuple(f"class {index}" for index in range(self.count))
        data = own if classes is None else tuple(classes)
        if data == own and file is None:
            return ClassMapping(own, tuple((index,) for index in range(self.count)))
        doubted = (
            file is None and not self.stated and len(data) == self.count and not set(data) <= set(self.names or ())
        )
        return map_classes(data, None if doubted else self.names, file, output_count=self.count)


def read_class_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of outputs in their order: one a line, a JSON list, or a JSON object from output to name.

    Args:
        path: of the file, or the names themselves with commas between.

    Raises:
        ModelError: the file cannot be read, or holds none of these.

    >>> read_class_names("cat, garden gnome")
    ('cat', 'garden gnome')
    """
    if "," in str(path) and not Path(path).is_file():
        return _as_names([name.strip() for name in str(path).split(",")]) or _no_names(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ModelError(f"Expected class names at {path}, got: {why}; check the path") from None
    names = _from_json(text) if text.lstrip()[:1] in ("[", "{") else tuple(map(str.strip, text.splitlines()))
    while names and not names[-1]:
        names = names[:-1]
    if not names or not all(names):
        return _no_names(path)
    return names


def _no_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    raise ModelError(f"Expected class names in {path}, one a line or a JSON list, got none or a gap; correct it")


def names_on(*owners: Any, count: int) -> tuple[str, ...] | None:
    """The names that the first owner has that names every output; None where none does.

    Looked for are `classes`, `class_names`, `id2label`, `CLASSES` of the owner itself, then of its `config`.

    >>> class Network:
    ...     id2label = {1: "dog", 0: "cat"}
    >>> names_on(Network(), count=2)
    ('cat', 'dog')
    """
    places = [place for owner in owners for place in (owner, getattr(owner, "config", None)) if place is not None]
    listed = (_as_names(getattr(place, name, None)) for place in places for name in _ATTRIBUTES)
    return next((names for names in listed if names is not None and len(names) == count), None)


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names, with the place behind those that are not the only ones.

    >>> distinct(["crane", "dog", "crane"])
    ('crane (0)', 'dog', 'crane (2)')
    """
    times = Counter(names)
    return tuple(name if times[name] == 1 else f"{name} ({place})" for place, name in enumerate(names))


def _from_json(text: str) -> tuple[str, ...]:
    try:
        return _as_names(json.loads(text)) or ()
    except ValueError:
        return ()


def _as_names(value: Any) -> tuple[str, ...] | None:
    """A list of texts, or a mapping from 0, 1 ... to texts, as names; None for anything else."""
    if isinstance(value, dict):
        try:
            value = [value[key] for key in sorted(value, key=int)] if _counts_up(value) else None
        except (TypeError, ValueError):
            return None
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) and name for name in value):
        return tuple(value)
    return None


def _counts_up(keyed: dict[Any, Any]) -> bool:
    return sorted(map(int, keyed)) == list(range(len(keyed)))
