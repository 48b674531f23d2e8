"""Zero-shot classifiers of open_clip: `clip:NAME`. The classes are any words, asked for by prompts.

As in the CLIP paper (Radford et al., ICML 2021, section 3.1): a class's embedding is the mean of the normalised
embeddings of its prompts, normalised again (3.1.4, ensembling in embedding space), and its logit is the cosine with the
image's embedding times the learnt scale.
"""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audit.errors import ModelError
from audit.images import Fit
from audit.models.classifier import Preprocessing
from audit.models.sources.source import Built, Source
from audit.models.sources.spec import ModelSpec
from audit.models.weights import first_line

DEFAULT_PROMPTS = ("a photo of a {}.",)
_TEXTS_AT_ONCE = 256


class Words(nn.Module):
    """Embeddings [B, D] -> logits [B, words]: cosines with embedded words, scaled.

    Args:
        rows: [words, D], normalised embeddings times the scale of the cosine.
        bias: [words], added; of models trained with a sigmoid.
    """

    def __init__(self, rows: Tensor, bias: Tensor) -> None:
        super().__init__()
        # Not part of the state, by whose digest a run's workers know the model: their last bits differ from machine to
        # machine. What they were made from is.
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, embedded: Tensor) -> Tensor:
        return F.linear(F.normalize(embedded, dim=-1), self.get_buffer("rows"), self.get_buffer("bias"))


class ZeroShot(nn.Module):
    """An image tower, and words behind it: images [B, 3, H, W] -> logits [B, words].

    Args:
        tower: images to embeddings [B, D], not normalised.
        origin: bytes that say what the words were made from.
    """

    def __init__(self, tower: nn.Module, words: Words, origin: bytes) -> None:
        super().__init__()
        self.tower = tower
        self.words = words
        self.register_buffer("origin", torch.tensor(list(origin), dtype=torch.uint8))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.words(self.embedded(images))
        return logits

    def embedded(self, images: Tensor) -> Tensor:
        """Embeddings [B, D], not normalised."""
        given = self.tower(images)
        embedded: Tensor = given[0] if isinstance(given, tuple) else given  # CoCa gives tokens too
        return embedded


def load(name: str, spec: ModelSpec) -> Built:
    """With the weights of a tag, of a file or of a folder, or random ones; the classes are those of the spec.

    Raises:
        ModelError: there is no such model, or no words are given; a prompt has no place for a word; its images are
            padded instead of cut.
    """
    prompts = spec.prompts or DEFAULT_PROMPTS
    if not spec.classes:
        raise ModelError(f"Expected words for clip:{name}: data with classes, or --classes FILE or --classes cat,dog")
    if lacking := [prompt for prompt in prompts if "{}" not in prompt]:
        raise ModelError(f"Expected a place for the word, {{}}, in every prompt, got {lacking[0]!r}")
    model, tokenizer = _model(name, spec.weights)
    words = Words(*_embedded(model, tokenizer, spec.classes, prompts))
    module = ZeroShot(model.visual, words, _origin(model, spec.classes, prompts))
    activation = "softmax" if getattr(model, "logit_bias", None) is None else "sigmoid"
    details = {"words": list(spec.classes), "prompts": list(prompts)}
    return Built(module, spec.classes, _preprocessing(name, model), activation, details=details)


def architecture(name: str, class_count: int) -> nn.Module:
    """Refused: what it tells apart are words."""
    raise ModelError(f"Expected a network to train, got clip:{name}, which is asked by words; name another")


SOURCE = Source("clip", load, architecture, open_vocabulary=True)


def prompted(prompts: Sequence[str], word: str) -> list[str]:
    """A word in every prompt; what stands for spaces in names of classes becomes one.

    >>> prompted(["a photo of a {}."], "traffic_light")
    ['a photo of a traffic light.']
    """
    return [prompt.replace("{}", word.replace("_", " ")) for prompt in prompts]


