"""What users see of a run, in each of the places where they can look at it."""

import io
import json
import math
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from headstart.core import EpochDone, Note, Progress, RowDone, StepDone
from headstart.train.observers import JsonLines, Lines, Notebook, Table, Together, choose
from headstart.train.observers.json_lines import to_line
from headstart.train.observers.notebook import in_notebook, table_html
from headstart.train.observers.pace import Pace
from headstart.train.observers.rows import (
    Layout,
    cells,
    columns,
    duration,
    interval,
    is_marked,
    measured,
    metric_names,
    printable,
)

HEAD = {
    "epoch": 0,
    "stage": "head",
    "train_loss": 0.18249,
    "valid_loss": 0.235,
    "error_rate": 0.097,
    "error_rate_95": [0.0731, 0.1284],
    "lr": None,
    "seconds": 4.21,
}
ALL = {
    **HEAD,
    "epoch": 1,
    "stage": "all",
    "train_loss": 0.291,
    "valid_loss": 0.262,
    "error_rate": 0.1,
    "lr": 1e-3,
    "seconds": 83.0,
}


class Clock:
    """Time that only moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def a_run() -> list[Any]:
    steps = [StepDone(1, step, 4, None, 1e-3) for step in range(1, 5)]
    return [
        Progress("reading images", 1, 2),
        Progress("reading images", 2, 2),
        RowDone(HEAD),
        Note("An epoch costs about 1:23."),
        *steps,
        EpochDone(1, 0.291, 1e-3, False),
        RowDone(ALL),
        Note("Kept row 0."),
    ]


# ------------------------------------------------------------------------------------------------------------ rows as text


def test_the_columns_are_the_contract_in_its_order():
    assert columns(HEAD) == ["epoch", "stage", "train_loss", "valid_loss", "error_rate", "time"]
    assert cells(HEAD) == ["0", "head", "0.182*", "0.235", "0.097 [0.073, 0.128]", "4.2 s"]
    assert cells(ALL) == ["1", "all", "0.291", "0.262", "0.100 [0.073, 0.128]", "1:23"]


def test_only_the_heads_row_is_marked():
    assert is_marked(HEAD)
    assert not is_marked(ALL)
    assert not is_marked({**HEAD, "lr": 1e-3}), "a head trained by gradient steps saw augmented images"
    assert not is_marked({**HEAD, "train_loss": None}), "there is no number to mark"


def test_a_metric_without_an_interval_or_value():
    row = {**HEAD, "mine": 2.5, "mine_95": [None, None], "other": None, "other_95": [None, None], "note": "words", "kept": True}
    assert metric_names(row) == ["error_rate", "mine", "other"]
    assert measured(row, "mine") == "2.500"
    assert measured(row, "other") == "-"
    assert interval(row, "error_rate") == (0.0731, 0.1284)
    assert measured({"m": math.nan, "m_95": None}, "m") == "nan"
    assert measured({"m": 12345.6, "m_95": [12000.0, 13000.0]}, "m") == "1.235e+04 [1.2e+04, 1.3e+04]"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1:00"),
        (61, "1:01"),
        (3599.6, "1:00:00"),
        (7449, "2:04:09"),
        (None, "-"),
        (math.inf, "-"),
    ],
)
def test_durations(seconds: float | None, words: str):
    assert duration(seconds) == words


@given(st.floats(0, 1e6))
def test_a_duration_is_never_off_by_more_than_it_shows(seconds: float):
    words = duration(seconds)
    if words.endswith(" s"):
        assert abs(float(words[:-2]) - seconds) <= 0.0501
        return
    total = 0
    for part in words.split(":"):
        total = 60 * total + int(part)
    assert abs(total - seconds) <= 0.501
    assert all(len(part) == 2 and int(part) < 60 for part in words.split(":")[1:])


@given(st.text(st.characters(), max_size=40))
def test_printable_leaves_no_control_character_and_no_undecodable_byte(text: str):
    shown = printable(text)
    shown.encode("utf-8")
    assert not any(character in shown for character in "\r\x1b\x07\x9b\x7f")


def test_printable_keeps_words_and_lines():
    assert printable("Grüße\n猫") == "Grüße\n猫"
    assert printable("a\x1b[2Jb\udcff\r") == "a\\x1b[2Jb\\udcff\\r"


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(0, 10), st.floats(0, 1), st.floats(0, 1e5)),
        min_size=1,
        max_size=5,
    )
)
def test_a_layout_keeps_every_column_in_its_place(numbers: list[tuple[float, float, float, float]]):
    rows = [
        {**ALL, "epoch": n, "train_loss": t, "valid_loss": v, "error_rate": e, "seconds": s}
        for n, (t, v, e, s) in enumerate(numbers)
    ]
    layout = Layout.of(rows[0])
    assert len({len("  ".join(layout.line(cells(row)))) for row in [*rows, HEAD]}) == 1
    assert all(text.strip() == cell for row in rows for text, cell in zip(layout.line(cells(row)), cells(row), strict=True))


def test_the_mark_does_not_move_the_decimals():
    layout = Layout.of(HEAD)
    marked, plain = layout.line(cells(HEAD))[2], layout.line(cells(ALL))[2]
    assert marked.index(".") == plain.index(".")


# ------------------------------------------------------------------------------------------------------------------- pace


def test_the_time_left_ignores_the_slow_first_step():
    clock = Clock()
    pace = Pace(clock)
    clock.now += 30.0
    assert pace.follow(StepDone(1, 1, 11, None, 0.0))
    assert pace.left() is None
    for step in range(2, 7):
        clock.now += 2.0
        assert not pace.follow(StepDone(1, step, 11, None, 0.0))
    assert pace.left() == pytest.approx(2.0 * 5)
    assert pace.what == "epoch 1"


def test_a_new_stage_or_a_restart_begins_anew():
    clock = Clock()
    pace = Pace(clock)
    assert pace.follow(Progress("reading", 5, 10))
    assert pace.follow(Progress("features", 5, 10))
    assert pace.follow(Progress("features", 1, 10))
    assert pace.follow(Progress("features", 2, 20))
    assert not pace.follow(Note("words"))
    assert pace.left() is None


def test_an_empty_stage_has_no_time_left():
    pace = Pace(Clock())
    pace.follow(Progress("looking", 0, 0))
    pace.follow(Progress("looking", 1, 0))
    assert pace.left() is None


# ------------------------------------------------------------------------------------------------------------ plain lines


def test_lines_are_one_per_row_without_carriage_returns():
    stream = io.StringIO()
    lines = Lines(stream)
    for event in a_run():
        lines.show(event)
    lines.close()
    written = stream.getvalue()
    assert "\r" not in written and "\x1b" not in written
    head, row_0, footnote, note, row_1, last = written.splitlines()
    assert head.split() == columns(HEAD)
    assert row_0.split() == ["0", "head", "0.182*", "0.235", "0.097", "[0.073,", "0.128]", "4.2", "s"]
    assert "without augmentation" in footnote
    assert (note, last) == ("An epoch costs about 1:23.", "Kept row 0.")
    assert row_1.split()[:4] == ["1", "all", "0.291", "0.262"]
    assert head.index("valid_loss") + len("valid_loss") == row_1.index("0.262") + 5, "numbers end below their heading"


def test_progress_in_lines_is_sparse_and_says_how_long():
    stream, clock = io.StringIO(), Clock()
    lines = Lines(stream, patience=10.0, clock=clock)
    for done in range(1, 1000):
        clock.now += 1.0
        lines.show(Progress("reading images", done, 1000))
    written = stream.getvalue().splitlines()
    assert written[0] == "reading images: 11 of 1,000, 16:29 left"
    assert 5 <= len(written) <= 9, "each waits twice as long as the one before"


def test_short_work_leaves_no_line():
    stream, clock = io.StringIO(), Clock()
    lines = Lines(stream, clock=clock)
    for done in range(1, 100):
        clock.now += 0.05
        lines.show(Progress("reading images", done, 100))
    clock.now += 100.0
    lines.show(Progress("reading images", 100, 100))
    assert stream.getvalue() == "", "a stage that is done needs no line"


def test_the_heading_is_repeated_only_when_the_columns_change():
    stream = io.StringIO()
    lines = Lines(stream)
    for row in (HEAD, ALL, {**ALL, "f1": 0.9, "f1_95": [0.8, 0.95]}):
        lines.show(RowDone(row))
    assert stream.getvalue().count("valid_loss") == 2


def test_a_stream_that_knows_few_characters_gets_escapes():
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding="ascii", newline="\n")
    Lines(stream).show(Note("Grüße \udcff.jpg"))
    assert buffer.getvalue() == b"Gr\\xfc\\xdfe \\udcff.jpg\n"


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("make", [Lines, lambda stream: JsonLines(stream, Together())])
def test_a_reader_that_goes_away_does_not_stop_the_run(make: Any):
    stream = Broken()
    observer = make(stream)
    for event in a_run():
        observer.show(event)
    observer.close()


# ------------------------------------------------------------------------------------------------------------- JSON lines


def test_stdout_holds_one_json_object_per_row_and_nothing_else():
    stdout, stderr = io.StringIO(), io.StringIO()
    observer = JsonLines(stdout, Lines(stderr))
    for event in a_run():
        observer.show(event)
    observer.write({"run": "runs/x-1", "rows": [HEAD, ALL]})
    observer.close()
    objects = [json.loads(line) for line in stdout.getvalue().splitlines()]
    assert objects == [HEAD, ALL, {"run": "runs/x-1", "rows": [HEAD, ALL]}]
    assert stderr.getvalue().splitlines() == ["An epoch costs about 1:23.", "Kept row 0."]


def test_json_is_strict_and_ascii():
    line = to_line({"a": math.nan, "b": [math.inf, 1.5], "c": "é\udcff", 3: {"d": -math.inf}})
    assert line.isascii() and "\n" not in line
    assert json.loads(line, parse_constant=pytest.fail) == {"a": None, "b": [None, 1.5], "c": "é\udcff", "3": {"d": None}}


# --------------------------------------------------------------------------------------------------------------- terminal


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system="standard", legacy_windows=False)


def test_the_terminal_keeps_rows_and_notes_and_clears_the_bar():
    console = terminal()
    table = Table(console)
    for event in a_run():
        table.show(event)
    table.close()
    written = console.file.getvalue()  # type: ignore[attr-defined]
    for words in ("epoch", "0.182*", "0.097 [0.073, 0.128]", "An epoch costs about 1:23.", "Kept row 0.", "without augmentation"):
        assert written.count(words) >= 1, words
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h"), "the cursor is given back"
    assert threading.active_count() == 1 or not any("Refresh" in thread.name for thread in threading.enumerate())


def test_the_terminal_gives_back_stdout_after_an_exception():
    before = sys.stdout
    table = Table(terminal())
    table.show(StepDone(1, 1, 10, None, 0.0))
    table.close()
    table.close()
    assert sys.stdout is before


def test_only_rows_better_than_all_before_are_green():
    console = terminal()
    table = Table(console)
    for row in (HEAD, ALL, {**ALL, "valid_loss": 0.2}):
        table.show(RowDone(row))
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[32m     0.235\x1b[0m" in written
    assert "\x1b[32m     0.262\x1b[0m" not in written
    assert "\x1b[32m     0.200\x1b[0m" in written


def test_words_in_brackets_are_no_markup():
    console = terminal()
    Table(console).show(Note("cut at [bold]cats[/bold] \x1b[2J"))
    assert "cut at [bold]cats[/bold] \\x1b[2J" in console.file.getvalue()  # type: ignore[attr-defined]


# --------------------------------------------------------------------------------------------------------------- notebook


class Display:
    """Stands in for IPython's display module: remembers the pages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pages: list[str] = []
        self.displays = 0
        module = ModuleType("IPython.display")
        module.HTML = lambda page: page  # type: ignore[attr-defined]
        module.display = self.display  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
        monkeypatch.setitem(sys.modules, "IPython.display", module)

    def display(self, page: str, display_id: bool) -> Any:
        assert display_id
        self.displays += 1
        self.pages.append(page)
        return SimpleNamespace(update=self.pages.append)


