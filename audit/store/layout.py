"""The run directory: names, table schemas and provenance.

RUN/
  run.json                 provenance: configuration, fingerprints, layer, grid, versions
  manifest.parquet         the samples
  maps.zarr/map            [N, K, h, w] float16, divided by the peak; NaN where there is no map
                           at the input's resolution int8: levels of it, the value is level times scale
  maps.zarr/scale          [N, K] float32, only beside int8: what a level is worth; NaN where there is no map
  samples/  targets/  scores/  confusion/      part-00000.parquet ..., one a shard
  ledger/                  00000.json ..., written last: a shard is done when its entry exists and for no other reason
  findings/                part-00000.parquet ..., and classes.parquet
  report/                  sanity.json and .png, faithfulness.json and .png: how far maps explain the model
  summary.json             counts, curve, threshold and findings in short
  verdicts.sqlite          what reviewers decided
"""

from __future__ import annotations

import pyarrow as pa

FORMAT = 1
LEVELS = 256
"""Map values 0..1 are counted at levels floor(256 value); threshold t keeps the levels from 256 t on."""

RUN_JSON = "run.json"
MANIFEST = "manifest.parquet"
MAPS = "maps.zarr"
LEDGER = "ledger"
FINDINGS = "findings"
CLASS_FINDINGS = "classes.parquet"
SUMMARY = "summary.json"
REPORT = "report"
VERDICTS = "verdicts.sqlite"
LOCK = "lock"

_COUNTS = pa.list_(pa.int32(), LEVELS)

SAMPLES = pa.schema(
    [
        ("sample", pa.int64()),  # row in the manifest
        ("id", pa.string()),
        ("status", pa.string()),  # processed, failed
        ("reason", pa.string()),  # why it failed
        ("transient", pa.bool_()),  # whether a resume tries it again
        ("height", pa.int32()),  # of the upright image, pixels
        ("width", pa.int32()),
        ("x0", pa.float64()),  # the view, in upright pixels
        ("y0", pa.float64()),
        ("x1", pa.float64()),
        ("y1", pa.float64()),
        ("digest", pa.string()),  # of the file's bytes as read: first 16 hex digits of BLAKE2b
    ]
)
TARGETS = pa.schema(
    [
        ("sample", pa.int64()),
        ("slot", pa.int16()),
        ("class_id", pa.int32()),
        ("class", pa.string()),
        ("role", pa.string()),  # label, predicted, runner_up
        ("rank", pa.int32()),  # place of the class among the logits, 0 the highest
        ("logit", pa.float32()),
        ("probability", pa.float32()),
        ("peak", pa.float32()),  # highest value of the raw map
        ("status", pa.string()),  # ok, no_evidence, not_finite, no_output
    ]
)
SCORES = pa.schema(
    [
        ("sample", pa.int64()),
        ("slot", pa.int16()),
        ("status", pa.string()),  # scored, absent (no pixel of the class), no_mask, bad_mask, no_map
        ("reason", pa.string()),
        ("area", pa.float32()),  # |O| / |V|
        ("energy", pa.float32()),  # heat in O / heat in V
        ("lift", pa.float32()),  # energy / area
        ("hit", pa.bool_()),  # the peak lies in O; null if on a void pixel
        ("hit_15px", pa.bool_()),  # ... or within 15 px of it
        ("centre_hit", pa.bool_()),  # the same for the centre of the view
        ("centre_hit_15px", pa.bool_()),
        ("best_iou", pa.float32()),
        ("best_level", pa.int16()),
        ("p_low", pa.float32()),  # share of shifts of the map with energy at or below the observed
        ("p_high", pa.float32()),  # ... at or above
        ("inside", _COUNTS),  # pixels of O by level of the map
        ("outside", _COUNTS),  # pixels of V without O
    ]
)
CONFUSION = pa.schema(
    [
        ("predicted", pa.int32()),  # class id of the winning map
        ("true", pa.int32()),  # 0 background, i + 1 class i
        ("level", pa.int16()),  # of the winning map
        ("count", pa.int64()),  # pixels
    ]
)
FINDING = pa.schema(
    [
        ("finding", pa.string()),  # SAMPLE:SLOT:KIND
        ("kind", pa.string()),  # avoids, indifferent
        ("severity", pa.float32()),  # 0..1
        ("sample", pa.int64()),
        ("id", pa.string()),
        ("slot", pa.int16()),
        ("class_id", pa.int32()),
        ("class", pa.string()),
        ("role", pa.string()),
        ("probability", pa.float32()),
        ("area", pa.float32()),
        ("energy", pa.float32()),
        ("lift", pa.float32()),
        ("best_iou", pa.float32()),
        ("iou", pa.float32()),  # at the run's threshold
        ("chance", pa.float32()),  # share of random places that do as well on the object: p_high
        ("q_low", pa.float32()),  # of p_low, Benjamini-Hochberg over all scored targets: small when avoided
        ("q_high", pa.float32()),  # of p_high: small when the heat is on the object
    ]
)
CLASS_FINDING = pa.schema(
    [
        ("class_id", pa.int32()),
        ("class", pa.string()),
        ("targets", pa.int64()),  # scored
        ("confident", pa.int64()),  # of those, named with confidence
        ("off_object", pa.int64()),  # of those, looking off the object
        ("share", pa.float64()),  # off_object / confident
        ("share_low", pa.float64()),  # Wilson interval, 95 %
        ("share_high", pa.float64()),
        ("energy", pa.float64()),  # mean over scored targets
        ("area", pa.float64()),
        ("lift", pa.float64()),
        ("p", pa.float64()),
        ("q", pa.float64()),  # Benjamini-Hochberg over classes
        ("finding", pa.bool_()),
    ]
)

PARTS: dict[str, pa.Schema] = {"samples": SAMPLES, "targets": TARGETS, "scores": SCORES, "confusion": CONFUSION}
"""Tables with one part a shard."""


def part_name(shard: int) -> str:
    """File name of a shard's part of a table."""
    return f"part-{shard:05d}.parquet"
