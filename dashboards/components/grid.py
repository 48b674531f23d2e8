"""Targets side by side in the browser: choosing some costs no round trip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from dashboards.components import component

_grid = component(__file__)


@dataclass(frozen=True)
class Card:
    """A target as the grid shows it; all texts are shown, never rendered.

    Attributes:
        image: address of its picture; empty while there is none.
        about: lines below the title.
        tag: what was decided; empty where nothing was. `tone` is the class of its colour.
    """

    subject: str
    alt: str
    title: str
    about: tuple[str, ...]
    tag: str = ""
    tone: str = ""
    image: str = ""


class Action(NamedTuple):
    """A button for the chosen targets; a `single` one is for one target alone."""

    name: str
    label: str
    single: bool = False


class Asked(NamedTuple):
    """What was pressed: a target to open, or the name of an action with the chosen targets."""

    open: str | None
    action: str | None
    subjects: tuple[str, ...]


def show_grid(key: str, page: str, cards: Sequence[Card], actions: Sequence[Action]) -> Asked:
    """Draw it.

    Args:
        page: names what is shown; while it stays, so do the chosen targets.
    """
    data: dict[str, Any] = {
        "page": page,
        "cards": [asdict(card) for card in cards],
        "actions": [action._asdict() for action in actions],
    }
    pressed = _grid(key=key, data=data, on_open_change=_nothing, on_act_change=_nothing)
    act = pressed.get("act") or {}
    return Asked(pressed.get("open"), act.get("name"), tuple(map(str, act.get("subjects", ()))))


def _nothing() -> None:
    """What was pressed is handed back by the drawing."""
