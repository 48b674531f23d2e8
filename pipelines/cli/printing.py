"""All that verbs print: tables and sentences for people, JSON for programs. They go to standard output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from audit.wording import decimal, shorten
from pipelines.cli.tables import named, numbers, print_table, whole, words
from pipelines.terminal import results, say

if TYPE_CHECKING:
    from audit.datasets import Opening
    from audit.findings import Claim, ClassFinding, Findings
    from audit.findings.grading import Graded
    from pipelines.planted.demo import Demonstration
    from pipelines.run.start import Audited

_SENTENCE = 300
_MOST_CLASSES = 20


def line(text: str) -> None:
    """Print a line of results."""
    say(text, results())


def print_json(record: Any) -> None:
    """Print a record, indented."""
    typer.echo(json.dumps(record, indent=1, default=str))


def print_pairs(record: Mapping[str, str]) -> None:
    """Print names and values, one pair a line."""
    for name, value in record.items():
        line(f"{name:<14}{value}")


def as_written(key: str) -> str:
    """A claim's key with its parts as people wrote them.

    >>> as_written("spot:n01%3A cat:x 88-100 %25")
    'spot:n01: cat:x 88-100 %'
    """
    return key.replace("%3A", ":").replace("%25", "%")


def print_opening(opening: Opening, expects_masks: bool) -> None:
    """Print how many of the files that were tried open; of masks, where there are any or should be."""
    tallies = {"images": opening.images} | ({"masks": opening.masks} if expects_masks else {})
    for name, tally in tallies.items():
        if not tally.listed:
            line(f"{name}: 0 of {opening.images.listed} samples have one")
        else:
            first = f"; the first that does not: {tally.reason}" if tally.reason else ""
            line(f"{name}: {tally.opened} of {tally.tried} open{first}")
    bad = opening.drawings.tried - opening.drawings.opened
    if bad:
        line(
            f"boxes and outlines: {bad} of {opening.drawings.listed} samples have some that cannot be drawn, "
            f"the first: {opening.drawings.reason}; where no mask is beside them, these samples are scored without"
        )


def print_audited(audited: Audited) -> None:
    """Print the account of a run, its figures, and what to do next."""
    path = audited.run.path
    print_status(path, audited.status)
    if audited.summary:
        print_summary(audited.summary)
        line(f"next: camaudit findings {path}; camaudit dashboard {path}")


def print_status(path: Path, record: Mapping[str, Any]) -> None:
    """Print a status record of the run at `path`."""
    from pipelines.run.account import maps_line

    line(
        f"{record['processed']} processed + {record['failed']} failed + {record['pending']} pending "
        f"= {record['samples']} samples   ({record['shards_done']} of {record['shards']} shards)"
    )
    line(f"  {maps_line(record['maps'])}")
    for failure in record["failures"]:
        line(f"  failed {whole(failure['id'])}: {failure['reason']}")
    more = record["failed"] - len(record["failures"])
    if more > 0 and record["failures"]:
        line(f"  and {more} more, with their reasons in the table samples")
    if record["transient"]:
        line(f"  {record['transient']} failures that may pass: run the same command again")
    if record["quarantined"]:
        line(f"  {record['quarantined']} in quarantine: camaudit repair {path} --quarantined has them tried again")
    for damage in record.get("damaged", []):
        line(f"  damaged: {damage['file']}; {damage['advice']}")
    if record["outdated"]:
        of = f"{record['outdated']} of {record['shards_done']} shards"
        line(f"  scoring was interrupted: {of} have the scores of before; go on with: camaudit score {path}")
    if "damaged" in record and not record["damaged"]:
        line("  every committed file is as it was written")


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the figures of a flagged run in a few lines."""
    from audit.findings import KINDS
    from audit.findings.claims.registry import CLAIM_KINDS
    from audit.findings.dependence import units_said

    line(f"findings: {_counts(summary['findings'], KINDS)} of {summary['scores'].get('scored', 0)} scored targets")
    unscored = [
        f"{count} {status.replace('_', ' ')}" for status, count in summary["scores"].items() if status != "scored"
    ]
    if unscored:
        line(f"not scored: {', '.join(unscored)}")
    if summary["mean_iou"] is not None:
        line(f"mean IoU {summary['mean_iou']:.3f} at threshold {summary['threshold']:.3f}")
    if summary["scores"].get("scored"):
        line(_means_line(summary["means"]))
    claims = {kind: number for kind, number in summary.get("claims", {}).items() if number}
    line(f"claims found: {_counts(claims, CLAIM_KINDS) or 'none'}")
    line(f"classes off the object: {', '.join(map(whole, summary['classes_off_object'])) or 'none'}")
    said = units_said(summary)
    if said:
        line(f"note: {said}")