def test_a_notebook_updates_one_display(monkeypatch: pytest.MonkeyPatch):
    shown = Display(monkeypatch)
    notebook = Notebook(Clock())
    for event in a_run():
        notebook.show(event)
    notebook.close()
    assert shown.displays == 1
    last = shown.pages[-1]
    assert last.count("<tr>") == 3 and "<progress" not in last
    assert "0.097 [0.073, 0.128]" in last and "An epoch costs" in last and "Kept row 0." in last


def test_a_notebook_is_not_redrawn_for_every_step(monkeypatch: pytest.MonkeyPatch):
    shown, clock = Display(monkeypatch), Clock()
    notebook = Notebook(clock, every=0.5)
    for step in range(1, 1001):
        clock.now += 0.01
        notebook.show(StepDone(1, step, 1000, None, 0.0))
    assert 15 <= len(shown.pages) <= 21
    assert '<progress value="' in shown.pages[-1] and "left" in shown.pages[-1]


def test_html_is_escaped():
    page = table_html([{**HEAD, "stage": "<script>", "<b>": 1.0}])
    assert "<script>" not in page and "<b>" not in page and "&lt;script&gt;" in page


def test_the_best_row_is_bold_and_missing_cells_are_told():
    page = table_html([HEAD, {**ALL, "f1": 0.9}])
    assert page.count("font-weight:bold") == len(columns(HEAD)) + 1
    assert page.count("<td") == 14


def test_a_notebook_is_recognised(monkeypatch: pytest.MonkeyPatch):
    assert not in_notebook()
    ipython = ModuleType("IPython")
    shell = type("ZMQInteractiveShell", (), {})
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.delitem(sys.modules, "IPython.core.getipython", raising=False)
    for instance, expected in (
        (None, False),
        (type("TerminalInteractiveShell", (), {})(), False),
        (type("Shell", (shell,), {})(), True),
    ):
        ipython.get_ipython = lambda instance=instance: instance  # type: ignore[attr-defined]
        assert in_notebook() is expected


# ----------------------------------------------------------------------------------------------------------------- choice


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_place_chooses_the_observer():
    assert isinstance(choose(stdout=io.StringIO()), Lines)
    assert isinstance(choose(stdout=Tty()), Table)
    assert isinstance(choose(json=True, stdout=Tty(), stderr=io.StringIO()), JsonLines)


def test_together_shows_everything_to_everyone():
    streams = [io.StringIO(), io.StringIO()]
    both = Together([Lines(stream) for stream in streams])
    for event in a_run():
        both.show(event)
    both.close()
    assert streams[0].getvalue() == streams[1].getvalue() != ""
