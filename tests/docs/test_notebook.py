"""The first lesson: committed clean, and run from its first cell to its last on fewer images."""

import ast
from copy import deepcopy
from pathlib import Path

import pytest
from markdown_blocks import ROOT, attributes_of

import headstart

nbformat = pytest.importorskip("nbformat")

LESSON = ROOT / "examples" / "first_lesson.ipynb"
IMAGES = 60
WORDS = (
    "epoch",
    "head",
    "backbone",
    "Fine-tuning",
    "validation set",
    "Overfitting",
    "augmentation",
    "features",
    "frozen",
    "loss",
)


@pytest.fixture(scope="module")
def lesson():
    return nbformat.read(LESSON, as_version=4)


def code(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_committed_without_outputs_and_without_traces_of_a_machine(lesson):
    nbformat.validate(lesson)
    for cell in lesson.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
    assert set(lesson.metadata) == {"kernelspec", "language_info"} and lesson.metadata.kernelspec.name == "python3"
    assert not any(
        place in LESSON.read_text(encoding="utf-8") for place in ("/home/", "/Users/", "/tmp/", "site-packages", "C:\\\\")
    )


def test_installing_is_left_to_the_reader(lesson):
    """The lines for Colab are comments: running the notebook must never change the environment it runs in."""
    first = code(lesson)[0].splitlines()
    assert all(line.startswith("#") for line in first) and any('%pip install -q "headstart[demo]"' in line for line in first)
    assert not any(line.lstrip().startswith(("%", "!")) for source in code(lesson) for line in source.splitlines())


def test_its_code_names_what_exists(lesson):
    from headstart.learner import Learner

    tree = ast.parse("\n".join(code(lesson)))
    assert attributes_of(tree, "hs") <= set(headstart.__all__)
    public = {name for name in vars(Learner) if not name.startswith("_")}
    assert attributes_of(tree, "learn") <= public and attributes_of(tree, "again") <= public


def test_the_words_of_the_course_are_marked_and_explained(lesson):
    text = "\n".join(cell.source for cell in lesson.cells if cell.cell_type == "markdown")
    glossary = (ROOT / "docs" / "guide" / "glossary.md").read_text(encoding="utf-8")
    for word in WORDS:
        assert f"*{word}" in text or f"*{word.lower()}" in text, word
        assert f"**{word.lower()}**" in glossary, word


@pytest.mark.slow
def test_it_runs_from_the_first_cell_to_the_last(lesson, monkeypatch: pytest.MonkeyPatch):
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("HEADSTART_LESSON_IMAGES", str(IMAGES))
    here = Path.cwd()
    notebook = nbclient.NotebookClient(
        deepcopy(lesson), timeout=900, kernel_name="python3", resources={"metadata": {"path": str(here)}}
    ).execute()
    found = {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    assert f"({IMAGES}, ('broken', 'good'))" in _text(found, "hs.image_csv")
    for call in ("data.show()", "learn.show_results(10)", "worst=True"):
        assert ["image/png" in output.data for output in _outputs(found, call)] == [True], f"{call} shows one picture, once"
    table = _outputs(found, "learn.fine_tune(2)")
    assert len(table) == 1 and table[0].data["text/html"].count("<tr>") == 4, "one table that grows: a heading and rows 0 to 2"
    assert table[0].data["text/html"].count("<progress") == 0, "the bar is gone at the end"
    more = _outputs(found, "learn.fine_tune(1)")
    assert "<td" in more[0].data["text/html"]
    assert [line.split()[0] for line in _text(found, "learn.history").splitlines()] == ["0", "1", "2", "3", "kept:"]
    assert "Prediction(" in _text(found, "learn.predict(doubtful)") and "Prediction(" in _text(found, "again.predict(doubtful)")
    assert "parameters" in _text(found, "learn.summary()")
    assert {path.name for path in here.iterdir()} == {"cells.csv", "runs", "solar_cells_model"}


def _outputs(found: dict[str, list], call: str) -> list:
    (outputs,) = (outputs for source, outputs in found.items() if call in source)
    return [output for output in outputs if output.output_type in ("display_data", "execute_result")]


def _text(found: dict[str, list], call: str) -> str:
    (outputs,) = (outputs for source, outputs in found.items() if call in source)
    return "".join(output.text if output.output_type == "stream" else output.data.get("text/plain", "") for output in outputs)
