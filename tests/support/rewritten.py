"""Runs whose tables are replaced by others, as if they had been written so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from audit.datasets import Manifest
from audit.findings import Findings
from audit.store import Run, layout
from audit.store.artefacts import of_table
from audit.store.storage.files import read_json, sha256, write_json
from audit.store.tables.parts import write_table


def read_listed(path: Path) -> pa.Table:
    """The table of a manifest with what its footer says of it: written anew it is a manifest."""
    told = {key: value for key, value in pq.read_metadata(path).metadata.items() if key == b"camaudit"}
    return pq.read_table(path).replace_schema_metadata(told)


def map_files_of(run: Run, shard: int) -> list[Path]:
    """Files of a shard's maps, then of their scale."""
    return sorted(run.path / name for name in of_table(run.entry(run.shards[shard]), layout.MAPS))


def part_of(run: Run, table: str, shard: int) -> Path:
    """The file of a shard's part of a table, or of its findings."""
    path = Findings(run).part(run.shards[shard]) if table == "findings" else run.part(table, run.shards[shard])
    assert path is not None
    return path


def put_manifest(run: Run, manifest: Manifest) -> Run:
    """Give a run another manifest."""
    path = manifest.save(run.path / layout.MANIFEST)
    return run.amended(artefacts={**run.record["artefacts"], layout.MANIFEST: sha256(path)})


def put_part(run: Run, table: str, shard: int, columns: Mapping[str, Any]) -> None:
    """Commit a finished shard again with another part of a table, and let its findings pass for made from that."""
    entry = run.entry(run.shards[shard])
    counts = {name: value for name, value in (entry or {}).items() if name not in ("shard", "artefacts")}
    run.commit(run.shards[shard], None, {table: columns}, counts, entry)
    _record(run, {})


def put_findings(run: Run, name: str, columns: Mapping[str, Any], schema: pa.Schema) -> None:
    """Write a file of the findings and let it count."""
    path = run.path / layout.FINDINGS / name
    write_table(path, columns, schema)
    _record(run, {name: sha256(path)})


def _record(run: Run, artefacts: Mapping[str, str]) -> None:
    path = run.path / layout.FINDINGS / layout.FINDINGS_LEDGER
    known = read_json(path, "")["artefacts"] if path.exists() else {}
    if known or artefacts:
        write_json(path, {"ledger": run.ledger.digest(), "artefacts": {**known, **artefacts}})
