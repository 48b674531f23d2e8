"""Devices without a GPU: what is chosen, what one transfer brings, what happens where memory runs out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audit.errors import ModelError
from audit.models.device import Halving, Upload, choose_device, fetch, pack, unpack, worker_device
from audit.models.execution import Compiled


def test_auto_is_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert choose_device("auto").type == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_refused_in_one_line() -> None:
    with pytest.raises(ModelError, match=r"^Expected --device to be there, as cpu or cuda, got 'cuda': ") as error:
        choose_device("cuda")
    assert "\n" not in str(error.value)


def test_workers_of_one_machine_share_its_gpus_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(worker_device("auto", index)) for index in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert str(worker_device("auto", None)) == "cuda"  # somebody else's worker takes what it sees
    assert str(worker_device("cpu", 1)) == "cpu"


def test_tensors_of_all_widths_come_back_from_one_buffer_as_they_were() -> None:
    tensors = {
        "flags": torch.tensor([True, False, True]),
        "ids": torch.tensor([[3, -1]]),
        "maps": torch.randn(2, 3, 4, 5).permute(0, 1, 3, 2),
        "halves": torch.tensor([0.5, torch.inf], dtype=torch.float16),
        "none": torch.zeros(0, 4),
        "same": torch.zeros(()).expand(2, 3),
    }
    packed = pack(tensors)
    assert packed.ndim == 1
    for arrays in (unpack(packed, tensors), fetch(tensors)):
        for name, tensor in tensors.items():
            assert arrays[name].dtype == tensor.numpy().dtype
            np.testing.assert_array_equal(arrays[name], tensor.numpy())


def test_a_batch_arrives_as_it_was_sent() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    upload = Upload(torch.device("cpu"))
    np.testing.assert_array_equal(upload.receive(upload.send(pixels)).numpy(), pixels)


def test_where_memory_runs_out_the_batch_is_halved_for_good_and_said_once() -> None:
    halving, tried = Halving(), []

    def work(places: slice) -> list[int]:
        batch = list(range(20))[places]
        tried.append(len(batch))
        if len(batch) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return batch

    with pytest.warns(RuntimeWarning, match=r"^No memory on the GPU for 10 images at once: halving$") as said:
        parts = halving(work, 10)
    assert [item for part in parts for item in part] == list(range(10))
    assert len(said) == 1
    assert tried == [10, 5, 2, 2, 2, 2, 2]
    assert halving(work, 4) == [[0, 1], [2, 3]]


def test_where_there_is_no_memory_for_one_image_the_error_remains() -> None:
    def work(_places: slice) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.warns(RuntimeWarning, match="for 2 images"), pytest.raises(torch.cuda.OutOfMemoryError):
        Halving()(work, 2)


def test_a_compiled_network_whose_batch_did_not_fit_is_compiled_for_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def short_of_memory(images: torch.Tensor) -> torch.Tensor:
        tried.append(len(images))
        if len(images) > 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return images * 2

    monkeypatch.setattr(torch, "compile", lambda run, **_options: run)
    run, images = Compiled(short_of_memory), torch.randn(8, 3, 2, 2)
    with pytest.warns(RuntimeWarning, match="halving") as said:
        halves = Halving()(lambda places: run(images[places]), 8)
    assert len(said) == 1  # not that it runs without the compiler
    assert tried == [8, 4, 4]
    torch.testing.assert_close(torch.cat(halves), images * 2)
    run(images[:3])
    assert tried[-1] == 4


def test_of_two_threads_that_ran_out_of_memory_at_once_the_smaller_batch_counts() -> None:
    halving = Halving()

    def work(places: slice) -> int:
        count = places.stop - places.start
        if count > 2:
            halving.most = 2  # another thread was there first
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return count

    assert halving(work, 8) == [2, 2, 2, 2]
