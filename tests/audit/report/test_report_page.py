"""The report: what it says of a run, that it needs nothing else, that names of others stay text."""

from __future__ import annotations

from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from claimed_run import CLAIMS, SPOT_CELLS, make_claimed_run
from drawn_concepts import keep_drawn
from PIL import Image
from small_run import FAILURE, HEIGHT, HOSTILE, WIDTH, make_run
from typer.testing import CliRunner

from audit.concepts.kept import STALE, UNTRIED, About
from audit.datasets.reach import Reach
from audit.drawing.vectors import heat_frame, interval_bar
from audit.errors import RunError
from audit.findings import Findings
from audit.report.html import Note
from audit.report.page import gather_report, write_report
from audit.store import Run, layout
from audit.store.storage.files import read_json, write_json
from pipelines.cli import app

VOID = {"meta", "br", "img", "circle", "line", "rect"}


class Page(HTMLParser):
    """Text, elements and attributes of a page; fails where elements are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.style = "", ""
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(html)
        assert not self._open
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.text += f" {data}"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def claimed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_claimed_run(tmp_path_factory.mktemp("claimed"))


@pytest.fixture(scope="module")
def page(claimed: Path) -> Page:
    return Page(write_report(Run.open(claimed)).read_text())


def test_the_page_needs_nothing_from_elsewhere(page: Page) -> None:
    loading = [
        value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert loading
    assert all(str(value).startswith("data:image/jpeg;base64,") for value in loading)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert "url(" not in page.style
    assert "@import" not in page.style
    assert "://" not in str(page.elements) + page.style


def test_names_that_look_like_markup_are_text(page: Page) -> None:
    assert "<script>document.title='taken'</script>" in page.text
    assert not page.all("script")
    assert max(map(len, page.text.split("The heat lies on"))) < 20_000
    assert HOSTILE * 20 not in page.text


def test_every_picture_says_what_it_shows(page: Page) -> None:
    assert all(str(picture["alt"]).strip() for picture in page.all("img"))
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in page.all("svg"))
    assert all("scope" in head for head in page.all("th"))


def test_the_page_says_what_was_audited_and_what_failed(page: Page) -> None:
    assert "images audited 5 of 6" in page.text
    assert FAILURE in page.text
    assert "by hand" in page.text
    assert "gradcam at layer drawn, 6 x 8 values a map" in page.text


def test_found_claims_stand_with_sureness_interval_and_outcome(page: Page) -> None:
    assert CLAIMS[0]["says"] in page.text
    assert "66 % of 3 images, compared with 10 %; interval 20 % to 90 %" in page.text
    assert "very unlikely to be chance (q 0.004), among 16 compared · rests on object masks" in page.text
    assert "Without its background p(square) falls by 0.60." in page.text
    assert "That may be chance" not in page.text


def test_confirmed_claims_come_first_and_broader_zones_in_short(claimed: Path) -> None:
    report = gather_report(Run.open(claimed), 12)
    assert [shown.claim.subject for shown in report.claims[:2]] == ["x 88-100 %", "bottom-right corner"]
    assert [claim.subject for claim in report.unpictured] == ["lower half"]


def test_a_spot_is_shown_by_the_targets_with_most_heat_in_it_and_the_mean_heat(claimed: Path) -> None:
    spot = gather_report(Run.open(claimed), 12).claims[0]
    assert [picture.alt for picture in spot.pictures[:2]] == [f"square in {id_}: the heat over it" for id_ in "ac"]
    assert spot.heat is not None
    assert int(np.argmax(spot.heat)) in SPOT_CELLS
    assert "most heat in the spot" in spot.chosen


def test_overlays_are_warm_where_the_heat_is(claimed: Path) -> None:
    target = gather_report(Run.open(claimed), 12).targets[0]
    image, overlay, outlined = (
        np.asarray(Image.open(BytesIO(b64decode(p.uri.split(",")[1]))), np.float64) for p in target.pictures
    )
    scale = overlay.shape[0] / HEIGHT
    hot = np.s_[int(42 * scale) : int(46 * scale), int(58 * scale) : int(62 * scale)]
    assert overlay.shape[1] / scale == pytest.approx(WIDTH, abs=1)
    assert overlay[hot][..., 0].mean() > image[hot][..., 0].mean() + 50
    np.testing.assert_allclose(image[hot], outlined[hot], atol=30)


def test_flags_are_counted_by_size_of_the_object(claimed: Path) -> None:
    sizes = gather_report(Run.open(claimed), 12).sizes
    assert [(bin.low, bin.high, bin.named, bin.flagged) for bin in sizes] == [(0.05, 0.1, 5, 3)]
    assert sizes[0].share_low < 0.6 < sizes[0].share_high


def test_of_a_missing_image_the_map_is_drawn_on_grey_with_a_notice(tmp_path: Path) -> None:
    path = make_claimed_run(tmp_path)
    (tmp_path / "images" / "0.png").unlink()
    page = Page(write_report(Run.open(path)).read_text())
    assert "0.png; check the path" in page.text
    assert "name their folder with --root" in page.text
    shown = {str(picture["alt"]).partition(": ")[2] for picture in page.all("img") if "square in a:" in picture["alt"]}
    assert shown == {"the heat over grey, for the image cannot be read", "the object outlined"}
    assert any(picture["alt"] == "square in c: the image" for picture in page.all("img"))


def test_a_report_of_images_that_have_moved_finds_them_below_the_root_it_is_told(tmp_path: Path) -> None:
    path = make_claimed_run(tmp_path)
    whole = write_report(Run.open(path)).read_text()
    (tmp_path / "images").rename(tmp_path / "moved")
    (path / "report" / "index.html").unlink()
    told = write_report(Run.open(path), reach=Reach(root=str(tmp_path / "moved"))).read_text()
    pictures = [[picture["src"] for picture in Page(text).all("img")] for text in (whole, told)]
    assert pictures[0] == pictures[1]


def test_a_report_reads_no_image_outside_the_root_unless_it_is_told_to(tmp_path: Path) -> None:
    path = make_claimed_run(tmp_path)
    outside = tmp_path / "0.png"
    (tmp_path / "images" / "0.png").rename(outside)
    (tmp_path / "images" / "0.png").symlink_to(outside)
    alts = [_alts(Run.open(path), reach) for reach in (Reach(), Reach(outside=True))]
    assert ["square in a: the image" in shown for shown in alts] == [False, True]
    assert "--allow-outside" in Page(write_report(Run.open(path)).read_text()).text


def _alts(run: Run, reach: Reach) -> set[str]:
    return {str(picture["alt"]) for picture in Page(write_report(run, reach=reach).read_text()).all("img")}


def test_what_was_not_done_is_said_with_its_command(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    text = Page(write_report(Run.open(path)).read_text()).text
    assert "No claim about a class" in text
    assert "No intervention was made" in text
    assert f"camaudit verify {path}" in text
    assert f"camaudit sanity {path}" in text
    assert "1 images failed" in text
    assert "2 of 2 classes have fewer than 5 images" in text


def test_checks_of_the_method_are_told(tmp_path: Path) -> None:
    path = make_claimed_run(tmp_path)
    (path / "report").mkdir(exist_ok=True)
    curves = {"gradcam": {"half": 0.1, "passes": True}, "guided": {"half": 0.8, "passes": False}}
    write_json(path / "report" / "sanity.json", {"methods": curves})
    write_json(path / "report" / "null.json", {"says": "A network that learnt nothing ...", "targets": 7})
    text = Page(write_report(Run.open(path)).read_text()).text
    assert "gradcam: the maps change" in text
    assert "guided: the maps hardly change" in text
    assert "A network that learnt nothing ... (7 maps compared.)" in text
    assert "Interventions were made on 1 targets; 3 were flagged." in text
    assert "No intervention was made" not in text


def test_most_bounds_what_is_shown_with_pictures(claimed: Path) -> None:
    report = gather_report(Run.open(claimed), 1)
    assert (len(report.claims), len(report.targets)) == (1, 1)
    assert report.claim_count == len(Findings(Run.open(claimed)).standing_claims())
    none = gather_report(Run.open(claimed), 0)
    assert (len(none.claims), len(none.targets)) == (0, 0)


def test_a_run_that_was_not_flagged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="camaudit flag"):
        write_report(Run.open(make_run(tmp_path, flagged=False)))


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"rules": {"fdr": 2}}'])
def test_a_summary_that_is_missing_or_damaged_is_refused_with_what_to_do(text: str | None, tmp_path: Path) -> None:
    path = make_run(tmp_path)
    summary = path / layout.SUMMARY
    summary.unlink() if text is None else summary.write_text(text)
    with pytest.raises(RunError, match="camaudit flag"):
        write_report(Run.open(path))


@pytest.mark.parametrize(("file", "verb"), [("causes.parquet", "verify"), ("claims.parquet", "flag")])
def test_a_damaged_table_names_the_verb_that_makes_it_again(file: str, verb: str, tmp_path: Path) -> None:
    path = make_claimed_run(tmp_path)
    (path / layout.FINDINGS / file).write_bytes(b"PAR1")
    with pytest.raises(RunError, match=f"camaudit {verb} "):
        Findings(Run.open(path)).claims()


def test_a_shard_scored_after_the_last_flag_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    run = Run.open(path)
    scores = run.read("scores", run.shards[1]).to_pydict()
    entry = run.entry(run.shards[1])
    assert entry is not None
    run.commit(run.shards[1], None, {"scores": scores | {"energy": [0.5, 0.5]}}, entry, entry)
    with pytest.raises(RunError) as refused:
        write_report(run)
    advice = f"make them again with `camaudit flag {path}`"
    assert str(refused.value) == f"The findings of {path} were made before its ledger changed; {advice}"


def test_the_verb_writes_where_it_is_told_and_says_so(claimed: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    shown = CliRunner().invoke(app, ["report", str(claimed), "-o", str(out), "--most", "2"])
    assert shown.exit_code == 0, shown.output
    page, *sheets = shown.stdout.split()
    assert page == str(out)
    assert all(Path(sheet).parent.name == "sheets" for sheet in sheets)
    assert out.read_text().startswith("<!DOCTYPE html>")


def test_an_interval_is_drawn_to_scale() -> None:
    bar = str(interval_bar(0.5, 0.25, 0.75, 0.1))
    assert 'class="interval" x="54.0" width="100.0"' in bar
    assert 'cx="104.0"' in bar
    assert 'x1="24.0"' in bar
    assert "50 %, interval 25 % to 75 %, compared with 10 %" in bar
    assert not interval_bar(None, None, None, None)


def test_the_hottest_cell_is_full_and_the_box_in_cells() -> None:
    drawn = str(heat_frame([0.0] * 63 + [0.5], (0.875, 0.75, 1, 1)))
    assert drawn.count("<rect") == 65
    assert '<rect x="7" y="7" width="1" height="1" fill-opacity="1.0"/>' in drawn
    assert '<rect class="box" x="7.0" y="6.0" width="1.0" height="2.0"/>' in drawn


def test_a_claim_shows_the_patches_of_its_first_channel_where_its_images_may_be_read(tmp_path: Path) -> None:
    run = Run.open(make_claimed_run(tmp_path))
    report = gather_report(run, most=12)
    shown = {card.claim.claim_id: card for card in report.claims}
    spot = shown["spot:square:x 88-100 %"]
    assert spot.seen.startswith("Channel 3 carries 60 % of the heat off the object")
    assert spot.patches is not None
    width, height = Image.open(BytesIO(spot.patches.jpeg)).size
    assert width > 1.9 * height  # two images show it
    assert shown["cluster:square:0"].patches is None
    page = Page(write_report(run).read_text())
    assert spot.seen in page.text
    away = Reach(root=str(tmp_path / "nowhere"))
    assert all(card.patches is None for card in gather_report(run, most=12, reach=away).claims)


def test_a_claim_shows_its_concepts_and_where_they_are(tmp_path: Path) -> None:
    run, spot = Run.open(make_claimed_run(tmp_path)), About("square", "spot:square:x 88-100 %")
    untried = gather_report(run, most=12)
    assert untried.concepts == Note(UNTRIED, f"camaudit units {run.path} --concepts 4")
    keep_drawn(run, spot, places=4)
    report = gather_report(run, most=12)
    assert report.concepts is None
    shown = {card.claim.claim_id: card for card in report.claims}
    card = shown[spot.claim_id or ""]
    assert ([len(concept.pictures) for concept in card.concepts], card.more, card.lacking) == ([2, 2, 2], 1, None)
    assert not shown["cluster:square:0"].concepts
    page = Page(write_report(run).read_text())
    assert "Without concept 1 the logit falls by 4.00 of 6.50. Cosine over draws: 0.98 or more." in page.text
    assert "Nearest word: a logo." in page.text
    assert "1 more concept was found." in page.text
    away = gather_report(run, most=12, reach=Reach(root=str(tmp_path / "nowhere")))
    (card,) = (card for card in away.claims if card.claim.claim_id == spot.claim_id)
    assert [concept.pictures for concept in card.concepts] == [[], [], []]


def test_concepts_that_hold_no_more_or_are_damaged_are_a_line_on_their_claim(tmp_path: Path) -> None:
    run, spot = Run.open(make_claimed_run(tmp_path)), About("square", "spot:square:x 88-100 %")
    keep_drawn(run, spot)
    (path,) = (run.path / layout.CONCEPTS).glob("*.json")
    kept = read_json(path, "")
    write_json(path, kept | {"made_from": kept["made_from"] | {"ledger": "0"}})
    again = f"camaudit units {run.path} --claim 'spot:square:x 88-100 %' --concepts"
    for lacking in (Note(STALE, f"{again} 2"), Note(f"Damaged: {path} is not what was written; again: `{again} 4`.")):
        report = gather_report(run, most=12)
        (card,) = (card for card in report.claims if card.claim.claim_id == spot.claim_id)
        assert (card.concepts, card.lacking, report.concepts) == ((), lacking, None)
        assert lacking.text in Page(write_report(run).read_text()).text
        path.write_text(path.read_text().replace("nmf", "pca"))
