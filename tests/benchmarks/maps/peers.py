"""Other packages' Grad-CAM as candidates: as their pages say, and tuned.

Their maps have one class an image and call, so that several classes take several calls. Tuned: parameters frozen, the
network and its input laid out channels-last, and one forward pass for all classes where the package can.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from audit.models import Classifier

Work = Callable[[], object]


def peers(classifier: Classifier, images: Tensor, class_ids: Tensor) -> dict[str, Work]:
    """Every peer by name, then every peer tuned."""
    frozen = _frozen(classifier)
    ready = images.to(memory_format=torch.channels_last)
    return {
        "pytorch-grad-cam": _pytorch_grad_cam(classifier, images, class_ids),
        "Captum": _captum(classifier, images, class_ids),
        "torch-cam": _torchcam(classifier, images, class_ids),
        "pytorch-grad-cam, tuned": _pytorch_grad_cam(frozen, ready.clone().requires_grad_(), class_ids),
        "Captum, tuned": _captum(frozen, ready, class_ids),
        "torch-cam, tuned": _torchcam_once(frozen, ready.clone().requires_grad_(), class_ids),
    }


def _frozen(classifier: Classifier) -> Classifier:
    module = copy.deepcopy(classifier.module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return replace(classifier, module=module.requires_grad_(False))


def _pytorch_grad_cam(classifier: Classifier, images: Tensor, class_ids: Tensor) -> Work:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [[ClassifierOutputTarget(index) for index in ids] for ids in class_ids.T.tolist()]

    def run() -> object:
        with GradCAM(model=classifier.module, target_layers=[classifier.target_layer]) as peer:
            return [peer(input_tensor=images, targets=own) for own in targets]

    return run


def _captum(classifier: Classifier, images: Tensor, class_ids: Tensor) -> Work:
    from captum.attr import LayerGradCam

    peer = LayerGradCam(classifier.module, classifier.target_layer)

    def run() -> object:
        return [peer.attribute(images, target=ids, relu_attributions=True) for ids in class_ids.T]

    return run


def _torchcam(classifier: Classifier, images: Tensor, class_ids: Tensor) -> Work:
    from torchcam.methods import GradCAM

    def run() -> object:
        with GradCAM(classifier.module, target_layer=classifier.layer) as peer:
            return [peer(ids, classifier.module(images)) for ids in class_ids.T.tolist()]

    return run


def _torchcam_once(classifier: Classifier, images: Tensor, class_ids: Tensor) -> Work:
    from torchcam.methods import GradCAM

    def run() -> object:
        with GradCAM(classifier.module, target_layer=classifier.layer) as peer:
            scores = classifier.module(images)
            return [peer(ids, scores, retain_graph=True) for ids in class_ids.T.tolist()]

    return run
