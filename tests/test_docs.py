"""The documents say what is so: verbs, links, the peers' names of options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from pipelines.cli import app
from pipelines.cli.methods import method_rows

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "data" / "README.md"])
BLOCK = re.compile(r"(<!-- verbs: begin -->\n).*?(<!-- verbs: end -->)", re.DOTALL)


def verb_table() -> str:
    """Every verb with the first line of its help, in the order of work, as README's table."""
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    verbs = [(name, command.commands[name]) for name in command.list_commands(typer.Context(command))]
    rows = [f"| `{name}` | {verb.get_short_help_str(200)} |" for name, verb in verbs]
    return "\n".join(["| verb | what it does |", "| --- | --- |", *rows, ""])


def test_the_readme_lists_every_verb_as_its_help_says() -> None:
    found = BLOCK.search(README.read_text())
    assert found is not None
    expected = f"{found[1]}{verb_table()}{found[2]}"
    assert found[0] == expected, f"Put this between the marks:\n{verb_table()}"


def method_table() -> str:
    """Every method and its cost, as the table of docs/methods.md."""
    columns = ("description", "paper", "forward_passes", "backward_passes", "maps")
    rows = [f"| `{row['name']}` | {' | '.join(row[column] for column in columns)} |" for row in method_rows()]
    head = [
        "| method | what it does | paper | forward passes an image | backward passes a target | maps |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *rows, ""])


def test_the_page_of_methods_lists_every_method_as_it_describes_itself() -> None:
    page = (ROOT / "docs" / "methods.md").read_text()
    found = re.search(r"<!-- methods: begin -->\n(.*?)<!-- methods: end -->", page, re.DOTALL)
    assert found is not None
    assert found[1] == method_table(), f"Put this between the marks:\n{method_table()}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_the_readme_opens_with_a_picture_and_the_two_commands() -> None:
    opening = README.read_text()[:1500]
    assert re.search(r"!\[[^]]+\]\([^)]+\.png\)", opening)
    assert "make demo" in opening
    assert "make test" in opening


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_a_gap_left_to_fill(page: Path) -> None:
    assert not re.search(r"TODO|FIXME|FIGURE", page.read_text())
