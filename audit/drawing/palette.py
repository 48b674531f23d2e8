"""The colours of everything that is looked at: the report, the dashboard, charts; one set for light, one for dark.

Text and signs have a contrast of 4.5 or more on the ground and on cards (WCAG 2.2, AA), lines that carry meaning of 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

LIGHT: Mapping[str, str] = MappingProxyType(
    {
        "ground": "#fbfaf7",
        "card": "#ffffff",
        "ink": "#1d1f23",
        "soft": "#5c6270",
        "line": "#e2dfd7",
        "accent": "#a63a1f",
        "track": "#d8d4ca",
        "interval": "#e3b5a6",
        "good": "#1f6b4a",
        "bad": "#a63a1f",
        "mixed": "#7a5b00",
        "code": "#f1eee7",
    }
)
DARK: Mapping[str, str] = MappingProxyType(
    {
        "ground": "#15171b",
        "card": "#1d2026",
        "ink": "#e9e7e2",
        "soft": "#a3a8b4",
        "line": "#32363f",
        "accent": "#f08a68",
        "track": "#3c414b",
        "interval": "#7c4635",
        "good": "#6fc79d",
        "bad": "#f08a68",
        "mixed": "#e0bb5a",
        "code": "#272b33",
    }
)
TEXT = ("ink", "soft", "accent", "good", "bad", "mixed")
"""What is read, or carries meaning by itself."""
GROUNDS = ("ground", "card", "code")
"""What it stands on."""


def css_variables(colours: Mapping[str, str]) -> str:
    """As declarations of a style sheet.

    >>> css_variables({"ink": "#000000", "soft": "#444444"})
    '--ink: #000000; --soft: #444444;'
    """
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


def contrast(one: str, other: str) -> float:
    """Contrast of two colours `#rrggbb`, 1 to 21 (WCAG 2.2, "contrast ratio").

    >>> contrast("#000000", "#ffffff")
    21.0
    """
    dark, bright = sorted(map(_luminance, (one, other)))
    return round((bright + 0.05) / (dark + 0.05), 2)


def _luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, 0 to 1."""
    linear = [_linear(int(colour[place : place + 2], 16) / 255) for place in (1, 3, 5)]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
