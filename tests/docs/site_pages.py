"""What the site has beside the pages of docs/, laid out in build/pages: other pages, notebooks, the API room by room.

Links are written as a git host takes them. On the site those to pages from elsewhere lead to their copies, and those to
code, which the site has not, become plain text.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Iterator
from os.path import normpath, relpath
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"} | {
    "data/README.md": "data.md"
}
"""Pages from outside docs/, by their place in the project, and their place on the site."""
_LINK = re.compile(
    r"(?P<sign>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:)(?P<file>[^)#\s]*)(?P<heading>#[^)\s]*)?\)"
)
_CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.MULTILINE | re.DOTALL)


def lay_out(folder: Path) -> None:
    """Write all that the site is built from: docs/ with its links turned, and the pages that it does not have."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder, ignore=shutil.ignore_patterns("*.ipynb"))
    for place, text in pages().items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(relinked(text, source_of(place), place))


def pages() -> dict[str, str]:
    """The text of every page, by its place on the site; links as in the project."""
    docs = {path.relative_to(ROOT / "docs").as_posix(): path.read_text() for path in (ROOT / "docs").rglob("*.md")}
    return docs | generated_pages()


def generated_pages() -> dict[str, str]:
    """Pages that docs/ does not have, by their place on the site."""
    outside = {place: (ROOT / source).read_text() for source, place in OUTSIDE.items()}
    notebooks = {
        f"notebooks/{path.stem}.md": as_markdown(json.loads(path.read_text())["cells"])
        for path in sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
    }
    rooms = {f"api/{room}.md": room_page(room) for room in rooms_of_audit()}
    return {**outside, **notebooks, **rooms, "api/index.md": api_index()}


def source_of(place: str) -> str:
    """Where a page of the site comes from, by its place in the project."""
    outside = {target: source for source, target in OUTSIDE.items()}
    if place.startswith("notebooks/"):
        return f"docs/{PurePosixPath(place).with_suffix('.ipynb')}"
    return outside.get(place, f"docs/{place}")


def site_place(source: str) -> str | None:
    """Where a file of the project is on the site; None where it is not."""
    if source in OUTSIDE:
        return OUTSIDE[source]
    place = source.removeprefix("docs/")
    return None if place == source else re.sub(r"\.ipynb$", ".md", place)


def relinked(markdown: str, source: str, place: str) -> str:
    """A page's text with its links turned from the project to the site.

    Args:
        source: where it comes from in the project.
        place: where it is on the site.
    """

    def turned(link: re.Match[str]) -> str:
        if not link["file"]:
            return link[0]
        target = site_place(normpath(f"{PurePosixPath(source).parent}/{link['file']}"))
        if target is None:
            return link["text"]
        way = relpath(target, PurePosixPath(place).parent)
        return f"{link['sign']}[{link['text']}]({way}{link['heading'] or ''})"

    parts = _CODE.split(markdown)  # what stands in code is no link
    return "".join(part if index % 2 else _LINK.sub(turned, part) for index, part in enumerate(parts))


def as_markdown(cells: list[dict[str, Any]]) -> str:
    """A notebook with its outputs as a page."""
    return "\n\n".join(part for cell in cells for part in _cell_parts(cell)) + "\n"


def _cell_parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        data = {kind: "".join(text) for kind, text in output.get("data", {}).items()}
        if "text/html" in data:
            yield f'<div class="output">{data["text/html"]}</div>'
        elif "image/png" in data:
            yield f'<img alt="the figure" src="data:image/png;base64,{data["image/png"].strip()}">'
        else:
            yield f"```text\n{(data.get('text/plain') or ''.join(output.get('text', ''))).rstrip()}\n```"


def rooms_of_audit() -> list[str]:
    """The rooms of the library."""
    return sorted(path.parent.name for path in (ROOT / "audit").glob("*/__init__.py"))


def room_page(room: str) -> str:
    """The public names of a room and of the rooms within, module by module."""
    modules = sorted((ROOT / "audit" / room).rglob("*.py"))
    named = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules]
    shown = [name for name in named if not name.rpartition(".")[2].startswith("_")]
    return f"# audit.{room}\n\n{_docstring(room)}\n\n" + "\n\n".join(f"::: {name}" for name in shown) + "\n"


def api_index() -> str:
    """What each room is for."""
    rows = "\n".join(f"| [audit.{room}]({room}.md) | {_docstring(room).splitlines()[0]} |" for room in rooms_of_audit())
    told = "The library, room by room. What rooms import of one another: [CONTRIBUTING](../contributing.md)."
    return f"# API\n\n{told}\n\n| room | what it holds |\n| --- | --- |\n{rows}\n"


def _docstring(room: str) -> str:
    return ast.get_docstring(ast.parse((ROOT / "audit" / room / "__init__.py").read_text())) or ""


if __name__ == "__main__":
    lay_out(ROOT / "build" / "pages")
