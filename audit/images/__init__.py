"""Images: bytes to upright RGB, masks, and views, that is, which box of an image the network saw."""

from audit.images.ahead import map_ahead
from audit.images.batches import batches
from audit.images.copies import near_copies
from audit.images.locations import is_remote, is_url, location_fault
from audit.images.masks import (
    class_ids,
    draw_boxes,
    object_mask,
    read_index_mask,
    read_mask,
    values_in,
    write_index_png,
)
from audit.images.reading import MAX_PIXELS, MAX_SIDE, decode_image, difference_hash, local_path, read_bytes
from audit.images.views import Fit, View, cut, cut_to_image, upsample

__all__ = [
    "MAX_PIXELS",
    "MAX_SIDE",
    "Fit",
    "View",
    "batches",
    "class_ids",
    "cut",
    "cut_to_image",
    "decode_image",
    "difference_hash",
    "draw_boxes",
    "is_remote",
    "is_url",
    "local_path",
    "location_fault",
    "map_ahead",
    "near_copies",
    "object_mask",
    "read_bytes",
    "read_index_mask",
    "read_mask",
    "upsample",
    "values_in",
    "write_index_png",
]
