"""Rows of benchmarks: kept once, paired by split, whole after an interruption; and the splits they come from."""

import json
from collections.abc import Callable
from pathlib import Path

import deadline
import pytest
import quality
from entrants import pace
from harness import Table
from sets import Divided, divided, of_folder


def row(entrant: str, seed: int, split: str, nll: float, wrong: list[str]) -> dict:
    test = {"nll": nll, "error_rate": len(wrong) / 10, "n": 10}
    return {"entrant": entrant, "case": "set", "repeat": seed, "split": split, "test": test, "wrong": wrong, "wall": 60.0}


def test_a_row_is_run_once_for_each_split(tmp_path: Path) -> None:
    table = Table("some", tmp_path)
    runs = []
    for split in ("one", "one", "other"):
        table.once("entrant", "case", 0, lambda: runs.append(1) or {"value": len(runs)}, split=split)
    assert len(runs) == len(table.rows()) == 2


def test_times_of_another_machine_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    for machine in ("old", "new", "old"):
        monkeypatch.setattr("harness.machine", lambda machine=machine: machine)
        table = Table("some", tmp_path, here=True)
        table.once("entrant", "case", 0, lambda: runs.append(1) or {})
        assert [row["machine"] for row in table.rows()] == [machine]
    assert len(runs) == len(Table("some", tmp_path).rows()) == 2


def test_a_line_cut_off_by_a_stop_spoils_neither_what_was_before_nor_what_comes_after(tmp_path: Path) -> None:
    table = Table("some", tmp_path)
    table.once("entrant", "case", 0, lambda: {"value": 1})
    with table.file.open("a") as file:
        file.write('{"benchmark": "some", "entr')
    table.once("entrant", "case", 1, lambda: {"value": 2})
    assert [found["value"] for found in table.rows()] == [1, 2]


def test_a_failed_entrant_is_told_and_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("some", tmp_path)

    def fails() -> dict:
        raise RuntimeError("it broke")

    assert table.tried("entrant", "case", 0, fails) is None
    assert json.loads(capsys.readouterr().out)["failed"] == "it broke"
    assert table.rows() == []


def test_only_rows_of_the_same_split_are_paired() -> None:
    rows = [row("a", 0, "x", 1, []), row("b", 0, "x", 2, []), row("a", 1, "y", 1, []), row("b", 1, "z", 2, [])]
    assert [(one["split"], other["split"]) for one, other in quality.pairs(rows, "set", "a", "b")] == [("x", "x")]


def test_the_report_prints_what_is_lost() -> None:
    rows = [row("a", seed, str(seed), 1.0 + seed / 100, ["i"]) for seed in range(3)]
    rows += [row("b", seed, str(seed), 2.0 + seed / 50, ["i", "j"]) for seed in range(3)]
    text = quality.report(rows, "a", "b", ["set"], "goal")
    assert "| ABOVE |" in text
    assert "3 -> 6 of 30 (only the first wrong 0, only the second 3, p = 0.25" in text
    assert "**2.000** (goal); lower on 0 of 1" in text


def test_the_pace_of_a_peer_is_its_own_on_a_set_or_that_of_an_image_elsewhere(tmp_path: Path) -> None:
    table = Table("quality", tmp_path)
    table.once("fastai pace", "known", 0, lambda: {"before": 100.0, "epoch": 200.0, "images": 1000})
    known, other = (Divided(name, 0, tmp_path, "", {"train": 300, "valid": 200, "test": 9}) for name in ("known", "other"))
    assert pace(table, "bare", known) is None
    here, there = pace(table, "fastai", known), pace(table, "fastai", other)
    assert here is not None
    assert there is not None
    assert (here.before, here.epoch, here.epochs(30)) == (100, 200, 8)  # 100 + 8 * 200 = 1700, 9 would be 1900
    assert (there.before, there.epoch) == (50, 100)


@pytest.mark.parametrize(("asked", "off", "good"), [(30, 1.9, True), (30, -2.1, False), (600, 11.9, True), (600, 12.1, False)])
def test_in_time_is_within_two_seconds_or_two_percent(asked: float, off: float, good: bool) -> None:
    assert deadline.in_time({"asked": asked, "off": off}) is good


def test_the_last_rate_is_told_as_a_share_of_the_largest_peak() -> None:
    phase = {"lr": 3e-4, "head_lr_scale": 0.2}
    assert deadline.last_rate([{"lr": 3e-6}], [phase]) == pytest.approx(0.01)
    assert deadline.last_rate([{"lr": 3e-6}], [phase | {"head_lr_scale": 2.0}]) == pytest.approx(0.005)
    assert deadline.last_rate([{"lr": None}], [phase]) is None


def test_a_split_is_made_once_and_holds_every_image_in_one_part(make_shapes: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_shapes(10)
    first = divided("shapes", lambda: of_folder(folder), 3, tmp_path)
    again = divided("shapes", lambda: pytest.fail("read again"), 3, tmp_path)
    other = divided("shapes", lambda: of_folder(folder), 4, tmp_path)
    assert first == again
    assert first.digest != other.digest
    assert first.sizes == {"train": 12, "valid": 4, "test": 4}
    files = {
        part: {file.relative_to(first.folder / part) for file in (first.folder / part).rglob("*.png")} for part in first.sizes
    }
    assert sum(map(len, files.values())) == len(set.union(*files.values())) == 20
    assert not {file.parent.name for part in files.values() for file in part} - {"disc", "square"}
