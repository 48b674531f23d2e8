"""Figures say what the run's tables say: bars, dots, intervals and cells against the numbers."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from claimed_run import make_claimed_run
from matplotlib.figure import Figure
from small_run import HOSTILE, OFF, ON, make_run

from audit.drawing.figures import BINS, draw_claims, draw_mean_heat, draw_severities, draw_target, mean_heat
from audit.errors import RunError
from audit.findings import Findings
from audit.store import Run

matplotlib.use("agg")


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return Findings(Run.open(make_claimed_run(tmp_path_factory.mktemp("figures"))))


@pytest.fixture
def ax() -> matplotlib.axes.Axes:
    return Figure().subplots()


def test_the_bars_count_every_judged_target_at_its_severity(findings: Findings, ax: matplotlib.axes.Axes) -> None:
    draw_severities(findings, ax)
    heights = np.reshape([bar.get_height() for bar in ax.patches], (2, BINS))
    index = findings.index(["severity", "kind"]).to_pandas().dropna(subset=["severity"])
    expected = [
        np.histogram(part["severity"], np.linspace(0, 1, BINS + 1))[0]
        for part in (index[index["kind"].notna()], index[index["kind"].isna()])
    ]
    np.testing.assert_array_equal(heights, expected)
    assert heights[0].sum() == len(findings.targets())


def test_a_claim_has_its_share_its_interval_and_what_it_is_compared_with(
    findings: Findings, ax: matplotlib.axes.Axes
) -> None:
    draw_claims(findings, ax=ax)
    claims = [claim for claim in findings.standing_claims() if claim.share is not None]
    dots = [line.get_xydata()[0] for line in ax.lines if line.get_marker() == "o"]
    ticks = [line.get_xydata()[0] for line in ax.lines if line.get_marker() == "|"]
    bars = [collection.get_segments()[0] for collection in ax.collections]
    for place, claim in enumerate(claims):
        np.testing.assert_allclose(dots[place], [claim.share, place])
        np.testing.assert_allclose(ticks[place], [claim.expected, place])
        np.testing.assert_allclose(bars[place], [[claim.low, place], [claim.high, place]])
    assert len(dots) == len(claims) == len(ax.get_yticklabels())
    assert "cluster" not in " ".join(label.get_text() for label in ax.get_yticklabels())


def test_names_are_no_formulas(findings: Findings, ax: matplotlib.axes.Axes) -> None:
    draw_claims(findings, ax=ax)
    ax.figure.canvas.draw()  # a formula that is none would raise
    assert any("<script>" in label.get_text() for label in ax.get_yticklabels())


def test_a_target_is_drawn_with_its_heat_where_its_map_has_it(findings: Findings, ax: matplotlib.axes.Axes) -> None:
    draw_target(findings.run, 0, ax=ax)
    pixels = np.asarray(ax.images[0].get_array(), float).sum(axis=2)
    scale = pixels.shape[0] / 6
    hot = [pixels[int((row + 0.3) * scale) : int((row + 0.7) * scale)] for row, _ in (OFF, ON)]
    columns = [slice(int((column + 0.3) * scale), int((column + 0.7) * scale)) for _, column in (OFF, ON)]
    assert hot[0][:, columns[0]].mean() > hot[1][:, columns[1]].mean() + 50
    assert ax.get_title() == "square in a"


def test_a_sample_without_a_map_is_refused(findings: Findings) -> None:
    with pytest.raises((RunError, IndexError)):
        draw_target(findings.run, 5)


def test_the_mean_heat_is_the_mean_over_confident_targets(findings: Findings, ax: matplotlib.axes.Axes) -> None:
    total, count = np.zeros((8, 8)), 0
    for part in findings.evidence(findings.run.done()):
        for row in range(len(part.evidence)):
            if part.evidence.class_id[row] == 0 and part.evidence.named[row]:
                total += np.nan_to_num(part.evidence.off_heat[row].astype(float)).reshape(8, 8)
                count += 1
    heat, targets = mean_heat(findings, "square")
    assert targets == count > 0
    np.testing.assert_allclose(heat, total / count)
    draw_mean_heat(findings, "square", ax)
    np.testing.assert_allclose(ax.images[0].get_array(), heat)
    assert ax.get_title() == f"square, {count} images"


def test_a_class_that_is_not_there_and_a_run_without_findings_are_refused(findings: Findings, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No class cat in"):
        mean_heat(findings, "cat")
    with pytest.raises(RunError, match="camaudit flag"):
        draw_severities(Findings(Run.open(make_run(tmp_path, flagged=False))))
    assert HOSTILE in findings.run.classes


def test_without_axes_a_figure_is_made(findings: Findings) -> None:
    from matplotlib import pyplot

    drawn = [draw_claims(findings), draw_severities(findings), draw_mean_heat(findings, "square")]
    drawn += [draw_target(findings.run, 0)]
    assert {ax.figure.number for ax in drawn} == set(pyplot.get_fignums())
    pyplot.close("all")
