"""A target under other methods: drawn by a process of its own, and no code without leave."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest
from faults.collection import finished
from PIL import Image

from audit.errors import AuditError
from dashboards import methods
from dashboards.state import Context, open_context


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return open_context(finished(tmp_path_factory.mktemp("finished"), 4).run.path, "Ana")


def test_a_model_that_is_code_is_not_run_because_a_run_names_it(context: Context) -> None:
    target = context.tables.target(0, 0)
    assert target is not None
    drawing = methods.draw(context, target)
    assert methods.draw(context, target) is drawing
    drawing.process.wait(60)
    with pytest.raises(AuditError, match=r"was made with code, .* allow it with --model"):
        drawing.result()


def test_with_leave_it_is_drawn_under_all_methods(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "METHODS", ("gradcam", "saliency"))
    target = context.tables.target(0, 0)
    assert target is not None
    drawing = methods.draw(replace(context, model=context.run.record["source"]["model"]), target)
    drawing.process.wait(120)
    assert not drawing.running
    with Image.open(BytesIO(drawing.result())) as picture:
        assert picture.width > picture.height
