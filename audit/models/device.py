"""Where a network runs: on the CPU, or on a GPU that is fed from pinned memory and asked for results once a batch.

What waits for a GPU keeps it idle. So nothing on the way of a batch reads a number back, save `fetch`, which brings
all that the host wants in one transfer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audit.errors import ModelError

CPU = torch.device("cpu")
Result = TypeVar("Result")


def choose_device(name: str) -> torch.device:
    """The device of this name; `auto` is a GPU where there is one, else the CPU.

    Raises:
        ModelError: torch does not know it, or this machine has none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and torch.cuda.is_available():  # without the memory that a first tensor takes on it
        return torch.device("cuda")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise ModelError(f"Expected --device to be there, as cpu or cuda, got {name!r}: {reason}") from None
    return torch.device(name)


def worker_device(name: str, index: int | None) -> torch.device:
    """A worker's device: of several GPUs that it sees, the one of its index among the workers of its machine.

    Args:
        index: None for a worker that somebody else has started, who says by CUDA_VISIBLE_DEVICES what it sees.

    Raises:
        ModelError: as `choose_device`.
    """
    device = choose_device(name)
    if device.type != "cuda" or device.index is not None or index is None:
        return device
    return torch.device("cuda", index % torch.cuda.device_count())


def move(module: nn.Module, device: torch.device) -> None:
    """Move a module to a device, where float32 stays float32: TF32 would round what the CPU does not."""
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    module.to(device)


def device_name(device: torch.device) -> str:
    """What a device is called in records: `cpu`, or the GPU's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


class Upload:
    """Batches of bytes on their way to a device: from pinned memory, on a stream beside the one that computes.

    Two steps, so that a batch travels while the one before it is computed: `send`, by any thread, then `receive`, by
    the one that computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def send(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Begin to copy [B, S, S, 3] to the device."""
        batch = torch.from_numpy(pixels)
        if self._stream is None:
            return batch.to(self.device)
        with torch.cuda.stream(self._stream):
            return batch.pin_memory().to(self.device, non_blocking=True)

    def receive(self, batch: Tensor) -> Tensor:
        """The batch, for the stream that computes to use as soon as it is there."""
        if self._stream is not None:
            computing = torch.cuda.current_stream(self.device)
            computing.wait_stream(self._stream)
            batch.record_stream(computing)  # its memory is not given away before that stream is done with it
        return batch


def fetch(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Tensors of one device as arrays, all in one transfer: the only place where the host waits for a batch."""
    if all(tensor.device == CPU for tensor in tensors.values()):
        return {name: tensor.numpy() for name, tensor in tensors.items()}
    return unpack(pack(tensors).cpu(), tensors)


def pack(tensors: Mapping[str, Tensor]) -> Tensor:
    """The bytes of all tensors, one after another: of the widest numbers first, so that all are aligned."""
    return torch.cat([tensor.contiguous().flatten().view(torch.uint8) for _, tensor in _widest_first(tensors)])


def unpack(packed: Tensor, tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Arrays of the types and shapes of those tensors, from what `pack` made of them."""
    arrays, start = {}, 0
    for name, tensor in _widest_first(tensors):
        size = tensor.numel() * tensor.element_size()
        arrays[name] = packed[start : start + size].view(tensor.dtype).view(tensor.shape).numpy()
        start += size
    return arrays


def _widest_first(tensors: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    return sorted(tensors.items(), key=lambda item: -item[1].element_size())


class Halving:
    """Runs work on batches, in halves from then on where a GPU has no memory for the whole.

    Attributes:
        most: images a batch that fit; None while nothing has failed to.
    """

    def __init__(self) -> None:
        self.most: int | None = None

    def __call__(self, work: Callable[[slice], Result], count: int) -> list[Result]:
        """What the work gives for slices of a batch of `count`, in order: one slice, as long as memory suffices.

        Raises:
            torch.cuda.OutOfMemoryError: there is no memory for a single image.
        """
        results: list[Result] = []
        start = 0
        while start < count:
            stop = min(start + (self.most or count), count)
            try:
                results.append(work(slice(start, stop)))
            except torch.cuda.OutOfMemoryError:
                if stop - start == 1:
                    raise
                self._halve(stop - start)
                continue
            start = stop
        return results

    def _halve(self, tried: int) -> None:
        if self.most is None:
            warnings.warn(f"No memory on the GPU for {tried} images at once: halving", RuntimeWarning, stacklevel=4)
        self.most = min(self.most or tried, tried // 2)  # of two threads that failed at once the smaller counts
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


HALVING = Halving()
"""Of this process: what once did not fit its GPU is not tried again."""
