"""The README and the guide: every block is run or, where that cannot be, looked at; every link leads somewhere.

One page is one program: its blocks run in order, in one folder and with the same names, as a reader would type them.
"""

import ast
import re
import tomllib
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from markdown_blocks import NOT_RUN, PAGES, ROOT, RUN, SHORTENED, SKIPPED, Block, attributes_of, blocks, make_data

import headstart
from headstart.cli.main import main
from headstart.learner.books import why_the_first
from headstart.train.observers.rows import FOOTNOTE, Layout, cells, row_in_words
from headstart.train.state import TrainState

BLOCKS = [block for page in PAGES for block in blocks(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
BASH = [block for block in BLOCKS if block.language == "bash"]
README = ROOT / "README.md"


# -------------------------------------------------------------------------------------------------- without training


def test_the_pages_are_there_and_have_blocks():
    assert {page.name for page in PAGES} >= {"README.md", "first_model.md", "coming_from_fastai.md", "glossary.md"}
    assert len(PYTHON) > 15 and len(BASH) > 3


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_has_a_language_that_is_run_or_skipped_on_purpose(block: Block):
    assert block.language in (*RUN, *SKIPPED)


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_is_python_and_names_what_exists(block: Block):
    tree = ast.parse(block.text)
    if block.is_fastai:
        return
    from headstart.learner import Learner

    assert attributes_of(tree, "hs") <= set(headstart.__all__)
    assert attributes_of(tree, "learn") <= {name for name in vars(Learner) if not name.startswith("_")}


@pytest.mark.parametrize("block", BASH, ids=str)
def test_bash_names_programs_and_extras_that_exist(block: Block):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for command in block.commands():
        if command[:2] == ["pip", "install"]:
            asked = re.fullmatch(r"(?:\.|headstart)\[(\w+)\]", command[2])
            assert asked and asked[1] in extras
        else:
            assert command[0] in ("headstart", "pytest")  # test_cli_documented looks at the words behind


def test_the_table_in_the_readme_is_one_that_headstart_prints():
    """The rows are read back into numbers and written again by the product: any change of its form shows up here."""
    (text,) = [block.text for block in blocks(README) if "valid_loss" in block.text and block.language == "text"]
    lines = text.splitlines()
    rows = [row for line in lines if (row := _row(line))]
    layout = Layout.of(rows[0])
    assert len(rows) >= 2 and [row["epoch"] for row in rows] == list(range(len(rows)))
    written = ["  ".join(layout.line(words)).rstrip() for words in (layout.headings, *map(cells, rows))]
    written.insert(2, FOOTNOTE)
    assert lines[: len(written)] == written
    best = min(rows, key=lambda row: row["valid_loss"])
    said = " ".join(lines[len(written) :])
    kept = rows[0] if "no more than chance" in said else best  # the reason is one that the product gives for these rows
    valid = MagicMock(**{"store.modality.words.items": "images"})
    valid.__len__.return_value = 445
    why = why_the_first(MagicMock(TrainState, rows=rows, lowest=lambda: best, parts={"valid": valid})) if kept is rows[0] else ""
    assert said == f"Kept: {row_in_words(kept)}.{why}"


def _row(line: str) -> dict | None:
    found = re.fullmatch(r" +(\d+)  (\w+) +([\d.]+)(\*?) +([\d.]+)  +([\d.]+) \[([\d.]+), ([\d.]+)\] +(\S.*)", line)
    if not found:
        return None
    epoch, stage, train_loss, mark, valid_loss, error, low, high, time = found.groups()
    parts = [float(part) for part in time.removesuffix(" s").split(":")]
    return {
        "epoch": int(epoch),
        "stage": stage,
        "train_loss": float(train_loss),
        "valid_loss": float(valid_loss),
        "error_rate": float(error),
        "error_rate_95": [float(low), float(high)],
        "lr": None if mark else 1e-3,
        "seconds": sum(part * 60**place for place, part in enumerate(reversed(parts))),
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_glossary_explains_the_course_in_a_sentence_or_two():
    text = (ROOT / "docs" / "guide" / "glossary.md").read_text(encoding="utf-8")
    entries = dict(re.findall(r"(?m)^\*\*(.+?)\*\*: (.+)$", text))
    assert list(entries) == sorted(entries), "in the order of the alphabet"
    assert entries.keys() >= {"epoch", "head", "backbone", "fine-tuning", "validation set", "overfitting", "seed", "bundle"}
    assert entries.keys() >= {"train_loss", "valid_loss", "error_rate", "stage"}, "the headings of the table"
    for term, words in entries.items():
        assert 1 <= len(re.findall(r"[.](?=\s|$)", words)) <= 3 and words.endswith("."), term


def test_numbers_in_the_glossary_are_true():
    import math

    from headstart.core import Defaults
    from headstart.model import build_backbone

    text = (ROOT / "docs" / "guide" / "glossary.md").read_text(encoding="utf-8")
    spec = build_backbone("small", pretrained=False).spec
    assert f"{spec.width:,} of them" in text and f"{spec.parameters / 1e6:.1f} million" in text
    assert f"{Defaults().batch_size} unless you say otherwise" in text
    assert f"guessing between two classes is {math.log(2):.3f}" in text


# ---------------------------------------------------------------------------------------------------------- for real


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.language in RUN for block in blocks(page))], ids=lambda page: page.name
)
def test_every_block_runs(page: Path, capsys: pytest.CaptureFixture):
    make_data(Path.cwd())
    before = _state(Path("photos"))
    names: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page):
        if block.language == "python" and not block.is_fastai:
            exec(compile(block.text, str(block), "exec"), names)
        elif block.language == "bash":
            for command in block.commands():
                _run(command, block)
    capsys.readouterr()
    assert _state(Path("photos")) == before, "the folder of images is never written to"


@pytest.mark.slow
def test_the_run_folder_is_as_the_guide_lists_it():
    make_data(Path.cwd())
    listings = [block.text for block in blocks(ROOT / "docs" / "guide" / "first_model.md") if block.language == "text"]
    run, bundle = ({line.split()[0] for line in text.splitlines()} for text in listings)
    run.remove("changes.json")  # this one starts from no other run
    assert main(["train", "photos/", "--epochs", "3", "--backbone", "tiny"]) == 0
    folder = Path("runs/photos-1")
    assert {f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir()} == run
    assert {path.name for path in (folder / "bundle").iterdir()} == bundle


def _run(command: list[str], block: Block) -> None:
    text = " ".join(command)
    if text.startswith(NOT_RUN):
        return
    if text in SHORTENED:
        command = SHORTENED[text].split()
    assert main(command[1:]) == 0, f"{block}: {text}"


def _state(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))
