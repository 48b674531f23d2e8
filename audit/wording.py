"""Numbers and names in sentences: every text for people gets them from here, so one share is said in one way.

Names of samples, classes and files are other people's text. They are shown, never rendered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

UNITS = ("B", "kB", "MB", "GB", "TB")
WIDEST = 40
"""Characters that a table's cell has room for."""

_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=\"'])")


def percent(share: float | None) -> str:
    """A share, or a difference of shares, in whole percent; no share is 0 % or 100 % that is not.

    >>> [percent(share) for share in (0.0, 0.003, 0.123, 0.995, 1.0, None)]
    ['0 %', 'less than 1 %', '12 %', 'more than 99 %', '100 %', 'unknown']
    >>> [percent(difference) for difference in (-0.12, -0.001)]
    ['-12 %', '0 %']
    """
    if share is None or share != share:
        return "unknown"
    if 0 < share < 0.01:
        return "less than 1 %"
    if 0.99 < share < 1:
        return "more than 99 %"
    return f"{100 * share:z.0f} %"


def number(count: int) -> str:
    """A count with its thousands apart.

    >>> number(12345)
    '12,345'
    """
    return f"{count:,}"


def images(count: int) -> str:
    """How many images.

    >>> images(1), images(12345)
    ('1 image', '12,345 images')
    """
    return f"{number(count)} image{'' if count == 1 else 's'}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first of some names.

    >>> listed(["a", "b"]), listed(["a", "b", "c"], 2)
    ('a, b', 'a, b, ...')
    """
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def decimal(value: float | None) -> str:
    """A value with three decimals, a dash where it is not known.

    >>> decimal(0.5), decimal(None)
    ('0.500', '-')
    """
    return "-" if value is None else f"{value:.3f}"


def size(count: float) -> str:
    """Bytes in a decimal unit: 1 kB is 1000 bytes.

    >>> size(100_352), size(98), size(999_900)
    ('100 kB', '98 B', '1 MB')
    """
    power = next((power for power in range(len(UNITS)) if count / 1000**power < 999.5), len(UNITS) - 1)
    return f"{count / 1000**power:.3g} {UNITS[power]}"


def one_line(text: object) -> str:
    """Text fit for a message: control characters and undecodable bytes of a name are escaped."""
    line = str(text)
    return line if line.isprintable() else repr(line)[1:-1]


def shorten(text: object, most: int = WIDEST) -> str:
    """A text in one line of at most `most` characters.

    >>> shorten("a\\n text  that goes on", 10)
    'a text th…'
    """
    line = one_line(" ".join(str(text).split()))
    return line if len(line) <= most else line[: most - 1] + "…"


def plain(text: object, most: int = 400) -> str:
    """A text that Markdown shows as it is: every sign that could mean something is escaped.

    >>> plain("<b>*1*</b>")
    '\\\\<b\\\\>\\\\*1\\\\*\\\\</b\\\\>'
    """
    return _MARKUP.sub(r"\\\1", shorten(text, most))
