"""Label images of a run's plain maps: the pseudo-mask of each processed sample, its levels and confidences."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from small_run import ON, make_run

from audit.images import View, upsample
from audit.segmentation import ThresholdedRun, pseudo_mask
from audit.store import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run.open(make_run(tmp_path_factory.mktemp("small")))


def test_each_processed_sample_has_its_pseudo_mask_its_levels_and_a_confidence(run: Run) -> None:
    source = ThresholdedRun(run, 0.5)
    images = [image for shard in source.shards for image in source.images(shard)]
    assert [image.row for image in images] == [0, 1, 2, 3, 4]
    whole = View(0.0, 0.0, 64.0, 48.0)
    for image in images:
        maps, class_ids = run.maps(image.row, image.row + 1)[0], np.array(image.sample.labels)
        np.testing.assert_array_equal(image.mask, pseudo_mask(maps, class_ids, whole, (48, 64), 0.5))
        heat = upsample(maps, whole, 48, 64)[0]
        assert image.class_ids == list(image.sample.labels)
        assert image.confidence == {class_ids[0]: pytest.approx(heat[heat >= 0.5].mean())}
        assert image.soft is not None
        np.testing.assert_array_equal(image.soft, np.minimum(np.floor(heat * 256), 255))
    assert images[3].mask[ON[0] * 8 + 4, ON[1] * 8 + 4] == 2


def test_a_source_changes_its_digest_with_what_decides_its_images_and_travels_to_workers(run: Run) -> None:
    source, shard = ThresholdedRun(run, 0.5), run.done()[0]
    others = [ThresholdedRun(run, 0.6), ThresholdedRun(run, 0.5, ("predicted",))]
    assert len({each.digest(shard) for each in (source, *others)}) == 3
    assert len({source.digest(each) for each in source.shards}) == 3
    assert pickle.loads(pickle.dumps(source)).digest(shard) == source.digest(shard)