def _counts(counts: Mapping[str, int], kinds: Iterable[str]) -> str:
    """In the order of the kinds."""
    return ", ".join(f"{counts[kind]} {kind}" for kind in kinds if kind in counts)


def _means_line(values: Mapping[str, float | None]) -> str:
    means = {name: decimal(value) for name, value in values.items()}
    return (
        f"pointing {means['hit']} (centre {means['centre_hit']}), within 15 px {means['hit_15px']} "
        f"(centre {means['centre_hit_15px']}), energy {means['energy']} (centre {means['centre_energy']}), "
        f"area {means['area']}"
    )


def print_findings(findings: Findings, most: int, wide: bool = False) -> None:
    """Print the class table, the claims found, and the most suspicious findings.

    Args:
        most: claims, and findings about targets, to print.
        wide: print every column.
    """
    import pyarrow.compute as pc

    from audit.findings.power import explain_silence
    from audit.findings.unjudged import why_unjudged

    targets, classes = findings.targets(), findings.classes()
    if classes:
        _print_classes(classes, wide)
    else:
        line(f"{why_unjudged((findings.summary() or {}).get('scores', {}))}.")
    _print_claims(findings.standing_claims(), most)
    for text in explain_silence(findings.summary() or {}):
        line(f"  {text}")
    guessed = pc.equal(targets["kind"], "detected")
    evident, guesses = targets.filter(pc.invert(guessed)), targets.filter(guessed)
    if evident.num_rows:
        shown = evident.slice(0, most).to_pylist()
        _print_targets(f"The {len(shown)} most suspicious of {evident.num_rows} findings", shown, wide)
    else:
        line("0 findings about single images")
    if guesses.num_rows:
        shown = guesses.slice(0, most).to_pylist()
        _print_targets(f"{len(shown)} of {guesses.num_rows} guesses of a detector, without a mask", shown, wide)


def _print_classes(rows: Sequence[ClassFinding], wide: bool) -> None:
    columns = [
        named("class", (row.class_name for row in rows)),
        numbers("targets", (row.targets for row in rows), rank=4),
        numbers("confident", (row.confident for row in rows), rank=2),
        numbers("off object", (row.off_object for row in rows), rank=1),
        numbers("share [95 %]", map(_share, rows)),
        numbers("energy", (decimal(row.energy) for row in rows), rank=5),
        numbers("area", (decimal(row.area) for row in rows), rank=6),
        numbers("lift", (decimal(row.lift) for row in rows), rank=7),
        numbers("q", ("-" if row.q is None else f"{row.q:.3g}" for row in rows), rank=3),
        numbers("held against", map(_held_against, rows), rank=8),
        numbers("quick", (decimal(row.quick_reliance) for row in rows), rank=9),
        numbers("of others", (decimal(row.quick_of_others) for row in rows), rank=10),
        words("", ("finding" if row.is_finding else "" for row in rows)),
    ]
    title = "Classes: how often the heat of a confidently named target is off the object"
    print_table(title, columns, wide)


def _share(row: ClassFinding) -> str:
    if not row.confident:
        return "-"
    return f"{row.share:.2f} [{row.share_low:.2f}, {row.share_high:.2f}]"


def _held_against(row: ClassFinding) -> str:
    return "-" if row.expected is None else f"{row.expected:.2f} {row.against}"


def _print_claims(claims: Sequence[Claim], most: int) -> None:
    """The claims found as sentences, most certain first, with what interventions made of them."""
    line(f"{len(claims)} claims found" + (f"; the first {most}:" if len(claims) > most else ""))
    for claim in claims[:most]:
        q = "" if claim.q is None else f", q {claim.q:.2g}"
        line(f"  {shorten(claim.says, _SENTENCE)} ({claim.outcome}{q}, rests on {claim.rests_on})")


def _print_targets(title: str, rows: Sequence[Mapping[str, Any]], wide: bool) -> None:
    columns = [
        numbers("suspicion", (f"{row['suspicion']:.3f}" for row in rows)),
        words("kind", (row["kind"] for row in rows), rank=1),
        named("sample", (row["id"] for row in rows)),
        named("class", (row["class"] for row in rows)),
        words("role", (row["role"] for row in rows), rank=6),
        numbers("quick", (decimal(row["quick_reliance"]) for row in rows), rank=2),
        numbers("severity", (decimal(row["severity"]) for row in rows), rank=3),
        numbers("probability", (decimal(row["probability"]) for row in rows), rank=4),
        numbers("energy", (decimal(row["energy"]) for row in rows), rank=5),
        numbers("area", (decimal(row["area"]) for row in rows), rank=7),
        numbers("chance", (decimal(row["chance"]) for row in rows), rank=3),
        numbers("q_low", (decimal(row["q_low"]) for row in rows), rank=8),
    ]
    print_table(title, columns, wide)


