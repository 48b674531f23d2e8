"""Cosine between our maps and each peer's, whatever either calls by the same name, on a trained network.

SqueezeNet with ImageNet weights at `features` on VOC images where they lie beside the project, else ResNet-18 with
random weights on noise. Maps at the layer's own resolution, negative parts dropped as most peers do; peers' scaling of
maps to 0..1 left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import captum.attr
import numpy as np
import pytorch_grad_cam
import torch
import torchcam.methods
from pytorch_grad_cam import base_cam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor
from torch.nn import functional as F

from audit.attribution import make_method
from audit.images.reading import decode_image
from audit.models import Classifier, load_classifier
from tests.benchmarks.timing import Row

Explain = Callable[[Classifier, Tensor, Tensor, str], Tensor]
SHARED = Path(__file__).resolve().parents[4] / "shared"
IMAGES = 8
GRAD_CAM = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "xgradcam": "XGradCAM",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "eigencam": "EigenCAM",
    "eigengradcam": "EigenGradCAM",
    "scorecam": "ScoreCAM",
    "ablationcam": "AblationCAM",
}
TORCHCAM = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMpp",
    "xgradcam": "XGradCAM",
    "layercam": "LayerCAM",
    "scorecam": "ScoreCAM",
}
CAPTUM = {
    "saliency": "Saliency",
    "deconvnet": "Deconvolution",
    "guided": "GuidedBackprop",
    "integrated": "IntegratedGradients",
}


def measure(rounds: int) -> list[Row]:
    """A row a method and peer: median and lowest cosine over images, for the predicted class."""
    torch.set_num_threads(2)
    classifier, images = _network()
    rows = []
    for package, methods, explain in (
        ("pytorch-grad-cam", GRAD_CAM, _by_grad_cam),
        ("torch-cam", TORCHCAM, _by_torchcam),
        ("Captum", CAPTUM, _by_captum),
    ):
        for name, theirs in methods.items():
            rows.append(
                {"method": name, "peer": f"{package} {theirs}"} | _agreement(classifier, images, name, explain, theirs)
            )
    return sorted(rows, key=lambda row: list(GRAD_CAM | CAPTUM).index(str(row["method"])))


def _network() -> tuple[Classifier, Tensor]:
    weights, folder = SHARED / "models" / "squeezenet1_0_imagenet.pth", SHARED / "voc2012"
    if not weights.exists():
        noise = torch.randn(IMAGES, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        return load_classifier("torchvision:resnet18", "random:0"), noise
    classifier = load_classifier("torchvision:squeezenet1_0", str(weights), layer="features")
    files = sorted(folder.rglob("*.jpg"))[:: 280 // IMAGES][:IMAGES]
    fitted = [classifier.preprocessing.fit(decode_image(file.read_bytes(), str(file)))[0] for file in files]
    return classifier, classifier.preprocessing.normalise(np.stack(fitted))


def _agreement(classifier: Classifier, images: Tensor, name: str, explain: Explain, theirs: str) -> Row:
    with make_method(name, classifier) as ours:
        maps, logits = ours(images)
    expected = explain(classifier, images, logits.argmax(dim=1), theirs)
    a, b = (found.double().relu().flatten(1) for found in (maps[:, 0], expected))
    cosines = F.cosine_similarity(a / a.amax(dim=1, keepdim=True), b / b.amax(dim=1, keepdim=True), dim=1)
    return {"cosine, median": round(float(cosines.median()), 4), "cosine, lowest": round(float(cosines.min()), 4)}


def _by_grad_cam(classifier: Classifier, images: Tensor, class_ids: Tensor, method: str) -> Tensor:
    """Without its scaling to 0..1 and to the image's size, which takes the lowest value for 0."""
    targets = [ClassifierOutputTarget(index) for index in class_ids.tolist()]
    plain = patch.object(base_cam, "scale_cam_image", lambda maps, _size=None: np.float32(maps))
    with plain, getattr(pytorch_grad_cam, method)(classifier.module, [classifier.target_layer]) as peer:
        return torch.from_numpy(peer(images, targets))


def _by_torchcam(classifier: Classifier, images: Tensor, class_ids: Tensor, method: str) -> Tensor:
    with getattr(torchcam.methods, method)(classifier.module, target_layer=classifier.layer) as peer:
        scores = classifier.module(images.clone().requires_grad_())
        return peer(class_ids.tolist(), scores, normalized=False)[0].detach()


def _by_captum(classifier: Classifier, images: Tensor, class_ids: Tensor, method: str) -> Tensor:
    """Colours as ours: summed for integrated gradients, else the greatest magnitude."""
    found = getattr(captum.attr, method)(classifier.module).attribute(images.clone().requires_grad_(), target=class_ids)
    return (found.sum(dim=1) if method == "IntegratedGradients" else found.abs().amax(dim=1)).detach()
