"""A second device without a second device: tensors that say they lie on `meta`, while the CPU keeps their numbers.

What a GPU refuses is refused: an operation that joins tensors of both devices, a NumPy array of what lies there. What a
GPU makes wait is counted: every number or tensor that the host reads back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

from audit.models.device import Upload
from audit.store import Run, layout
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards.shard import Stopped, audit_shard

THERE = torch.device("meta")
_aten = torch.ops.aten
_READS = (_aten._local_scalar_dense, _aten.nonzero, _aten.equal)
_COPIES = (_aten._to_copy, _aten.to, _aten.copy_)


class There(Tensor):
    """A tensor on the second device.

    Attributes:
        held: its numbers, on the CPU.
    """

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined,no-any-return]
            cls, held.shape, **layout, device=THERE, requires_grad=held.requires_grad
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(
        cls,
        operation: Any,
        _types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """An operation whose mode was left: a hook of autograd, say."""
        return _run(operation, args, dict(kwargs or {}), [])


class _Operations(TorchDispatchMode):
    """Runs each operation where its tensors lie, and notes the reads."""

    def __init__(self, reads: list[str]) -> None:
        super().__init__()
        self._reads = reads

    def __torch_dispatch__(
        self,
        operation: Any,
        _types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _run(operation, args, dict(kwargs or {}), self._reads)


class _Constants(TorchFunctionMode):
    """Makes tensors of lists on the CPU first: torch itself would not keep numbers for `meta`. And lists of tensors."""

    def __init__(self, reads: list[str]) -> None:
        super().__init__()
        self._reads = reads

    def __torch_function__(
        self,
        function: Callable[..., Any],
        _types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor) and torch.device(given.get("device") or "cpu") == THERE:
            return function(*args, **given | {"device": "cpu"}).to(THERE)
        if function is Tensor.tolist and isinstance(args[0], There):
            self._reads.append("tolist")
            return args[0].held.tolist()
        if function in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], There):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            args = (args[0], tuple(_index(part) for part in index), *args[2:])
        return function(*args, **given)


def _index(part: Any) -> Any:
    return torch.tensor(part, dtype=None if part else torch.long).to(THERE) if isinstance(part, list) else part


class SecondDevice:
    """While it is entered, `meta` is a device that computes. It holds for the thread that entered it.

    Attributes:
        reads: names of the operations that brought numbers back to the host.
    """

    def __init__(self) -> None:
        self.reads: list[str] = []

    def __enter__(self) -> SecondDevice:
        self._modes = ExitStack()
        self._modes.enter_context(_Operations(self.reads))
        self._modes.enter_context(_Constants(self.reads))
        return self

    def __exit__(self, *error: object) -> None:
        self._modes.close()


def _run(operation: Any, args: Sequence[Any], kwargs: dict[str, Any], reads: list[str]) -> Any:
    """Run an operation where its tensors lie, or where it is told to put its result.

    Raises:
        AssertionError: its tensors lie on two devices.
    """
    name = operation.overloadpacket
    given = goal = _is_there(name, args, kwargs)
    if kwargs.get("device") is not None:
        goal, kwargs["device"] = torch.device(kwargs["device"]) == THERE, torch.device("cpu")
    elif name is _aten.copy_:
        goal = isinstance(args[0], There)
    if given and (name in _READS or (name in _COPIES and not goal)):
        reads.append(str(name))
    held_args, held_kwargs = tree_map_only(There, lambda tensor: tensor.held, (tuple(args), kwargs))
    result = operation(*held_args, **held_kwargs)
    if not goal:
        return result
    placed = tree_map_only(Tensor, lambda tensor: tensor if isinstance(tensor, There) else There(tensor), result)
    return return_and_correct_aliasing(operation, args, kwargs, placed)


def _is_there(name: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operation's tensors lie on the second device; a number without axes may lie on the CPU."""
    tensors = [part for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)]
    places = {isinstance(part, There) for part in tensors if part.ndim or isinstance(part, There)}
    assert len(places) < 2 or name in _COPIES, f"{name} on both devices"
    return True in places


@contextmanager
def on_second_device(patch: pytest.MonkeyPatch) -> Iterator[SecondDevice]:
    """What is sent to a device by other threads too goes to the second one."""
    device, send = SecondDevice(), Upload.send

    def sent(self: Upload, pixels: Any) -> Tensor:
        with SecondDevice():
            return send(self, pixels)

    with patch.context() as patched, device:
        patched.setattr(Upload, "send", sent)
        # In inference mode operations would come undecomposed.
        patched.setattr(torch, "inference_mode", lambda mode=True: torch.no_grad() if mode else nullcontext())
        yield device


def audit_again(plan: Plan, out: Path, patch: pytest.MonkeyPatch) -> tuple[Run, list[str]]:
    """The run of a plan made again on the second device, and what was read back meanwhile."""
    other = prepare(str(plan.run.path / layout.MANIFEST), out, plan.task.spec, plan.task.config)
    task = replace(other.task, device=str(THERE))
    with on_second_device(patch) as device:
        for shard in other.run.shards:
            end = audit_shard(task, shard)
            assert not isinstance(end, Stopped), end
    return other.run, device.reads


def assert_same_tables(one: Run, other: Run) -> None:
    """All that two runs keep of their shards is the same, but for rounding."""
    for shard in one.shards:
        expected, got = (run.maps(shard.start, shard.stop).astype(np.float32) for run in (one, other))
        np.testing.assert_allclose(got, expected, atol=1e-3)
        for table in layout.PARTS:
            if one.part(table, shard) is not None:
                frames = [run.read(table, shard).to_pandas() for run in (one, other)]
                pd.testing.assert_frame_equal(*frames, rtol=1e-4, atol=1e-5)
