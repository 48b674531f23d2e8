"""What all printing is made of: lines, JSON, pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import typer

from pipelines.terminal import results, say


def line(text: str) -> None:
    """Print a line of results."""
    say(text, results())


def print_json(record: Any) -> None:
    """Print a record, indented."""
    typer.echo(json.dumps(record, indent=1, default=str))


def print_pairs(record: Mapping[str, str]) -> None:
    """Print names and values, one pair a line."""
    for name, value in record.items():
        line(f"{name:<14}{value}")


def as_written(key: str) -> str:
    """A claim's key with its parts as people wrote them.

    >>> as_written("spot:n01%3A cat:x 88-100 %25")
    'spot:n01: cat:x 88-100 %'
    """
    return key.replace("%3A", ":").replace("%25", "%")
