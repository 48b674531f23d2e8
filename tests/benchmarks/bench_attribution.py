"""Maps in one process: ours beside the forward pass alone and beside other packages, used as their pages say.

ResNet-50 with random weights, 224 px, batch 16, three classes an image, all of the machine's cores.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import psutil
import torch
from torch import Tensor

from audit.attribution import GradCAM
from audit.models import Classifier, load_classifier
from tests.benchmarks.timing import Measured, interleave, timed

BATCH = 16
CLASSES = 3
FORWARD = "forward pass only"


def measure(rounds: int) -> list[Measured]:
    """Time every candidate that is installed, the forward pass first."""
    torch.set_num_threads(psutil.cpu_count(logical=False) or 1)
    classifier = load_classifier("torchvision:resnet50", "random:0")
    images = torch.randn(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    class_ids = torch.arange(BATCH * CLASSES).view(BATCH, CLASSES) * 7
    work = {FORWARD: _forward(classifier, images), "camaudit GradCAM": _ours(classifier, images, class_ids)}
    if find_spec("pytorch_grad_cam"):
        work["pytorch-grad-cam"] = _pytorch_grad_cam(classifier, images, class_ids)
    if find_spec("captum"):
        work["Captum LayerGradCam"] = _captum(classifier, images, class_ids)
    return interleave({name: timed(run) for name, run in work.items()}, BATCH, rounds)


def _forward(classifier: Classifier, images: Tensor) -> Callable[[], object]:
    def run() -> object:
        with torch.inference_mode():
            return classifier.module(images)

    return run


def _ours(classifier: Classifier, images: Tensor, class_ids: Tensor) -> Callable[[], object]:
    explain = GradCAM(classifier)  # certified once, as a run does

    def run() -> object:
        with explain:
            return explain(images, class_ids)

    return run


def _pytorch_grad_cam(classifier: Classifier, images: Tensor, class_ids: Tensor) -> Callable[[], object]:
    from pytorch_grad_cam import GradCAM as Peer
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [[ClassifierOutputTarget(index) for index in ids] for ids in class_ids.T.tolist()]

    def run() -> object:
        with Peer(model=classifier.module, target_layers=[classifier.target_layer]) as peer:
            return [peer(input_tensor=images, targets=own) for own in targets]

    return run


def _captum(classifier: Classifier, images: Tensor, class_ids: Tensor) -> Callable[[], object]:
    from captum.attr import LayerGradCam

    peer = LayerGradCam(classifier.module, classifier.target_layer)

    def run() -> object:
        return [peer.attribute(images, target=ids, relu_attributions=True) for ids in class_ids.T]

    return run
