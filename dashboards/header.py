"""The line that every page begins with: which run, how it stands, how much was reviewed, and by whom."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from pathlib import Path

import streamlit as st
from streamlit.errors import StreamlitAuthError

from audit.store.verdicts.log import Verdict, target_of
from audit.wording import number, plain, shorten
from dashboards.state import Context

REVIEWER, BLIND = "reviewer", "blind"
"""Names in the address and of the widgets."""
_BLIND = "Others' verdicts stay hidden until you have given your own."


def asked_reviewer(given: str | None) -> str:
    """Who reviews: who is logged in, else the name in the header, else the one that the server was started with.

    Where a login is configured, nobody else gives verdicts.
    """
    if st.user.get("is_logged_in"):
        # Of the three a provider has to state the last alone.
        return str(st.user.get("email") or st.user.get("name") or st.user["sub"])
    if _has_login():
        return ""
    return str(st.session_state.get(REVIEWER, st.query_params.get(REVIEWER, given or ""))).strip()


def is_blind() -> bool:
    """Whether others' verdicts are hidden."""
    return bool(st.session_state.get(BLIND, st.query_params.get(BLIND) == "true"))


def show_header(context: Context, given: str | None) -> None:
    """Draw it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.markdown(f"**{plain(shorten(context.run.path.resolve().name, 40))}**", width="content")
        label, colour = _state(context)
        st.badge(label, color=colour)  # type: ignore[arg-type]
        st.caption(_reviewed(context), width="stretch")
        with st.popover(plain(shorten(context.reviewer, 24)) or "Who reviews?", icon=":material/person:"):
            _ask_reviewer(given)


@st.dialog("Who reviews?")
def ask_name() -> None:
    """Ask for a name, without which no verdict is stored."""
    if _has_login():
        st.write("Verdicts are stored under the name of who is logged in.")
        st.button("Log in", key="log in to decide", on_click=_log_in, type="primary")
        return
    st.write("Verdicts are stored under a name. It stands in the page's address from now on.")
    with st.form("name", border=False):
        name = st.text_input("Name", value=_user(), key="asked name")
        if st.form_submit_button("Go on", type="primary") and name.strip():
            st.session_state[REVIEWER] = name.strip()
            st.rerun()


def _ask_reviewer(given: str | None) -> None:
    """Who it is: by Streamlit's login where that is configured, else by a name."""
    if st.user.get("is_logged_in"):
        st.button("Log out", on_click=st.logout)
    elif _has_login():
        st.button("Log in", on_click=_log_in)
    else:
        st.text_input("Reviewer", value=given or "", key=REVIEWER, bind="query-params", max_chars=80)
    st.toggle("Blind", key=BLIND, bind="query-params", help=_BLIND)


def _log_in() -> None:
    """Leave for the provider, or say what its configuration lacks."""
    try:
        st.login()
    except StreamlitAuthError as error:
        st.error(plain(error))


def _has_login() -> bool:
    """Whether `[auth]` stands in Streamlit's secrets.

    Raises:
        FileNotFoundError: there are secrets that cannot be read, so that a login may have been meant.
    """
    try:
        return "auth" in st.secrets
    except FileNotFoundError:  # as Streamlit says of secrets that it cannot parse, too
        if any(Path(file).exists() for file in st.get_option("secrets.files")):
            raise
        return False


def _state(context: Context) -> tuple[str, str]:
    """The run's state in a word or two, with its colour."""
    account = context.tables.account()
    if account is None:
        return "ledger damaged", "red"
    if account.pending:
        return f"{number(account.pending)} of {number(account.samples)} images pending", "orange"
    if not context.tables.flagged:
        return "not flagged yet", "orange"
    return f"{number(account.samples)} images", "gray"


def _reviewed(context: Context) -> str:
    """How many of the findings have a verdict, by anyone and by the reviewer."""
    findings = context.tables.findings_count()
    standing = context.standing
    targets = [subject for subject in standing if target_of(subject)]
    mine = sum(context.reviewer in standing[subject] for subject in targets)
    by_me = f", {number(mine)} by {shorten(context.reviewer, 24)}" if context.reviewer else ""
    return plain(f"{number(len(targets))} reviewed{by_me}; {number(findings)} findings")


def others(verdicts: Mapping[str, Verdict], context: Context) -> list[Verdict]:
    """The verdicts of other reviewers, as far as this one may see them."""
    if context.blind and context.reviewer not in verdicts:
        return []
    return [verdict for reviewer, verdict in verdicts.items() if reviewer != context.reviewer]


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
