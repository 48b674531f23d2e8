"""Training and the small network, on problems of a few dozen tiny images."""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from manifests import told_of_all
from numpy.typing import NDArray
from torch import Tensor, nn

from audit.errors import ModelError
from audit.models.layers import find_target_layer
from audit.models.small import SmallNet, build, preprocessing
from audit.models.training.classifiers import ClassifierTraining, FramedImages, accuracy, balanced_chances, fit, predict
from audit.progress import Event

Images = NDArray[np.uint8]
normalise = preprocessing(16).normalise


def halves(count: int = 48, seed: int = 0) -> tuple[Images, NDArray[np.int64]]:
    """Noise whose top (class 0) or bottom (class 1) half is brighter; which half cannot change in a mirror."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (count, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(count) % 2
    for image, label in zip(images, labels, strict=True):
        image[8 * label : 8 * label + 8] += 100
    return images, labels


def linear(classes: int = 2, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, classes))


def weights(module: nn.Module) -> NDArray[np.float32]:
    return torch.cat([value.detach().flatten().float() for value in module.state_dict().values()]).numpy()


class Recorder:
    """Normalises, and keeps every batch it was given."""

    def __init__(self) -> None:
        self.batches: list[Images] = []

    def __call__(self, pixels: Images) -> Tensor:
        self.batches.append(pixels.copy())
        return normalise(pixels)


def test_fit_learns_two_easy_classes_and_leaves_eval_mode() -> None:
    module = build(2)
    losses = fit(module, *halves(), normalise, epochs=6, learning_rate=0.01, batch_size=16)
    assert len(losses) == 6
    assert losses[-1] < 0.2 < losses[0]
    assert not any(part.training for part in module.modules())
    assert accuracy(module, *halves(seed=1), normalise) == 1.0


def test_fit_learns_labels_that_come_together_with_multi_label() -> None:
    images, _ = halves(64)
    labels = np.stack([np.arange(64) // 2 % 2, np.arange(64) % 2], axis=1).astype(np.float32)
    images[..., 0] = np.where(labels[:, 0, None, None] > 0, 250, 20)
    module = build(2)
    fit(module, images, labels, normalise, epochs=8, learning_rate=0.01, batch_size=16)
    np.testing.assert_array_equal(predict(module, images, normalise).numpy() > 0, labels > 0)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    runs = []
    for seed in (0, 0, 1):
        module = nn.Sequential(build(2), nn.Dropout(0.5))
        losses = fit(module, *halves(), normalise, epochs=2, learning_rate=0.01, batch_size=16, seed=seed)
        runs.append((losses, weights(module)))
    assert runs[0][0] == runs[1][0]
    np.testing.assert_array_equal(runs[0][1], runs[1][1])
    assert not np.array_equal(runs[0][1], runs[2][1])


def test_building_and_training_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(build(2), *halves(), normalise, epochs=1, learning_rate=0.01)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_first_loss_is_that_of_the_formula(multi_label: bool) -> None:
    images, classes = halves(10)
    labels = np.eye(2, dtype=np.float32)[classes] if multi_label else classes
    module = linear()
    logits = predict(module, images, normalise).double().numpy()
    options: dict[str, Any] = {"epochs": 1, "learning_rate": 0.01, "augment": "none"}
    losses = fit(module, images, labels, normalise, **options)
    if multi_label:
        terms = [math.log1p(math.exp(-z if on else z)) for z, on in zip(logits.flat, labels.flat, strict=True)]
    else:
        terms = [math.log(sum(math.exp(z) for z in row)) - row[c] for row, c in zip(logits, classes, strict=True)]
    assert losses == [pytest.approx(sum(terms) / len(terms), rel=1e-5)]


def test_an_epoch_sees_every_image_once_in_batches_of_like_size() -> None:
    images, labels = halves(33)
    recorder = Recorder()
    fit(linear(), images, labels, recorder, epochs=2, learning_rate=0.001, batch_size=16, augment="none")
    assert [len(batch) for batch in recorder.batches] == [11] * 6
    for epoch in (recorder.batches[:3], recorder.batches[3:]):
        assert sorted(image.tobytes() for image in np.concatenate(epoch)) == sorted(image.tobytes() for image in images)
    assert recorder.batches[0].tobytes() != recorder.batches[3].tobytes()


def test_augmenting_mirrors_about_half_of_the_images_left_to_right() -> None:
    images, labels = halves(64)
    recorder = Recorder()
    fit(linear(), images, labels, recorder, epochs=1, learning_rate=0.001)
    seen = {image.tobytes() for image in recorder.batches[0]}
    straight = sum(image.tobytes() in seen for image in images)
    mirrored = sum(image[:, ::-1].tobytes() in seen for image in images)
    assert straight + mirrored == 64
    assert 16 < mirrored < 48


def test_full_augmentation_crops_and_recolours_each_image_by_itself() -> None:
    images, labels = halves(8)
    images[:] = images[0]
    recorder = Recorder()
    fit(linear(), images, labels, recorder, epochs=1, learning_rate=0.001, augment="full")
    assert recorder.batches[0].shape == images.shape
    assert len({image.tobytes() for image in recorder.batches[0]}) == 8
    again = Recorder()
    fit(linear(), images, labels, again, epochs=1, learning_rate=0.001, augment="full")
    np.testing.assert_array_equal(recorder.batches[0], again.batches[0])


@pytest.mark.parametrize("several", [False, True])
def test_balanced_sampling_draws_every_class_as_often(several: bool) -> None:
    classes = np.array([0] * 90 + [1] * 9 + [2])
    labels = np.eye(3, dtype=np.float32)[classes] if several else classes
    chances = balanced_chances(labels)
    assert chances.sum() == pytest.approx(1)
    np.testing.assert_allclose([chances[classes == c].sum() for c in range(3)], 1 / 3)


def test_the_rarest_class_of_an_image_and_having_none_decide_its_chance() -> None:
    labels = np.array([[1, 0], [1, 0], [1, 1], [0, 0], [0, 0]], np.float32)
    weights = np.array([1 / 3, 1 / 3, 1, 1 / 2, 1 / 2])
    np.testing.assert_allclose(balanced_chances(labels), weights / weights.sum())


def test_a_balanced_epoch_draws_as_many_images_with_replacement() -> None:
    images, _ = halves(60)
    labels = np.array([0] * 59 + [1])
    recorder = Recorder()
    fit(linear(), images, labels, recorder, epochs=1, learning_rate=0.001, batch_size=16, augment="none", balanced=True)
    drawn = [image.tobytes() for batch in recorder.batches for image in batch]
    assert len(drawn) == 60
    assert drawn.count(images[59].tobytes()) > 15


@pytest.mark.parametrize("stopped_after", [1, 2])
def test_a_training_taken_up_again_ends_with_the_same_weights(stopped_after: int) -> None:
    data = FramedImages(*halves(), normalise)
    options: dict[str, Any] = {"epochs": 3, "learning_rate": 0.01, "batch_size": 16, "augment": "full", "seed": 2}
    modules = [nn.Sequential(build(2), nn.Dropout(0.5)) for _ in range(3)]
    whole = ClassifierTraining(modules[0], data, **options)
    losses = [whole.run_epoch() for _ in range(3)]
    first = ClassifierTraining(modules[1], data, **options)
    before = [first.run_epoch() for _ in range(stopped_after)]
    file = BytesIO()
    torch.save(first.optimisation.state(), file)
    file.seek(0)
    torch.manual_seed(99)
    second = ClassifierTraining(modules[2], data, **options)
    second.optimisation.restore(torch.load(file, weights_only=True))
    assert before + [second.run_epoch() for _ in range(3 - stopped_after)] == losses
    np.testing.assert_array_equal(weights(modules[2]), weights(modules[0]))


def test_images_mapped_from_a_file_train_like_those_in_memory(tmp_path: Path) -> None:
    images, labels = halves()
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    trained = [linear(), linear()]
    for module, source in zip(trained, (images, mapped), strict=True):
        fit(module, source, labels, normalise, epochs=2, learning_rate=0.001)
    np.testing.assert_array_equal(weights(trained[0]), weights(trained[1]))


def test_training_of_a_single_step_moves_the_weights() -> None:
    module = linear()
    before = weights(module)
    fit(module, *halves(4), normalise, epochs=1, learning_rate=0.01)
    assert abs(weights(module) - before).max() > 1e-4


def test_every_step_is_told() -> None:
    told: list[Event] = []
    fit(linear(), *halves(), normalise, epochs=3, learning_rate=0.001, batch_size=20, progress=told.append)
    assert told == told_of_all("training", 9)


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_rate() -> None:
    module = linear()
    with pytest.raises(ModelError, match=r"Expected a finite loss, got nan at step 1 of 2; lower the learning rate"):
        fit(module, *halves(), lambda pixels: normalise(pixels) * math.nan, epochs=2, learning_rate=0.001)
    assert not module.training


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": np.zeros((4, 16, 16, 3), np.float32)}, TypeError, "type uint8, got float32"),
        ({"images": np.zeros((4, 3, 16, 16), np.uint8)}, ValueError, r"shape \[N, S, S, 3\] .* got \[4, 3, 16, 16\]"),
        ({"images": np.zeros((0, 16, 16, 3), np.uint8)}, ValueError, "at least one image"),
        ({"labels": np.zeros(5, np.int64)}, ValueError, r"shape \[N\] or \[N, C\], N = 4, got \[5\]"),
        ({"labels": np.zeros((4, 2, 2))}, ValueError, r"shape \[N\] or \[N, C\], N = 4, got \[4, 2, 2\]"),
        ({"augment": "twirl"}, ValueError, "one of none, mirror, full, got 'twirl'"),
        ({"epochs": 0}, ValueError, "at least 1, got 0 and 64"),
    ],
)
def test_wrong_input_is_refused_at_the_door(change: dict[str, Any], error: type[Exception], message: str) -> None:
    images, labels = halves(4)
    given: dict[str, Any] = {"images": images, "labels": labels, "epochs": 1, "learning_rate": 0.01} | change
    with pytest.raises(error, match=message):
        fit(linear(), normalise=normalise, **given)


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_accuracy_is_the_share_of_right_answers_whatever_the_batch(batch_size: int) -> None:
    images, _ = halves(20)
    module = linear(3)
    flat = (images.transpose(0, 3, 1, 2).reshape(20, -1) / 255 - 0.5) / 0.25
    layer = next(part for part in module.modules() if isinstance(part, nn.Linear))
    named = (flat @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()).argmax(axis=1)
    labels = np.where(np.arange(20) < 13, named, (named + 1) % 3)
    assert accuracy(module, images, labels, normalise, batch_size) == pytest.approx(13 / 20)


def test_accuracy_of_no_images_is_not_a_number() -> None:
    assert math.isnan(accuracy(linear(), *halves(0), normalise))


def test_the_small_network_has_seven_layers_and_names_its_spatial_end() -> None:
    module = build(4)
    example = torch.zeros(1, 3, 96, 96)
    assert module.eval()(example).shape == (1, 4)
    assert sum(isinstance(part, nn.Conv2d) for part in module.modules()) == 7
    assert find_target_layer(module, example) == "features"


def test_the_head_of_the_small_network_is_linear_in_the_pooled_activation() -> None:
    module = SmallNet(3).eval()
    for seed in (0, 1):
        activation = torch.randn(2, 96, 12, 12, generator=torch.Generator().manual_seed(seed), requires_grad=True)
        logits = module.classifier(activation.mean(dim=(2, 3)))
        gradient = torch.autograd.grad(logits[:, 1].sum(), activation)[0]
        expected = module.classifier.weight[1].detach() / 144
        torch.testing.assert_close(gradient, expected[None, :, None, None].expand_as(gradient))


def test_a_cell_of_the_small_network_sees_59_pixels() -> None:
    module = SmallNet(2).eval()
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.ones_(part.weight)
    image = torch.ones(1, 3, 96, 96, requires_grad=True)
    module.features(image)[0, 0, 6, 6].backward()
    assert image.grad is not None
    touched = image.grad[0, 0] != 0
    assert [int(touched.any(dim=axis).sum()) for axis in (0, 1)] == [59, 59]


def test_the_small_network_is_built_the_same_from_the_same_seed() -> None:
    np.testing.assert_array_equal(weights(build(6, seed=2)), weights(build(6, seed=2)))
    assert not np.array_equal(weights(build(6, seed=2)), weights(build(6, seed=3)))


def test_preprocessing_spreads_bytes_between_minus_two_and_two() -> None:
    pixels = np.array([0, 51, 255], np.uint8).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(normalise(pixels).flatten().numpy(), [-2, -1.2, 2], rtol=1e-6)
