"""Methods by name and option."""

from __future__ import annotations

from typing import Any

import pytest

from audit.attribution import check_method, make_method
from audit.models import load_classifier


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nonsense", {}, "Expected --method to be one of gradcam, cam, .*multiscale, flip, aligned; got 'nonsense'"),
        ("gradcam:saliency", {}, "Expected --method to be one of"),
        ("smoothgrad", {}, "Expected --method to be one of"),
        ("rise", {"mask": 3}, "Expected an option of rise, got 'mask'; it takes cells, keep, masks, seed"),
        ("gradcam", {"masks": 3}, "Expected an option of gradcam, got 'masks'; it takes none"),
        ("rise", {"masks": "many"}, "Expected the option masks to be a whole number, as 500; got 'many'"),
        ("rise", {"masks": 2.5}, "Expected the option masks to be a whole number"),
        ("smoothgrad:rise", {"noise": "much"}, "Expected the option noise to be a number, as 0.15; got 'much'"),
    ],
)
def test_an_unknown_name_or_option_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_method(name, options)


def test_an_impossible_value_is_refused_by_the_method_itself() -> None:
    classifier = load_classifier("torchvision:squeezenet1_1", "random:0", size=64)
    with pytest.raises(ValueError, match="at least one mask"):
        make_method("rise", classifier, options={"masks": 0})


def test_options_reach_every_method_of_a_name() -> None:
    classifier = load_classifier("torchvision:squeezenet1_1", "random:0", size=64)
    made = make_method("smoothgrad:flip:rise", classifier, options={"samples": 3, "masks": 5, "seed": 7})
    assert made.cost(2).forward == 1 + 3 * 2 * (1 + 5)
