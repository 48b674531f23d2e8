"""What a model is said to be before it is loaded, and what can be refused by that: torch takes seconds to load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audit.datasets.classes import imagenet_names
from audit.errors import AuditError, ModelError
from audit.store import Run
from audit.trusted import STATE_SUFFIXES, absolute_name, is_code


def source_of_run(run: Run, model: str | None = None) -> dict[str, Any]:
    """The fields of the `ModelSpec` that a run was made with, with the user's name for the model.

    Args:
        model: the model named again by the user, as `camaudit run --model` takes it.

    Raises:
        ModelError: the model is code that was not named again: code that only a store names is never run.
    """
    recorded: Mapping[str, Any] = run.record["source"]
    # JSON made lists of tuples.
    source: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in recorded.items()
    }
    named = absolute_name(model) if model else None
    arch = source.get("arch")
    if named and named not in (source["model"], arch):
        source["model"] = named
    weights_only = Path(source["model"]).suffix in STATE_SUFFIXES
    for name in (None if weights_only else source["model"], arch):
        if name and is_code(name) and name != named:
            raise ModelError(f"{run.path} was made with code, {name!r}; if you trust it, allow it with --model {name}")
    return source


def check_class(name: str | None, model: str, weights: str | None) -> None:
    """Refuse a class that a model does not name, where its name alone tells its classes.

    Raises:
        AuditError: the class is unknown.
    """
    of_imagenet = (weights or "").partition(":")[0].startswith(("random", "IMAGENET1K_", "DEFAULT"))
    known = imagenet_names() if of_imagenet and model.startswith("torchvision:") else ()
    if name is not None and known:
        class_index(known, name)


def class_index(classes: tuple[str, ...], name: str) -> int:
    """Which of a model's classes has a name.

    Raises:
        AuditError: none has.
    """
    if name not in classes:
        some = ", ".join(classes[:20])
        raise AuditError(f"Expected a class that the model names, as {some}; got {name!r}")
    return classes.index(name)