def _model(name: str, weights: str | None) -> tuple[Any, Any]:
    """The model in eval mode, and its tokenizer."""
    open_clip = _open_clip()
    folder = os.path.isdir(name)
    place = f"local-dir:{name}" if folder else f"hf-hub:{name}" if "/" in name else name
    tag = _tag(name, weights, has_own=place != name)
    own = place != name and weights is None
    with _told(name):
        # A tag's weights know their activation; the architecture's name may say another.
        gelu = bool(tag and open_clip.get_pretrained_cfg(name, tag).get("quick_gelu"))
        taken = {"pretrained": tag, "load_weights": bool(tag or own), "require_pretrained": bool(tag or own)}
        model = open_clip.create_model(place, force_quick_gelu=gelu, pretrained_text=False, weights_only=True, **taken)
        if weights and os.path.isfile(weights):
            open_clip.load_checkpoint(model, weights, weights_only=True)
        tokenizer = open_clip.get_tokenizer(place)
    return model.eval(), tokenizer


def _tag(name: str, weights: str | None, has_own: bool) -> str | None:
    """The weights as a tag of open_clip's; None for a file, random ones, or the model's own."""
    tags: list[str] = _open_clip().list_pretrained_tags_by_model(name)
    if weights in tags:
        return weights
    if (weights is None and has_own) or (weights and (weights.startswith("random:") or os.path.isfile(weights))):
        return None
    known = ", ".join(tags) or "a name that open_clip knows"
    raise ModelError(f"Expected --weights for clip:{name}: {known}, a file or random:SEED; got {weights or 'none'}")


@torch.no_grad()
def _embedded(model: Any, tokenizer: Any, words: Sequence[str], prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """[words, D] normalised embeddings times the scale, and the bias [words]."""
    texts = [text for word in words for text in prompted(prompts, word)]
    parts = [texts[start : start + _TEXTS_AT_ONCE] for start in range(0, len(texts), _TEXTS_AT_ONCE)]
    embedded = torch.cat([F.normalize(model.encode_text(tokenizer(part)), dim=-1) for part in parts])
    mean = F.normalize(embedded.view(len(words), len(prompts), -1).mean(dim=1), dim=-1)
    bias = getattr(model, "logit_bias", None)
    shift = torch.zeros(len(words)) if bias is None else bias.float().expand(len(words))
    return mean * model.logit_scale.exp(), shift.clone()


def _origin(model: Any, words: Sequence[str], prompts: Sequence[str]) -> bytes:
    """sha256 of the weights beside the image tower's, of the words and of the prompts."""
    digest = hashlib.sha256(repr((tuple(words), tuple(prompts))).encode())
    for key, value in sorted(model.state_dict().items()):
        if not key.startswith("visual."):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()


def _preprocessing(name: str, model: Any) -> Preprocessing:
    stated = _open_clip().get_model_preprocess_cfg(model)
    size = stated["size"]
    height, width = (size, size) if isinstance(size, int) else size
    if height != width or stated["resize_mode"] not in ("shortest", "squash"):
        raise ModelError(f"Expected square images, cut or squashed, for clip:{name}, got {stated}; name another")
    squashed = stated["resize_mode"] == "squash"
    interpolation = "bilinear" if stated["interpolation"] == "bilinear" else "bicubic"
    fit = Fit(height, "squash" if squashed else "crop", None if squashed else height, interpolation)
    return Preprocessing(fit, tuple(stated["mean"]), tuple(stated["std"]))


def _open_clip() -> Any:
    try:
        import open_clip
    except ImportError:
        raise ModelError("open_clip is not installed; install it with: pip install 'camaudit[clip]'") from None
    return open_clip


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What open_clip and the hub refuse, in one line; they log nothing themselves meanwhile."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # of the network, of files, of configurations: they have no common ancestor
        raise ModelError(f"Cannot load clip:{name}: {first_line(error)}") from None
    finally:
        logging.disable(disabled)
