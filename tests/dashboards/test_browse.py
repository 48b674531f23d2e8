"""Browse and Map without a browser: what they say of a run in each state, filters in the address, saved views."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from drawn_run import CLASSES, draw_run
from pages import page, said
from run_states import STATES
from small_run import HOSTILE, make_run

from audit.drawing.palette import DARK, LIGHT, contrast
from audit.errors import RunError
from audit.findings import Rules
from audit.findings.judge import flag
from audit.findings.pages.embedding import embed
from audit.store import Run, layout
from dashboards.browsing.filters import Filters
from dashboards.browsing.saved_views import LONGEST, SavedViews
from dashboards.views.map import _DECIDED, _NAMED, _REST, _RISING, _in_steps, _named


@pytest.fixture(autouse=True)
def nothing_cached() -> Iterator[None]:
    yield
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = draw_run(tmp_path_factory.mktemp("drawn") / "run", 400)
    flag(run, Rules())
    embed(run)
    return run.path


def labelled(widgets: Any, label: str) -> Any:
    return next(widget for widget in widgets if widget.label == label)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("view", ["browse", "map"])
def test_a_run_in_any_state_is_browsed_without_an_exception(tmp_path: Path, state: str, view: str) -> None:
    app = page(view, STATES[state](tmp_path))
    assert not app.exception
    if view == "browse":
        expected = {"no shard yet": "0 targets", "all failed": "0 targets", "running": "2 targets"}
        assert expected.get(state, "5 targets") in said(app)
    else:
        assert "There is no map yet" in said(app)
        assert app.code[0].value.startswith("camaudit embed ")


def test_an_address_sets_every_widget_and_a_widget_the_address(drawn: Path) -> None:
    app = page("browse", drawn, **{"class": CLASSES[3], "probability": "0.5", "text": "00", "sort": "-severity"})
    assert labelled(app.selectbox, "Class").value == CLASSES[3]
    assert labelled(app.slider, "Least probability").value == 0.5
    assert labelled(app.text_input, "Text in id or attributes").value == "00"
    assert labelled(app.selectbox, "Sort by").value == "severity"
    assert labelled(app.toggle, "Reversed").value is True
    labelled(app.selectbox, "Class").select(CLASSES[5]).run()
    assert app.query_params["class"] == CLASSES[5]
    labelled(app.slider, "Area of the object").set_range(0.1, 0.5).run()
    assert Filters.from_query(app.query_params) == Filters(
        class_name=CLASSES[5], probability=0.5, text="00", area_from=0.1, area_to=0.5
    )
    labelled(app.button, "Clear all filters").click().run()
    assert set(app.query_params) == {"sort"}


def test_another_filter_leads_back_to_the_first_page(drawn: Path) -> None:
    app = page("browse", drawn, page="3")
    labelled(app.selectbox, "Finding").select("none").run()
    assert "page" not in app.query_params
    assert app.query_params["kind"] == "none"


def test_a_cluster_goes_with_its_class(drawn: Path) -> None:
    app = page("browse", drawn, **{"class": CLASSES[3], "cluster": "0"})
    labelled(app.selectbox, "Class").select(CLASSES[4]).run()
    assert "cluster" not in app.query_params


def test_what_makes_no_sense_in_an_address_is_left_open(drawn: Path) -> None:
    app = page("browse", drawn, page="-7", sort="'; DROP TABLE targets", severity="nan", cluster="x", like="nothing")
    assert not app.exception
    assert "400 targets" in said(app)


def test_a_class_that_is_not_there_is_shown_as_chosen_and_leaves_none(drawn: Path) -> None:
    app = page("browse", drawn, **{"class": HOSTILE})
    assert labelled(app.selectbox, "Class").value == HOSTILE
    assert "0 of 400 targets" in said(app)
    assert "No target is left by these filters." in said(app)


def test_the_table_has_a_row_for_each_target_and_takes_several(drawn: Path) -> None:
    app = page("browse", drawn, **{"as": "table", "class": CLASSES[3]})
    frame = app.dataframe[0].value
    assert len(frame) == 20
    assert {"id", "class", "probability", "severity", "verdict"} <= set(frame.columns)
    assert labelled(app.button, "Agree").disabled


def test_like_this_without_a_map_says_why_there_is_nothing(tmp_path: Path) -> None:
    app = page("browse", make_run(tmp_path), like="0:0")
    assert "nothing is like it" in said(app)


def test_the_map_says_what_it_is_and_what_was_asked_of_its_colours(drawn: Path) -> None:
    for colour in ("class", "claim", "cluster", "verdict", "severity", "nonsense"):
        app = page("map", drawn, colour=colour)
        assert not app.exception
        assert "400 of 400 targets by what lies under their heat" in said(app).replace("\\", "")


def test_a_damaged_map_is_told_in_a_line(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "run", 300)
    flag(run, Rules())
    embed(run)
    points = run.path / layout.EMBEDDING / layout.POINTS
    points.write_bytes(points.read_bytes()[:100])
    app = page("map", run.path)
    assert not app.exception
    assert "make it again" in said(app)


def test_names_beyond_the_most_frequent_ones_are_others() -> None:
    names = [f"class {n}" for n in range(14) for _ in range(20 - n)] + [None] * 3
    colouring = _named(names, "no class")
    legend = {name: count for name, _, count in colouring.legend()}
    assert legend["others"] == sum(20 - n for n in range(10, 14))
    assert legend["no class"] == 3
    assert legend["class 0"] == 20
    assert len(colouring.names) == len(colouring.colours) == 12
    assert [colouring.names[code] for code in colouring.codes[:20]] == ["class 0"] * 20


def test_severity_is_told_in_steps_up_to_the_highest() -> None:
    colouring = _in_steps(np.array([0.0, 0.39, 0.4, np.nan, 0.79]))
    assert colouring.codes.tolist() == [0, 2, 2, 5, 4]
    assert _in_steps(np.array([np.nan])).codes.tolist() == [5]


def test_the_colours_of_the_map_stand_out_on_light_and_dark_cards() -> None:
    for colour in (*_NAMED, *_RISING, *_DECIDED.values(), _REST):
        assert min(contrast(colour, ground["card"]) for ground in (LIGHT, DARK)) >= 3, colour


def test_saved_views_are_kept_by_name_and_forgotten(tmp_path: Path) -> None:
    views = SavedViews(Run.open(make_run(tmp_path)))
    assert views.all() == {}
    query = Filters(class_name=HOSTILE, text="ü", area_to=0.3).to_query()
    views.save(" spots ", query | {"sort": "-id"})
    views.save("rest", {})
    assert views.all() == {"rest": {}, "spots": query | {"sort": "-id"}}
    assert Filters.from_query(views.all()["spots"]) == Filters(class_name=HOSTILE, text="ü", area_to=0.3)
    views.save("spots", {"kind": "any"})
    views.forget("rest")
    assert views.all() == {"spots": {"kind": "any"}}
    for name in ("", "  ", "x" * (LONGEST + 1)):
        with pytest.raises(ValueError, match="Expected a name of 1 to 80 characters"):
            views.save(name, {})
    (tmp_path / "run" / layout.VIEWS).write_text("{}")
    with pytest.raises(RunError, match=r"views\.json is not what was written; set views\.json aside"):
        views.all()
