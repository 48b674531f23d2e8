"""Tables and sentences as HTML, for records that a notebook shows by themselves. Other people's texts stay texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

_LEFT = Markup(' style="text-align: left; vertical-align: top"')


def paragraph(text: object) -> Markup:
    """A sentence or several.

    >>> paragraph("a < b")
    Markup('<p>a &lt; b</p>')
    """
    return Markup("<p>{}</p>").format(text)


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> Markup:
    """Rows of cells, the first of each its name; nothing where there are no rows.

    >>> table([("a", "<b>")])
    Markup('<table><tbody><tr><th style="text-align: left; vertical-align: top">a</th><td style="text-align: left; \
vertical-align: top">&lt;b&gt;</td></tr></tbody></table>')
    """
    body = Markup("").join(_row(cells) for cells in rows)
    if not body:
        return Markup("")
    titles = Markup("").join(Markup("<th{}>{}</th>").format(_LEFT, title) for title in head)
    top = Markup("<thead><tr>{}</tr></thead>").format(titles) if head else Markup("")
    return Markup("<table>{}<tbody>{}</tbody></table>").format(top, body)


def _row(cells: Sequence[object]) -> Markup:
    name, *others = (escape(cell) for cell in cells)
    values = Markup("").join(Markup("<td{}>{}</td>").format(_LEFT, value) for value in others)
    return Markup("<tr><th{}>{}</th>{}</tr>").format(_LEFT, name, values)
