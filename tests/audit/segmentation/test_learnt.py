"""A head that is trained on confident heat: what it is trained on, what it does, and its file."""

from __future__ import annotations

from math import exp
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from audit.errors import ModelError
from audit.segmentation.refine import parse_steps
from audit.segmentation.refine.learnt import FigureHead, Seeds, Training, load_head, save_head, train_head

SIZE = (16, 20)
Layers = list[NDArray[np.float32]]
LONG = Training(epochs=30)


def scene(rng: np.random.Generator, seeded: bool = True) -> tuple[NDArray[np.float32], Layers, NDArray[np.bool_]]:
    """Heat [1, h, w] of half of an object alone, two layers that tell the object in one channel, and where it lies."""
    top, left = rng.integers(0, 8), rng.integers(0, 12)
    inside = np.zeros(SIZE, bool)
    inside[top : top + 8, left : left + 8] = True
    layers = [rng.normal(0, 1, (4, *SIZE)).astype(np.float32), rng.normal(0, 1, (3, *SIZE)).astype(np.float32)]
    layers[0][2][inside] += 4
    heat = np.where(inside, 0.4, 0.05).astype(np.float32)[None]
    if seeded:
        heat[0, top : top + 8, left : left + 4] = 1
    return heat, layers, inside


def trained(rng: np.random.Generator, training: Training = LONG, images: int = 12) -> FigureHead:
    seeds = Seeds(training, images)
    for _ in range(images):
        heat, layers, _ = scene(rng)
        seeds.add(heat, layers)
    return train_head(seeds)


def test_what_is_confident_in_some_images_helps_where_another_is_in_doubt(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    """An image all of whose object is in doubt: its heat is 0.4, as that of a place beside it."""
    save_head(trained(rng), tmp_path / "head.pt")
    (step,) = parse_steps(f"learnt:checkpoint={tmp_path / 'head.pt'}")
    _, layers, inside = scene(rng, seeded=False)
    doubtful = np.full((1, *SIZE), 0.4, np.float32)
    refined = step(doubtful, np.zeros((*SIZE, 3), np.uint8), layers)[0]
    assert refined[inside].mean() > 0.3
    assert refined[~inside].mean() < 0.1


def test_heat_is_multiplied_by_the_heads_chance(rng: np.random.Generator, tmp_path: Path) -> None:
    head = trained(rng, Training(epochs=2))
    save_head(head, tmp_path / "head.pt")
    (step,) = parse_steps(f"learnt:checkpoint={tmp_path / 'head.pt'}:strength=0.7")
    heat, layers, _ = scene(rng)
    refined = step(heat, np.zeros((*SIZE, 3), np.uint8), layers)[0]
    state = {name: values.double().numpy() for name, values in head.state_dict().items()}
    expected = np.zeros(SIZE)
    for y, x in np.ndindex(SIZE):
        values = np.concatenate([layer[:, y, x] for layer in layers])
        hidden = state["hidden.weight"] @ ((values - state["mean"]) / state["scale"]) + state["hidden.bias"]
        bent = [value if value > 0 else exp(value) - 1 for value in hidden]
        logit = float(state["output.weight"][0] @ np.array(bent) + state["output.bias"][0])
        expected[y, x] = heat[0, y, x] * (1 / (1 + exp(-logit))) ** 0.7
    np.testing.assert_allclose(refined, expected / expected.max() * heat.max(), rtol=1e-4, atol=1e-6)


def test_positions_in_doubt_are_not_learnt_from(rng: np.random.Generator) -> None:
    training = Training(high=0.9, low=0.1, positions=10_000)
    seeds = Seeds(training, 1)
    heat, layers, inside = scene(rng)
    seeds.add(heat, layers)
    activations, figure = seeds.result()
    assert figure.sum() == (heat[0] >= 0.9).sum()
    assert (~figure).sum() == (~inside).sum()
    drawn = {tuple(row) for row in activations.numpy().tolist()}
    for y, x in np.ndindex(SIZE):
        values = tuple(np.concatenate([layer[:, y, x] for layer in layers]).tolist())
        assert (values in drawn) == (heat[0, y, x] >= 0.9 or heat[0, y, x] <= 0.1)


def test_a_collection_of_any_size_is_learnt_from_in_bounded_memory(rng: np.random.Generator) -> None:
    seeds = Seeds(Training(most=100), images=10)
    for _ in range(10):
        heat, layers, _ = scene(rng)
        seeds.add(heat, layers)
    assert len(seeds.result()[0]) == 100


def test_an_image_without_classes_is_ground(rng: np.random.Generator) -> None:
    seeds = Seeds(Training(), 2)
    heat, layers, _ = scene(rng)
    seeds.add(heat, layers)
    before = len(seeds.result()[1])
    seeds.add(heat[:0], layers)
    assert not seeds.result()[1][before:].any()
    assert len(seeds.result()[1]) == before + 128


def test_the_same_seeds_give_the_same_head_and_leave_the_generator(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    first, second = (trained(np.random.default_rng(3), Training(epochs=2)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    save_head(second, tmp_path / "head.pt")
    read = load_head(tmp_path / "head.pt")
    assert read.channels == (4, 3)
    for name, values in first.state_dict().items():
        assert torch.equal(values, read.state_dict()[name])


def test_heat_of_one_kind_teaches_nothing(rng: np.random.Generator) -> None:
    _, layers, _ = scene(rng)
    for heat in (np.ones((1, *SIZE), np.float32), np.zeros((1, *SIZE), np.float32)):
        seeds = Seeds(Training(), 1)
        seeds.add(heat, layers)
        with pytest.raises(
            ModelError, match=r"^Expected heat of 0.55 and more and of 0.2 and less to learn from, got "
        ):
            train_head(seeds)
    with pytest.raises(ModelError, match=r"got 0 positions of the one and 0 of the other"):
        train_head(Seeds(Training(), 0))


def test_what_does_not_fit_the_head_is_refused(rng: np.random.Generator, tmp_path: Path) -> None:
    heat, layers, _ = scene(rng)
    seeds = Seeds(Training(), 2)
    seeds.add(heat, layers)
    with pytest.raises(ValueError, match=r"^Expected activations of \(4, 3\) channels, got \(3, 4\)$"):
        seeds.add(heat, layers[::-1])
    save_head(trained(rng, Training(epochs=1)), tmp_path / "head.pt")
    (step,) = parse_steps(f"learnt:checkpoint={tmp_path / 'head.pt'}")
    with pytest.raises(ModelError, match=r"^Expected activations of \(4, 3\) channels for .*head.pt, got \(4,\); "):
        step(heat, np.zeros((*SIZE, 3), np.uint8), layers[:1])
    with pytest.raises(ValueError, match=r"^Expected 0 <= `low` < `high` <= 1, got 0.5 and 0.3$"):
        Seeds(Training(high=0.3, low=0.5), 1)


def test_a_file_that_is_no_head_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.pt"
    with pytest.raises(ModelError, match=r"^Expected a trained head at .*head.pt, found none$"):
        load_head(path)
    path.write_bytes(b"no head")
    with pytest.raises(ModelError, match=r"^Expected a trained head in .*head.pt, got a file that is none: "):
        load_head(path)
    torch.save({"format": "another", "state": {}}, path)
    with pytest.raises(
        ModelError, match=r"^Expected a head of the format camaudit-figure-head-1 in .*, got 'another'$"
    ):
        load_head(path)
