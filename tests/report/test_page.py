"""The page of a report: everything in it, nothing beside it, and nobody's file names can break it."""

from pathlib import Path

import numpy as np
import pytest

from headstart.core import Check, Finding, Picture, Strip
from headstart.errors import UnknownName
from headstart.metrics import Measured
from headstart.report.page import LISTED, Report, chosen

GREY = np.full((60, 300, 3), 128, np.uint8)


def report(*findings: Finding) -> Report:
    return Report("What <b>cats</b> taught", {"Learned": "2 classes"}, findings)


def test_what_asks_for_something_comes_first_the_gravest_before_all() -> None:
    found = [
        Finding(name, "Why?", name, verdict) for name, verdict in (("a", "good"), ("b", "look"), ("c", "bad"), ("d", "unknown"))
    ]
    assert [one.name for one in report(*found).first()] == ["c", "b"]
    assert "Nothing here asks for anything" in report(found[0]).html()


def test_pictures_are_in_the_page_small_and_a_struck_one_says_why() -> None:
    strip = Strip("cats", (Picture(GREY, "a cat", "cat/1.jpg"), Picture(GREY, "a map", None, "hiding disagrees")))
    page = report(Finding("evidence", "Where?", "Here.", "look", strips=(strip,))).html()
    assert page.count("data:image/jpeg;base64,") == 2 and 'class="struck"' in page
    assert "not to be trusted: hiding disagrees" in page and 'src="http' not in page


def test_names_from_the_users_files_are_text_and_no_markup() -> None:
    evil = '<script>alert("1")</script>'
    item = {"id": evil, "loss": 1.5}
    strip = Strip(evil, (Picture(GREY, evil, evil),))
    page = report(
        Finding("losses", "Why?", evil, "look", {evil: Measured(0.5, 0.4, 0.6, 10)}, [item], [strip], (Check("x", False, evil),))
    ).html()
    assert "<script" not in page and "<b>cats" not in page and "&lt;script&gt;" in page


def test_a_long_table_is_cut_and_says_where_the_rest_is() -> None:
    items = [{"id": f"image{number}.jpg", "margin": float("nan")} for number in range(LISTED + 1)]
    page = report(Finding("labels", "Which?", "Many.", "bad", items=items)).html()
    assert f"image{LISTED - 1}.jpg" in page and f"image{LISTED}.jpg" not in page and "findings/labels.json" in page


def test_a_report_speaks_in_lines_and_is_kept_in_a_folder(tmp_path: Path) -> None:
    told = report(Finding("losses", "Which?", "These.", "good"))
    assert repr(told).splitlines()[1].split() == ["Which?", "These."]
    assert told["losses"].headline == "These."
    with pytest.raises(UnknownName, match="losses"):
        told["loses"]
    assert told.keep(tmp_path / "report.html").read_text(encoding="utf-8") == told.html()
    assert (tmp_path / "findings" / "losses.json").is_file()
    assert "<iframe" in told._repr_html_() and '"What' not in told._repr_html_()


def test_of_an_example_that_is_dropped_nothing_else_is_written_and_one_can_get_a_label_and_a_part() -> None:
    rows = [
        {"path": "a", "action": "move", "part": "train"},
        {"path": "b", "action": "relabel", "label": "x"},
        {"path": "a", "action": "relabel", "label": "y"},
        {"path": "b", "action": "drop"},
        {"path": "a", "action": "relabel", "label": "z"},
    ]
    assert chosen(rows) == [rows[0], rows[2], rows[3]]
