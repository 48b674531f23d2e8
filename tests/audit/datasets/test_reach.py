"""What of a stranger's run may be read: files below its root, unless the user says more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from audit.datasets import Manifest, read_folder, read_table
from audit.datasets.reach import BELOW_ROOT, Reach, is_wide
from audit.errors import ImageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of images, a secret beside it, and links from one to the other."""
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"")
    (tmp_path / "secret.png").write_bytes(b"")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "up").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(folder)
    return folder


def test_a_file_below_the_root_is_read_however_it_is_named(root: Path) -> None:
    for path in (root / "a.png", root / "b/../a.png", root.parent / "linked/a.png", f"file://{root}/a%2Epng"):
        assert BELOW_ROOT.locate(str(path), str(root)) == str(root / "a.png")
    assert BELOW_ROOT.locate(f"{root}/a.png", str(root.parent / "linked")) == str(root / "a.png")


@pytest.mark.parametrize(
    "named",
    [
        lambda root: str(root.parent / "secret.png"),
        lambda root: f"{root}/../secret.png",
        lambda root: f"{root}/link.png",
        lambda root: f"{root}/up/secret.png",
        lambda root: f"file://{root.parent}/secret.png",
        lambda root: f"file:{root.parent}/secret.png",
        lambda root: f"{root}s/a.png",
        lambda root: "secret.png",
    ],
)
def test_a_file_outside_the_root_is_refused_with_a_line_that_names_the_option(
    named: Callable[[Path], str], root: Path
) -> None:
    with pytest.raises(ImageError, match=r"^Expected a file below the root .*images, got .*--allow-outside") as refused:
        BELOW_ROOT.locate(named(root), str(root))
    assert "\n" not in str(refused.value)
    assert Reach(outside=True).locate(named(root), str(root)).startswith("/")


@pytest.mark.parametrize("wide", ["", "/", "/home/..", "HOMES", "/proc/self/root"])
def test_a_root_that_holds_everything_opens_nothing(
    wide: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "homes" / "me"))
    with pytest.raises(ImageError, match=r"whose root is a folder of images, got .*--root.*--allow-outside"):
        BELOW_ROOT.locate(str(root / "a.png"), wide.replace("HOMES", str(tmp_path / "homes")))
    assert not is_wide(str(tmp_path / "homes" / "me" / "photos"))
    assert Reach(root=str(root)).locate(str(root / "a.png"), "/") == str(root / "a.png")


@pytest.mark.parametrize("url", ["https://elsewhere/a.png", "s3://bucket/a.png", "local:///etc/passwd"])
def test_a_url_is_refused_without_remote(url: str, root: Path) -> None:
    for reach in (BELOW_ROOT, Reach(outside=True), Reach(root=str(root))):
        with pytest.raises(ImageError, match=r"got .*; URLs are read with --remote alone"):
            reach.locate(url, str(root))
    assert Reach(remote=True).locate(url, str(root)) == url


def test_what_lay_below_the_root_is_read_where_the_user_says_that_it_is_now(root: Path) -> None:
    moved = Reach(root=str(root))
    for path, old in (("/old/a.png", "/old"), ("a.png", ""), ("https://host/set/a.png", "https://host/set")):
        assert moved.locate(path, old) == str(root / "a.png")
    for path in ("/old/../secret.png", "/old/link.png", "/elsewhere/a.png", "/older/a.png"):
        with pytest.raises(ImageError, match="Expected a file below the root"):
            moved.locate(path, "/old")


def test_a_path_that_is_none_is_refused_in_a_line(root: Path) -> None:
    with pytest.raises(ImageError, match="Expected a path, got"):
        BELOW_ROOT.locate("a\0b", str(root))


@pytest.mark.parametrize(
    "indexed", ["masks beside", "masks within", "table beside", "table with root", "absolute paths"]
)
def test_what_the_readers_index_is_below_the_root(indexed: str, tmp_path: Path) -> None:
    for name in ("photos/cat/1.png", "photos/cat/caf\udce9.png", "masks/cat/1.png", "photos/masks/cat/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    manifest = _index(indexed, tmp_path)
    named = [path for sample in manifest for path in (sample.image, sample.mask) if path]
    assert named
    assert all(BELOW_ROOT.locate(path, manifest.root).startswith(str(tmp_path)) for path in named)


def _index(indexed: str, folder: Path) -> Manifest:
    photos, table = folder / "photos", folder / "table.csv"
    if indexed.startswith("masks"):
        return read_folder(photos, masks=photos / "masks" if "within" in indexed else folder / "masks")
    below = {"table beside": "photos/", "table with root": "", "absolute paths": f"{photos}/"}[indexed]
    table.write_text(f"path,mask\n{below}cat/1.png,{below}masks/cat/1.png\n")
    return read_table(table, root=photos if indexed == "table with root" else None)
