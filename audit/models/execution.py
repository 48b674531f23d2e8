"""How a classifier's network is run: in which precision, and compiled or not. Its owner's module stays as it is."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audit.models.classifier import Classifier

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Execution:
    """How to run a network.

    Raises:
        ValueError: an unknown precision.

    Attributes:
        precision: of weights and activations, one of `PRECISIONS`; gradients at a layer and outputs are float32.
        compiled: by `torch.compile`, weights frozen in. Only passes that keep no graph are compiled.
    """

    precision: str = "float32"
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"Expected a precision among {', '.join(PRECISIONS)}, got {self.precision!r}")


PLAIN = Execution()


class _InPrecision(nn.Module):
    """A network in another precision; takes and gives float32."""

    def __init__(self, inner: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner = inner
        self._dtype = dtype

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.inner(images.to(self._dtype))
        return outputs.float()


def in_precision(classifier: Classifier, precision: str) -> Classifier:
    """The classifier itself in float32, else with a copy of its module in the precision asked."""
    dtype = PRECISIONS[precision]
    if dtype == torch.float32:
        return classifier
    inner = copy.deepcopy(classifier.module).to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return replace(classifier, module=_InPrecision(inner, dtype), layer=f"inner.{classifier.layer}")


class Compiled:
    """A function of a batch, compiled for the shape of the first; smaller batches are filled up to it.

    Where compiling fails, as without a C++ compiler, the function runs as it is from then on, with one warning.
    """

    def __init__(self, run: Callable[[Tensor], Any]) -> None:
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it would miss CUDA, on every machine
        self._plain = run
        self._compiled: Callable[[Tensor], Any] | None = None
        self._failed = False
        self._size = 0

    def __call__(self, images: Tensor) -> Any:
        """What the function gives for images [B, 3, H, W]: a tensor or a tuple of tensors, batch first."""
        if self._failed:
            return self._plain(images)
        self._size = max(self._size, len(images))
        missing = self._size - len(images)
        full = F.pad(images, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else images
        try:
            if self._compiled is None:
                self._compiled = torch.compile(self._plain, dynamic=False, options={"freezing": True})
            outputs = self._compiled(full.contiguous(memory_format=torch.channels_last))
        except torch.cuda.OutOfMemoryError:  # a smaller batch may fit, and then sets the size anew
            self._size = 0
            raise
        except Exception as error:  # the compiler's errors have no common ancestor; a model's own appear again
            self._failed = True
            outputs = self._plain(images)
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            warnings.warn(f"Running without torch.compile: {reason}", RuntimeWarning, stacklevel=2)
            return outputs
        return outputs[: len(images)] if isinstance(outputs, Tensor) else tuple(part[: len(images)] for part in outputs)


def use_threads(count: int | None = None) -> None:
    """Let torch use so many threads, or with None every core; for work that runs in one process alone."""
    torch.set_num_threads(count or max(torch.get_num_threads(), torch.multiprocessing.cpu_count()))
