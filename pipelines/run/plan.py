"""A run that is laid out, or gone on with: what its workers are told, and what run.json says."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from audit.attribution import Method, make_method
from audit.attribution.inside.receptive import receptive_side
from audit.attribution.targets import GIVEN, slot_count
from audit.errors import RunError
from audit.models import Classifier, ModelSpec, weights_fingerprint
from audit.progress import Noted, Progress, silent
from audit.store import Run, layout
from audit.store.storage.objects import Place, address, location
from pipelines.run.collection import Collection, open_collection, refuse_changed
from pipelines.run.config import USUAL_METHOD, RunConfig, default_shard_size
from pipelines.run.shards.attribute import encoding_of
from pipelines.run.shards.shard import Task


@dataclass(frozen=True)
class Plan:
    """A run that was begun or gone on with, what its workers are told, and the model that they will load.

    Attributes:
        resumed: whether it was there before.
    """

    run: Run
    task: Task
    resumed: bool
    classifier: Classifier


def prepare(
    manifest_path: Place,
    out: Place,
    spec: ModelSpec,
    config: RunConfig,
    set_aside: bool = False,
    progress: Progress = silent,
) -> Plan:
    """Lay out a new run, or check that an existing one can go on as asked.

    Args:
        manifest_path: of a manifest, or of a folder of images.
        set_aside: rename an existing run that differs and begin anew, instead of refusing.

    Raises:
        RunError: the run at `out` has another configuration, model or manifest.
    """
    with open_collection(location(manifest_path), out, spec, progress) as collection:
        return _prepared(collection, out, spec, config, set_aside, progress)


def _prepared(
    collection: Collection, out: Place, spec: ModelSpec, config: RunConfig, set_aside: bool, progress: Progress
) -> Plan:
    classifier, config = collection.classifier, collection.suited(config)
    explain = _method(classifier, config)
    slots = config.detections if config.roles[0] in GIVEN else slot_count(config.roles, collection.most_labels)
    task = Task(address(out), spec, config)
    if (location(out) / layout.RUN_JSON).exists():
        run = Run.open(out)
        kept = replace(config, shard_size=config.shard_size or run.record["shard_size"])
        if not set_aside:
            refuse_changed(run, collection, progress)
        changed = run.differences(_record(kept, spec, explain, slots), collection.manifest.fingerprint)
        if not changed:
            return Plan(run, task, True, classifier)
        _make_room(run, changed, set_aside)
    progress(Noted(f"laying out {out}"))
    fresh = _with_shard_size(config, len(collection.manifest), explain, slots)
    record = _record(fresh, spec, explain, slots) | {"receptive_side": receptive_side(classifier)}
    run = Run.create(out, collection.manifest, record)
    return Plan(run, task, False, classifier)


def _method(classifier: Classifier, config: RunConfig) -> Method:
    try:
        return make_method(config.method or USUAL_METHOD, classifier, options=dict(config.options))
    except ValueError as error:  # an option's value
        raise RunError(str(error)) from None


def _make_room(run: Run, changed: Sequence[str], set_aside: bool) -> None:
    """Rename a run that was begun differently to the first free PATH.1, PATH.2 ..., if that was asked."""
    if not set_aside:
        differently = f"{run.path} was begun differently ({'; '.join(changed)})"
        raise RunError(f"{differently}; choose another --out, or --set-aside to rename it")
    if not isinstance(run.path, Path):
        raise RunError(f"{run.path} cannot be renamed, for it lies in a bucket; choose another --out")
    with run.locked():
        pass  # a run in use stays where it is
    shutil.move(run.path, next(path for path in _numbered(run.path) if not path.exists()))


def _with_shard_size(config: RunConfig, samples: int, explain: Method, slots: int) -> RunConfig:
    """The configuration of a new run, its shard size chosen where the user left it open."""
    size = default_shard_size(samples, sum(explain.cost(slots)), slots * math.prod(explain.grid))
    return replace(config, shard_size=config.shard_size or size)


def _record(config: RunConfig, spec: ModelSpec, explain: Method, slots: int) -> dict[str, Any]:
    """What run.json says of a run, beside what `Run.create` adds."""
    return {
        "config": config.record(),
        "model": _describe_model(explain.classifier, explain.head),
        "source": asdict(spec),
        "grid": list(explain.grid),
        "slots": slots,
        "encoding": encoding_of(explain),
        "cost": explain.cost(slots)._asdict(),
        "shard_size": config.shard_size,
    }


def _describe_model(classifier: Classifier, head: str | None) -> dict[str, Any]:
    preprocessing = classifier.preprocessing
    return {
        "fingerprint": weights_fingerprint(classifier.module),
        "layer": classifier.layer,
        "head": head,
        "activation": classifier.activation,
        "fit": asdict(preprocessing.fit),
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "outputs": [list(outputs) for outputs in classifier.mapping.outputs],
        **classifier.details,
    }


def _numbered(path: Path) -> Iterator[Path]:
    """PATH.1, PATH.2 ..."""
    return (path.with_name(f"{path.name}.{number}") for number in count(1))
