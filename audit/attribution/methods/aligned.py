"""Maps placed where the cells of the target layer look, not spread evenly over the input."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from audit.attribution.engine import WeightedActivations
from audit.attribution.method import Attribution, Choose, Cost, Method
from audit.attribution.methods.around import Around
from audit.attribution.methods.gradient_free import WeightedByPasses
from audit.attribution.taps import probing
from audit.models.lattices import find_lattice


class Aligned(Around):
    """The inner method's maps, each value at the centre of its cell's receptive field.

    Whoever draws or scores a map spreads its cells evenly over what the network saw. So the map is brought once to
    cells that do lie evenly, of the same number: bilinearly between the centres, constant beyond the outermost. Maps of
    pixels stay as they are.

    Raises:
        ValueError: the inner method's cells are not those of the target layer, or are several maps' already.
        ModelError: it cannot be told where the layer's cells look; see `audit.models.lattices`.
    """

    name = "aligned"
    description = "maps placed where the cells of the layer look: at the centres of their receptive fields"
    paper = "receptive fields: Dumoulin and Visin, arXiv 1603.07285, 2016"
    forward_passes = "those of the inner method"
    backward_passes = "those of the inner method"

    def __init__(self, inner: Method) -> None:
        super().__init__(inner)
        if not isinstance(inner, WeightedActivations | WeightedByPasses) and (
            isinstance(inner, Around) or not inner.pixels
        ):
            raise ValueError(f"Expected aligned just before a method with a map of the layer's cells, got {inner.name}")
        module = self.classifier.module
        with probing(module):
            self.lattice = find_lattice(module, self.classifier.example(), inner.grid[0])

    def cost(self, targets: int) -> Cost:
        return self.inner.cost(targets)

    def explain_batch(self, images: Tensor, choose: Choose) -> Attribution:
        attribution = self.inner.attribute(images, choose)
        cells = attribution.maps.shape[-2:]
        step = max(images.shape[-2:]) / max(cells)  # of a square's cells, which those of another shape are part of
        return replace(attribution, maps=self.lattice.spread(attribution.maps, [step * count for count in cells]))
