"""Every step of refinement, by its name, and how a line of names becomes steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from audit.segmentation.refine.affinity import Affinity
from audit.segmentation.refine.learnt import Learnt
from audit.segmentation.refine.pamr import PAMR
from audit.segmentation.refine.step import Features, Heat, Pixels, Step
from audit.segmentation.refine.superpixels import Superpixel
from audit.segmentation.refine.walker import Walker

STEPS: dict[str, type[Step]] = {step.name: step for step in (Superpixel, PAMR, Walker, Affinity, Learnt)}
"""Name -> step; a step is one file and one entry here."""


def parse_steps(text: str, beside: Mapping[str, Mapping[str, int | float | str]] | None = None) -> list[Step]:
    """Steps in order, from names with options.

    Args:
        beside: by name of a step, options that it has unless they are given.

    >>> parse_steps("superpixel:scale=100:pixels=20000,pamr")
    [Superpixel(scale='100', pixels=20000), PAMR(steps=10, width=0.1, pixels=65536)]
    >>> parse_steps("")
    []

    Raises:
        ValueError: a name or an option is unknown, or an option cannot have its value.
    """
    return [_parse(part.strip(), beside or {}) for part in text.split(",")] if text.strip() else []


def refine(steps: Sequence[Step], heat: Heat, image: Pixels, features: Features | None = None) -> Heat:
    """Take heat through steps in order; arguments are those of `Step.__call__`. Without steps it stays as it is."""
    for step in steps:
        heat = step(heat, image, features)
    return heat


def _parse(part: str, beside: Mapping[str, Mapping[str, int | float | str]]) -> Step:
    name, *settings = part.split(":")
    if name not in STEPS:
        raise ValueError(f"Expected --refine to be names of {', '.join(STEPS)} in order, as pamr,walker; got {name!r}")
    step = STEPS[name]
    options = dict(_setting(step, setting) for setting in settings)
    return step(**{**beside.get(name, {}), **options})


def _setting(step: type[Step], setting: str) -> tuple[str, int | float | str]:
    """An option and its value, of the kind that its default has."""
    option, is_set, value = setting.partition("=")
    defaults: dict[str, int | float | str] = {field.name: field.default for field in fields(step)}  # type: ignore[misc]
    if option not in defaults or not is_set:
        raise ValueError(f"Expected options of {step.name} as {_as_given(defaults)}, got {setting!r}")
    kind = type(defaults[option])
    try:
        return option, kind(value)
    except ValueError:
        number = "a whole number" if kind is int else "a number"
        raise ValueError(f"Expected the option {option} of {step.name} to be {number}, got {value!r}") from None


def _as_given(defaults: Mapping[str, object]) -> str:
    return ":".join(f"{option}={value}" for option, value in defaults.items())
