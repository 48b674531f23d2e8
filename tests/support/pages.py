"""Pages of the dashboard, run without a browser."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest


def page(view: str, path: Path, reviewer: str = "Ana", **query: str) -> AppTest:
    """A page of the dashboard, run once."""

    def script(view: str, path: str, reviewer: str) -> None:
        from importlib import import_module
        from pathlib import Path

        from dashboards.state import open_context

        import_module(f"dashboards.views.{view}").show(open_context(Path(path), reviewer))

    app = AppTest.from_function(script, args=(view, str(path), reviewer), default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def said(app: AppTest) -> str:
    """All text on a page."""
    blocks = [*app.title, *app.subheader, *app.text, *app.markdown, *app.caption, *app.warning, *app.info, *app.error]
    return "\n".join([*(str(block.value) for block in blocks), *(str(html.proto.body) for html in app.get("html"))])


def press(app: AppTest, label: str) -> AppTest:
    """Press the button with this label."""
    next(button for button in app.button if button.label == label).click()
    return app.run()


def address(app: AppTest) -> dict[str, str]:
    """What the page's address asks for."""
    given = app.query_params.items()
    return {name: value if isinstance(value, str) else value[0] for name, value in given}
