"""Options that several verbs share, and how their text is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer


def share(value: float | None) -> float | None:
    """The value, refused outside 0..1."""
    if value is not None and not 0 <= value <= 1:
        raise typer.BadParameter(f"Expected a number from 0 to 1, got {value}")
    return value


def no_folder(file: str | None) -> str | None:
    """The path or URL of a file to write, refused where a folder lies there."""
    if file is not None and Path(file).is_dir():
        raise typer.BadParameter(f"Expected a file to write, got the folder {file}")
    return file


@dataclass(frozen=True)
class DefaultOf:
    """The default of a record's field; the record is loaded when that is asked for, so that other verbs stay quick.

    >>> str(DefaultOf("audit.findings:Rules", "fdr"))
    '0.05'

    Attributes:
        record: a dataclass, as `module:name`.
        field: of the record.
    """

    record: str
    field: str

    def __call__(self) -> Any:
        """The default, where the option was not given."""
        module, _, name = self.record.partition(":")
        record = getattr(import_module(module), name)
        return next(field.default for field in fields(record) if field.name == self.field)

    def __str__(self) -> str:
        """As help shows it."""
        return str(self())


RunPath = Annotated[str, typer.Argument(metavar="RUN", help="Directory or URL of a run.")]
RunOut = Annotated[str, typer.Option("--out", "-o", help="Directory or URL of the run.")]
ManifestPath = Annotated[
    str, typer.Argument(metavar="MANIFEST", help="Samples and classes, as camaudit index wrote them; or its URL.")
]
CollectionPath = Annotated[
    str, typer.Argument(metavar="MANIFEST", help="As camaudit index wrote it, or its URL; or a folder of images.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Wide = Annotated[bool, typer.Option("--wide", help="Print every column, whatever the width.")]
Weights = Annotated[str | None, typer.Option(help="Weights name, state-dict file, or random:SEED.")]
Arch = Annotated[str | None, typer.Option(help="Architecture of a bare state dict PATH.pt.")]
Size = Annotated[int | None, typer.Option(help="Side of the input, pixels.")]
Mode = Annotated[str | None, typer.Option("--fit", help="squash, crop, squash-crop, letterbox or native.")]
Classes = Annotated[
    str | None,
    typer.Option(help="Names of the model's outputs: a file of one a line or a JSON list, or cat,dog; of clip: words."),
]
Prompts = Annotated[
    list[str] | None,
    typer.Option(help="For clip: 'a photo of a {}', or a file of such lines; may be given several times."),
]
ModelAgain = Annotated[str | None, typer.Option(help="The run's model, named again if it is code or has moved.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes of the local cluster. [default: one a core]")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda; auto is a GPU where there is one.")]
Threshold = Annotated[
    float | None, typer.Option(callback=share, help="Threshold of pseudo-masks, 0..1. [default: best mean IoU]")
]

MaskThreshold = Annotated[
    str | None,
    typer.Option(help="Of pseudo-masks, 0..1; of a label set also otsu. [default: the best, of the run's maps]"),
]


@contextmanager
def right_use() -> Iterator[None]:
    """Values that cannot be are the caller's mistake."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def as_number(text: str) -> float:
    """A number.

    Raises:
        ValueError: it is none.
    """
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"Expected a number, got {text!r}") from None


def names(text: str) -> tuple[str, ...]:
    """`a, b` as a tuple."""
    return tuple(name.strip() for name in text.split(","))


def numbers_of(text: str) -> tuple[float, ...]:
    """`0.1, 0.2` as a tuple.

    Raises:
        ValueError: a part is no number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"Expected numbers with commas between, got {text!r}") from None


def pairs(texts: Iterable[str]) -> tuple[tuple[str, Any], ...]:
    """NAME=VALUE as pairs; values that read as numbers are numbers."""
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name in values:
            raise typer.BadParameter(f"Expected --option as name=value, each name once, got {text!r}")
        values[name] = _number_or_text(value)
    return tuple(sorted(values.items()))


def prompts_of(texts: Iterable[str] | None) -> tuple[str, ...] | None:
    """Prompts as they are given; a text without {} is a file that holds one a line."""
    if not texts:
        return None
    prompts: list[str] = []
    for text in texts:
        try:
            prompts += [text] if "{}" in text else filter(None, Path(text).read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError):
            raise typer.BadParameter(f"Expected {{}} in a prompt, or a file of prompts, got {text!r}") from None
    return tuple(prompts)


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def triple(text: str | None, above: float = -math.inf) -> tuple[float, float, float] | None:
    """`0.1,0.2,0.3` as three numbers above a bound; None for None."""
    if text is None:
        return None
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or not all(above < number < math.inf for number in numbers):
        least = " above 0" if above == 0 else ""
        raise typer.BadParameter(f"Expected three numbers{least} as 0.485,0.456,0.406, got {text!r}")
    return numbers
