"""Options that several verbs share, and how their text is read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer


def share(value: float | None) -> float | None:
    if value is not None and not 0 <= value <= 1:
        raise typer.BadParameter(f"Expected a number from 0 to 1, got {value}")
    return value


RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Fdr = Annotated[float, typer.Option(help="False discovery rate of findings.")]
Confident = Annotated[float, typer.Option(help="Probability from which a class counts as named with confidence.")]
Misplaced = Annotated[
    float, typer.Option(help="Misplacement (chance times what is missing to the best place) that makes a finding.")
]
Tolerated = Annotated[float, typer.Option(help="Share of a class's targets that may look off the object.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes of the local cluster. [default: one a core]")]


Threshold = Annotated[
    float | None, typer.Option(callback=share, help="Threshold of pseudo-masks, 0..1. [default: best mean IoU]")
]


def rules_of(fdr: float, confident: float, misplaced: float, tolerated: float) -> Any:
    """`audit.findings.Rules`, with wrong values as wrong use."""
    from audit.findings import Rules

    with right_use():
        return Rules(fdr, confident, misplaced, tolerated)


@contextmanager
def right_use() -> Iterator[None]:
    """Values that cannot be are the caller's mistake."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def names(text: str) -> tuple[str, ...]:
    """`a, b` as a tuple."""
    return tuple(name.strip() for name in text.split(","))


def pairs(texts: Iterable[str]) -> tuple[tuple[str, Any], ...]:
    """NAME=VALUE as pairs; values that read as numbers are numbers."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name in found:
            raise typer.BadParameter(f"Expected --option as name=value, each name once, got {text!r}")
        found[name] = _number_or_text(value)
    return tuple(sorted(found.items()))


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def triple(text: str | None, above: float = -math.inf) -> Any:
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


def print_json(record: Any) -> None:
    """Print a record, indented."""
    typer.echo(json.dumps(record, indent=1, default=str))
