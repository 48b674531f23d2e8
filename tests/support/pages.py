"""Pages of the dashboard, run without a browser."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest


def page(view: str, path: Path, **query: str) -> AppTest:
    """A page of the dashboard, run once."""

    def script(view: str, path: str) -> None:
        from importlib import import_module
        from pathlib import Path

        from dashboards.state import open_context

        import_module(f"dashboards.views.{view}").show(open_context(Path(path), "Ana"))

    app = AppTest.from_function(script, args=(view, str(path)), default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def said(app: AppTest) -> str:
    """All text on a page."""
    blocks = [*app.title, *app.subheader, *app.text, *app.markdown, *app.caption, *app.warning, *app.info, *app.error]
    return "\n".join(str(block.value) for block in blocks)
