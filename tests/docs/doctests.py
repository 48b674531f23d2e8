"""Examples of docstrings as code on the site: an extension of griffe, which reads them for mkdocs.yml."""

from __future__ import annotations

import re
from typing import Any

try:
    from griffe import Extension
except ImportError:  # what else this file says is tested without the packages of the site
    Extension = object  # type: ignore[assignment,misc]

_EXAMPLE = re.compile(r"(?:^>>> .*\n?)(?:^(?!\s*$).*\n?)*", re.MULTILINE)


class FencedExamples(Extension):
    """Puts fences around what begins with `>>>`, up to an empty line."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Change the docstring that is shown, of any module, class or function."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(docstring: str) -> str:
    """A docstring with fences around its examples."""
    return _EXAMPLE.sub(lambda example: f"```pycon\n{example[0].rstrip()}\n```\n", docstring)
