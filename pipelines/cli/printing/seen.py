"""What is seen: channels and concepts with where their patches lie, and what is like a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audit.wording import percent, shorten
from pipelines.cli.printing.lines import line
from pipelines.cli.tables import Column, named, numbers, print_table, words

_SENTENCE = 300


def print_channels(record: Mapping[str, Any], wide: bool = False) -> None:
    """Print the channels of classes and of claims, a table each, and where their sheet of patches lies."""
    for told in record["classes"]:
        _print_class(told["class"], told["channels"], wide)
        _print_sheet(told["sheet"])
    for told in record["claims"]:
        line(shorten(told["says"], _SENTENCE))
        if told["channels"]:
            _print_claim(told["claim_id"], told["channels"], wide)
        else:
            line("  no channels: the images that show it have no heat off the object, or the method keeps none")
        _print_sheet(told["sheet"])
    if not record["classes"] and not record["claims"]:
        line("0 claims stand; name a class with --class")


def print_concepts(told: Sequence[Mapping[str, Any]], wide: bool = False) -> None:
    """Print the concepts of a class, or of claims, a table each, and where their sheets lie."""
    for found in told:
        rows = found["concepts"]
        columns = [
            numbers("concept", (row["place"] for row in rows)),
            numbers("logit lost without it", (f"{row['worth']:.2f}" for row in rows)),
            numbers("least cosine over draws", (_cosine(row["cosine"]) for row in rows), rank=1),
            *_words_column([row | {"words": row["words"].get("nearest", [])} for row in rows]),
        ]
        first = rows[0]
        about = f"{first['images']} images, mean logit {first['logit']:.2f}, {first['way']}"
        print_table(f"Concepts of {shorten(found['of'], 80)}: {about}", columns, wide)
        _print_sheet(found["sheet"])
    if not told:
        line("0 claims stand; name a class with --class")


def _cosine(least: float | None) -> str:
    return "-" if least is None else f"{least:.2f}"


def _words_column(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The nearest words that chance does not give, where patches were named."""
    if not any(row.get("words") for row in rows):
        return []
    said = (
        ", ".join(f"{word['word']} (+{word['margin']:.3f})" for word in row["words"] if word["margin"] > 0) or "-"
        for row in rows
    )
    return [named("words, by margin over chance", said)]


def _print_sheet(sheet: str | None) -> None:
    line(f"  patches: {sheet}" if sheet else "  none of the images can be read, so there are no patches")


def _print_class(name: str, rows: Sequence[Mapping[str, Any]], wide: bool) -> None:
    columns = [
        numbers("channel", (row["channel"] for row in rows)),
        numbers("share of the heat", (percent(row["share"]) for row in rows)),
        numbers("leads in", (f"{row['carries']} of {row['images']} images" for row in rows), rank=1),
        *_words_column(rows),
    ]
    print_table(f"Channels that most of the heat of {shorten(name, 60)} comes from", columns, wide)


def _print_claim(claim_id: str, rows: Sequence[Mapping[str, Any]], wide: bool) -> None:
    columns = [
        numbers("channel", (row["channel"] for row in rows)),
        numbers("share off the object", (percent(row["share"]) for row in rows)),
        numbers("of others", (percent(row["share_of_others"]) for row in rows)),
        words("others", (row["against"] for row in rows), rank=1),
        numbers("leads in", (f"{row['carries']} of {row['images']}" for row in rows), rank=2),
        numbers("of others' ", (f"{row['of_others']} of {row['others']}" for row in rows), rank=3),
        numbers("q", ("-" if row["q"] is None else f"{row['q']:.2g}" for row in rows)),
        words("", ("apart" if row["apart"] else "" for row in rows)),
        *_words_column(rows),
    ]
    print_table(f"Channels of {shorten(claim_id, 80)}", columns, wide)


def print_alike(record: Mapping[str, Any]) -> None:
    """Print what is like each target of a sample, and like its image, and where the sheet lies."""
    for target in record["targets"]:
        rows = target["like"]
        columns = [
            named("sample", (row["id"] for row in rows)),
            named("class", (row["class"] for row in rows)),
            numbers("cosine", (f"{row['nearness']:.3f}" for row in rows)),
        ]
        if rows:
            print_table(f"Alike under the heat of {shorten(target['class'], 60)}", columns)
        else:
            line(f"Nothing was kept of what lies under the heat of {shorten(target['class'], 60)}")
    about = shorten(record["id"], 60)
    if record["heat"]:
        cosines = (f"{row['nearness']:.3f}" for row in record["heat"])
        columns = [named("sample", (row["id"] for row in record["heat"])), numbers("cosine", cosines)]
        print_table(f"Images like {about} in all their heat", columns)
    columns = [
        named("sample", (row["id"] for row in record["images"])),
        numbers("bits the same", (percent(row["nearness"]) for row in record["images"])),
    ]
    print_table(f"Images that look like {about}", columns)
    _print_sheet(record["sheet"])
