import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headstart.core import FORMAT, Phase, Plan, Settings, Split
from headstart.errors import NewerFormat, NotARun, StoreError, UnknownName
from headstart.modalities.image import Images
from headstart.store.runs import Run, environment


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(seed: int = 0) -> Plan:
    modality = Images(32, 36, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)).state()
    return Plan({"kind": "image_folder"}, {"name": "single_label"}, Settings(seed=seed), modality, (Phase("all", 3, 1e-3),))


def test_what_is_kept_comes_back(here: Path) -> None:
    run = Run.create(plan(), None, "cats")
    split = Split(("a", "b\udcff"), ("c",), (), 3, "random")
    run.write_split(split)
    run.write_audit({"files": [], "share": float("nan")})
    run.append_row({"epoch": 0, "valid_loss": float("inf"), "lr": None})
    again = Run.open("runs/cats-1")
    assert again == run and run.path == here / "runs" / "cats-1" and run.bundle == run.path / "bundle"
    assert again.plan() == plan() and again.split() == split
    assert again.rows() == [{"epoch": 0, "valid_loss": None, "lr": None}]
    assert json.loads((run.path / "audit.json").read_text())["share"] is None
    again.write_plan(plan(seed=9))
    assert run.plan().settings.seed == 9
    assert all(json.loads(file.read_text())["format"] == FORMAT for file in run.path.glob("*.json"))


def test_runs_are_numbered_and_last_is_the_one_worked_on_last(here: Path) -> None:
    with pytest.raises(NotARun, match="no run"):
        Run.open("last")
    runs = [Run.create(plan(), None, "a") for _ in range(11)]
    assert [run.path.name for run in runs] == [f"a-{n}" for n in range(1, 12)]
    for run in runs:
        os.utime(run.path / "plan.json", (1e9, 1e9))
    assert Run.open("last") == runs[-1]
    runs[3].append_row({"epoch": 0})
    assert Run.open("last") == runs[3]
    assert Run.open("a-2") == runs[1] == Run.open(runs[1].path)


def test_two_processes_never_get_the_same_folder(here: Path) -> None:
    code = "from pathlib import Path\nfrom headstart.store.runs import _fresh\nfor _ in range(30): print(_fresh('x', Path.cwd()))"
    workers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    names = "".join(worker.communicate()[0] for worker in workers).split()
    assert len(names) == 60 == len(set(names))


def test_a_named_folder_is_used_only_when_it_is_empty(here: Path) -> None:
    (here / "empty").mkdir()
    assert Run.create(plan(), here / "empty").path == here / "empty"
    assert Run.create(plan(), "new/deep").path == here / "new" / "deep"
    with pytest.raises(StoreError, match=r"already holds files.*headstart more"):
        Run.create(plan(), here / "empty")
    (here / "file").write_text("")
    with pytest.raises(StoreError, match="a file stands where"):
        Run.create(plan(), here / "file")


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("my photos", "my_photos"),
        ("a/b\\c:d", "a_b_c_d"),
        ("..", "run"),
        ("", "run"),
        ("con", "con_"),
        ("ü\n", "ü"),
        ("x" * 300, "x" * 60),
    ],
)
def test_any_name_of_data_gives_a_folder_that_every_system_takes(name: str, folder: str) -> None:
    assert Run.create(plan(), None, name).path.name == f"{folder}-1"


def test_what_is_no_run_is_told_with_the_nearest_run(here: Path) -> None:
    Run.create(plan(), None, "flowers")
    with pytest.raises(NotARun, match=r'"runs/flower-1" does not exist\. Did you mean runs/flowers-1'):
        Run.open("runs/flower-1")
    (here / "photos").mkdir()
    with pytest.raises(NotARun, match=r"no plan\.json"):
        Run.open(here / "photos")
    (here / "photos" / "model.safetensors").write_bytes(b"")
    with pytest.raises(NotARun, match="is a bundle, not a run"):
        Run.open(here / "photos")
    with pytest.raises(NotARun):
        Run.open("x" * 5000)


def test_the_bundle_of_a_run_leads_to_the_run(here: Path) -> None:
    run = Run.create(plan())
    run.bundle.mkdir()
    assert Run.open(run.bundle) == run


def test_a_later_format_and_damage_are_told(here: Path) -> None:
    run = Run.create(plan())
    file = run.path / "plan.json"
    data = json.loads(file.read_text())
    for change, error, words in (
        ({**data, "format": FORMAT + 1, "new_thing": 1}, NewerFormat, "pip install --upgrade"),
        ({**data, "format": "x"}, StoreError, "not a number"),
        ([1], StoreError, "should hold an object"),
        ({**data, "phase": []}, UnknownName, '"phases"'),
    ):
        file.write_text(json.dumps(change))
        with pytest.raises(error, match=words):
            Run.open(run.path).plan()


def test_history_forgives_a_torn_end_and_names_a_broken_middle(here: Path) -> None:
    run = Run.create(plan())
    assert run.rows() == []
    run.append_row({"epoch": 0})
    with (run.path / "history.jsonl").open("a") as file:
        file.write('{"epoch": 1, "va')
    assert run.rows() == [{"epoch": 0}]
    run.append_row({"epoch": 1})
    assert run.rows() == [{"epoch": 0}, {"epoch": 1}]
    (run.path / "history.jsonl").write_text('{"epoch": 0}\n{"epo\n{"epoch": 2}\n')
    with pytest.raises(StoreError, match=r"line 2 of .*history\.jsonl"):
        run.rows()


def test_the_environment_names_versions_and_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(os, "posix_spawn", refuse, raising=False)
    known = environment()
    assert known["versions"]["headstart"] and known["versions"]["torch"] and known["cores"] >= 1 and known["cpu"]
    json.dumps(known)


def test_a_run_is_made_without_importing_torch() -> None:
    code = (
        "import sys; from headstart.core import Plan, Settings; from headstart.store.runs import Run\n"
        "import headstart.store.cache, headstart.store.bundle, headstart.metrics\n"
        "Run.create(Plan({}, {}, Settings())); Run.open('last').plan()\n"
        "print([name for name in ('torch', 'timm', 'scipy', 'safetensors') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr


def test_a_plan_of_the_first_versions_which_knew_images_only_is_read() -> None:
    run = Run.create(plan(), None, "cats")
    file = run.path / "plan.json"
    written = json.loads(file.read_text())
    modality = written.pop("modality")
    name = modality.pop("name")
    file.write_text(json.dumps(written | {"geometry": modality}))
    assert name == "image" and run.plan() == plan()
    file.write_text(json.dumps(written | {"geometry": None}))
    assert run.plan().modality == {}


def test_a_plan_from_before_texts_were_averaged_asks_for_no_average() -> None:
    run = Run.create(plan(), None, "cats")
    file = run.path / "plan.json"
    written = json.loads(file.read_text())
    assert written["settings"]["ema"] is None and run.plan().settings.ema is None
    del written["settings"]["loss"]
    file.write_text(json.dumps(written))
    assert run.plan().settings.ema == 0.0
    written["settings"]["ema"] = 0.9
    file.write_text(json.dumps(written))
    assert run.plan().settings.ema == 0.9
