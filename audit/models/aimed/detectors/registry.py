"""The families of detectors that can be audited, by the package that their networks are made by."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from audit.models.aimed.detectors.family import Family


def _of_torchvision() -> tuple[type[Family], ...]:
    from audit.models.aimed.detectors.dense import FCOSs, RetinaNets, SSDs
    from audit.models.aimed.detectors.rcnn import RCNN

    return RCNN, RetinaNets, FCOSs, SSDs


def _of_transformers() -> tuple[type[Family], ...]:
    from audit.models.aimed.detectors.queries import ChosenQueries, FixedQueries

    return FixedQueries, ChosenQueries


def _of_ultralytics() -> tuple[type[Family], ...]:
    from audit.models.aimed.detectors.yolo import YOLO

    return (YOLO,)


PACKAGES: dict[str, Callable[[], tuple[type[Family], ...]]] = {
    "torchvision.models.detection": _of_torchvision,
    "transformers": _of_transformers,
    "ultralytics": _of_ultralytics,
}
"""Package -> its families, imported where a network of it is met: others need not wait for it."""


def family_of(module: nn.Module) -> Family | None:
    """The module as one of a family; None where it is no detector, or of no family that is known."""
    made_by = {kind.__module__ for kind in type(module).__mro__}
    for package, families in PACKAGES.items():
        if any(name == package or name.startswith(f"{package}.") for name in made_by):
            return next((family(module) for family in families() if family.takes(module)), None)
    return None
