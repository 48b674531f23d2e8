"""Where the names of outputs come from, and which outputs answer for which classes."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from audit.errors import ModelError, UnmappedError
from audit.models import ModelSpec, load_classifier
from audit.models.class_names import OutputNames, distinct, names_on, read_class_names

_MODEL = """
from torch import nn


class Tiny(nn.Module):
    {attribute}

    def __init__(self):
        super().__init__()
        self.trunk = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.trunk(x).mean(dim=(2, 3))


{names}


def build():
    return Tiny()
"""


def spec(folder: Path, attribute: str = "pass", names: str = "", classes: tuple[str, ...] | None = None) -> ModelSpec:
    path = folder / "tiny.py"
    path.write_text(_MODEL.format(attribute=attribute, names=names))
    return ModelSpec(f"{path}:build", size=32, mode="squash", classes=classes)


@pytest.mark.parametrize(
    "text",
    ["cat\ndog\ncow\n", '["cat", "dog", "cow"]', '{"1": "dog", "0": "cat", "2": "cow"}', "\ufeffcat\r\ndog\r\ncow"],
)
def test_a_file_names_outputs_line_by_line_or_in_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "names").write_text(text, encoding="utf-8")
    assert read_class_names(tmp_path / "names") == ("cat", "dog", "cow")


@pytest.mark.parametrize("text", ["", "cat\n\ndog", "[1, 2]", "[", '{"a": "cat"}', '{"1": "cat"}', '{"0": 3}'])
def test_a_file_without_names_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "names").write_text(text)
    with pytest.raises(ModelError, match=r"Expected class names in .*, one a line or a JSON list"):
        read_class_names(tmp_path / "names")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Expected class names at .*No such file"):
        read_class_names(tmp_path / "absent")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ModelError, match="no text in UTF-8"):
        read_class_names(tmp_path / "bytes")


def test_a_model_without_labels_beside_it_has_the_names_of_its_attribute(tmp_path: Path) -> None:
    for attribute in ("classes = ['cat', 'dog', 'cow']", "id2label = {0: 'cat', 1: 'dog', 2: 'cow'}"):
        assert load_classifier(spec(tmp_path, attribute)).classes == ("cat", "dog", "cow")
    assert load_classifier(spec(tmp_path, names="CLASSES = ('cat', 'dog', 'cow')")).classes == ("cat", "dog", "cow")


def test_names_that_are_given_go_before_an_attribute(tmp_path: Path) -> None:
    given = spec(tmp_path, "classes = ['cat', 'dog', 'cow']", classes=("a", "b", "c"))
    assert load_classifier(given).classes == ("a", "b", "c")


def test_an_attribute_that_does_not_name_every_output_is_passed_over(tmp_path: Path) -> None:
    assert load_classifier(spec(tmp_path, "classes = ['cat', 'dog']")).classes == ("class 0", "class 1", "class 2")
    assert names_on(nn.Linear(1, 1), None, count=1) is None


def test_more_or_fewer_names_than_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Expected 3 class names, one for each output of the model, got 2"):
        load_classifier(spec(tmp_path, classes=("cat", "dog")))


def test_given_names_say_which_output_is_a_data_sets_class_whatever_the_order(tmp_path: Path) -> None:
    named = load_classifier(spec(tmp_path, classes=("cat", "dog", "cow")), classes=("cow", "dog", "cat"))
    assert named.mapping.outputs == ((2,), (1,), (0,))


def test_an_attribute_orders_classes_that_it_names_and_leaves_others_their_position() -> None:
    names = OutputNames(3, ("cat", "dog", "cow"), stated=False)
    assert names.mapping(("cow", "dog", "cat"), None).outputs == ((2,), (1,), (0,))
    assert names.mapping(("Kuh", "Hund", "Katze"), None).outputs == ((0,), (1,), (2,))
    with pytest.raises(UnmappedError):
        names.mapping(("Kuh",), None)


def test_names_that_two_outputs_share_are_told_apart_and_lead_back_to_them() -> None:
    names = OutputNames(3, ("crane", "dog", "crane"), stated=True)
    own = names.mapping(None, None)
    assert own.classes == distinct(names.names or ()) == ("crane (0)", "dog", "crane (2)")
    assert names.mapping(own.classes, None) == own
