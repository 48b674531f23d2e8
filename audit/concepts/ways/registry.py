"""All ways to find concepts by name; the first is the default."""

from __future__ import annotations

from audit.concepts.ways.class_pca import ClassPCA
from audit.concepts.ways.nmf import NonNegative
from audit.concepts.ways.way import Way

WAYS: dict[str, Way] = {way.name: way for way in (NonNegative(), ClassPCA())}
