"""The run directory, or the folder of a bucket: names, table schemas and provenance.

RUN/
  run.json                 provenance: configuration, fingerprints, layer, grid, versions, digests of files of no shard
  manifest.parquet         the samples, a row group a shard
  maps.zarr/map            [N, K, h, w] float16, divided by the peak; NaN where there is no map
                           at the input's resolution int8: steps of it, the value is step times scale;
                           part-00000.DIGEST ..., one a shard; c.0.0.0.0 is the same for other readers of Zarr
  maps.zarr/scale          [N, K] float32, only beside int8: what a step is worth; NaN where there is no map
  samples/  targets/  scores/  context/  features/  confusion/  checks/  channels/  detections/  segmentations/
                           part-00000.DIGEST.parquet ..., one a shard; the last two where a network gave them
  ledger/                  00000.json ..., written last: a shard is done when its entry exists and for no other reason;
                           it names the shard's files, which are named by their content and never changed;
                           rolled-up.json, a copy of all entries that are listed as they were when it was written
  findings/                part-00000.parquet ... about targets; classes, claims, clusters (who is in which),
                           claim_channels (what their heat comes from), effects and causes (what interventions did)
                           .parquet; index.parquet, all targets in one table for pages; set_aside.parquet, findings that
                           are left out because reviewers disagree with them; ledger.json names them, written last
  report/                  index.html; sanity, faithfulness .json and .png; null.json; sheets/ of clusters;
                           channels/, sheets of patches
  summary.json             counts, curve, threshold and findings in short
  labels/NAME/             a label set: record.json, ledger/, images/ and regions/, parts as above
  concepts/                a file a class or claim: what lies under its heat, by `camaudit units --concepts`
  embedding/               points.parquet: targets placed by what lies under their heat; record.json, written last
  drawn.parquet            boxes that reviewers drew, where `score --verdicts` took them for objects
  verdicts.sqlite          what reviewers decided; of a run in a bucket it lies on their machine
  views.json               views of the dashboard that were given a name, and about which run's targets
  lock, lock.json          held by the process that works on the run, and which one that is
"""

from __future__ import annotations

import pyarrow as pa

FORMAT = 9
ALIKE = 8
"""Format whose runs are read as they are, but for those with the table `detections`; none is written any more."""
LEVELS = 256
"""Map values 0..1 are counted at levels floor(256 value); threshold t keeps the levels from 256 t on."""

RUN_JSON = "run.json"
MANIFEST = "manifest.parquet"
MAPS = "maps.zarr"
LEDGER = "ledger"
FINDINGS = "findings"
FINDINGS_LEDGER = "ledger.json"
CLASS_FINDINGS = "classes.parquet"
CLAIMS = "claims.parquet"
CLUSTERS = "clusters.parquet"
CLAIM_CHANNELS = "claim_channels.parquet"
SET_ASIDE = "set_aside.parquet"
INDEX = "index.parquet"
EFFECTS = "effects.parquet"
CAUSES = "causes.parquet"
SUMMARY = "summary.json"
REPORT = "report"
PAGE = "index.html"
SHEETS = "sheets"
CHANNEL_SHEETS = "channels"
NULL = "null.json"
SANITY = "sanity.json"
VERDICTS = "verdicts.sqlite"
DRAWN = "drawn.parquet"
VIEWS = "views.json"
CONCEPTS = "concepts"
EMBEDDING = "embedding"
POINTS = "points.parquet"
LABELS = "labels"
LABEL_RECORD = "record.json"
LOCK = "lock"
LOCK_HOLDER = "lock.json"

CELLS = 8
"""The frame, the part of the upright image that was seen, is divided into 8 x 8 cells, row by row from the top left."""

