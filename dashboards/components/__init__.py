"""Parts of pages that answer the pointer in the browser, without asking the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st


def component(module: str) -> Any:
    """What mounts the component that stands beside a module, as HTML, CSS and JavaScript under its name.

    Args:
        module: the module's file.
    """
    path = Path(module)
    html, css, js = (path.with_suffix(f".{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return st.components.v2.component(f"camaudit.{path.stem}", html=html, css=css, js=js)
