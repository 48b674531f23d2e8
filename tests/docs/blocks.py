"""Blocks of the pages that are written from code. `make docs` puts each between its marks.

To add one, write a function that returns its text, put it into `BLOCKS`, and set the two marks on its page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

import audit.export
from audit.export import LABEL_FORMATS, findings_schema
from audit.findings.claims.registry import CLAIM_KINDS
from pipelines.cli import app
from pipelines.cli.methods import method_rows

ROOT = Path(__file__).parents[2]


class Block(NamedTuple):
    """A part of a page, between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.

    Attributes:
        page: path below the project's root.
        name: of its marks.
        text: makes what stands between them; whole lines.
    """

    page: str
    name: str
    text: Callable[[], str]


def verbs() -> str:
    """Every verb with the first line of its help, in the order of `camaudit --help`."""
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    names = command.list_commands(typer.Context(command))
    rows = ((f"`{name}`", command.commands[name].get_short_help_str(200)) for name in names)
    return table(("verb", "what it does"), rows)


def methods() -> str:
    """Every attribution method and its cost."""
    columns = ("description", "paper", "forward_passes", "backward_passes", "maps")
    head = ("method", "what it does", "paper", "forward passes an image", "backward passes a target", "maps")
    return table(head, ((f"`{row['name']}`", *(row[column] for column in columns)) for row in method_rows()))


def fields() -> str:
    """Every object of the findings record, field by field, as its JSON Schema says."""
    schema = findings_schema()
    whole, parts = schema["properties"], schema["$defs"]
    described = {"The record": schema, "`run`": whole["run"], "`run.samples`": whole["run"]["properties"]["samples"]}
    described |= {"`rules`": whole["rules"], "Each of `classes`": parts["class"]}
    described |= {f"Each of `{name}s`": parts[name] for name in ("claim", "target", "cause", "channel")}
    return "\n".join(_fields_of(title, part) for title, part in described.items())


def claims() -> str:
    """Every kind of claim: what is asked, and when it stands."""
    head = ("`kind`", "what is asked", "compared with", "family", "stands when")
    rows = ((f"`{k.name}`", k.question, k.compared_with, f"`{k.family}`", k.stands) for k in CLAIM_KINDS.values())
    return table(head, rows)


def details() -> str:
    """What `details` of each kind of claim hold."""
    return table(("`kind`", "details"), ((f"`{kind.name}`", kind.numbers) for kind in CLAIM_KINDS.values()))


def exports() -> str:
    """Every format of label images."""
    return table(("format", "what is written"), ((f"`{kind.name}`", kind.says) for kind in LABEL_FORMATS.values()))


def schema() -> str:
    """The JSON Schema of the findings record."""
    return json.dumps(findings_schema(), indent=1) + "\n"


SCHEMA = Path(audit.export.__file__).with_name("findings.schema.json")
"""A whole file that is written from code."""

BLOCKS = (
    Block("README.md", "verbs", verbs),
    Block("docs/methods.md", "methods", methods),
    Block("docs/exports.md", "exports", exports),
    Block("docs/findings.md", "claims", claims),
    Block("docs/findings.md", "details", details),
    Block("docs/findings.md", "fields", fields),
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    Example:
        >>> print(table(("verb", "what it does"), [("`run`", "Audit a collection.")]), end="")
        | verb | what it does |
        | --- | --- |
        | `run` | Audit a collection. |
    """
    lines = (head, ["---"] * len(head), *rows)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def standing(page: str, name: str) -> str:
    """What stands between the marks of this name in a page's text.

    Raises:
        ValueError: the page has no such marks.
    """
    return _parts(page, name)[1]


def rewritten(page: str, name: str, text: str) -> str:
    """The page's text with other words between its marks.

    Raises:
        ValueError: the page has no such marks.
    """
    before, _, after = _parts(page, name)
    return f"{before}{text}{after}"


def _parts(page: str, name: str) -> tuple[str, str, str]:
    """What comes before, between and after; the marks belong to the outer parts."""
    match = re.fullmatch(rf"(.*<!-- {name}: begin -->\n)(.*)(<!-- {name}: end -->.*)", page, re.DOTALL)
    if match is None:
        raise ValueError(f"Expected the marks `{name}: begin` and `{name}: end`, got a page without; put them in")
    return match[1], match[2], match[3]


def _fields_of(title: str, part: dict[str, Any]) -> str:
    rows = ((f"`{name}`", _type_of(field), field["description"]) for name, field in part["properties"].items())
    return f"### {title}\n\n{part['description']}\n\n{table(('field', 'type', 'meaning'), rows)}"


def _type_of(field: dict[str, Any]) -> str:
    if "const" in field:
        return str(field["const"])
    if "enum" in field:
        return ", ".join("null" if value is None else f"`{value}`" for value in field["enum"])
    types = field["type"] if isinstance(field["type"], list) else [field["type"]]
    bounds = (field.get("minimum"), field.get("maximum"))
    return " or ".join(types) + ("" if None in bounds else f", {bounds[0]} to {bounds[1]}")
