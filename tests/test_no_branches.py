"""Nothing outside their folders asks which task or modality it is: only the inference of the two may, and it is named here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import headstart
from headstart import plugins

ROOT = Path(headstart.__file__).parent
KINDS = {*plugins.names("tasks"), *plugins.names("modalities"), "segmentation"}
OWN = ("tasks", "modalities")
INFERENCE = {"data/sources.py", "data/arrays.py", "data/huggingface.py"}
"""What the rows of a table are, or the examples in memory."""


def compared(tree: ast.AST) -> Iterator[str]:
    """Words that a comparison, a match or the test of a set compares with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for side in (node.left, *node.comparators):
                yield from (
                    leaf.value for leaf in ast.walk(side) if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)
                )
        if isinstance(node, ast.MatchValue) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


def asked_for_class(tree: ast.AST) -> Iterator[str]:
    """Names of classes that `isinstance` asks for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            yield from (leaf.id for leaf in ast.walk(node.args[1]) if isinstance(leaf, ast.Name))


def test_no_branch_on_a_task_or_a_modality() -> None:
    found = []
    for file in ROOT.rglob("*.py"):
        place = file.relative_to(ROOT).as_posix()
        if place.split("/")[0] in OWN:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        words = set() if place in INFERENCE else KINDS & set(compared(tree))
        classes = {"SingleLabel", "MultiLabel", "Regression", "Images", "Texts", "Arrays"} & set(asked_for_class(tree))
        found += [f"{place}: {word}" for word in words | classes]
    assert found == []


def test_the_search_finds_what_it_looks_for() -> None:
    tree = ast.parse('if data.modality == "text" or name in ("array", "x"):\n    pass\nisinstance(task, (Texts, int))')
    assert {"text", "array"} <= set(compared(tree)) and "Texts" in set(asked_for_class(tree))
