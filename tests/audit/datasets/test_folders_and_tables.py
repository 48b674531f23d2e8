"""Readers of folders and tables: what they index, and how they refuse what they cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifests import by_id, needs_bytes_in_names, told_of_all, touch

from audit.datasets import Sample, list_folder, list_table, read_folder, read_table
from audit.datasets.ids import Ids, unique_ids
from audit.datasets.manifest_file import BATCH
from audit.errors import ManifestError
from audit.progress import Event


def test_class_folders_give_labels_and_nested_ids(tmp_path: Path) -> None:
    touch(tmp_path / "dog/1.jpg", tmp_path / "cat/day/2.PNG", tmp_path / "cat/3.txt")
    (tmp_path / "empty").mkdir()
    manifest = read_folder(tmp_path)
    assert manifest.classes == ("cat", "dog", "empty")
    assert manifest.mask_kind == "binary"
    assert {name: sample.labels for name, sample in by_id(manifest).items()} == {"cat/day/2": (0,), "dog/1": (1,)}
    assert by_id(manifest)["cat/day/2"].image == str(tmp_path / "cat/day/2.PNG")


def test_a_flat_folder_has_no_labels_and_takes_class_names(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "b.webp", tmp_path / ".hidden.jpg", tmp_path / "notes.md")
    assert read_folder(tmp_path).classes == ()
    manifest = read_folder(tmp_path, classes=["cat", "dog"])
    assert manifest.classes == ("cat", "dog")
    assert {name: sample.labels for name, sample in by_id(manifest).items()} == {"a": (), "b": ()}


def test_given_classes_set_the_order_and_must_name_every_folder(tmp_path: Path) -> None:
    touch(tmp_path / "cat/1.jpg", tmp_path / "dog/1.jpg")
    manifest = read_folder(tmp_path, classes=["dog", "cow", "cat"])
    assert [sample.labels for sample in manifest] == [(2,), (0,)]
    with pytest.raises(ManifestError, match="Expected class folders among dog, got 'cat'"):
        read_folder(tmp_path, classes=["dog"])


def test_a_half_flat_folder_is_refused_unless_read_without_labels(tmp_path: Path) -> None:
    touch(tmp_path / "cat/1.jpg", tmp_path / "loose.jpg")
    with pytest.raises(
        ManifestError, match=r"either all in class folders or none, got 'loose.jpg' beside folder 'cat'"
    ):
        read_folder(tmp_path)
    manifest = read_folder(tmp_path, classes=())
    assert {name: sample.labels for name, sample in by_id(manifest).items()} == {"cat/1": (), "loose": ()}


def test_ids_keep_the_suffix_where_they_would_clash(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "a.png", tmp_path / "b.jpg")
    assert list(by_id(read_folder(tmp_path))) == ["a.jpg", "a.png", "b"]


@given(st.lists(st.from_regex(r"[ab]{1,2}(\.[ab]){1,3}", fullmatch=True), unique=True))
def test_distinct_paths_always_get_distinct_ids(paths: list[str]) -> None:
    ids = unique_ids([os.path.splitext(path)[0] for path in paths], paths)
    assert len(set(ids)) == len(paths)


def test_masks_mirror_the_tree_even_from_inside_the_root(tmp_path: Path) -> None:
    root, inside, outside = tmp_path / "set", tmp_path / "set/masks", tmp_path / "masks"
    touch(root / "cat/1.jpg", root / "cat/2.jpg", inside / "cat/1.png", outside / "cat/2.png")
    within = read_folder(root, masks=inside, mask_kind="index")
    assert within.classes == ("cat",)
    assert within.table["mask"].to_pylist() == ["masks/cat/1.png", None]
    assert within.mask_kind == "index"
    beside = read_folder(root / "cat", masks=outside / "cat")
    assert [sample.mask for sample in beside] == [None, str(outside / "cat/2.png")]


def test_the_root_of_a_folder_and_of_masks_beside_it_holds_both(tmp_path: Path) -> None:
    touch(tmp_path / "photos/cat/1.jpg", tmp_path / "masks/cat/1.png")
    manifest = read_folder(tmp_path / "photos", masks=tmp_path / "masks")
    assert manifest.root == str(tmp_path)
    assert (manifest.table["image"].to_pylist(), manifest.table["mask"].to_pylist()) == (
        ["photos/cat/1.jpg"],
        ["masks/cat/1.png"],
    )
    assert (manifest.classes, manifest.table["id"].to_pylist()) == (("cat",), ["cat/1"])


def test_the_root_of_a_table_of_absolute_paths_is_the_folder_that_holds_them(tmp_path: Path) -> None:
    table = write_csv(tmp_path, "path,mask\n/data/photos/a/1.jpg,\n/data/photos/b/2.jpg,/data/masks/2.png\n")
    assert read_table(table).root == "/data"
    assert read_table(write_csv(tmp_path, "path\n/data/1.jpg\n/srv/2.jpg\n")).root == str(tmp_path)
    assert read_table(write_csv(tmp_path, "path\n/data/1.jpg\n2.jpg\n")).root == str(tmp_path)
    assert read_table(table, root="/elsewhere").root == "/elsewhere"


def test_symlink_loops_end_and_linked_images_count(tmp_path: Path) -> None:
    root = tmp_path / "set"
    touch(root / "cat/1.jpg", tmp_path / "elsewhere.jpg")
    (root / "cat/loop").symlink_to(root)
    (root / "cat/2.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    (root / "cat/dangling.jpg").symlink_to(tmp_path / "none.jpg")
    assert list(by_id(read_folder(root))) == ["cat/1", "cat/2", "cat/dangling"]


@needs_bytes_in_names
def test_folder_names_that_are_not_utf8_are_stored_as_urls(tmp_path: Path) -> None:
    touch(tmp_path / os.fsdecode(b"caf\xe9/\xff.jpg"))
    manifest = read_folder(tmp_path)
    (sample,) = manifest
    assert manifest.classes == ("caf\\xe9",)
    assert sample == Sample(id="caf\\xe9/\\xff", image=f"file://{tmp_path}/caf%E9/%FF.jpg", labels=(0,))


def test_missing_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=f"Expected at least one sample in {tmp_path}, found none"):
        read_folder(tmp_path)
    with pytest.raises(ManifestError, match=r"Expected a folder to read at .*none, got: No such file"):
        read_folder(tmp_path / "none")
    touch(tmp_path / "a.jpg")
    with pytest.raises(ManifestError, match=r"Expected a folder to read at .*masks, got: No such file"):
        read_folder(tmp_path, masks=tmp_path / "masks")


def write_csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_gives_ids_labels_masks_and_attributes(tmp_path: Path) -> None:
    text = "path,labels,mask,camera,year\nx/a.jpg,dog;cat,m/a.png,north,007\nx/b.jpg, cat |,,,\n"
    manifest = read_table(write_csv(tmp_path, text))
    assert manifest.classes == ("cat", "dog")
    assert manifest.root == str(tmp_path)
    assert list(manifest) == [
        Sample(
            "a",
            str(tmp_path / "x/a.jpg"),
            (0, 1),
            mask=str(tmp_path / "m/a.png"),
            attributes={"camera": "north", "year": "007"},
        ),
        Sample("b", str(tmp_path / "x/b.jpg"), (0,), attributes={"camera": None, "year": None}),
    ]


def test_parquet_columns_may_be_lists_numbers_and_categories(tmp_path: Path) -> None:
    columns = {
        "image": ["s3://bucket/a.jpg", "/abs/b.jpg"],
        "id": [11, 12],
        "label": [["dog"], None],
        "site": pa.array(["x", "y"]).dictionary_encode(),
        "score": [1.5, None],
    }
    pq.write_table(pa.table(columns), tmp_path / "table.pq")
    manifest = read_table(tmp_path / "table.pq", root=tmp_path / "images", classes=["cat", "dog"])
    assert list(manifest) == [
        Sample("11", "s3://bucket/a.jpg", (1,), attributes={"site": "x", "score": "1.5"}),
        Sample("12", "/abs/b.jpg", attributes={"site": "y", "score": None}),
    ]


def test_ids_are_paths_where_stems_clash(tmp_path: Path) -> None:
    manifest = read_table(write_csv(tmp_path, "path\nx/a.jpg\ny/a.jpg\nb.jpg\n"))
    assert list(by_id(manifest)) == ["x/a.jpg", "y/a.jpg", "b"]


@pytest.mark.parametrize(
    ("classes", "cells", "expected"),
    [
        (["cat", "dog"], ["1", "0;1"], [(1,), (0, 1)]),
        (["1", "0"], ["1", "0"], [(0,), (1,)]),
        (None, ["7", "30"], [(1,), (0,)]),
    ],
)
def test_whole_numbers_are_class_ids_only_where_classes_have_other_names(
    tmp_path: Path, classes: list[str] | None, cells: list[str], expected: list[tuple[int, ...]]
) -> None:
    rows = "".join(f"{place}.jpg,{cell}\n" for place, cell in enumerate(cells))
    manifest = read_table(write_csv(tmp_path, "path,label\n" + rows), classes=classes)
    assert [sample.labels for sample in manifest] == expected


def test_hostile_cells_pass_unchanged(tmp_path: Path) -> None:
    hostile = [
        "<script>alert(1)</script>",
        "=cmd()",
        "x" * 4096,
        "two\nlines",
        'say "a, b"',
        "../../etc/passwd",
        "NULL",
    ]
    rows = "".join(f'{place},"{cell.replace(chr(34), chr(34) * 2)}","{place}"\n' for place, cell in enumerate(hostile))
    manifest = read_table(write_csv(tmp_path, "id,note,path\n" + rows))
    assert [sample.attributes["note"] for sample in manifest] == hostile
    manifest = read_table(write_csv(tmp_path, "id,labels,path\n" + rows))
    assert [manifest.classes[sample.labels[0]] for sample in manifest] == hostile


def test_a_saved_index_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    manifest = read_table(write_csv(tmp_path, "\ufeffpath,,camera\na.jpg,0,north\n"))
    assert manifest.attributes == ("camera",)
    assert list(by_id(manifest)) == ["a"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file,label\na,b\n", "Expected a column path or image in .*, got file, label; rename one"),
        ("path,image\na,b\n", "Expected one column image or path in .*, got two"),
        ("path,label\na.jpg,x\n,y\n", "Expected a path in each row of .*, got none in row 2"),
        ("id,path\n,a.jpg\n", "Expected every sample to have an id"),
        ("path,boxes\na.jpg,x\n", "Expected an attribute name other than"),
        ("path\na.jpg\na.jpg\n", "Expected unique ids"),
        ("path,label\na.jpg,cow\n", "Expected labels of .* among cat, dog, got 'cow'"),
        ("path,label\na.jpg,2\n", "Expected labels of 'a' below 2, got 2"),
        ("path,label\na.jpg,x,y\n", "Expected CSV or Parquet at .*, got: CSV parse error"),
        ("", "Expected CSV or Parquet at .*, got: Empty CSV file"),
        ("path\n", "Expected at least one sample"),
    ],
)
def test_a_bad_table_is_refused_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason) as refusal:
        read_table(write_csv(tmp_path, text), classes=["cat", "dog"])
    assert "\n" not in str(refusal.value)


def test_a_missing_or_damaged_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"Expected a table at .*none.csv, got: No such file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ManifestError, match=r"Expected CSV or Parquet at .*cut.parquet"):
        read_table(tmp_path / "cut.parquet")
    pq.write_table(pa.table({"path": ["a"], "tags": [["x"]]}), tmp_path / "nested.parquet")
    with pytest.raises(ManifestError, match="Expected text or numbers in column 'tags', got list"):
        read_table(tmp_path / "nested.parquet")


def test_every_image_and_row_is_told(tmp_path: Path) -> None:
    images, rows = list[Event](), list[Event]()
    touch(tmp_path / "a.jpg", tmp_path / "b.jpg")
    read_folder(tmp_path, progress=images.append)
    table = write_csv(tmp_path, "path\na.jpg\nb.jpg\n")
    read_table(table, progress=rows.append)
    assert images == rows == told_of_all("indexing", 2)


def test_files_come_in_the_order_of_their_paths_however_folders_are_named(tmp_path: Path) -> None:
    paths = ["a-1/x.jpg", "a.jpg", "a/b/c.jpg", "a/b.jpg", "a/b-c/d.jpg", "aa/z.jpg", "Z/é.jpg", "b.jpg"]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert [sample.image for sample in list_folder(tmp_path, classes=()).samples] == sorted(paths)


def test_a_table_is_listed_in_batches_and_its_ids_look_at_all_of_it(tmp_path: Path) -> None:
    rows = 3 * BATCH
    text = "path,label\n" + "".join(f"{row % 2}/{row // 2}.jpg,{'ab'[row % 2]}\n" for row in range(rows))
    listing = list_table(write_csv(tmp_path, text + "2/last.jpg,c\n"))
    samples = list(listing.samples)
    assert listing.classes == ("a", "b", "c")
    assert [sample.id for sample in samples[:2]] == ["0/0.jpg", "1/0.jpg"]
    assert (samples[-1].id, samples[-1].labels, len(samples)) == ("last", (2,), rows + 1)


@pytest.mark.parametrize(
    ("pairs", "ids"),
    [
        ([("a", "a.jpg"), ("b", "b.jpg")], ["a", "b"]),
        ([("a", "x/a"), ("a", "y/a"), ("b", "x/b")], ["x/a", "y/a", "b"]),
        ([("a", "b"), ("a", "c"), ("b", "d")], ["b", "c", "d"]),
    ],
)
def test_ids_are_short_where_they_can_be_and_names_are_only_asked_for(
    pairs: list[tuple[str, str]], ids: list[str]
) -> None:
    chosen = Ids.among(lambda: iter(pairs))
    assert [chosen.choose(*pair) for pair in pairs] == ids
