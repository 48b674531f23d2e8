"""Concepts of classes and claims that a run keeps: those of before where nothing has changed, else found anew."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from audit.concepts.channels import class_asked
from audit.concepts.chosen import targets_of_claim, targets_of_class
from audit.concepts.kept import About, Concepts, Kept
from audit.concepts.patches import PatchReader
from audit.errors import RunError
from audit.findings import Claim, Findings
from audit.models import Classifier
from audit.progress import Progress, silent
from pipelines.asked import ConceptSearch
from pipelines.experiments.concepts import find_concepts
from pipelines.experiments.words import Namer


def keep_concepts(
    concepts: Concepts,
    of: Claim | str,
    asked: ConceptSearch,
    classifier: Callable[[], Classifier],
    progress: Progress = silent,
) -> Kept:
    """The concepts of a claim or of the class of a name, as the run keeps them from now on.

    Args:
        classifier: the run's; called where they are to be found.

    Raises:
        RunError: as of `find_concepts`.
    """
    about, asked_before = About.claim(of) if isinstance(of, Claim) else About(of), asdict(asked)
    kept = _earlier(concepts, about)
    if kept is not None and kept.current and kept.asked == asked_before:
        return kept
    found = find_concepts(
        concepts.findings.run,
        classifier(),
        _targets(concepts.findings, of),
        asked,
        off=isinstance(of, Claim),
        progress=progress,
    )
    return concepts.write(about, asked_before, found.records(about))


def name_concepts(concepts: Concepts, kept: Kept, namer: Namer, reader: PatchReader) -> Kept:
    """Concepts with the nearest words of their patches, kept with them; as they are where all have been named so.

    Named so is: by the same network, out of the same list.
    """
    if all(_by(namer).items() <= concept.words.items() for concept in kept.concepts):
        return kept
    named = [replace(concept, words=_words(namer, reader, concept.targets)) for concept in kept.concepts]
    return concepts.write(kept.about, kept.asked, named)


def _words(namer: Namer, reader: PatchReader, targets: Any) -> dict[str, Any]:
    return _by(namer) | {"nearest": [asdict(word) for word in namer.name(reader, targets)]}


def _by(namer: Namer) -> dict[str, str]:
    """The network, and a digest of the list."""
    return {"by": namer.source, "list": hashlib.sha256("\n".join(namer.words).encode()).hexdigest()[:16]}


def _targets(findings: Findings, of: Claim | str) -> pd.DataFrame:
    if isinstance(of, Claim):
        return targets_of_claim(findings, of)
    return targets_of_class(findings, class_asked(findings.run, of))


def _earlier(concepts: Concepts, about: About) -> Kept | None:
    try:
        return concepts.of(about)
    except RunError:
        return None
