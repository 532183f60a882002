"""The fenced blocks of the Markdown pages, what may be done with each, and the folder that they run in."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from drawn import masked_folder

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md")))
RUN = ("python", "bash")
SKIPPED = ("text", "csv")
NOT_RUN = ("pip install", "pytest")
"""Commands that change the environment or start the tests again: looked at, never run."""
SHORTENED = {
    "headstart demo": "headstart demo --epochs 0",
    "headstart train photos/ --minutes 10": "headstart train photos/ --minutes 0.3",
}
"""Minutes of training that the slow tier has no time for."""


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and where it stands."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def is_fastai(self) -> bool:
        """Whether it is the other half of a pair: shown, but not ours to run."""
        return self.text.startswith("# fastai\n")

    def commands(self) -> list[list[str]]:
        """The commands of a bash block in order, each as its words, without comments."""
        lines = (shlex.split(line, comments=True) for line in self.text.splitlines())
        return [command for line in lines for command in _parts(line) if command]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order.

    Raises:
        ValueError: for a fence that is not closed.
    """
    found, start, language, lines = [], 0, "", []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if not start and (fence := re.match(r"```(\S*)\s*$", line)):
            start, language, lines = number, fence[1], []
        elif start and line.rstrip() == "```":
            found.append(Block(page, start, language, "\n".join(lines) + "\n"))
            start = 0
        elif start:
            lines.append(line)
    if start:
        raise ValueError(f"{page.name}:{start}: the block is not closed.")
    return found


def inline_commands(page: Path) -> list[list[str]]:
    """The commands of headstart that stand in backticks in the running text."""
    prose = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    return [shlex.split(text) for text in re.findall(r"`(headstart [^`\n]+)`", prose)]


def attributes_of(tree: ast.AST, name: str) -> set[str]:
    """Every X of `name.X` in a program."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == name}


def make_data(here: Path) -> None:
    """What the pages speak of: `photos/` by class, `new_photos/`, `test_photos/`, `pets/` by file name, `labels.csv`, `tags.csv` with
    several labels, `sizes.csv` with numbers, `fixes.csv` with corrections, `films.csv` with texts, `houses.csv` with plain numbers,
    `found.json` with categories and `streets/` with masks."""
    rows, tags, sizes = ["image,label,is_valid"], ["image,tags"], ["image,size"]
    for number in range(1, 13):
        for label in ("cat", "dog"):
            _picture(here / "photos" / label / f"{number}.jpg", label, number)
            rows.append(f"{label}/{number}.jpg,{label},{int(number % 4 == 0)}")
            tags.append(f"{label}/{number}.jpg,{label}{(';bright', ';dark', '')[number % 3]}")
            sizes.append(f"{label}/{number}.jpg,{0.1 + 0.03 * number + 0.3 * (label == 'cat'):.2f}")
    for number in range(1, 4):
        for label in ("cat", "dog"):
            _picture(here / "test_photos" / label / f"{number}.jpg", label, 20 + number)
            _picture(here / "pets" / f"{'Bengal_cat' if label == 'cat' else 'great_pyrenees'}_{number}.jpg", label, 30 + number)
    _picture(here / "new_photos" / "what_is_this.jpg", "cat", 40)
    _picture(here / "new_photos" / "and_this.jpg", "dog", 41)
    for name, lines in (("labels", rows), ("tags", tags), ("sizes", sizes)):
        (here / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fixes = "path,label,action,part,reason\ncat/1.jpg,dog,relabel,,is a dog\ndog/7.jpg,,drop,,blurred\ndog/8.jpg,,move,train,\n"
    (here / "fixes.csv").write_text(fixes, encoding="utf-8")
    films, houses = ["said,text,label"], ["area,rooms,built,price"]
    for number in range(24):
        word = ("lovely", "bright", "fine")[number % 3] if number % 2 else ("dull", "awful", "grey")[number % 3]
        text = f"a {word} film number {number} with a long evening"
        films.append(f"{text},{text},{'good' if number % 2 else 'bad'}")
        area, rooms, built = 50 + 7 * number, "" if number == 5 else 1 + number % 5, 1950 + 3 * (number * 7 % 23)
        houses.append(f"{area},{rooms},{built},{2.4 * area + 0.1 * built - 150 + number % 4:.1f}")
    streets = masked_folder(here / "streets", 12)
    Image.open(streets / "images" / "001.png").save(streets / "images" / "1.jpg", quality=95)
    (streets / "images" / "001.png").unlink()
    (streets / "masks" / "001.png").rename(streets / "masks" / "1.png")
    found = {
        "images": [{"id": number, "file_name": f"cat/{number}.jpg"} for number in range(1, 5)],
        "annotations": [{"image_id": number, "category_id": number % 2} for number in range(1, 5)],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "basket"}],
    }
    (here / "found.json").write_text(json.dumps(found), encoding="utf-8")
    (here / "films.csv").write_text("\n".join(films) + "\n", encoding="utf-8")
    (here / "houses.csv").write_text("\n".join(houses) + "\n", encoding="utf-8")


def _picture(path: Path, label: str, number: int) -> None:
    """Noise with a light disc for a cat or a light bar for a dog; no two pictures are alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(number)
    pixels = draw.integers(0, 90, (72, 88, 3), dtype=np.uint8)
    y, x = np.mgrid[:72, :88]
    row, column = draw.integers(24, 48), draw.integers(24, 64)
    thing = (y - row) ** 2 + (x - column) ** 2 < 300 if label == "cat" else abs(y - row) < 8
    pixels[thing] = pixels[thing] // 2 + np.array(draw.integers(110, 200, 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=92)


def _parts(words: list[str]) -> Iterator[list[str]]:
    """A line of words, divided at each `&&`."""
    while "&&" in words:
        place = words.index("&&")
        yield words[:place]
        words = words[place + 1 :]
    yield words
