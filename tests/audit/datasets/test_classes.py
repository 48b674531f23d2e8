"""Which outputs of a model stand for the classes of a data set."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
from torchvision.models._meta import _IMAGENET_CATEGORIES as IMAGENET

from audit.datasets import VOC_CLASSES, ClassMapping, map_classes
from audit.errors import ManifestError, ModelError

EXPECTED = {
    "aeroplane": {"airliner", "warplane"},
    "bicycle": {"bicycle-built-for-two", "mountain bike", "tricycle", "unicycle"},
    "bottle": {"beer bottle", "pill bottle", "pop bottle", "water bottle", "wine bottle"},
    "bus": {"minibus", "school bus", "trolleybus"},
    "car": {"beach wagon", "cab", "convertible", "jeep", "limousine", "minivan", "Model T", "racer", "sports car"},
    "cat": {"tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"},
    "chair": {"barber chair", "folding chair", "rocking chair", "throne"},
    "cow": {"ox"},
    "diningtable": {"dining table"},
    "horse": {"sorrel"},
    "motorbike": {"moped", "motor scooter"},
    "person": set(),
    "pottedplant": {"pot"},
    "sheep": {"ram", "bighorn"},
    "sofa": {"studio couch"},
    "train": {"bullet train", "electric locomotive", "freight car", "passenger car", "steam locomotive"},
    "tvmonitor": {"monitor", "screen", "television"},
}
SAMPLES = {
    "bird": {
        "cock",
        "great grey owl",
        "black grouse",
        "black swan",
        "white stork",
        "albatross",
        "crane bird",
        "ostrich",
    },
    "boat": {"canoe", "gondola", "speedboat", "liner", "aircraft carrier", "schooner", "lifeboat", "yawl", "pirate"},
    "dog": {"Chihuahua", "Mexican hairless", "Cardigan", "boxer", "chow", "standard poodle"},
}
LOOK_ALIKES = {
    *("plane", "crane", "cardigan", "wing", "car wheel", "car mirror", "boathouse", "bottlecap", "birdhouse", "dock"),
    *("laptop", "desk", "pool table", "streetcar", "pickup", "ambulance", "lion", "tiger", "timber wolf", "dingo"),
    *("zebra", "ibex", "water buffalo", "oxcart", "horse cart", "groom", "ballplayer", "scuba diver", "Madagascar cat"),
    *("hyena", "airship", "vase", "park bench", "toilet seat", "paddle"),
}


@pytest.fixture(scope="module")
def voc_to_imagenet() -> dict[str, list[str]]:
    mapping = map_classes(VOC_CLASSES, IMAGENET)
    return {
        name: [IMAGENET[index] for index in indices]
        for name, indices in zip(mapping.classes, mapping.outputs, strict=True)
    }


def test_voc_classes_are_the_twenty_in_the_order_of_the_palette() -> None:
    assert len(VOC_CLASSES) == 20
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES)


def test_each_voc_class_has_the_imagenet_categories_of_its_word(voc_to_imagenet: dict[str, list[str]]) -> None:
    assert {name: set(voc_to_imagenet[name]) for name in EXPECTED} == EXPECTED
    assert all(known <= set(voc_to_imagenet[name]) for name, known in SAMPLES.items())
    assert EXPECTED.keys() | SAMPLES.keys() == set(VOC_CLASSES)


def test_all_dogs_and_birds_of_imagenet_are_there(voc_to_imagenet: dict[str, list[str]]) -> None:
    assert voc_to_imagenet["dog"] == IMAGENET[IMAGENET.index("Chihuahua") : IMAGENET.index("timber wolf")]
    assert len(voc_to_imagenet["dog"]) == 118
    assert len(voc_to_imagenet["bird"]) == 59


def test_no_imagenet_category_serves_two_classes(voc_to_imagenet: dict[str, list[str]]) -> None:
    outputs = Counter(chain.from_iterable(map_classes(VOC_CLASSES, IMAGENET).outputs))
    assert set(outputs.values()) == {1}


def test_parts_homonyms_and_look_alikes_are_left_out(voc_to_imagenet: dict[str, list[str]]) -> None:
    assert set(IMAGENET) >= LOOK_ALIKES
    assert not LOOK_ALIKES & set(chain.from_iterable(voc_to_imagenet.values()))


def test_the_table_names_each_index_as_torchvision_does() -> None:
    path = Path(__file__).resolve().parents[3] / "audit/datasets/imagenet_voc.json"
    named = {int(index): name for entries in json.loads(path.read_text()).values() for index, name in entries.items()}
    assert len(named) == sum(map(len, map_classes(VOC_CLASSES, IMAGENET).outputs))
    assert named == {index: IMAGENET[index] for index in named}


def unnamed(mapping: ClassMapping) -> list[str]:
    return [name for name, outputs in zip(mapping.classes, mapping.outputs, strict=True) if not outputs]


def test_person_is_the_one_voc_class_that_imagenet_cannot_name() -> None:
    assert unnamed(map_classes(VOC_CLASSES, IMAGENET)) == ["person"]


def test_a_part_of_voc_in_any_order_and_spelling_uses_the_table() -> None:
    outputs = map_classes(["TV monitor", "cat"], IMAGENET).outputs
    assert [[IMAGENET[index] for index in indices] for indices in outputs] == [
        ["monitor", "screen", "television"],
        ["tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"],
    ]


def test_imagenet_is_known_by_its_synonym_lists_too() -> None:
    synonyms = [f"{name}, {name} by another name" for name in IMAGENET]
    assert map_classes(VOC_CLASSES, synonyms) == map_classes(VOC_CLASSES, IMAGENET)


def test_a_thousand_other_names_are_not_taken_for_imagenet() -> None:
    with pytest.raises(ModelError, match=r"Expected outputs for aeroplane, .*, got none from a model of 0, 1"):
        map_classes(VOC_CLASSES, [str(number) for number in range(1000)])


def test_names_match_whatever_their_case_spaces_and_dashes() -> None:
    mapping = map_classes(["dining table", "TV", "yak"], ["t-v", "x", "Dining_Table"])
    assert mapping == ClassMapping(("dining table", "TV", "yak"), ((2,), (0,), ()))


def test_the_exact_name_wins_and_letters_that_two_names_share_match_neither() -> None:
    assert map_classes(["cardigan", "pug"], IMAGENET).outputs == ((474,), (254,))
    assert unnamed(map_classes(["CARDIGAN", "pug"], IMAGENET)) == ["CARDIGAN"]


def test_the_model_s_own_classes_map_one_to_one_even_where_names_look_alike() -> None:
    assert map_classes(IMAGENET, list(IMAGENET)).outputs == tuple((index,) for index in range(1000))


def test_a_model_without_names_is_mapped_by_position_when_the_count_agrees() -> None:
    assert map_classes(["a", "b"], None, output_count=2).outputs == ((0,), (1,))
    with pytest.raises(ModelError, match="Expected 2 outputs, one a class, got 1000 without names"):
        map_classes(["a", "b"], None, output_count=1000)


def test_a_json_file_maps_classes_to_names_and_indices(tmp_path: Path) -> None:
    path = tmp_path / "mapping.json"
    path.write_text(json.dumps({"person": ["Groom", 981], "cat": "tabby", "dog": []}))
    mapping = map_classes(["cat", "dog", "person"], IMAGENET, path)
    assert mapping.outputs == ((281,), (), (981, 982))


@pytest.mark.parametrize("header", ["", "class,output\n"])
def test_a_csv_file_maps_a_class_in_each_line(tmp_path: Path, header: str) -> None:
    path = tmp_path / "mapping.csv"
    path.write_text(header + 'cat,tabby\ncat,"282"\n\nlamp, table lamp\n')
    assert map_classes(["lamp", "cat", "cow"], IMAGENET, str(path)).outputs == ((846,), (281, 282), ())


def test_a_mapping_by_index_serves_a_model_without_names(tmp_path: Path) -> None:
    path = tmp_path / "mapping.json"
    path.write_text('{"cat": [3]}')
    assert map_classes(["cat"], None, path, output_count=4).outputs == ((3,),)
    with pytest.raises(ModelError, match="got 3; use its class names or indices"):
        map_classes(["cat"], None, path, output_count=3)


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        ('{"cow": ["ox"]}', ManifestError, "Expected classes among cat, dog in .*, got 'cow'"),
        ('{"cat": ["pussycat"]}', ModelError, "Expected outputs of the model in .*, got 'pussycat'"),
        ('{"cat": [1000]}', ModelError, "got 1000; use"),
        ('{"cat": [-1]}', ModelError, "got -1; use"),
        ('{"cat": [true]}', ManifestError, "got: neither names nor indices for 'cat'"),
        ('["cat"]', ManifestError, "got: no object of class to model classes"),
        ("{", ManifestError, "Expected a mapping of classes in .*, got: Expecting property name"),
        ('{"cat": []}', ModelError, "Expected outputs for cat, dog, got none"),
    ],
)
def test_a_bad_mapping_is_refused_in_one_line(tmp_path: Path, text: str, error: type[Exception], reason: str) -> None:
    path = tmp_path / "mapping.json"
    path.write_text(text)
    with pytest.raises(error, match=reason) as refusal:
        map_classes(["cat", "dog"], IMAGENET, path)
    assert "\n" not in str(refusal.value)


def test_a_missing_or_lopsided_mapping_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"Expected a mapping of classes at .*none.json, got: No such file"):
        map_classes(["cat"], IMAGENET, tmp_path / "none.json")
    path = tmp_path / "three.csv"
    path.write_text("cat,tabby,lynx\n")
    with pytest.raises(ManifestError, match="got: a line of 3 columns, not 2: 'cat,tabby,lynx'"):
        map_classes(["cat"], IMAGENET, path)
