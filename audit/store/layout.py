"""The run directory: names, table schemas and provenance.

RUN/
  run.json                 provenance: configuration, fingerprints, layer, grid, versions
  manifest.parquet         the samples
  maps.zarr/map            [N, K, h, w] float16, divided by the peak; NaN where there is no map
                           at the input's resolution int8: levels of it, the value is level times scale
  maps.zarr/scale          [N, K] float32, only beside int8: what a level is worth; NaN where there is no map
  samples/  targets/  scores/  context/  features/  confusion/      part-00000.parquet ..., one a shard
  ledger/                  00000.json ..., written last: a shard is done when its entry exists and for no other reason
  findings/                part-00000.parquet ... about targets; classes, claims, clusters (who is in which),
                           effects and causes (what interventions did) .parquet
  report/                  index.html; sanity, faithfulness, null .json and .png; contact sheets of clusters
  summary.json             counts, curve, threshold and findings in short
  verdicts.sqlite          what reviewers decided
"""

from __future__ import annotations

import pyarrow as pa

FORMAT = 2
LEVELS = 256
"""Map values 0..1 are counted at levels floor(256 value); threshold t keeps the levels from 256 t on."""

RUN_JSON = "run.json"
MANIFEST = "manifest.parquet"
MAPS = "maps.zarr"
LEDGER = "ledger"
FINDINGS = "findings"
CLASS_FINDINGS = "classes.parquet"
CLAIMS = "claims.parquet"
CLUSTERS = "clusters.parquet"
EFFECTS = "effects.parquet"
CAUSES = "causes.parquet"
SUMMARY = "summary.json"
REPORT = "report"
PAGE = "index.html"
SHEETS = "sheets"
NULL = "null.json"
VERDICTS = "verdicts.sqlite"
LOCK = "lock"

CELLS = 8
"""The frame, the part of the upright image that was seen, is divided into 8 x 8 cells, row by row from the top left."""

_COUNTS = pa.list_(pa.int32(), LEVELS)
_FRAME = pa.list_(pa.float16(), CELLS * CELLS)

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
        ("look", pa.int64()),  # difference hash of what the network saw: the same for near-duplicates
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
        ("attainable", pa.float32()),  # the highest energy of any shift: what this heat could do on this object
        ("centre_energy", pa.float32()),  # energy of a map that falls off from the centre
        ("peak_distance", pa.float32()),  # from the peak to the object, share of the view's diagonal; 0 on it
        ("rests_on", pa.string()),  # what the object was taken from: mask, boxes; null where there is neither
        ("heat", _FRAME),  # share of the map's heat by cell of the frame
        ("off_heat", _FRAME),  # share of the map's heat off the object, by cell; all heat where no object is known
        ("off_area", _FRAME),  # share of what was seen, is not void and is off the object, by cell
        ("inside", _COUNTS),  # pixels of O by level of the map
        ("outside", _COUNTS),  # pixels of V without O
    ]
)
CONTEXT = pa.schema(  # a row for every other class in the mask of a scored target
    [
        ("sample", pa.int64()),
        ("slot", pa.int16()),
        ("class_id", pa.int32()),  # the other class
        ("heat", pa.float32()),  # share of the map's heat on it
        ("area", pa.float32()),  # share of what was seen and is not void
    ]
)
FEATURES = pa.schema(
    [
        ("sample", pa.int64()),
        ("slot", pa.int16()),
        ("under", pa.list_(pa.float16())),  # activation under the off-object heat; see `audit.attribution.features`
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
        ("severity", pa.float32()),  # the image score, 0..1; of a detected one with the detector's probability in it
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
        ("attainable", pa.float32()),  # as in the scores
        ("peak_distance", pa.float32()),
        ("rests_on", pa.string()),  # mask, boxes, detector
        ("level", pa.float32()),  # false discovery rate of q_low
        ("family", pa.string()),  # what was tested together
        ("says", pa.string()),  # the finding in a sentence
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
CLAIM = pa.schema(  # a finding about more than one target, or what was tested and is none
    [
        ("finding", pa.string()),  # KIND:CLASS:SUBJECT, by audit.findings.contrasts.claim_key
        ("kind", pa.string()),  # class, zone, context, spot, group, cluster
        ("class_id", pa.int32()),  # null for all classes
        ("class", pa.string()),
        ("subject", pa.string()),  # the zone, the other class, the spot, ATTRIBUTE=VALUE, the cluster's number
        ("targets", pa.int64()),  # that the share is of
        ("share", pa.float64()),  # of them, that show it
        ("low", pa.float64()),  # 95 % interval of the share, or of the difference for a group
        ("high", pa.float64()),
        ("expected", pa.float64()),  # the share that it is compared with
        ("p", pa.float64()),
        ("q", pa.float64()),  # Benjamini-Hochberg over the family
        ("level", pa.float64()),
        ("family", pa.string()),  # what was tested together, as `class x zone`
        ("tested", pa.int64()),  # how many
        ("found", pa.bool_()),
        ("rests_on", pa.string()),  # masks, boxes, masks and boxes, heat alone, activations, labels
        ("says", pa.string()),  # in a sentence
        ("details", pa.string()),  # JSON, by kind: see docs/findings.md
    ]
)
MEMBER = pa.schema(
    [
        ("sample", pa.int64()),
        ("slot", pa.int16()),
        ("class_id", pa.int32()),
        ("cluster", pa.int32()),  # -1 for none
        ("distance", pa.float32()),  # to the cluster's middle
    ]
)
EFFECT = pa.schema(  # what interventions did to one target
    [
        ("sample", pa.int64()),
        ("slot", pa.int16()),
        ("id", pa.string()),
        ("class_id", pa.int32()),
        ("class", pa.string()),
        ("role", pa.string()),  # flagged, control
        ("severity", pa.float32()),
        ("probability", pa.float32()),
        ("hot", pa.float32()),  # drop of the probability without the hot region off the object
        ("random", pa.float32()),  # ... without a random region off the object of the same area
        ("object", pa.float32()),  # ... without the object
        ("background", pa.float32()),  # ... with other images' backgrounds
        ("reliance", pa.float32()),  # what the background does: see `audit.findings.interventions`
        ("outcome", pa.string()),  # confirmed, refuted, inconclusive
    ]
)
CAUSE = pa.schema(  # what interventions say of a finding about more than one target
    [
        ("finding", pa.string()),
        ("outcome", pa.string()),  # confirmed, refuted, inconclusive
        ("targets", pa.int64()),  # intervened on
        ("controls", pa.int64()),
        ("effect", pa.float64()),  # mean reliance
        ("low", pa.float64()),  # 95 % interval
        ("high", pa.float64()),
        ("control_effect", pa.float64()),
        ("says", pa.string()),
    ]
)

PARTS: dict[str, pa.Schema] = {
    "samples": SAMPLES,
    "targets": TARGETS,
    "scores": SCORES,
    "context": CONTEXT,
    "features": FEATURES,
    "confusion": CONFUSION,
}
"""Tables with one part a shard."""


def part_name(shard: int) -> str:
    """File name of a shard's part of a table."""
    return f"part-{shard:05d}.parquet"
