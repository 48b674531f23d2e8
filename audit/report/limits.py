"""What a run's report cannot say: what was not tested, which command would, and what no map can show."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from audit.findings import ClassFinding, Findings
from audit.findings.claims.votes import FEWEST
from audit.findings.dependence import units_said
from audit.findings.pages.unfound import explain_silence
from audit.report.html import Note
from audit.store import Run, layout
from audit.store.storage.files import read_json
from audit.wording import percent, shorten

_NAMED = 10
_CHECKS = {layout.SANITY: "sanity", layout.NULL: "verify"}
"""Record of a check -> the verb that writes it."""
_ALWAYS = (
    "A heat map shows where, not why: heat on the object may still be on the wrong thing about it, as its colour.",
    "A shortcut that every class shares, or that every image has, sets no class apart and can go unseen.",
    "What no image of the collection shows cannot be found: the findings hold for images like these.",
    "q guards against luck, not against a biased collection or wrong masks.",
)


def checks_of(run: Run) -> list[Note]:
    """Whether the maps depend on what the model has learnt, and where to find out."""
    name = shlex.quote(str(run.path))
    sanity, null = (_checked(run, file, verb) for file, verb in _CHECKS.items())
    notes = [_sanity_note(method, curve) for method, curve in sanity.get("methods", {}).items()]
    if not notes:
        notes.append(Note("Whether the maps change when the network is made random was not checked.", _sanity(name)))
    if "says" in null:
        return [*notes, Note(f"{null['says']} ({null.get('targets', 'unknown')} maps compared.)")]
    return [*notes, Note("What a network that learnt nothing would get was not measured.", f"camaudit verify {name}")]


def limits_of(run: Run, summary: Mapping[str, Any], classes: Sequence[ClassFinding], hidden: int) -> list[Note]:
    """What was not tested, with the command that would, then what no report of this kind can say.

    Args:
        classes: findings about classes.
        hidden: claims that the page has no room for; none if negative.
    """
    name = shlex.quote(str(run.path))
    notes = [*_missing(summary), *_thin_classes(run, classes, summary)]
    said = units_said(summary)
    texts = (*summary["untested"], *([said] if said else []), *explain_silence(summary))
    notes += [Note(f"{text}.") for text in texts]
    notes += _detector(summary["detector"])
    notes.append(_interventions(run, sum(summary["findings"].values()), name))
    if hidden > 0:
        notes.append(
            Note(f"{hidden:,} more claims were found than this page shows.", f"camaudit findings {name} --json")
        )
    height, width = run.record["grid"]
    coarse = f"The maps have {height} x {width} values: nothing finer than a cell of that grid can be told apart."
    return [*notes, Note(coarse), *map(Note, _ALWAYS)]


def _interventions(run: Run, flagged: int, name: str) -> Note:
    findings = Findings(run)
    if not findings.has_effects:
        text = "No intervention was made: nothing says yet whether the background causes the answers."
        return Note(text, f"camaudit verify {name}")
    tried = sum(effect.arm == "flagged" for effect in findings.effects().values())
    return Note(f"Interventions were made on {tried:,} targets; {flagged:,} were flagged.")


def _missing(summary: Mapping[str, Any]) -> list[Note]:
    scores, targets = summary["scores"], summary["targets"]
    counted = (
        (summary["samples"]["pending"], "images are still pending; finish the run with the command that began it."),
        (summary["samples"]["failed"], "images failed and are in no figure of this page."),
        (
            scores.get("no_mask", 0),
            "maps have no mask or box to compare with: of those only the place of the heat is known.",
        ),
        (scores.get("bad_mask", 0), "maps have a mask that could not be used."),
        (
            scores.get("absent", 0),
            "maps are of a class that the mask does not show: their heat has no object to lie on.",
        ),
        (targets.get("no_evidence", 0), "targets have a map without any positive heat: they are in no finding."),
    )
    return [Note(f"{count:,} {text}") for count, text in counted if count]


def _detector(record: Mapping[str, Any] | None) -> list[Note]:
    """How far findings without a mask can be trusted."""
    if record is None:
        return []
    if "refused" in record:
        return [Note(f"Targets without a mask were not judged: {record['refused']}.")]
    precision, low, high = map(percent, (record["precision"], *record["precision_interval"]))
    base_rate, least, most = map(percent, (record["base_rate"], *record["base_rate_interval"]))
    text = (
        f"{record['judged']:,} targets without a mask were judged by a detector fitted on {record['targets']:,} that "
        f"have one. Its findings are guesses and come last. Of these targets {base_rate} look off the object ({least} "
        f"to {most}), estimated from how many it flags; of those that it flags {precision} do ({low} to {high}; 99 % "
        f"intervals). It finds {percent(record['recall'])} of those that do, as measured on targets with masks that it "
        "had not seen. In this it takes targets without a mask for like those that have one."
    )
    return [Note(text)]


def _thin_classes(run: Run, rows: Sequence[ClassFinding], summary: Mapping[str, Any]) -> list[Note]:
    """Classes of which too few images were named with confidence."""
    confident = {row.class_name: row.confident for row in rows}
    thin = [name for name in run.classes if confident.get(name, 0) < FEWEST]
    if not thin:
        return []
    least = percent(summary["rules"]["confident"])
    names = ", ".join(shorten(name) for name in thin[:_NAMED])
    more = f" and {len(thin) - _NAMED} more" if len(thin) > _NAMED else ""
    what = f"fewer than {FEWEST} images named with {least} or more and compared with an object"
    return [Note(f"{len(thin)} of {len(run.classes)} classes have {what}: {names}{more}.")]


def _sanity_note(method: str, curve: Mapping[str, Any]) -> Note:
    numbers = f"rank correlation with the trained network's maps {curve['half']:.2f} once the upper half is random"
    if curve["passes"]:
        return Note(f"{method}: the maps change when the network is made random, as they should ({numbers}).")
    return Note(
        f"{method}: the maps hardly change when the network is made random ({numbers}). They do not explain this "
        "model; trust none of the findings, and audit again with another method.",
        "camaudit methods",
    )


def _sanity(name: str) -> str:
    return f"camaudit sanity {name}"


def _checked(run: Run, file: str, verb: str) -> dict[str, Any]:
    path = run.path / layout.REPORT / file
    return read_json(path, f"again: `camaudit {verb} {run.path}`") if path.exists() else {}
