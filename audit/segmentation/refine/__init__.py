"""Refinement of weak labels: steps that bring heat to the image's edges, in any order."""

from audit.segmentation.refine.registry import STEPS, parse_steps, refine
from audit.segmentation.refine.step import Features, Heat, Pixels, Step

__all__ = ["STEPS", "Features", "Heat", "Pixels", "Step", "parse_steps", "refine"]
