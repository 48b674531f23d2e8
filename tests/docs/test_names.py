"""The pages name what there is: files of the code, verbs and their options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from pipelines.cli import app
from tests.docs.blocks import ROOT
from tests.docs.test_docs import PAGES

FILES = [
    f"/{path.relative_to(ROOT)}"
    for room in ("audit", "pipelines", "dashboards", "tests")
    for path in ROOT.glob(f"{room}/**/*.py")
]
FILE = re.compile(r"`([\w./-]+\.py)`")
COMMAND = re.compile(r"camaudit ((?:index )?[a-z]+)([^`\n#|]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
OF_OTHER_PROGRAMS = {
    "--help",
    "--install-completion",
    "--only",
    "--work",
    "--inplace",
    "--host",
    "--nthreads",
    "--tls-ca-file",
}
TODAY = [page for page in PAGES if page.name != "CHANGELOG.md"]
"""Pages that say what is; a changelog also names what was."""


def options(group: Any, *path: str) -> Iterator[tuple[str, set[str]]]:
    """Every verb, word by word, with its options."""
    for name, verb in group.commands.items():
        if hasattr(verb, "commands"):
            yield from options(verb, *path, name)
        else:
            taken = {option for param in verb.params for option in (*param.opts, *param.secondary_opts)}
            yield " ".join([*path, name]), {option for option in taken if option.startswith("--")}


VERBS = dict(options(typer.main.get_command(app)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = FILE.findall(page.read_text())
    assert not [name for name in named if not any(file.endswith(f"/{name}") for file in FILES)]


@pytest.mark.parametrize("page", TODAY, ids=lambda page: page.name)
def test_every_option_that_a_page_names_is_one_of_a_verb(page: Path) -> None:
    known = OF_OTHER_PROGRAMS.union(*VERBS.values())
    assert not set(OPTION.findall(page.read_text())) - known


@pytest.mark.parametrize("page", TODAY, ids=lambda page: page.name)
def test_every_command_of_a_page_takes_the_options_beside_it(page: Path) -> None:
    commands = [(verb, set(OPTION.findall(rest))) for verb, rest in COMMAND.findall(page.read_text())]
    assert not [(verb, given) for verb, given in commands if given - VERBS.get(verb, set()) - {"--help"}]


def test_an_option_that_was_renamed_and_a_file_that_moved_are_told() -> None:
    assert "--sample" not in VERBS["verify"]
    assert "--targets" in VERBS["verify"]
    assert "/audit/scores/shift_null.py" in FILES
