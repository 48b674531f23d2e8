"""JPEGs decoded by a GPU, with nvJPEG as torchvision binds it, and brought back to the host.

Its pixels are some levels from those of the CPU's decoder, so maps are other ones. A run says which it was asked for,
and of each shard how many images this one decoded and how many it refused, not which.
It takes lists of bytes in the CPU's memory, turns no image by its EXIF orientation, and gives nothing of a list with
one that it refuses. Here such a list is tried one by one. One that the GPU has no memory for is halved: what is refused
does not depend on how full it is. torchvision calls its decoders deprecated since 0.29.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from audit.errors import ModelError
from audit.models.device import Halving

_HALVING = Halving()
"""Of this process, apart from that of its network's batches."""
_NO_MEMORY = re.compile(r"out of memory|Failed to [^:\n]*: 5\b")
"""In what torchvision makes of torch's OutOfMemoryError, and of nvJPEG's status 5 (NVJPEG_STATUS_ALLOCATOR_FAILURE).

It decodes inside of one `try`, and makes a plain RuntimeError of all that is raised there.
"""


class NvJpeg:
    """Decodes on a GPU, on a stream of its own: what it waits for is not what the network computes.

    Attributes:
        decoded: how many images it has.
        refused: how many it was given and has not.

    Raises:
        ModelError: the device is no GPU, or torchvision has no decoder for it.
    """

    def __init__(self, device: torch.device) -> None:
        refuse_others(device)
        self._device, self._counting = device, threading.Lock()
        self.decoded = self.refused = 0
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        try:
            with self._beside():
                self._together([_smallest()])
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"torchvision does not decode on this GPU ({reason}); leave --jpeg-decoder out") from None

    def __call__(self, files: Sequence[bytes]) -> list[NDArray[np.uint8] | None]:
        """Images [H, W, 3] as stored; None of what it refuses.

        Raises:
            torch.cuda.OutOfMemoryError: there is no memory for a single image.
        """
        if not files:
            return []
        with self._beside():
            parts = _HALVING(lambda part: self._decode(files[part]), len(files))
        images = [image for part in parts for image in part]
        refused = sum(image is None for image in images)
        with self._counting:
            self.decoded += len(images) - refused
            self.refused += refused
        return images

    def _decode(self, files: Sequence[bytes]) -> list[NDArray[np.uint8] | None]:
        try:
            return [*self._together(files)]
        except RuntimeError as error:
            if _NO_MEMORY.search(str(error)):  # says nothing of the files
                raise torch.cuda.OutOfMemoryError(str(error).splitlines()[0]) from None
            # Of one of them, but nobody says which.
            return [None] if len(files) == 1 else [image for data in files for image in self._decode([data])]

    def _together(self, files: Sequence[bytes]) -> list[NDArray[np.uint8]]:
        import torchvision.io  # here, for a run without it has no use for the second that it takes

        # A copy: torch takes no memory that is read-only.
        encoded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
        there: list[torch.Tensor] = torchvision.io.decode_jpeg(encoded, "RGB", device=self._device)
        return [image.permute(1, 2, 0).contiguous().cpu().numpy() for image in there]

    def _beside(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._stream)


def refuse_others(device: torch.device) -> None:
    """See that a device is a GPU, without the memory that a decoder takes on it.

    Raises:
        ModelError: it is not.
    """
    if device.type != "cuda":
        raise ModelError(f"Expected a GPU for --jpeg-decoder nvjpeg, got the device {device.type}; leave it out")


def _smallest() -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    return file.getvalue()
