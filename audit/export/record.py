"""All that a run found as one record for other programs, and its JSON Schema.

The schema stands in `findings.schema.json` beside this file, written by `make docs` from `findings_schema`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa

from audit.concepts.kept import Concept, Concepts
from audit.export.tables import reviewers_told, with_verdicts
from audit.findings import Claim, ClassFinding, Effect, Finding, Findings, Outcome
from audit.findings.claims.registry import CLAIM_KINDS
from audit.findings.records import UNTESTED, ClaimChannel
from audit.store import Run
from audit.store.tables.records import Record, finite, json_schema
from audit.store.verdicts.decided import decided
from audit.store.verdicts.log import VerdictLog

FORMAT = 7
"""Of the record; a change that breaks readers raises it."""

_SAMPLES = {
    "samples": "In the manifest.",
    "processed": "Audited.",
    "failed": "Of which nothing is known; `camaudit status` says why.",
    "pending": "Still to be audited.",
}
_RUN = {
    "path": "Directory of the run.",
    "created": "When the run was begun, ISO 8601 with the zone.",
    "method": "Attribution method.",
    "layer": "Target layer of the model.",
    "model": "Fingerprint of the model's weights.",
    "manifest": "Fingerprint of the manifest.",
}
_RULES = {
    "fdr": "False discovery rate of findings.",
    "confident": "Probability from which a class counts as named with confidence.",
    "misplaced": (
        "Misplacement from which a confidently named target is a finding: chance times what is missing to the best "
        "place."
    ),
    "tolerated": "Share of a class's confident targets that may look off the object; beside other classes maybe less.",
}
_UNIT = (
    "Attribute of the manifest whose values are the units of evidence; null where each image is one, with its copies."
)
_VERDICTS = "Whether what reviewers disagree with is left out, of targets and of claims."
_LISTS: dict[str, tuple[str, type[Record], str, str]] = {
    "classes": (
        "class",
        ClassFinding,
        "A class, tested as a whole.",
        "Every class with scored targets, most suspicious first.",
    ),
    "claims": (
        "claim",
        Claim,
        "A finding about more than one target, or what came near one.",
        "Found ones first, then by q.",
    ),
    "targets": ("target", Finding, "A finding about one target.", "Most suspicious first."),
    "set_aside": (
        "target",
        Finding,
        "A finding about one target.",
        "Those that reviewers disagree with, where `flag --verdicts` left them out; else empty.",
    ),
    "causes": ("cause", Outcome, "What interventions say of a claim.", "Empty before `camaudit verify`."),
    "channels": (
        "channel",
        ClaimChannel,
        "A channel of the network that a claim's heat off the object comes from.",
        "Of claims that stand; those that set a claim apart first. Empty where maps are no sum over channels.",
    ),
    "concepts": (
        "concept",
        Concept,
        "A direction of the layer that what lies under the heat of a claim, or of a class, is made of.",
        "As `camaudit units --concepts` last found them; without damaged ones, and those of images that changed since.",
    ),
}


def findings_record(run: Run) -> dict[str, Any]:
    """All that was found as plain values, as `findings_schema` says.

    Raises:
        RunError: the run was not flagged yet.
    """
    findings, standing = Findings(run), VerdictLog.of(run).standing()
    effects, said = findings.effects(), decided(standing)

    def targets(table: pa.Table) -> list[dict[str, Any]]:
        return [finite(row | _effect(effects, row)) for row in with_verdicts(table, standing).to_pylist()]

    def reviewed(claim: Claim) -> Claim:
        by = standing.get(claim.claim_id, {})
        return replace(claim, verdict=said.get(claim.claim_id), reviewers=reviewers_told(by) if by else None)

    return {
        "format": FORMAT,
        "run": _run(run),
        "rules": asdict(findings.rules()),
        "classes": [row.plain() for row in findings.classes()],
        "claims": [reviewed(claim).plain() for claim in findings.claims()],
        "targets": targets(findings.targets()),
        "set_aside": targets(findings.set_aside()),
        "causes": [outcome.plain() for outcome in findings.outcomes().values()],
        "channels": [row.plain() for row in findings.channels()],
        "concepts": [row.plain() for kept in Concepts(findings).all() if kept.current for row in kept.concepts],
    }


def findings_schema() -> dict[str, Any]:
    """The JSON Schema of the record; kinds of claims are those that are registered."""
    lists = {
        name: {"type": "array", "items": {"$ref": f"#/$defs/{item}"}, "description": says}
        for name, (item, _, _, says) in _LISTS.items()
    }
    properties = {
        "format": {"const": FORMAT, "description": "Of this record; a change that breaks readers raises it."},
        "run": _run_schema(),
        "rules": _rules_schema(),
        **lists,
    }
    definitions = {item: json_schema(kind, says) for item, kind, says, _ in _LISTS.values()}
    definitions["claim"]["properties"]["kind"] = {"enum": list(CLAIM_KINDS), "description": "What is claimed."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What `camaudit findings RUN --json` prints",
        "type": "object",
        "description": "All that a run found. Numbers that are not known are null.",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        "$defs": definitions,
    }


def _run(run: Run) -> dict[str, Any]:
    config, model, account = run.record["config"], run.record["model"], run.account()
    return {
        "path": str(run.path),
        "created": run.record["created"],
        "method": config["method"],
        "layer": model["layer"],
        "model": model["fingerprint"],
        "manifest": run.record["manifest"]["fingerprint"],
        "samples": {name: getattr(account, name) for name in _SAMPLES},
        "versions": run.record["versions"],
    }


def _effect(effects: Mapping[tuple[int, int], Effect], row: Mapping[str, Any]) -> dict[str, Any]:
    effect = effects.get((row["sample"], row["slot"]))
    return {"outcome": effect.outcome if effect else UNTESTED, "reliance": effect.reliance if effect else None}


def _run_schema() -> dict[str, Any]:
    schema = _object(_RUN, "What was audited.", {"type": "string"})
    says = "Number of samples; processed + failed + pending = samples."
    versions = {"type": "object", "description": "Package to version.", "additionalProperties": {"type": "string"}}
    samples = _object(_SAMPLES, says, {"type": "integer", "minimum": 0})
    properties = schema["properties"] | {"samples": samples, "versions": versions}
    return schema | {"properties": properties, "required": list(properties)}


def _rules_schema() -> dict[str, Any]:
    share = {"type": "number", "minimum": 0, "maximum": 1}
    schema = _object(_RULES, "What counts as a finding.", share, more=True)
    properties = schema["properties"] | {
        "unit": {"type": ["string", "null"], "description": _UNIT},
        "verdicts": {"type": "boolean", "description": _VERDICTS},
    }
    return schema | {"properties": properties, "required": list(properties)}


def _object(fields: Mapping[str, str], says: str, kind: Mapping[str, Any], more: bool = False) -> dict[str, Any]:
    """An object whose fields are all of one kind; `more` allows others beside them."""
    properties = {name: {**kind, "description": meaning} for name, meaning in fields.items()}
    shape = {"type": "object", "description": says, "properties": properties}
    return shape | {"required": list(properties), "additionalProperties": more}