def print_verified(record: Mapping[str, Any], wide: bool = False) -> None:
    """Print the outcomes of flagged targets and controls, a sentence a finding, and one about random weights."""
    from audit.findings.records import OUTCOMES

    arms = record["outcomes"]
    columns = [
        words("targets", arms),
        *(
            numbers(name, (outcomes.get(name, 0) for outcomes in arms.values()), rank)
            for rank, name in enumerate(OUTCOMES)
        ),
    ]
    title = f"Interventions on {record['targets']} targets, {len(record['failed'])} unreadable"
    print_table(title, columns, wide)
    for cause in record["causes"]:
        line(f"{as_written(cause['claim_id'])} {cause['outcome']}: {cause['says']}")
    if record["random_weights"]:
        line(record["random_weights"]["says"])


def print_graded(graded: Graded, wide: bool = False) -> None:
    """Print from which share of a class's images a planted shortcut was found, beside the formula's."""
    from audit.wording import percent

    rows = graded.grades
    if rows:
        columns = [
            named("class", (row.class_name for row in rows)),
            words("a shortcut is found", (row.how for row in rows)),
            numbers("images", (row.images for row in rows), rank=2),
            numbers("planted in", ("-" if row.least is None else percent(row.least) for row in rows)),
            numbers("by formula", ("-" if row.certified is None else percent(row.certified) for row in rows), rank=1),
        ]
        print_table(f"The least share of images in which it is found in 95 % of {graded.draws} draws", columns, wide)
    for text in graded.painted:
        line(text)
    for text in graded.left_out:
        line(f"not graded: {text}")


def print_labels(record: Mapping[str, Any], wide: bool = False) -> None:
    """Print how many label images there are, and how good they are where masks are known."""
    counts = f"{record['processed']} label images, {record['failed']} failed, {record['pending']} pending"
    line(f"{record['labels']}: {counts}")
    for failure in record["failures"]:
        line(f"  failed: sample {failure['sample']}: {failure['reason']}")
    if not record["thresholds"]:
        line("no masks are known, so nothing says which threshold is best; 0.3 to 0.5 is usual")
        return
    rows = record["thresholds"]
    columns = [
        words("threshold", (row["threshold"] for row in rows)),
        numbers("mean IoU", (decimal(row["mean_iou"]) for row in rows)),
    ]
    print_table("Label images against the masks", columns, wide)
    classes = [row for row in record["classes"] if row["iou"] is not None][: _MOST_CLASSES + 1]
    columns = [
        named("class", (row["class"] for row in classes)),
        numbers("IoU", (decimal(row["iou"]) for row in classes)),
        numbers("own best threshold", (decimal(row["threshold"]) for row in classes)),
    ]
    print_table(f"Classes at the best threshold, {len(classes)} of {len(record['classes'])}", columns, wide)
    kept = ", ".join(f"{row['share']:.0%} {decimal(row['mean_iou'])}" for row in record["by_trust"])
    line(f"mean IoU of the images most trusted: {kept}")


def print_sanity(record: Mapping[str, Any], picture: Path, wide: bool = False) -> None:
    """Print the curves as a table, and a sentence a method."""
    from pipelines.experiments.sanity import verdict_line

    methods = record["methods"]
    stages = record["randomised_down_to"]
    columns = [
        named("randomised down to", stages),
        *(
            numbers(name, (_similarity(curve, stage) for stage in range(len(stages))), rank)
            for rank, (name, curve) in enumerate(methods.items())
        ),
    ]
    title = f"Rank correlation (SSIM) of {record['samples']} maps with those of the model as it is"
    print_table(title, columns, wide)
    for name, curve in methods.items():
        line(f"{name} {verdict_line(curve)}")
    line(f"rule: {record['rule']}; {picture}")


def _similarity(curve: Mapping[str, Any], stage: int) -> str:
    ssim = curve["ssim"][stage]
    return f"{curve['rank_correlation'][stage]:.2f} ({'-' if ssim is None else f'{ssim:.2f}'})"


