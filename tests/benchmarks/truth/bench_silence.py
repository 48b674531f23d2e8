"""What silence is worth: shortcuts planted at the certified share, and classes where nothing is to be found.

`PYTHONPATH=tests/support python -m tests.benchmarks.truth.bench_silence --draws 200`
"""

from __future__ import annotations

import argparse

import numpy as np
from certified import KINDS, coverage
from drawn_classes import ORDINARY, share_by_class

IMAGES = dict.fromkeys(KINDS, (12, 40, 150)) | dict.fromkeys(("spot", "zone"), (12, 40)) | {"context": (150, 400)}
"""A class, by kind of claim."""
POWER = ((0.3, 40), (0.2, 40), (0.2, 100), (0.4, 20))
"""Shares of class 0 off the object, among 19 classes at 2 %, and images a class."""


def certified(draws: int, first: int) -> None:
    """How often what comes in exactly the certified share of a class's images is found."""
    for kind, sizes in IMAGES.items():
        shares, drawn = zip(*(coverage(kind, draws, images, first) for images in sizes), strict=True)
        each = ", ".join(f"{share:.3f} at {images}" for share, images in zip(shares, sizes, strict=True))
        print(f"certified, {kind}: found in {np.average(shares, weights=drawn):.3f} of {sum(drawn)} ({each} images)")


def whole_classes(draws: int, first: int) -> None:
    """False claims about whole classes, and power beside classes at 2 %."""
    seeds = range(first, first + draws)
    for name, law in ORDINARY.items():
        print(f"classes, {name}: a false claim in {np.mean([bool(law.accused(seed)) for seed in seeds]):.3f}")
    for share, images in POWER:
        law = share_by_class(share, 0.02, images=images)
        accused = [law.accused(seed) for seed in seeds]
        found, false = np.mean([0 in ids for ids in accused]), np.mean([bool(ids - {0}) for ids in accused])
        print(f"classes, {share} of {images} images beside 0.02: found in {found:.3f}, others accused in {false:.3f}")


def main() -> None:
    """Print a line a kind and a condition."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    asked = parser.parse_args()
    whole_classes(asked.draws, asked.first)
    certified(asked.draws, asked.first)


if __name__ == "__main__":
    main()
