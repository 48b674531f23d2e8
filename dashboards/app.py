"""The dashboard's entry: `streamlit run dashboards/app.py -- RUN [REVIEWER]`. A router, no more."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import streamlit as st

from audit.errors import AuditError
from audit.wording import plain
from dashboards.state import keep_choices, open_context, set_pages
from dashboards.views import findings, overview, sample

VIEWS = {"overview": overview.show, "findings": findings.show, "sample": sample.show}

_STYLE = "<style>.stMainBlockContainer { padding-top: 4.5rem; padding-bottom: 3rem; }</style>"


def main(arguments: Sequence[str]) -> None:
    """Show the run that the arguments name."""
    st.set_page_config(page_title="camaudit", layout="wide")
    if not arguments:
        st.error(plain("Expected a run: start this with `camaudit dashboard RUN`"))
        return
    st.html(_STYLE)
    keep_choices()
    try:
        context = open_context(Path(arguments[0]), arguments[1] if len(arguments) > 1 else _user())
        pages = [st.Page(partial(show, context), title=name.title(), url_path=name) for name, show in VIEWS.items()]
        set_pages(dict(zip(VIEWS, pages, strict=True)))
        st.navigation(pages, position="top").run()
    except AuditError as error:
        st.error(plain(str(error)))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


if __name__ == "__main__":
    main(sys.argv[1:])
