"""The demo: its data, its words, and what it does without the pictures."""

import csv
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from headstart.cli import demo as command
from headstart.cli.main import main
from headstart.errors import MissingExtra


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of elpv-dataset: every cell of the table as a tiny picture, and two doubtful ones."""
    folder = tmp_path_factory.mktemp("elpv") / "data"
    (folder / "images").mkdir(parents=True)
    dark = Image.fromarray(np.zeros((4, 4), np.uint8))
    dark.save(folder / "images" / "pattern.png")
    content = (folder / "images" / "pattern.png").read_bytes()
    with command.TABLE.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            (folder / row["image"]).write_bytes(content)
    (folder / "labels.csv").write_text(
        "images/cell0001.png  1.0                 mono\n"
        "images/cell0006.png  0.6666666666666666  mono\n"
        "images/cell0007.png  0.6666666666666666  poly\n"
        "images/cell0014.png  0.3333333333333333  mono\n",
        encoding="utf-8",
    )
    return folder


def test_the_split_is_a_file_of_the_package_and_never_moves(cells: Path):
    data = command.solar_cells(cells)
    assert Counter((record.target, record.part) for record in data.records) == {
        ("defective", "train"): 572,
        ("defective", "valid"): 143,
        ("functional", "train"): 1206,
        ("functional", "valid"): 302,
    }
    assert data.name == "solar_cells" and set(data.classes) == {"defective", "functional"}
    assert all(Path(str(record.source)).is_absolute() for record in data.records)
    assert data.origin["kind"] == "image_csv", "a run finds its data again"


def test_doubtful_cells_are_one_of_each_degree_and_not_in_the_table(cells: Path):
    doubtful = command.doubtful_cells(cells)
    assert [(path.name, words) for path, words in doubtful] == [("cell0014.png", "one third"), ("cell0006.png", "two thirds")]


def test_cells_shown_are_two_of_each_class_from_the_validation_set(cells: Path):
    chosen = command._chosen(command.solar_cells(cells))
    assert Counter(record.target for record in chosen) == {"defective": 2, "functional": 2}
    assert {record.part for record in chosen} == {"valid"} and len({record.id for record in chosen}) == 4


def test_the_introduction_counts_what_is_there(cells: Path):
    data = command.solar_cells(cells)
    words = " ".join(command.introduction(data, 3).split())
    for part in (
        "2,223 cells",
        "1,508 of them functional",
        "715 defective",
        "1,778 of the pictures are for training",
        "other 445",
        "rows 1 to 3",
    ):
        assert part in words, part
    assert "left out" in command.introduction(data, 0) and "rows 1 to" not in command.introduction(data, 0)
    assert max(map(len, command.introduction(data, 3).splitlines())) <= 100


def test_without_the_pictures_it_says_how_to_get_them(monkeypatch, capsys: pytest.CaptureFixture, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert main(["demo", "--epochs", "0"]) == 1
    shown = capsys.readouterr()
    assert 'pip install "headstart[demo]"' in shown.err and shown.out == ""
    empty = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(command, "find_spec", lambda name: empty)
    with pytest.raises(MissingExtra):
        command.cells_folder()


@pytest.mark.slow
def test_what_the_model_says_is_told_beside_the_truth_and_drawn(cells: Path, tmp_path: Path):
    data = command.solar_cells(cells)

    class Learner:
        run = SimpleNamespace(path=tmp_path)

        def predictions(self, inputs: list[Path]) -> list:
            row = {"label": "defective", "probs": {"defective": 0.8, "functional": 0.2}}
            return [SimpleNamespace(row=lambda: row) for _ in inputs]

    words = command.predictions(Learner(), data, command.doubtful_cells(cells))  # type: ignore[arg-type]
    lines = [line for line in words.splitlines() if line.startswith("  cell")]
    assert len(lines) == 6 and all("defective" in line and "80 %" in line for line in lines)
    assert sum("truly functional" in line for line in lines) == 2 and "one third" in lines[4]
    with Image.open(tmp_path / "predictions.png") as picture:
        assert picture.width > 300


@pytest.mark.slow
def test_the_whole_demo_with_the_head_alone(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture):
    pytest.importorskip("elpv_dataset")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    assert main(["demo", "--epochs", "0", "--json"]) == 0
    shown = capsys.readouterr()
    row, summary = [json.loads(line) for line in shown.out.splitlines()]
    assert row["epoch"] == 0 and row["error_rate"] <= 0.12 and row["valid_loss"] <= 0.29
    assert Path(summary["run"]) == tmp_path / "runs" / "solar_cells-1"
    assert "The task: find the broken solar cells." in shown.err and "one third" in shown.err
