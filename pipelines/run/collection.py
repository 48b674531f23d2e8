"""What is audited: a manifest, or a plain folder, which is indexed on the way. Where neither names classes, the model
does."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from audit.datasets import Manifest, ManifestFile, read_folder
from audit.datasets.classes import preview
from audit.datasets.manifest_file import most_labels
from audit.errors import RunError, UnmappedError
from audit.images.locations import is_url
from audit.models import Classifier, ModelSpec, load_classifier
from audit.progress import Noted, Progress, silent
from audit.store import Run, layout
from audit.store.objects import Place
from audit.wording import number
from pipelines.run.config import RunConfig
from pipelines.run.folders import check_folder

UNLABELLED_ROLES = ("predicted", "runner_up")
"""Targets where no sample has a label, unless others are asked for."""


@dataclass(frozen=True)
class Collection:
    """A manifest's head, what is known of its samples, and a classifier that answers for its classes.

    Attributes:
        path: as it was named.
        manifest: of a folder in memory; of a file on the disk, of which no row is held.
        most_labels: of any sample.
    """

    path: Path
    manifest: Manifest | ManifestFile
    most_labels: int
    classifier: Classifier

    def suited(self, config: RunConfig) -> RunConfig:
        """The configuration, with the targets of a collection without labels where the usual ones were asked for."""
        unlabelled = not self.most_labels and config.roles == RunConfig.roles
        return replace(config, roles=UNLABELLED_ROLES) if unlabelled else config


def open_collection(path: Path, out: Place, spec: ModelSpec, progress: Progress = silent) -> Collection:
    """Open a manifest or index a folder, and load the classifier.

    Args:
        out: directory of the run, which may not lie in the folder.

    Raises:
        ManifestError: there is no manifest, or the folder cannot be indexed.
        ModelError: see `load_classifier`.
    """
    folder = path.is_dir()
    if folder:
        check_folder(path, out)
    manifest: Manifest | ManifestFile = read_folder(path, progress=progress) if folder else ManifestFile.open(path)
    progress(Noted(f"loading {spec.model}"))
    strangers: tuple[str, ...] = ()
    try:
        classifier = load_classifier(spec, classes=manifest.classes or None)
    except UnmappedError:
        if not folder:
            raise
        strangers, manifest = manifest.classes, read_folder(path, classes=(), progress=progress)
        classifier = load_classifier(spec)
    if not manifest.classes:
        manifest = manifest.named(classifier.classes)
    labels = most_labels(manifest.tables(["labels"]))
    if folder:
        progress(Noted(_taken(path, manifest, labels, strangers, spec)))
    return Collection(path, manifest, labels, classifier)


def refuse_changed(run: Run, collection: Collection, progress: Progress = silent) -> None:
    """Refuse a folder that has not the images that the run began with; tell of those written since.

    Raises:
        RunError: images have come or gone.
    """
    if not collection.path.is_dir():
        return
    kept = run.manifest()
    if kept.fingerprint == collection.manifest.fingerprint:
        rewritten = _written_since(kept, run.record["created"])
        if rewritten:
            since = f"images of {collection.path} that were written since the run began: {number(rewritten)}"
            progress(Noted(f"{since}; those that are audited stay as they were"))
        return
    before, now = (_ids(manifest) for manifest in (kept, collection.manifest))
    changes = [_some(now - before, "came"), _some(before - now, "went")]
    if before == now:
        return  # the classes differ, or the labels; that is told as any other difference
    raise RunError(
        f"{collection.path} has changed since {run.path} began: {' and '.join(filter(None, changes))}; audit it as it "
        "is now with another --out or --set-aside, or go on with the images it began with: name "
        f"{run.path / layout.MANIFEST} instead of the folder"
    )


def _taken(
    path: Path, manifest: Manifest | ManifestFile, labels: int, strangers: tuple[str, ...], spec: ModelSpec
) -> str:
    """What was taken from a folder, in a line."""
    images = f"{path}: {number(len(manifest))} images"
    if labels:
        return f"{images} in {len(manifest.classes)} class folders ({preview(manifest.classes)}); no masks"
    why = f", for none of its folders is a class of the model ({preview(strangers)})" if strangers else ""
    named = "named by --classes" if spec.classes else "as the model names them"
    if manifest.classes[:1] == ("class 0",):
        named = "which have no names; give them with --classes FILE"
    return f"{images} without labels{why}; no masks; {len(manifest.classes)} classes, {named}"


def _ids(manifest: Manifest | ManifestFile) -> set[str]:
    return {name for table in manifest.tables(["id"]) for name in table["id"].to_pylist()}


def _some(ids: set[str], how: str) -> str:
    return f"{number(len(ids))} {how} ({preview(sorted(ids), 3)})" if ids else ""


def _written_since(manifest: Manifest, moment: str) -> int:
    """Images whose file is younger than a moment in whole seconds."""
    began = datetime.fromisoformat(moment).timestamp() + 1
    return sum(_mtime(sample.image) > began for sample in manifest if not is_url(sample.image))


def _mtime(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