def print_faithfulness(record: Mapping[str, Any], wide: bool = False) -> None:
    """Print the measures of each map, and how the run's method differs from a random map on the same targets."""
    from pipelines.experiments.faithfulness import MEASURES

    method = record["method"]
    ranks = {"centre": 3, "random": 2, f"{method}\nless random": 1}
    maps = record["measures"] | {f"{method}\nless random": record["less_random"][method]}
    columns = [
        words("measure", (f"{measure}\n({better})" for measure, better in MEASURES.items())),
        *(
            numbers(name, (_interval(means[measure]) for measure in MEASURES), ranks.get(name, 0))
            for name, means in maps.items()
        ),
    ]
    title = f"Faithfulness on {record['targets']} targets, {len(record['failed'])} unreadable [95 %]"
    print_table(title, columns, wide)


def _interval(mean: Mapping[str, float]) -> str:
    return f"{mean['mean']:.3f}\n[{mean['low']:.3f}, {mean['high']:.3f}]"


def print_comparison(record: Mapping[str, Any], most: int, wide: bool = False) -> None:
    """Print what changed from run A to run B: the whole, the classes, and the findings gone and new."""
    for name in ("samples", "targets"):
        counts = record[name]
        changed = f" ({counts['changed']} of them with another file)" if counts.get("changed") else ""
        line(f"{name}: {counts['both']} in both{changed}, {counts['only_a']} in A only, {counts['only_b']} in B only")
    line(f"what differs: {'; '.join(map(shorten, record['differs'])) or 'nothing'}")
    _print_changed_measures(record, wide)
    if record["classes"]:
        _print_changed_classes(record["classes"], wide)
    if record["changes"]:
        _print_changes(record, most, wide)
    for name in ("gone", "new"):
        _print_changed_findings(record, name, most)


def _print_changed_measures(record: Mapping[str, Any], wide: bool) -> None:
    flips, measures = record["flips"], record["measures"].values()
    columns = [
        words("measure", (name.replace("_", " ") for name in record["measures"])),
        numbers("pairs", (measure["pairs"] for measure in measures), rank=2),
        numbers("A", (decimal(measure["a"]) for measure in measures), rank=1),
        numbers("B", (decimal(measure["b"]) for measure in measures), rank=1),
        numbers("difference [95 %]", map(_change, measures)),
    ]
    title = f"B less A; off the object {flips['worse']} images more, {flips['better']} fewer, p {flips['p']:.3g}"
    print_table(title, columns, wide)


def _print_changed_classes(rows: Sequence[Mapping[str, Any]], wide: bool) -> None:
    shown = rows[:_MOST_CLASSES]
    off = [row["measures"]["off_object"] for row in shown]
    columns = [
        named("class", (row["class"] for row in shown)),
        numbers("off object A", (decimal(share["a"]) for share in off), rank=2),
        numbers("B", (decimal(share["b"]) for share in off), rank=2),
        numbers("difference [95 %]", map(_change, off)),
        numbers("more", (row["worse"] for row in shown), rank=3),
        numbers("fewer", (row["better"] for row in shown), rank=3),
        numbers("q", (f"{row['q']:.3g}" for row in shown), rank=1),
        numbers("energy [95 %]", (_change(row["measures"]["energy"]) for row in shown), rank=4),
    ]
    title = f"Classes, {len(shown)} of {len(rows)}: what changed most first"
    print_table(title, columns, wide)


def _print_changes(record: Mapping[str, Any], most: int, wide: bool) -> None:
    """What could make B worse: the reasons that do, and the nearest of the others."""
    reasons, changes = len(record["worse"]), record["changes"]
    shown = changes[: max(reasons, most)]
    columns = [
        words("", ("worse" if place < reasons else "" for place in range(len(shown)))),
        named("share of images", (change["name"] or "off the object, all classes" for change in shown)),
        numbers("A", (decimal(change["a"]) for change in shown), rank=2),
        numbers("B", (decimal(change["b"]) for change in shown), rank=2),
        numbers("difference [95 %]", map(_change, shown)),
        numbers("more", (change["worse"] for change in shown), rank=1),
        numbers("fewer", (change["better"] for change in shown), rank=1),
        numbers("p", (f"{change['p']:.2g}" for change in shown), rank=3),
        numbers("q", (f"{change['q']:.2g}" for change in shown)),
    ]
    tested = f"{len(changes)} differences tested together, one-sided"
    print_table(f"Is B worse? {reasons} rose by more than chance; {tested}, fdr {record['fdr']:g}", columns, wide)


