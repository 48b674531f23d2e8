# ruff: noqa
"""Whether two trees of outputs, of the code before and after, hold the same values: columns by column, renames mapped."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

RENAMES = {
    "findings/classes.parquet": {"finding": "is_finding"},
    "findings/claims.parquet": {"finding": "claim_id", "level": "fdr"},
    "findings/causes.parquet": {"finding": "claim_id"},
    "findings/effects.parquet": {"role": "arm"},
    "findings/part": {"finding": "finding_id", "level": "fdr"},
    "scores/part": {"best_level": "best_map_level"},
    "confusion/part": {"level": "map_level"},
}
SORTED_BY = {"claims": "claim_id", "causes": "claim_id"}


def reworded(text: Any) -> Any:
    """Sentences as they were, in the one vocabulary of today."""
    if not isinstance(text, str):
        return text
    text = text.replace("along the border;", "along the border of the frame;").replace(
        "in the centre;", "in the centre of the frame;"
    )
    text = re.sub(r"mostly along the border;", "mostly along the border of the frame;", text)
    text = re.sub(r"mostly in the centre;", "mostly in the centre of the frame;", text)
    return re.sub(r"in one spot, .*? \(", "in one spot, SOMEWHERE (", text)


def table(path: Path, renames: dict[str, str]) -> pd.DataFrame:
    frame = pq.read_table(path, partitioning=None).to_pandas().rename(columns=renames)
    for name in ("claim_id",):
        if name in frame and path.stem in SORTED_BY:
            frame = frame.sort_values(name).reset_index(drop=True)
    return frame


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(np.asarray(a, float), np.asarray(b, float), equal_nan=True)
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (np.isnan(a) and np.isnan(b)) or abs(a - b) < 1e-12
    if isinstance(a, str) and isinstance(b, str) and a.startswith("{"):
        return json.loads(a) == json.loads(b)
    return reworded(a) == reworded(b) or (pd.isna(a) is True and pd.isna(b) is True)


def tables(before: Path, after: Path) -> tuple[int, list[str]]:
    wrong, count = [], 0
    for path in sorted(before.rglob("*.parquet")):
        name = str(path.relative_to(before))
        if not (after / name).exists():
            wrong.append(f"missing {name}")
            continue
        key = next((k for k in RENAMES if k in name), "")
        old, new = table(path, RENAMES.get(key, {})), table(after / name, {})
        if list(old) != list(new) or len(old) != len(new):
            wrong.append(f"{name}: {sorted(set(old) ^ set(new))} {len(old)} {len(new)}")
            continue
        for column in old:
            count += 1
            bad = [i for i, (a, b) in enumerate(zip(old[column], new[column], strict=True)) if not same(a, b)]
            if bad:
                i = bad[0]
                wrong.append(f"{name} {column}: {len(bad)} of {len(old)}, first {old[column][i]!r} {new[column][i]!r}")
    return count, wrong


def plain(value: Any) -> Any:
    """JSON with the renames of keys, and lists of claims by id."""
    names = {"finding": "ID", "finding_id": "ID", "claim_id": "ID", "is_finding": "ID", "level": "fdr", "role": "arm"}
    if isinstance(value, dict):
        skip = ("created", "versions", "format", "path", "model", "manifest", "sample", "batch_size")
        return {names.get(k, k): plain(v) for k, v in value.items() if k not in skip}
    if isinstance(value, list):
        parts = [plain(v) for v in value]
        if parts and isinstance(parts[0], dict) and "ID" in parts[0] and isinstance(parts[0]["ID"], str):
            return sorted(parts, key=lambda part: part["ID"])
        return parts
    return reworded(value)


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        return [d for k in sorted(a.keys() | b.keys()) for d in differences(a.get(k), b.get(k), f"{where}/{k}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{where}/{i}")]
    return [] if same(a, b) else [f"{where}: {str(a)[:150]} | {str(b)[:150]}"]


def main() -> None:
    before, after = map(Path, sys.argv[1:3])
    count, wrong = tables(before, after)
    print(f"{count} columns of tables compared, {len(wrong)} differ")
    for name in sorted(path.name for path in before.glob("*.json")) + [
        f"{r}/summary.json" for r in ("demo", "voc320", "voc224")
    ]:
        a, b = (plain(json.loads((root / name).read_text())) for root in (before, after))
        found = differences(a, b)
        print(f"{name}: {len(found)} differences")
        wrong += [f"{name} {text}" for text in found]
    for name in ("demo", "voc320", "voc224"):
        old, new = ((root / name / "report" / "index.html").read_text() for root in (before, after))
        words = [re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL).split() for page in (old, new)]
        pictures = [re.findall(r"base64,([^\"]+)", page) for page in (old, new)]
        apart = [(x, y) for x, y in zip(*words, strict=False) if x != y]
        print(
            f"{name} report: {len(words[0])} and {len(words[1])} words, {len(apart)} apart; pictures the same: {pictures[0] == pictures[1]} ({len(pictures[0])})"
        )
        print("   ", apart[:12])
    print("\n".join(wrong[:60]))


if __name__ == "__main__":
    main()
