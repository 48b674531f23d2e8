"""How the pages look, in one place: what Streamlit's theme (see `camaudit dashboard`) leaves open."""

from __future__ import annotations

import streamlit as st

from audit.drawing.palette import DARK, LIGHT, css_variables
from audit.drawing.vectors import STYLE

_PAGE = f"""
:root {{ {css_variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {css_variables(DARK)} }} }}
.stMainBlockContainer {{ padding-top: 3.9rem; padding-bottom: 2rem; max-width: 90rem; }}
.stMainBlockContainer .stVerticalBlock {{ gap: .6rem; }}
.stMainBlockContainer .stButton button {{ min-height: 2.1rem; padding: .15rem .7rem; }}
.stMainBlockContainer h1 {{ font-size: 1.6rem; padding: 0; }} .stMainBlockContainer h2 {{ font-size: 1.25rem; }}
.stMainBlockContainer h3 {{ font-size: 1.05rem; padding: 0; }}
.stHeading [data-testid=stMarkdownContainer] {{ margin-bottom: 0; }} .stHeading {{ padding-top: .5rem; }}
[data-testid=stBottomBlockContainer] {{ padding-top: .6rem; padding-bottom: .8rem; max-width: 90rem; }}
.lede {{ font-size: 1.3rem; line-height: 1.35; font-weight: 600; margin: 0; overflow-wrap: anywhere; }}
.figures {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1px; margin: 0;
  padding: 0 !important; background: var(--line); border: 1px solid var(--line); border-radius: 8px;
  overflow: hidden; }}
.figures div {{ background: var(--card); padding: .45rem .9rem; }}
.figures dt {{ color: var(--soft); font-size: .8rem; font-weight: 400; }}
.figures dd {{ margin: 0; font-size: 1.3rem; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums; }}
.figures small {{ font-size: .8rem; font-weight: 400; color: var(--soft); }}
.says {{ margin: 0; line-height: 1.35; overflow-wrap: anywhere; }}
.cut {{ display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical; overflow: hidden; }}
.tags {{ color: var(--soft); font-size: .8rem; margin: 0; overflow-wrap: anywhere; }}
.confirmed {{ color: var(--bad); }} .refuted {{ color: var(--good); }} .inconclusive {{ color: var(--mixed); }}
.strip {{ display: flex; gap: .3rem; align-items: stretch; }} .strip > * {{ flex: 1 1 0; min-width: 0; }}
.patches img {{ width: 100%; height: auto; border-radius: 3px; display: block; }}
.strip {{ margin: .35rem 0; }} .strip img {{ width: 100%; height: auto; aspect-ratio: 4 / 3; border-radius: 3px;
  object-fit: contain; background: var(--code); }}
img.bar {{ height: 1.1rem; width: auto; display: block; }}
.facts {{ display: grid; grid-template-columns: max-content 1fr; gap: .1rem .9rem; margin: 0; padding: 0 !important;
  font-size: .875rem;
  font-variant-numeric: tabular-nums; }}
.facts dt {{ color: var(--soft); font-weight: 400; }} .facts dd {{ margin: 0; overflow-wrap: anywhere; }}
{STYLE}
@media (max-width: 40rem) {{ .stMainBlockContainer {{ padding-left: 1rem; padding-right: 1rem; }} }}
"""


def dress_page() -> None:
    """Lay the style over a page."""
    st.html(f"<style>{_PAGE}</style>")
