"""Backpropagation to the pixels: maps at the input's resolution from dy^c/dx, the gradient at the network's input.

With x the normalised input, y^c the logit of class c and R the gradient that arrives at a ReLU whose input is f, the
methods differ in what the ReLU passes on:

- Backpropagation (Saliency, Simonyan et al. 2014): `R [f > 0]`.
- Deconvnet (Zeiler and Fergus 2014): `R [R > 0]`, whatever f is.
- Guided backpropagation (Springenberg et al. 2015): `R [f > 0] [R > 0]`.

Integrated gradients (Sundararajan et al. 2017) add up the plain gradient along a line from a baseline to x.

Of the three colour channels the largest magnitude is kept, as in Simonyan et al., section 3.1, for all ReLU rules.
Zeiler and Fergus and Springenberg et al. print the signed gradient as a colour picture, and Captum and pytorch-grad-cam
return it: `InputGradient.gradients` gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from audit.attribution.method import Attribution, Choose, Cost, Method
from audit.attribution.taps import ONE_AT_A_TIME, probing
from audit.errors import ModelError
from audit.models.classifier import Classifier
from audit.models.execution import PLAIN, Execution

BASELINES = ("black", "mean")
"""Where integrated gradients begin: a black image (the paper's), or the mean colour, which the input calls 0."""

_ROWS_AT_ONCE = 16


class Gradients(NamedTuple):
    """What one pass forward and back leaves.

    Attributes:
        colours: [B, K, 3, H, W] float32, signed: dy^c/dx by the method's rule.
        class_ids: [B, K]; -1 in empty slots.
        outputs: [B, outputs] float32, without a graph.
    """

    colours: Tensor
    class_ids: Tensor
    outputs: Tensor


class InputGradient(Method):
    """Maps from the gradient at the input; the graph spans the whole network, but no parameter."""

    pixels = True
    backward_passes = "1"

    @property
    def grid(self) -> tuple[int, int]:
        size = self.classifier.preprocessing.fit.size
        return size, size

    @property
    def any_shape(self) -> bool:
        return True

    def cost(self, targets: int) -> Cost:
        return Cost(1, targets)

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        colours, class_ids, outputs = self.gradients(images, choose)
        self.progress(len(images))
        return self._finish(self._blank_overflow(_strongest(colours), class_ids, outputs), class_ids, outputs)

    def gradients(self, images: Tensor, choose: Choose) -> Gradients:
        """Inputs [B, 3, H, W] -> the gradient of each colour for the classes that `choose` picks from the logits."""
        with without_parameter_gradients(self.classifier.module), torch.enable_grad():
            leaf = images.clone(memory_format=torch.channels_last).requires_grad_()
            with self.rule():
                outputs = self.classifier.module(leaf.clone())  # a clone: the first module may work in place
            class_ids = choose(self.classifier.class_logits(outputs.detach()))
            totals = self._target_sums(outputs, class_ids)
            rows = [torch.autograd.grad(total, leaf, retain_graph=True)[0] for total in totals]
        return Gradients(torch.stack(rows, dim=1), class_ids, outputs.detach())

    def rule(self) -> AbstractContextManager[object]:
        """What is in force while the graph is made."""
        return nullcontext()

    def _blank_overflow(self, maps: Tensor, class_ids: Tensor, outputs: Tensor) -> Tensor:
        """NaN maps where the logit is not finite: a ReLU hides from the gradient what has gone wrong before it."""
        logits = self.classifier.class_logits(outputs).gather(1, class_ids.clamp(min=0))
        return maps.masked_fill(~logits.isfinite()[:, :, None, None], torch.nan)


class Saliency(InputGradient):
    """Saliency (Simonyan et al., ICLR workshop 2014, section 3.1): max over colour channels of |dy^c/dx|."""

    name = "saliency"
    description = "largest absolute gradient of the class logit among the pixel's colours"
    paper = "Simonyan et al., ICLR workshop 2014"


class RectifierRule(InputGradient):
    """Backpropagation with another rule for ReLUs.

    ReLUs are modules or functions, in place or not: relu, relu6, and hardtanh, threshold and clamp where they cut at 0.
    Where a ReLU also cuts at the top, [f > 0] means strictly between its bounds.

    Raises:
        ModelError: the network has no ReLU, so that the method would be plain backpropagation under another name.
    """

    gated: ClassVar[bool]
    """Whether the factor [f > 0] is in the rule."""

    def __init__(self, classifier: Classifier, execution: Execution = PLAIN) -> None:
        super().__init__(classifier, execution)
        if not _has_rectifiers(self.classifier):
            raise ModelError(
                f"Expected a network with ReLUs for --method {self.name}, whose rule is about them, found none; "
                "use --method saliency"
            )

    def rule(self) -> AbstractContextManager[object]:
        return _Rectifiers(lambda values, low, high: _PositiveOnly.apply(values, low, high, self.gated))


class Deconvnet(RectifierRule):
    """Deconvnet (Zeiler and Fergus, ECCV 2014): ReLUs pass positive gradients only, whatever their input was.

    The paper's switches of max pooling are what its gradient does anyway.
    """

    name = "deconvnet"
    description = "gradient at the pixels where each ReLU passes back what is positive, whatever it passed forward"
    paper = "Zeiler and Fergus, ECCV 2014"
    gated = False


class GuidedBackprop(RectifierRule):
    """Guided backpropagation (Springenberg et al., ICLR workshop 2015): open ReLUs pass positive gradients only."""

    name = "guided"
    description = "gradient at the pixels where each ReLU passes back what is positive and was positive forward"
    paper = "Springenberg et al., ICLR workshop 2015"
    gated = True


class IntegratedGradients(InputGradient):
    """Integrated gradients (Sundararajan et al., ICML 2017, eq. 1), signed and summed over colours.

    L = (x - x') * mean over t of dy^c/dx at x' + t (x - x'), with baseline x'. Complete: a map adds up to
    y^c(x) - y^c(x'), up to the error of the mean over `steps` values of t. They are the middles of equal parts of 0..1,
    where eq. 3 of the paper takes the ends, with a larger error; Captum takes the nodes of Gauss and Legendre unless
    told `riemann_middle`.

    Args:
        steps: at least 1.
        baseline: one of `BASELINES`.

    Raises:
        ValueError: other steps or another baseline.
    """

    name = "integrated"
    description = "gradients summed along the line from a black image to the input, times its length; complete"
    paper = "Sundararajan et al., ICML 2017"
    forward_passes = "1 + `steps` (32)"
    backward_passes = "`steps` (32)"

    def __init__(
        self, classifier: Classifier, execution: Execution = PLAIN, *, steps: int = 32, baseline: str = "black"
    ) -> None:
        super().__init__(classifier, execution)
        if steps < 1:
            raise ValueError(f"Expected `steps` of at least 1, got {steps}")
        if baseline not in BASELINES:
            raise ValueError(f"Expected `baseline` to be one of {', '.join(BASELINES)}, got {baseline!r}")
        self.steps = steps
        self.baseline = baseline

    def cost(self, targets: int) -> Cost:
        return Cost(1 + self.steps, self.steps * targets)

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        outputs = self.outputs(images)
        class_ids = choose(self.classifier.class_logits(outputs))
        start = self.start().to(images.device)
        way = images - start
        middles = (torch.arange(self.steps, device=images.device) + 0.5) / self.steps
        total = torch.zeros(())
        for part in torch.split(middles, max(1, _ROWS_AT_ONCE // len(images))):
            total = total + self._along(start + part.view(-1, 1, 1, 1, 1) * way, class_ids)
        maps = (total / self.steps * way[:, None]).sum(dim=2)
        return self._finish(self._blank_overflow(maps, class_ids, outputs), class_ids, outputs)

    def start(self) -> Tensor:
        """The baseline [3, 1, 1], as the network gets it."""
        if self.baseline == "mean":
            return torch.zeros(3, 1, 1)
        preprocessing = self.classifier.preprocessing
        return (-torch.tensor(preprocessing.mean) / torch.tensor(preprocessing.std)).view(3, 1, 1)

    def _along(self, points: Tensor, class_ids: Tensor) -> Tensor:
        """Sum [B, K, 3, H, W] over points [S, B, 3, H, W] of the gradients there."""
        count = len(points)
        colours = self.gradients(points.flatten(0, 1), lambda _logits: class_ids.repeat(count, 1)).colours
        self.progress(count * len(class_ids))
        return colours.view(count, -1, *colours.shape[1:]).sum(dim=0)


def _strongest(colours: Tensor) -> Tensor:
    """[B, K, 3, H, W] -> the largest magnitude among the colours [B, K, H, W]."""
    return colours.abs().amax(dim=2)


@contextmanager
def without_parameter_gradients(module: nn.Module) -> Iterator[None]:
    """Leave parameters out of graphs made meanwhile: what only their gradients need is not kept."""
    with ONE_AT_A_TIME:
        wanting = [parameter for parameter in module.parameters() if parameter.requires_grad]
        for parameter in wanting:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in wanting:
                parameter.requires_grad_(True)


Rectify = Callable[[Tensor, float, float], Tensor]
"""From what enters a ReLU and the bounds at which it cuts, 0 and 6 or infinity, to what leaves it."""


class _Rectifiers(TorchFunctionMode):
    """Put `rectify` in the place of every ReLU called meanwhile, by a module or as a function.

    A call that works in place still changes its argument.
    """

    def __init__(self, rectify: Rectify) -> None:
        super().__init__()
        self._rectify = rectify

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, kwargs = getattr(function, "__name__", ""), kwargs or {}
        read = _READERS.get(name.strip("_"))
        cut = read(*args, **kwargs) if read else None
        if cut is None or not cut.rectifies():
            return function(*args, **kwargs)
        rectified = self._rectify(cut.values, 0.0, torch.inf if cut.high is None else float(cut.high))
        return cut.values.copy_(rectified) if cut.inplace or name.endswith("_") else rectified


class _PositiveOnly(torch.autograd.Function):
    """A ReLU that passes back positive gradients only; if gated, only where its input was between the bounds."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, low: float, high: float, gated: bool) -> Tensor:
        if gated:
            ctx.save_for_backward((values > low) & (values < high))
        return values.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        passed = gradients[0].clamp(min=0)
        for between in ctx.saved_tensors:
            passed = passed * between
        return passed, None, None, None


class _Cut(NamedTuple):
    """A call that cuts values at bounds (numbers, tensors or None), perhaps in place."""

    values: Any
    low: Any
    high: Any
    inplace: bool = False

    def rectifies(self) -> bool:
        numbers = not isinstance(self.low, Tensor) and not isinstance(self.high, Tensor)
        return numbers and self.low == 0 and isinstance(self.values, Tensor) and self.values.is_floating_point()


def _threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> _Cut | None:
    return _Cut(input, threshold, None, inplace) if value == 0 else None


# The parameters are called as torch calls them, since calls may name them.
_READERS: dict[str, Callable[..., _Cut | None]] = {
    "relu": lambda input, inplace=False: _Cut(input, 0, None, inplace),
    "relu6": lambda input, inplace=False: _Cut(input, 0, 6, inplace),
    "hardtanh": lambda input, min_val=-1.0, max_val=1.0, inplace=False: _Cut(input, min_val, max_val, inplace),
    "threshold": _threshold,
    "clamp": lambda input, min=None, max=None: _Cut(input, min, max),
    "clip": lambda input, min=None, max=None: _Cut(input, min, max),
}
"""Calls of functions of these names, an underscore around it or not, as a cut."""


def _has_rectifiers(classifier: Classifier) -> bool:
    """Whether the network calls a ReLU on its example input."""
    calls = 0

    def note(values: Tensor, low: float, high: float) -> Tensor:
        nonlocal calls
        calls += 1
        return values.clamp(low, high)

    with probing(classifier.module), torch.inference_mode(), _Rectifiers(note):
        classifier.module(classifier.example())
    return calls > 0
