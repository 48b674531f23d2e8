"""Image collections as manifests: readers, what a sample's image and objects are, and the names of classes."""

from audit.datasets.classes import VOC_CLASSES, ClassMapping, map_classes
from audit.datasets.decoding import Readable, Unreadable, decode_sample
from audit.datasets.manifest import MASK_KINDS, Box, Manifest, Sample, coordinate, manifest_length, storable_path
from audit.datasets.manifest_file import ManifestFile
from audit.datasets.objects import Objects, has_objects, read_objects
from audit.datasets.opening import Opening, Tally, try_opening
from audit.datasets.readers.coco import list_coco, read_coco
from audit.datasets.readers.folder import list_folder, read_folder
from audit.datasets.readers.listing import Listing
from audit.datasets.readers.table import list_table, read_table
from audit.datasets.readers.voc import is_segmentation, list_voc, read_voc

__all__ = [
    "MASK_KINDS",
    "VOC_CLASSES",
    "Box",
    "ClassMapping",
    "Listing",
    "Manifest",
    "ManifestFile",
    "Objects",
    "Opening",
    "Readable",
    "Sample",
    "Tally",
    "Unreadable",
    "coordinate",
    "decode_sample",
    "has_objects",
    "is_segmentation",
    "list_coco",
    "list_folder",
    "list_table",
    "list_voc",
    "manifest_length",
    "map_classes",
    "read_coco",
    "read_folder",
    "read_objects",
    "read_table",
    "read_voc",
    "storable_path",
    "try_opening",
]
