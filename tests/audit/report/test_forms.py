"""What a notebook shows of a run: sentence, table and pictures, every text escaped; no error where something lacks."""

from __future__ import annotations

import re
from base64 import b64decode
from html import unescape
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from claimed_run import CLAIMS, make_claimed_run
from PIL import Image
from small_run import FAILURE, HOSTILE, make_run

from audit.errors import RunError
from audit.findings import Finding, Findings
from audit.report import show_claim, show_sample
from audit.report.html import Picture
from audit.store import Run


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return Findings(Run.open(make_claimed_run(tmp_path_factory.mktemp("forms"))))


def said(shown: object) -> str:
    """All text of a form; no name has become a tag."""
    html = str(shown._repr_html_())  # type: ignore[attr-defined]
    assert "<script" not in html
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL)).split())


def test_a_run_says_what_was_audited_and_how_far_it_is(findings: Findings) -> None:
    text = said(findings.run)
    assert "5 processed + 1 failed + 0 pending = 6" in text
    assert "gradcam at layer drawn" in text
    assert "2: square, <script>" in text


def test_a_run_with_a_damaged_ledger_says_so_in_its_form(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path))
    run.ledger.path(0).write_text("{}")
    assert "Damaged" in said(run)


def test_findings_say_how_many_there_are_which_classes_and_which_claims(findings: Findings) -> None:
    text = said(findings)
    assert f"{len(findings.targets())} findings about single targets; 5 claims that stand." in text
    assert "confirmed " + CLAIMS[0]["says"] in text
    assert CLAIMS[-1]["says"] not in text
    (row,) = (row for row in findings.classes() if row.class_name == "square")
    assert f"square {row.confident} {row.off_object} " in text


def test_a_run_that_was_not_flagged_says_what_to_do_in_place_of_findings(tmp_path: Path) -> None:
    assert "camaudit flag" in said(Findings(Run.open(make_run(tmp_path, flagged=False))))


def test_a_claim_says_its_share_interval_and_outcome(findings: Findings) -> None:
    (spot,) = (claim for claim in findings.claims() if claim.kind == "spot")
    text = said(spot)
    assert text.startswith(spot.says)
    for told in (
        "66 % of 3 images",
        "20 % to 90 %",
        "compared with 10 %",
        "(q 0.004)",
        "Confirmed: with",
        "object masks",
    ):
        assert told in text


def test_a_claim_of_unknown_share_has_no_interval(findings: Findings) -> None:
    (cluster,) = (claim for claim in findings.claims() if claim.kind == "cluster")
    text = said(cluster)
    assert "not tested against chance" in text
    assert "interval" not in text
    assert "compared with" not in text


def test_a_finding_says_its_sentence_and_numbers(findings: Findings) -> None:
    finding = Finding.from_row(findings.targets().to_pylist()[0])
    text = said(finding)
    assert text.startswith(str(finding.says)[:40])
    assert f"severity {finding.severity:.3f}" in text


def test_a_shown_claim_has_the_pictures_that_the_report_has(findings: Findings) -> None:
    spot = findings.standing_claims()[1]
    shown = show_claim(findings, spot)
    assert spot.says in said(shown)
    assert [picture.alt for picture in shown.pictures[:2]] == [f"square in {id_}: the heat over it" for id_ in "ac"]
    assert all(picture.alt in str(shown._repr_html_()) for picture in shown.pictures)
    assert len(re.findall("<svg", shown._repr_html_())) == 2  # the interval and the mean heat


def test_a_shown_sample_has_its_map_over_its_image_and_what_was_found(findings: Findings) -> None:
    shown = show_sample(findings, "a")
    assert shown.labels == ["square"]
    (told,) = shown.maps
    assert told.found is not None
    image, overlay, _ = (pixels_of(picture) for picture in told.found.pictures)
    hot = np.s_[-8:, -8:]
    assert overlay[hot][..., 0].mean() > image[hot][..., 0].mean() + 50
    assert str(told.found.finding.says)[:60] in said(shown)


def test_a_sample_without_a_finding_is_shown_with_its_map(findings: Findings) -> None:
    shown = show_sample(findings, 4)
    assert shown.id == "e"
    assert len(shown.maps[0].pictures) == 3
    assert "nothing was found about it" in said(shown)


def test_a_sample_that_failed_says_why(findings: Findings) -> None:
    assert FAILURE in said(show_sample(findings, "f"))


def test_a_hostile_name_stays_a_name(findings: Findings) -> None:
    assert HOSTILE[:30] in said(show_sample(findings, 1))


@pytest.mark.parametrize("sample", ["nobody", 6, -1])
def test_a_sample_that_is_not_there_is_refused(findings: Findings, sample: str | int) -> None:
    with pytest.raises(RunError, match=r"No sample nobody in|Expected a row from 0 to 5"):
        show_sample(findings, sample)


def test_the_style_of_a_card_holds_for_it_alone(findings: Findings) -> None:
    style = show_sample(findings, 0)._repr_html_().partition("<style>")[2].partition("</style>")[0].strip()
    assert style.startswith(".camaudit {")
    depths = np.cumsum([{"{": 1, "}": -1}.get(sign, 0) for sign in style])
    assert depths[-1] == 0
    assert (depths[len(".camaudit {") : -1] > 0).all()  # all within the one rule


def pixels_of(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(b64decode(picture.uri.split(",")[1]))), np.float64)
