"""The account of a run: its samples, what failed, what its maps take, and what is damaged."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from audit.errors import RunError
from audit.findings import Findings
from audit.findings.pages.basis import basis_of
from audit.store import Damage, Run, Shard, layout
from audit.store.maps.files import ENCODINGS, maps_size
from audit.wording import percent, size

_PARTICULARS = re.compile(r"\S*[/\\.]\S+|\d+")
"""What tells the reasons of two samples apart that failed alike."""


def status_record(run: Run, check: bool) -> dict[str, Any]:
    """The account of a run, what failed first, and, with `check`, which artefacts are not what was committed."""
    account = run.account()
    record: dict[str, Any] = asdict(account)
    record["adds_up"] = account.processed + account.failed + account.pending == account.samples
    if check:
        record["damaged"] = [_damage(damage) for damage in (*run.damaged(), *Findings(run).damaged())]
    readable = not record.get("damaged")
    record["quarantined"] = sum(entry["quarantined"] for _, entry in _quarantined(run))
    record["maps"] = maps_record(run)
    record["rests_on"] = _rests_on(run) if readable else []
    record["failures"] = [{"id": name, "reason": reason} for name, reason in run.failures(5)] if readable else []
    return record


def _rests_on(run: Run) -> list[str]:
    """What the findings rest on and what was not tested; nothing before there are any, or where they are damaged."""
    try:
        basis = basis_of(Findings(run))
    except RunError:
        return []
    return basis.lines() if basis else []


def refuse_failed(run: Run, most: float) -> None:
    """Nothing more, unless all samples failed or more than a share of them did.

    Raises:
        RunError: they did; it says why most of them failed.
    """
    account = run.account()
    done = account.processed + account.failed
    if not account.failed or (account.processed and account.failed <= most * done):
        return
    count, reason = _commonest([reason for _, reason in run.failures(account.failed)])
    allowed = "" if not account.processed else f", --max-failed allows {percent(most)}"
    raise RunError(f"{account.failed} of {done} samples failed{allowed}; {count} of them as this one: {reason}")


def _commonest(reasons: Sequence[str]) -> tuple[int, str]:
    """How many reasons are alike but for their files and numbers, and the first of those."""
    kinds = [_PARTICULARS.sub("", reason) for reason in reasons]
    (kind, count), *_ = Counter(kinds).most_common(1)
    return count, reasons[kinds.index(kind)]


def maps_record(run: Run) -> dict[str, Any]:
    """What a run's maps take: bytes of a sample and of all before compression, and bytes on disk so far."""
    return {
        "shape": [run.record["slots"], *run.record["grid"]],
        "encoding": run.encoding,
        "bytes_a_sample": run.sample_bytes,
        "bytes_in_all": run.sample_bytes * run.samples,
        "bytes_on_disk": maps_size(run.path / layout.MAPS),
    }


def maps_line(maps: Mapping[str, Any]) -> str:
    """A maps record in words."""
    shape, bits = " x ".join(map(str, maps["shape"])), ENCODINGS[maps["encoding"]]
    each, total, disk = (size(maps[f"bytes_{name}"]) for name in ("a_sample", "in_all", "on_disk"))
    return f"maps: {shape} at {bits} bits, {each} a sample, {total} in all, compressed on disk {disk} so far"


def cost_line(method: str, cost: Mapping[str, int], samples: int) -> str:
    """What so many samples cost at the most, in words: a sample may have fewer targets than slots.

    >>> cost_line("rise", {"forward": 501, "backward": 0}, 280)
    'rise: 501 forward passes an image, 140,280 in all'
    """
    names = [name for name in ("forward", "backward") if cost[name]]
    each = " and ".join(f"{cost[name]} {name}" for name in names)
    total = " and ".join(f"{cost[name] * samples:,}" for name in names)
    return f"{method}: {each} passes an image, {total} in all"


def withdraw_quarantined(run: Run) -> int:
    """Take shards with samples in quarantine back out of the ledger; returns how many samples are tried again."""
    with run.locked():
        quarantined = list(_quarantined(run))
        for shard, _ in quarantined:
            run.withdraw(shard)
    return sum(entry["quarantined"] for _, entry in quarantined)


def _quarantined(run: Run) -> Iterator[tuple[Shard, dict[str, Any]]]:
    """Finished shards with samples that killed their worker, and their ledger entries."""
    return ((shard, entry) for shard, entry in run.entered().items() if entry.get("quarantined"))


def withdraw_damaged(run: Run) -> list[Damage]:
    """Take damaged shards back out of the ledger; returns all damage, also what no shard owns."""
    with run.locked():
        damaged = [*run.damaged(), *Findings(run).damaged()]
        for shard in (damage.shard for damage in damaged):
            if shard is not None:
                run.withdraw(shard)
    return damaged


def _damage(damage: Damage) -> dict[str, Any]:
    shard = None if damage.shard is None else damage.shard.index
    return {"shard": shard, "file": damage.file, "advice": damage.advice}
