"""The pages say what is so: blocks made from code, links, the list of commands."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.blocks import BLOCKS, ROOT, SCHEMA, Block, rewritten, schema, standing

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "data" / "README.md"])
LINK = re.compile(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_a_block_made_from_code_is_as_the_code_says(block: Block) -> None:
    page = (ROOT / block.page).read_text()
    assert standing(page, block.name) == block.text(), f"{block.page} is stale; run make docs"


def test_the_json_schema_beside_the_code_is_as_the_code_says() -> None:
    assert SCHEMA.read_text() == schema(), "the schema is stale; run make docs"


def test_a_block_is_rewritten_between_its_marks_alone() -> None:
    page = "before\n<!-- verbs: begin -->\nold\n<!-- verbs: end -->\nafter\n"
    assert rewritten(page, "verbs", "new\n") == page.replace("old", "new")


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected the marks `verbs: begin` and `verbs: end`"):
        standing("nothing here", "verbs")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_its_heading(page: Path) -> None:
    targets = [(page.parent / file if file else page, heading) for file, heading in LINK.findall(page.read_text())]
    assert not [str(file) for file, _ in targets if not file.exists()]
    assert not [f"{file}#{heading}" for file, heading in targets if heading and heading not in _headings(file)]


def test_every_page_is_listed_in_the_index() -> None:
    listed = {(ROOT / "docs" / file).resolve() for file, _ in LINK.findall((ROOT / "docs" / "index.md").read_text())}
    pages = {*ROOT.glob("docs/**/*.md"), *ROOT.glob("docs/**/*.ipynb")} - {ROOT / "docs" / "index.md"}
    assert not pages - listed


def test_the_readme_opens_with_a_picture_and_the_two_commands() -> None:
    opening = (ROOT / "README.md").read_text()[:1500]
    assert re.search(r"!\[[^]]+\]\([^)]+\.png\)", opening)
    assert "make demo" in opening
    assert "make test" in opening


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_a_gap_left_to_fill(page: Path) -> None:
    assert not re.search(r"TODO|FIXME|FIGURE", page.read_text())


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_alone_prints_every_target_with_what_it_does() -> None:
    shown = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True, check=True).stdout
    targets = re.search(r"^\.PHONY: (help .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None
    for target in targets[1].split():
        assert re.search(rf"^{target} +\w", shown, re.MULTILINE), f"make help does not list {target}"


def _headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    lines = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}