COUNTS = pa.list_(pa.int32(), LEVELS)
FRAME = pa.list_(pa.float16(), CELLS * CELLS)
UNIT_VECTOR = pa.list_(pa.float16())
"""Bulky columns are kept packed (`audit.store.tables.packing`); schemas say what they are when they are read."""
_CLEAR = pa.list_(pa.bool_(), CELLS * CELLS)

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
        ("look", pa.int64()),  # difference hash of what the network saw: nearly the same for copies
    ]
)
TARGETS = pa.schema(
    [
        ("sample", pa.int64()),
        ("slot", pa.int16()),
        ("class_id", pa.int32()),
        ("class", pa.string()),
        ("role", pa.string()),  # label, predicted, runner_up, detected
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
        ("best_map_level", pa.int16()),
        ("p_low", pa.float32()),  # share of shifts of the map with energy at or below the observed
        ("p_high", pa.float32()),  # ... at or above
        ("attainable", pa.float32()),  # the highest energy of any shift: what this heat could do on this object
        ("centre_energy", pa.float32()),  # energy of a map that falls off from the centre
        ("peak_distance", pa.float32()),  # from the peak to the object, share of the view's diagonal; 0 on it
        ("rests_on", pa.string()),  # the object was taken from: mask, boxes, or the target itself: detection, region
        ("on_heat", FRAME),  # share of the map's heat on the object, by cell of the frame; zeros where none is known
        ("off_heat", FRAME),  # share of the map's heat off the object, by cell; all heat where no object is known
        ("off_area", FRAME),  # share of what was seen, is not void and is off the object, by cell
        ("clear", _CLEAR),  # whether a cell is clear of the object: half of it is farther away than a map value reaches
        ("inside", COUNTS),  # pixels of O by level of the map
        ("outside", COUNTS),  # pixels of V without O
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
        ("relevance", UNIT_VECTOR),  # within the off-object heat; see `audit.scores.features`
    ]
)
CONFUSION = pa.schema(
    [
        ("predicted", pa.int32()),  # class id of the winning map
        ("true", pa.int32()),  # 0 background, i + 1 class i
        ("map_level", pa.int16()),  # of the winning map
        ("count", pa.int64()),  # pixels
    ]
)
CHECKS = pa.schema(  # a row for every target that was asked whether it needs its background
    [
        ("sample", pa.int64()),
        ("slot", pa.int16()),
        ("reliance", pa.float32()),  # share of p(c) that is lost without it; see `audit.interventions.quick`
    ]
)
DETECTIONS = pa.schema(  # a row for every box that a detector gave, by falling score, and for every object it missed
    [
        ("sample", pa.int64()),
        ("slot", pa.int16()),  # of the target; null where the box is not among those that are explained
        ("class_id", pa.int32()),
        ("score", pa.float32()),  # null of an object that was missed
        *((corner, pa.float32()) for corner in ("x0", "y0", "x1", "y1")),  # upright pixels
        (
            "candidate",
            pa.list_(pa.float32()),
        ),  # what it is asked again by; see `audit.models.aimed.detectors`
        ("error", pa.string()),  # see `audit.scores.given.errors`, or missed; null where no object is known
        ("iou", pa.float32()),  # with the object that this rests on
        ("true_class", pa.int32()),  # of that object; null without one
    ]
)
DRAWN_BOXES = pa.schema(  # what reviewers drew around objects of the class, where the manifest lists none
    [
        ("sample", pa.int64()),
        ("class_id", pa.int32()),
        *((corner, pa.float32()) for corner in ("x0", "y0", "x1", "y1")),  # upright pixels, x1 and y1 exclusive
    ]
)
LEADING = 8
"""Channels that are kept of each map."""
SHARE_STEPS = 255
"""Their shares are kept in so many steps."""
CHANNELS = pa.schema(  # a row for every target of a method whose maps are a sum over channels; `audit.scores.channels`
    [
        ("sample", pa.int64()),
        ("slot", pa.int16()),
        *(
            (f"{part}{name}", pa.list_(kind, LEADING))  # the channels that carry most, the largest share first
            for part in ("", "off_")  # of all heat, and of that off the object
            for name, kind in (
                ("channel", pa.int16()),  # -1 where fewer carry any
                ("share", pa.uint8()),  # of the heat, in 255ths
                ("cell", pa.int32()),  # of the map, where it adds most; row by row from the top left
            )
        ),
    ]
)
SEGMENTATIONS = pa.schema(  # a row for every sample that a network segmented
    [
        ("sample", pa.int64()),
        ("labels", pa.binary()),  # PNG of the network's output, 16 bits: 0 no class, i + 1 class i
    ]
)
PARTS: dict[str, pa.Schema] = {
    "samples": SAMPLES,
    "targets": TARGETS,
    "scores": SCORES,
    "context": CONTEXT,
    "features": FEATURES,
    "confusion": CONFUSION,
    "checks": CHECKS,
    "detections": DETECTIONS,
    "channels": CHANNELS,
    "segmentations": SEGMENTATIONS,
}
"""Tables with one part a shard."""

LABEL_IMAGES = pa.schema(
    [
        ("sample", pa.int64()),
        ("status", pa.string()),  # processed, failed
        ("reason", pa.string()),  # why it failed
        ("transient", pa.bool_()),  # whether the same command tries it again
        ("class_ids", pa.list_(pa.int32())),  # of the maps that took part
        ("probabilities", pa.list_(pa.float32())),  # of those classes
        ("pixels", pa.binary()),  # PNG of the upright image, two channels: place of the winner in class_ids + 1, level
    ]
)
REGIONS = pa.schema(  # a row for every class of an image's maps or of its mask, and one of class -1 where no map wins
    [
        ("sample", pa.int64()),
        ("class_id", pa.int32()),
        ("object", pa.int64()),  # pixels of the class in the mask; of class -1, of the background; null without a mask
        ("pixels", COUNTS),  # where the class's map is the highest, by level; void ones are not counted
        ("correct", COUNTS),  # of those, where the mask shows the class; zeros without a mask
        ("background", COUNTS),  # of those, where the mask shows background; zeros without a mask
    ]
)
LABEL_PARTS: dict[str, pa.Schema] = {"images": LABEL_IMAGES, "regions": REGIONS}
"""Tables of a label set, with one part a shard."""


def part_name(shard: int) -> str:
    """File name of a shard's part of a table."""
    return f"part-{shard:05d}.parquet"


def shard_of_part(name: str) -> int:
    """The shard that a part belongs to, by its file name.

    >>> shard_of_part("part-00012.0a1b2c3d4e5f.parquet")
    12
    """
    return int(name.removeprefix("part-").partition(".")[0])