def _print_changed_findings(record: Mapping[str, Any], name: str, most: int) -> None:
    targets, classes = record["findings"][name], record["class_findings"][name]
    claims = (record["claims"] or {name: []})[name]
    line(f"{name}: {len(targets)} targets, {len(classes)} classes, {len(claims)} claims")
    for text in (*map(whole, classes), *(row["says"] or as_written(row["claim_id"]) for row in claims)):
        line(f"  {text}")
    for row in targets[:most]:
        line(f"  {whole(row['id'])}: {whole(row['class'])}, severity {decimal(row['severity'])}")


def _change(measure: Mapping[str, Any]) -> str:
    if measure["difference"] is None:
        return "-"
    return f"{measure['difference']:+.3f} [{measure['low']:+.3f}, {measure['high']:+.3f}]"


def print_demonstration(shown: Demonstration, wide: bool = False) -> None:
    """Print the demo's run, and its findings beside the truth."""
    print_audited(shown.audited)
    print_truth(shown.planted, wide)
    line(f"\nbrowse it: camaudit dashboard {shown.audited.run.path}")


def print_truth(planted: Mapping[str, Any], wide: bool = False) -> None:
    """Print what a planted benchmark's audit found beside what was planted."""
    rows = planted["classes"]
    columns = [
        named("class", (row["class"] for row in rows)),
        words("planted cue", (row["cue"] or "-" for row in rows)),
        numbers("relies on it", (f"{row['relies']:.2f}" for row in rows), rank=2),
        numbers("accuracy\nwithout", (f"{row['accuracy_without_cue']:.2f}" for row in rows), rank=3),
        numbers("off object", (f"{row['off_object']:.2f}" for row in rows), rank=1),
        words("finding", ("finding" if row["finding"] else "-" for row in rows)),
    ]
    print_table("Findings beside the truth", columns, wide)
    ranked = ", ".join(f"{name} {value:.3f}" for name, value in planted["auroc"].items() if value is not None)
    line(f"AUROC against reliance: {ranked}")
    if planted["void"]:
        line("void: a class without a cue was not learnt; train longer")


def print_methods(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the methods, each with its cost."""
    for row in rows:
        line(f"{row['name']}\n    {row['description']} ({row['paper']})")
        cost = f"forward passes: {row['forward_passes']}; backward passes: {row['backward_passes']}"
        line(f"    {cost}; maps: {row['maps']}")


def print_planted(manifest: Path, cue: str, counts: Mapping[str, int]) -> None:
    """Print how many images have the cue now, and which were left as they were."""
    text = "{planted} of {of_class} images of the class and {elsewhere} of {others} others have the {cue} now"
    line(f"{manifest}: {text.format(**counts, others=counts['samples'] - counts['of_class'], cue=cue)}")
    if counts["no_place"] or counts["unreadable"]:
        line(f"left as they were: {counts['no_place']} without a free place, {counts['unreadable']} unreadable")


def print_trained(checkpoint: Path, record: Mapping[str, Any]) -> None:
    """Print on how many samples a model was trained, with what loss it ended, and what was measured."""
    samples, unreadable = record["samples"], record["unreadable"]
    line(f"{checkpoint}: {samples} samples ({unreadable} unreadable), last mean loss {record['loss']:.4f}")
    _print_measured(record, ("mean_average_precision", "accuracy"))


def print_distilled(checkpoint: Path, record: Mapping[str, Any]) -> None:
    """Print on how many labels a network was trained, with what loss it ended, and what was measured."""
    left_out = {"images unreadable": record["unreadable"], "labels 255 everywhere": record["empty"]}
    notes = "".join(f", {count} {what}" for what, count in left_out.items() if count)
    line(f"{checkpoint}: {record['samples']} labels{notes}, last mean loss {record['loss']:.4f}")
    _print_measured(record, ("mean_iou",))


def _print_measured(record: Mapping[str, Any], names: Sequence[str]) -> None:
    if record["validated"]:
        figures = ", ".join(f"{name.replace('_', ' ')} {decimal(record[name])}" for name in names if name in record)
        line(f"epoch {record['epoch']}, on {record['validated']} other samples: {figures}")
    line(f"epoch by epoch: {record['record']}, {record['curve']}")


def print_segmented(out: Path, summary: Mapping[str, Any]) -> None:
    """Print how many masks a network made, and how they lie on the true ones."""
    line(f"{out}: {summary['masks']} masks, {summary['failed']} failed")
    for failure in summary["failures"]:
        line(f"  failed {whole(failure['id'])}: {failure['failed']}")
    if summary["scored"]:
        line(f"mean IoU {decimal(summary['mean_iou'])} on {summary['scored']} masks")
        occurring = {name: decimal(iou) for name, iou in summary["iou"].items() if iou is not None}
        print_table("IoU", [named("class", occurring), numbers("IoU", occurring.values())])
