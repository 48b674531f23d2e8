"""The dashboard's entry: `streamlit run dashboards/app.py -- RUN [--reviewer NAME] ...`. A router, no more."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module

import streamlit as st

from audit.datasets.reach import Reach
from audit.errors import AuditError
from audit.wording import plain
from dashboards.header import asked_reviewer, is_blind, show_header
from dashboards.look import dress_page
from dashboards.state import Context, open_context, set_pages, why_not

# Modules of `dashboards.views`, each with a `show`; imported when first shown, for some need much. A string below this
# would be shown: Streamlit writes out what stands alone in the script that it runs.
VIEWS = ("start", "review", "browse", "map", "compare", "about")


def main(arguments: Sequence[str]) -> None:
    """Show the run that the arguments name."""
    st.set_page_config(page_title="camaudit", layout="wide")
    asked = argument_parser().parse_args(arguments)
    if asked.run is None:
        st.error(plain("Expected a run: start this with `camaudit dashboard RUN`"))
        return
    dress_page()
    try:
        _show(asked)
    except (AuditError, OSError) as error:
        st.error(plain(why_not(asked.run, error)))


def _show(asked: argparse.Namespace) -> None:
    """Draw the page that the address asks for."""
    reach = Reach(asked.root, asked.allow_outside, asked.remote)
    context = open_context(asked.run, asked_reviewer(asked.reviewer), reach, is_blind(), asked.model)
    pages = [st.Page(partial(_show_view, name, context), title=name.title(), url_path=name) for name in VIEWS]
    set_pages(dict(zip(VIEWS, pages, strict=True)))
    page = st.navigation(pages, position="top")
    show_header(context, asked.reviewer)
    page.run()


def _show_view(name: str, context: Context) -> None:
    import_module(f"dashboards.views.{name}").show(context)


def argument_parser() -> argparse.ArgumentParser:
    """What `camaudit dashboard` tells the pages."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", nargs="?")
    parser.add_argument("--reviewer")
    parser.add_argument("--model")
    parser.add_argument("--root")
    parser.add_argument("--allow-outside", action="store_true")
    parser.add_argument("--remote", action="store_true")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
