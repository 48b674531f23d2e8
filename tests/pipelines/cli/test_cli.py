"""The command line: every verb documented, JSON that parses, exit codes, and one line for every mistake."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import typer
from drawn_run import draw_run
from faults.collection import camaudit, command, draw_collection, finished, refusals, write_model
from rewritten import part_of

from audit.datasets.cues import KINDS, STRENGTHS, Cue
from audit.datasets.planted import PlantedSpec
from audit.export import FORMATS, LABEL_FORMATS
from audit.findings import Rules
from audit.findings.judge import flag
from audit.models import ModelSpec
from audit.progress import Advanced, Progress
from audit.store import Run
from pipelines import cli
from pipelines.asked import Distillation, Planting, Training, Trial, Verification
from pipelines.cli.main import VERBS as IN_ORDER
from pipelines.cli.printing import print_summary
from pipelines.run import start
from pipelines.run.config import ClusterConfig, RunConfig
from pipelines.run.plan import Plan
from pipelines.run.shards.shard import Finished

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return finished(tmp_path_factory.mktemp("finished"), 12)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a collection and a model, where the command line is called."""
    draw_collection(tmp_path, 4)
    write_model(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verbs(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb by its name, word by word."""
    for name, found in group.commands.items():
        yield from verbs(found, *path, name) if hasattr(found, "commands") else [((*path, name), found)]


VERBS = dict(verbs(typer.main.get_command(cli.app)))


@pytest.mark.parametrize("verb", list(VERBS), ids=" ".join)
def test_every_verb_has_help_with_an_example_of_itself(
    verb: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert camaudit([*verb, "--help"], monkeypatch) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Example: camaudit {' '.join(verb)}" in shown


def test_every_option_has_help() -> None:
    without = [
        f"{verb.name} {option.opts[0]}"
        for verb in VERBS.values()
        for option in verb.params
        if option.param_type_name == "option" and not option.help
    ]
    assert without == []


def test_a_dash_and_an_h_ask_for_help_everywhere(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    for verb in [(), ("index",), ("review",), *VERBS]:
        shown = []
        for asked in ("--help", "-h"):
            assert camaudit([*verb, asked], monkeypatch) == 0
            shown.append(capsys.readouterr().out)
        assert shown[0] == shown[1]
        assert "-h, --help" in shown[0]


def test_help_lists_the_verbs_in_the_order_of_work_each_with_its_line_uncut(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert camaudit(["--help"], monkeypatch) == 0
    listed = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    alone = [verb.__name__ for verb in IN_ORDER]
    behind = alone.index("dashboard") + 1
    assert [line.split()[0] for line in listed] == ["index", *alone[:behind], "review", *alone[behind:]]
    assert all(line.endswith((".", "?")) and not line.endswith("...") for line in listed)


@pytest.mark.parametrize("asked", ["--version", "-V"])
def test_the_version_is_that_of_the_package(asked: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    named = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert named is not None
    assert camaudit([asked], monkeypatch) == 0
    assert capsys.readouterr().out == f"camaudit {named[1]}\n"


def test_the_shell_completes_verbs_and_options(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("_CAMAUDIT_COMPLETE", "complete_bash")
    for typed, expected in (("camaudit ver", "verify"), ("camaudit run --schedul", "--scheduler\n--scheduler-file")):
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
        assert camaudit([], monkeypatch) == 0
        assert capsys.readouterr().out.strip() == expected


def test_help_loads_nothing_that_works() -> None:
    """Neither what computes nor what reads tables, so that help and completion come at once."""
    heavy = {"torch", "scipy", "pandas", "pyarrow", "zarr", "distributed"}
    show = f"import atexit, sys; atexit.register(lambda: print(*{heavy} & set(sys.modules), file=sys.stderr))"
    code = f"{show}; sys.argv = ['camaudit', '--help']; from pipelines.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""


RECORDS = {
    "run": (RunConfig, ClusterConfig, Rules),
    "flag": (Rules,),
    "verify": (Verification,),
    "faithfulness": (Trial,),
    "plant": (Planting, Cue),
    "train": (Training,),
    "distill": (Distillation,),
    "demo": (PlantedSpec,),
}


@pytest.mark.parametrize("verb", RECORDS)
def test_defaults_of_options_are_those_of_the_records(verb: str) -> None:
    defaults = {option.name: option.default for option in VERBS[(verb,)].params}
    of_records = {field.name: field.default for record in RECORDS[verb] for field in fields(record)}
    shared = {name for name, default in of_records.items() if name in defaults and default is not MISSING}
    assert shared
    for name in shared:
        given = defaults[name]() if callable(defaults[name]) else defaults[name]
        assert given == of_records[name]


def test_the_options_of_run_are_grouped_and_every_group_becomes_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    manifest = draw_collection(tmp_path, 1)
    assert camaudit(["run", "--help"], monkeypatch) == 0
    headings = re.findall(r"^(\w+):$", capsys.readouterr().out, re.MULTILINE)
    assert headings == ["Arguments", "Options", "Model", "Attribution", "Cluster", "Findings"]
    requests: list[start.Request] = []

    def refuse(request: start.Request, _progress: object) -> None:
        requests.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "start", refuse)
    asked = ["run", str(manifest), "-o", "out", "--model", "x:y", "--fit", "crop", "--std", "1,2,3", "--set-aside"]
    asked += ["--method", "rise", "--option", "masks=8", "--targets", "label", "--no-score", "--batch-size", "3"]
    asked += ["--workers", "5", "--wait", "9", "--compile", "never", "--fdr", "0.2", "--threshold", "0.4"]
    assert camaudit(asked, monkeypatch) == 130
    assert requests == [
        start.Request(
            str(manifest),
            "out",
            ModelSpec("x:y", mode="crop", std=(1, 2, 3)),
            RunConfig("rise", (("masks", 8),), roles=("label",), batch_size=3, scored=False),
            ClusterConfig(5, compiling="never", wait_s=9),
            Rules(fdr=0.2),
            0.4,
            True,
        )
    ]


@pytest.mark.parametrize(
    "arguments",
    [["status", "RUN"], ["status", "RUN", "--check"], ["findings", "RUN"], ["flag", "RUN"], ["methods"], ["doctor"]],
    ids=" ".join,
)
def test_json_parses_and_nothing_else_is_printed(
    arguments: list[str], plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    given = [str(plan.run.path) if word == "RUN" else word for word in arguments]
    assert camaudit([*given, "--json"], monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "arguments", [["status", "RUN"], ["findings", "RUN"], ["flag", "RUN"], ["methods"], ["doctor"]]
)
def test_the_same_verbs_print_for_people_too(
    arguments: list[str], plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert camaudit([str(plan.run.path) if word == "RUN" else word for word in arguments], monkeypatch) == 0
    assert capsys.readouterr().out.strip()


RUN_IT = ["run", "manifest.parquet", "--model", "model.py:build", "-o", "run"]
TRAIN_IT = ["train", "manifest.parquet", "--model", "torchvision:squeezenet1_1", "-o", "m.pt"]
DISTILL = ["distill", "manifest.parquet", "masks", "--arch", "unet", "-o", "m.pt"]
WRONG_USE = {
    "no verb that exists": ["bogus"],
    "no manifest given": ["run"],
    "an option that does not exist": [*RUN_IT, "--colour", "red"],
    "two numbers for a mean": [*RUN_IT, "--mean", "0,0"],
    "words for a mean": [*RUN_IT, "--mean", "a,b,c"],
    "a mean that is not finite": [*RUN_IT, "--mean", "nan,0,0"],
    "a deviation of 0": [*RUN_IT, "--std", "0,1,1"],
    "an unknown method": [*RUN_IT, "--method", "magic"],
    "unknown targets": [*RUN_IT, "--targets", "label,lable"],
    "no targets": [*RUN_IT, "--targets", ""],
    "a batch of none": [*RUN_IT, "--batch-size", "0"],
    "a shard of none": [*RUN_IT, "--shard-size", "0"],
    "no workers": [*RUN_IT, "--workers", "0"],
    "no threads": [*RUN_IT, "--threads", "0"],
    "a word for a number": [*RUN_IT, "--workers", "many"],
    "a memory limit that is none": [*RUN_IT, "--memory", "lots"],
    "a level of 2": [*RUN_IT, "--fdr", "2"],
    "a threshold of 2": [*RUN_IT, "--threshold", "2"],
    "a threshold that is not a number": ["flag", "run", "--threshold", "nan"],
    "a seed below 0": ["demo", "--seed", "-1"],
    "a port that is none": ["dashboard", "run", "--port", "99999999"],
    "fewer findings than none": ["findings", "run", "--most", "-1"],
    "an unknown kind of mask": ["index", "folder", ".", "-o", "m.parquet", "--mask-kind", "round"],
    "an unknown data set": ["fetch", "voc1066", "."],
    "roles that do not exist": ["export", "run", "--format", "voc-png", "-o", "out", "--roles", "lable"],
    "a manifest to write that is a folder": ["index", "folder", ".", "-o", "."],
    "a checkpoint to write that is a folder": ["train", "manifest.parquet", "--model", "x:y", "-o", "."],
    "patience with nothing to measure on": [*TRAIN_IT, "--patience", "2"],
    "an augmentation that does not exist": [*TRAIN_IT, "--augment", "no"],
    "measuring on two parts": [*TRAIN_IT, "--hold-out", "0.5", "--validate", "manifest.parquet"],
    "holding all out": [*TRAIN_IT, "--hold-out", "1"],
    "keeping the most confident of none": [*DISTILL, "--keep", "0.5"],
    "keeping nothing": [*DISTILL, "--keep", "0", "--confidence", "c.csv"],
    "a distillation with patience alone": [*DISTILL, "--patience", "2"],
    "training on pictures of no size": ["train", "manifest.parquet", "--model", "x:y", "-o", "m.pt", "--size", "0"],
}
FAILURES = {
    "a manifest that is missing": ["run", "none.parquet", "--model", "model.py:build", "-o", "run"],
    "a manifest that is a folder": ["run", ".", "--model", "model.py:build", "-o", "run"],
    "a manifest that is a picture": ["run", "000.png", "--model", "model.py:build", "-o", "run"],
    "a manifest that is other Parquet": ["run", "other.parquet", "--model", "model.py:build", "-o", "run"],
    "a model without a kind": ["run", "manifest.parquet", "--model", "resnet50", "-o", "run"],
    "an unknown torchvision model": ["run", "manifest.parquet", "--model", "torchvision:resnet5000", "-o", "run"],
    "a torchvision model without weights": ["run", "manifest.parquet", "--model", "torchvision:resnet18", "-o", "run"],
    "a model file that is missing": ["run", "manifest.parquet", "--model", "none.py:build", "-o", "run"],
    "a function that is missing": ["run", "manifest.parquet", "--model", "model.py:none", "-o", "run"],
    "a module that is missing": ["run", "manifest.parquet", "--model", "no.such.module:build", "-o", "run"],
    "a model file of nonsense": ["run", "manifest.parquet", "--model", "broken.py:build", "-o", "run"],
    "a model that raises": ["run", "manifest.parquet", "--model", "raising.py:build", "-o", "run"],
    "a model that is a number": ["run", "manifest.parquet", "--model", "number.py:build", "-o", "run"],
    "a model that cannot run": ["run", "manifest.parquet", "--model", "typing.py:build", "-o", "run"],
    "a checkpoint that is missing": ["run", "manifest.parquet", "--model", "none.pt", "-o", "run"],
    "a checkpoint that is a picture": ["run", "manifest.parquet", "--model", "picture.pt", "-o", "run"],
    "a checkpoint that is a program": ["run", "manifest.parquet", "--model", "program.pt", "-o", "run"],
    "a checkpoint of weights alone": ["run", "manifest.parquet", "--model", "weights.pt", "-o", "run"],
    "an unknown layer": [*RUN_IT, "--layer", "trunk.77"],
    "a layer without positions": [*RUN_IT, "--layer", "head"],
    "an unknown fit": [*RUN_IT, "--fit", "stretch"],
    "a size of none": [*RUN_IT, "--size", "-3"],
    "a resize below the crop": [*RUN_IT, "--fit", "crop", "--size", "64", "--resize", "32"],
    "an unknown activation": [*RUN_IT, "--activation", "relu"],
    "a mapping that is missing": [*RUN_IT, "--mapping", "none.json"],
    "a mapping of nonsense": [*RUN_IT, "--mapping", "broken.py"],
    "random weights without a seed": [*RUN_IT, "--weights", "random:x"],
    "weights that are missing": [*RUN_IT, "--weights", "none.pt"],
    "an out that is a file": ["run", "manifest.parquet", "--model", "model.py:build", "-o", "000.png"],
    "an out that is a folder of other things": ["run", "manifest.parquet", "--model", "model.py:build", "-o", "."],
    "an out below a file": ["run", "manifest.parquet", "--model", "model.py:build", "-o", "000.png/run"],
    "a scheduler file that is missing": [*RUN_IT, "--size", "32", "--scheduler-file", "none.json"],
    "a VOC folder that is none": ["index", "voc", ".", "-o", "m.parquet"],
    "COCO annotations that are missing": ["index", "coco", "none.json", ".", "-o", "m.parquet"],
    "COCO annotations of nonsense": ["index", "coco", "000.png", ".", "-o", "m.parquet"],
    "a folder that is missing": ["index", "folder", "none", "-o", "m.parquet"],
    "a table that is missing": ["index", "table", "none.csv", "-o", "m.parquet"],
    "a table without paths": ["index", "table", "other.parquet", "-o", "m.parquet"],
    "a table that is a picture": ["index", "table", "000.png", "-o", "m.parquet"],
    "a run to look at that is none": ["status", "."],
    "a run to repair that is none": ["repair", "none"],
    "a run to check that is none": ["sanity", "none"],
    "a check of code that only the run names": ["sanity", "finished"],
    "a run to browse that is none": ["dashboard", "none"],
    "findings of a run that is a file": ["findings", "000.png"],
    "an export of a run that is none": ["export", "none", "--format", "csv", "-o", "x.csv"],
    "a format that does not exist": ["export", "finished", "--format", "docx", "-o", "x"],
    "a CSV by another name": ["export", "finished", "--format", "csv", "-o", "x.txt"],
    "a CSV that is a folder": ["export", "finished", "--format", "csv", "-o", "folder.csv"],
    "masks into a file": ["export", "finished", "--format", "voc-png", "-o", "000.png"],
    "training on a manifest that is missing": ["train", "none.parquet", "--model", "x:y", "-o", "m.pt"],
    "training on a device that is missing": [*TRAIN_IT, "--device", "toaster"],
    "labels that are missing": DISTILL,
    "labels of other samples": ["distill", "manifest.parquet", ".", "--arch", "unet", "-o", "m.pt"],
    "a network that does not exist": ["distill", "manifest.parquet", ".", "--arch", "vnet", "-o", "m.pt"],
    "masks of a network that is missing": ["segment", "manifest.parquet", "--model", "none.pt", "-o", "out"],
    "masks of weights alone": ["segment", "manifest.parquet", "--model", "weights.pt", "-o", "out"],
    "training a model that is missing": ["train", "manifest.parquet", "--model", "torchvision:none", "-o", "m.pt"],
}


@pytest.fixture
def mistakes(place: Path, plan: Plan) -> Path:
    """What the wrong command lines name."""
    (place / "finished").symlink_to(plan.run.path)
    (place / "folder.csv").mkdir()
    (place / "broken.py").write_text("def build(:\n")
    (place / "raising.py").write_text("def build():\n    raise ZeroDivisionError('no\\nway')\n")
    (place / "number.py").write_text("def build():\n    return 7\n")
    forward = "    def forward(self, x):\n        return x.pixels\n"
    (place / "typing.py").write_text(f"from torch import nn\nclass M(nn.Module):\n{forward}build = M\n")
    (place / "picture.pt").write_bytes((place / "000.png").read_bytes())
    torch.save({"weight": torch.zeros(3)}, place / "weights.pt")
    torch.save(Program(), place / "program.pt")
    pq.write_table(pa.table({"a": [1]}), place / "other.parquet")
    return place


class Program:
    """Unpickled by one who trusts it, it would leave a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("hacked",))


def only_line(capsys: Capture) -> str:
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    lines = refusals(shown.err)
    assert len(lines) == 1, shown.err
    assert lines[0].startswith("camaudit")
    return lines[0]


@pytest.mark.parametrize("arguments", WRONG_USE.values(), ids=WRONG_USE)
def test_wrong_use_is_one_line_and_exit_2(
    arguments: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    capsys.readouterr()
    assert camaudit(arguments, monkeypatch) == 2
    assert "--help" in only_line(capsys)
    assert not (place / "run").exists()


@pytest.mark.parametrize("arguments", FAILURES.values(), ids=FAILURES)
def test_a_failure_is_one_line_and_exit_1(
    arguments: list[str], mistakes: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    capsys.readouterr()
    assert camaudit(arguments, monkeypatch) == 1
    assert len(only_line(capsys)) > 30
    assert not (mistakes / "hacked").exists()


def test_asking_nothing_shows_what_can_be_asked(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert camaudit([], monkeypatch) == 2
    shown = capsys.readouterr()
    assert "Commands:" in shown.out + shown.err


def test_a_whole_audit_from_folder_to_exports(place: Path) -> None:
    """As a user types it, in processes of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    code = "import sys; from pipelines.cli import main; sys.argv[0] = 'camaudit'; main()"

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    names = pd.DataFrame({"path": [f"{i:03d}.png" for i in range(4)], "mask": [f"{i:03d}-mask.png" for i in range(4)]})
    names.assign(labels=["disc", "box", "bar", "disc"]).to_csv(place / "images.csv", index=False)
    assert "4 samples, 3 classes" in call("index", "table", "images.csv", "-o", "manifest.parquet")
    shown = call(*command(place))
    assert "4 processed + 0 failed + 0 pending = 4 samples" in shown
    assert f"next: camaudit findings {place / 'run'}; camaudit dashboard {place / 'run'}" in shown
    kept = Run.open(place / "run").record["command"]
    assert kept.startswith(f"camaudit run {place / 'manifest.parquet'} --model")
    assert "4 processed" in call(*command(place))


def test_scoring_and_flagging_again_keep_the_rules_of_the_last_time(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def here(_client: object, shards: list[Any], work: Any, progress: Progress, **_options: object) -> None:
        for shard in shards:
            assert isinstance(work(shard), Finished)
            progress(Advanced(len(shard)))

    @contextmanager
    def nobody(_config: object) -> Iterator[None]:
        yield None

    monkeypatch.setattr(start, "connect", nobody)
    monkeypatch.setattr(start, "submit_all", here)
    path = str(plan.run.path)
    assert camaudit(["flag", path, "--confident", "0.75"], monkeypatch) == 0
    assert camaudit(["score", path], monkeypatch) == 0
    summary = json.loads((plan.run.path / "summary.json").read_text())
    assert summary["rules"]["confident"] == 0.75


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_findings_are_exported_as_tables(
    kind: str, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    out = tmp_path / f"findings.{kind}"
    assert camaudit(["export", str(plan.run.path), "--format", kind, "-o", str(out)], monkeypatch) == 0
    found = pd.read_csv(out, dtype={"id": str}) if kind == "csv" else pd.read_parquet(out)
    assert f"{out}: {len(found)} findings" in capsys.readouterr().out
    assert {"003", "007", "011"} <= set(found["id"])
    assert found["suspicion"].is_monotonic_decreasing


def test_findings_of_a_run_that_was_not_flagged_are_not_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    run = finished(tmp_path, 4).run
    shutil.rmtree(run.path / "findings", ignore_errors=True)
    assert camaudit(["export", str(run.path), "--format", "csv", "-o", str(tmp_path / "f.csv")], monkeypatch) == 1
    assert "camaudit flag" in capsys.readouterr().err
    assert not (tmp_path / "f.csv").exists()


def test_masks_are_exported_one_a_sample(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert camaudit(["export", str(plan.run.path), "--format", "voc-png", "-o", str(tmp_path)], monkeypatch) == 0
    assert "12 pseudo-masks at threshold 0." in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [f"{index:03d}.png" for index in range(12)]


def test_a_summary_is_counted_in_the_order_of_the_kinds(capsys: Capture) -> None:
    counts = {"avoids": 1, "detected": 2, "indifferent": 3}
    claims = {"spot": 1, "class": 2, "zone": 3, "group": 0}
    print_summary(
        {
            "findings": counts,
            "claims": claims,
            "scores": {"bad_mask": 2},
            "mean_iou": None,
            "classes_off_object": ["disc"],
        }
    )
    assert capsys.readouterr().out.splitlines() == [
        "findings: 1 avoids, 3 indifferent, 2 detected of 0 scored targets",
        "not scored: 2 bad mask",
        "claims found: 2 class, 3 zone, 1 spot",
        "classes off the object: disc",
    ]


def test_help_names_every_format_of_an_export(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert camaudit(["export", "--help"], monkeypatch) == 0
    text = "".join(capsys.readouterr().out.split())  # a line may end after a hyphen
    assert all(name in text for name in (*FORMATS, *LABEL_FORMATS))


def test_help_names_every_cue_and_the_usual_strength_of_each(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert camaudit(["plant", "--help"], monkeypatch) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{', '.join(KINDS[:-1])} or {KINDS[-1]}." in shown
    weak = ", ".join(f"{kind} {strength:g}" for kind, strength in STRENGTHS.items() if strength != 1)
    assert f"[default: {weak}, all others 1]" in shown


def test_markup_in_a_path_is_only_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    odd = tmp_path / "[" / "bold] :fish: with a space"
    odd.mkdir(parents=True)
    run = finished(odd, 4).run
    part_of(run, "targets", 0).write_bytes(b"")
    assert camaudit(["status", str(run.path), "--check"], monkeypatch) == 1
    assert str(run.path) in capsys.readouterr().out


def test_what_is_planted_in_a_runs_heat_is_printed_beside_the_formula_or_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    drawn = draw_run(tmp_path / "run", 400)
    flag(drawn, Rules())
    asked = ["grade", str(drawn.path), "--class", "class 07", "--shares", "0.2,1", "--draws", "2"]
    monkeypatch.setenv("COLUMNS", "120")
    assert camaudit(asked, monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "in 95 % of 2 draws" in printed
    assert re.search(r"class 07 +│ if it draws heat to a corner +│ +\d+ │ +100 % │ +\d+ %", printed)
    assert camaudit([*asked, "--json"], monkeypatch) == 0
    record = json.loads(capsys.readouterr().out)
    assert [row["found"][1] for row in record["grades"]] == [[1.0, 1.0]] * 3
    for wrong in (["--shares", "a"], ["--class", "unicorn"], ["--draws", "0"]):
        assert camaudit(["grade", str(drawn.path), *wrong], monkeypatch) == 2
        assert capsys.readouterr().err.count("\n") == 1
