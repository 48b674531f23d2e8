"""The site: its navigation names every page, and every link leads somewhere on it as it does in the project."""

from __future__ import annotations

import re
from os.path import normpath
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from tests.docs.doctests import fenced
from tests.docs.site_pages import OUTSIDE, ROOT, as_markdown, lay_out, pages, relinked, rooms_of_audit, source_of

PAGES = pages()
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)(?:#[^)]*)?\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`|<div class=\"output\">.*?</div>", re.MULTILINE | re.DOTALL)


class Loader(yaml.SafeLoader):
    """Of settings, with functions that are named in them left out."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def navigation() -> list[str]:
    """The pages that mkdocs.yml names, in order."""
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)

    def named(part: Any) -> list[str]:
        if isinstance(part, str):
            return [part]
        parts = part.values() if isinstance(part, dict) else part
        return [page for inner in parts for page in named(inner)]

    return named(settings["nav"])


def test_the_navigation_names_every_page_once() -> None:
    assert sorted(navigation()) == sorted(PAGES)


def test_every_room_of_the_library_has_its_page_with_all_of_its_modules() -> None:
    for room in rooms_of_audit():
        listed = set(re.findall(r"^::: (\S+)$", PAGES[f"api/{room}.md"], re.MULTILINE))
        files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "audit" / room).rglob("*.py")]
        assert listed == {".".join(path.parts) for path in files if not path.name.startswith("_")}


@pytest.mark.parametrize("place", sorted(PAGES))
def test_every_link_leads_somewhere_on_the_site(place: str) -> None:
    turned = CODE.sub("", relinked(PAGES[place], source_of(place), place))
    targets = [normpath(PurePosixPath(place).parent / link) for link in LINK.findall(turned)]
    assert not [target for target in targets if target not in PAGES and not (ROOT / "docs" / target).is_file()]


@pytest.mark.parametrize(
    ("source", "text", "turned"),
    [
        ("docs/index.md", "[README](../README.md)", "[README](readme.md)"),
        ("docs/extend/claim.md", "see [rules](../design.md#scores).", "see [rules](../design.md#scores)."),
        ("README.md", "![A run](docs/images/dashboard.png)", "![A run](images/dashboard.png)"),
        ("docs/extend/claim.md", "[the code](../../audit/errors.py)", "the code"),
        ("docs/trust.md", "[in Python](notebooks/audit.ipynb)", "[in Python](notebooks/audit.md)"),
        ("docs/trust.md", "`[a](b.py)` [c](https://d) [e](#f)", "`[a](b.py)` [c](https://d) [e](#f)"),
    ],
)
def test_links_are_turned_from_the_project_to_the_site(source: str, text: str, turned: str) -> None:
    place = OUTSIDE.get(source, source.removeprefix("docs/"))
    assert relinked(text, source, place) == turned


def test_a_notebook_is_a_page_with_its_code_and_what_it_showed() -> None:
    outputs = [{"text": ["1\n"]}, {"data": {"text/html": ["<b>2</b>"], "text/plain": ["two"]}}]
    outputs += [{"data": {"image/png": "abc=\n", "text/plain": "figure"}}, {"data": {"text/plain": "3"}}]
    page = as_markdown(
        [{"cell_type": "markdown", "source": ["# A"]}, {"cell_type": "code", "source": ["f()"], "outputs": outputs}]
    )
    shown = ["# A", "```python\nf()\n```", "```text\n1\n```", '<div class="output"><b>2</b></div>']
    shown += ['<img alt="the figure" src="data:image/png;base64,abc=">', "```text\n3\n```"]
    assert page.strip().split("\n\n") == shown


def test_examples_of_docstrings_become_code_up_to_the_empty_line() -> None:
    told = "Adds.\n\n>>> add(1,\n...     2)\n3\n>>> add([0][0], 1)\n1\n\nArgs:\n    a: one."
    expected = "Adds.\n\n```pycon\n>>> add(1,\n...     2)\n3\n>>> add([0][0], 1)\n1\n```\n\nArgs:\n    a: one."
    assert fenced(told) == expected
    assert fenced("Nothing >>> here.") == "Nothing >>> here."


def test_what_the_site_is_built_from_is_laid_out_anew(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "stray.md").write_text("gone")
    lay_out(folder)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")} == set(PAGES)
    assert (folder / "images" / "dashboard.png").is_file()
