"""Records from a CSV or TSV file: which columns mean what, where the files are, and what is wrong with which row."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headstart.core import Record
from headstart.data._columns import (
    GROUP,
    IMAGE,
    LABEL,
    SUBJECTS,
    Losses,
    cell_at,
    column_named,
    columns_asked,
    columns_in_words,
    divides,
    label_at,
    part_at,
)
from headstart.data._finder import Finder, identifier_of, is_url
from headstart.data.labels import NameRule, by_rule, tidy
from headstart.errors import BadTable
from headstart.modalities._cells import is_flag
from headstart.modalities._csv import Grid, read_grid, usual_column
from headstart.modalities._scan import IMAGE_SUFFIXES, clean, quoted, suffix_of


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a grid (by position) says what."""

    image: int
    labels: tuple[int, ...]
    group: int | None = None
    parts: tuple[int, ...] = ()


def read_table(
    path: Path,
    folder: Path | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    group_by: NameRule | None = None,
) -> tuple[list[Record], tuple[str, ...], list[str]]:
    """The records that a table names, in its order, the names of its label columns, and sentences on what was left out and why.

    Args:
        path: an absolute path.
        folder: where the paths in the table start; the table's own folder when None.
        group_by: the name of a column, else a rule for the image's path.

    Raises:
        BadTable: no usable row is left, or it is no table.
        UnknownName: a column that does not exist.
    """
    grid = read_grid(path)
    finder = Finder(str(folder or path.parent))
    if image_column is None and usual_column(grid, IMAGE) is None and any(map(_exists(finder), grid.columns)):
        grid = grid.without_header()
    folded = {name.casefold() for name in grid.columns}
    group_column = group_by if isinstance(group_by, str) and ("(" not in group_by or group_by.casefold() in folded) else None
    columns = _columns(grid, finder, image_column, label_column, group_column)
    losses = Losses()
    records = _records(grid, columns, finder, losses)
    records = _without_repeats(records, losses)
    if not records:
        raise _nothing_left(grid, columns, finder, losses)
    notes = [*grid.notes, *finder.notes(), *losses.sentences(), *_hints(grid, columns)]
    plain = [record for _, record in records]
    if group_by is not None and group_column is None:
        groups = by_rule(group_by, "group_by", [(record.id, str(record.source)) for record in plain])
        plain = [replace(record, group=group) for record, group in zip(plain, groups, strict=True)]
    return plain, tuple(grid.columns[at] for at in columns.labels), notes


# ---------------------------------------------------------------------------------------------------------------- columns


def _columns(grid: Grid, finder: Finder, image: str | None, label: str | Sequence[str] | None, group: str | None) -> Columns:
    """Columns by the names given, else by their usual names, else by what they hold.

    Raises:
        UnknownName, BadTable
    """
    image_at = column_named(grid, image) if image else usual_column(grid, IMAGE)
    named = [column_named(grid, each) for each in columns_asked(label)]
    usual = usual_column(grid, LABEL, besides=image_at)
    labels = tuple(dict.fromkeys(named)) or (() if usual is None else (usual,))
    group_at = column_named(grid, group) if group else usual_column(grid, GROUP, besides=labels)
    parts = [at for at in range(len(grid.columns)) if at not in (image_at, *labels, group_at) and divides(grid, at)]
    if image_at is None or (image is None and not _holds_files(grid, image_at, finder)):
        candidates = [at for at in range(len(grid.columns)) if at not in labels and _holds_files(grid, at, finder)]
        image_at = candidates[0] if len(candidates) == 1 else image_at
    if image_at is None:
        raise BadTable(
            f"{grid.name} has {columns_in_words(grid.columns)}: which one names the images? None is called image, path or file, and none "
            f"holds names of files in {quoted(finder.base)}. Give image_column=..., and folder=... if the images lie elsewhere. Where the "
            "rows are texts, text_column=... names them; where they are numbers, label_column=... is enough."
        )
    if not labels:
        labels = tuple(at for at in range(len(grid.columns)) if at not in (image_at, group_at, *parts))
        if len(labels) != 1 and not (labels and all(map(_says_yes_or_no(grid), labels))):
            why = "which one names the class?" if labels else "none is left that could name the class."
            raise BadTable(f"{grid.name} has {columns_in_words(grid.columns)}: {why} Give label_column=...")
    if image_at in labels:
        raise BadTable(
            f"image_column and label_column are both {quoted(grid.columns[image_at])}. {grid.name} has {columns_in_words(grid.columns)}."
        )
    return Columns(image_at, labels, group_at, tuple(at for at in parts if at not in (image_at, *labels)))


def _says_yes_or_no(grid: Grid) -> Callable[[int], bool]:
    """Whether a column says of every image that it has a label, or has it not: one label among several."""

    def says(at: int) -> bool:
        cells = list(filter(str.strip, grid.column(at)))
        return bool(cells) and all(map(is_flag, cells))

    return says


def _exists(finder: Finder) -> Callable[[str], bool]:
    trial = Finder(finder.base)  # with its own counts, for a trial is no finding
    return lambda cell: bool(cell) and not is_url(cell) and trial.find(cell) is not None


def _holds_files(grid: Grid, at: int, finder: Finder) -> bool:
    """Whether the first cells look like images or exist as files."""
    cells = [cell for cell in grid.column(at)[:20] if cell]
    exists = _exists(finder)
    good = sum(suffix_of(cell) in IMAGE_SUFFIXES or is_url(cell) or exists(cell) for cell in cells)
    return bool(cells) and good >= len(cells) / 2


# ------------------------------------------------------------------------------------------------------------------- rows


def _records(grid: Grid, columns: Columns, finder: Finder, losses: Losses) -> list[tuple[int, Record]]:
    found = []
    for line, row in grid.rows:
        written, label = cell_at(row, columns.image), label_at(row, columns.labels)
        if not written:
            losses.add("without the name of an image", line, "")
        elif label is None:
            losses.add("without a label", line, written)
        elif is_url(written):
            losses.add("with a web address (headstart reads files: download them first)", line, written)
        elif (path := finder.find(written)) is None:
            losses.add("whose file does not exist", line, written)
        else:
            group = tidy(cell_at(row, columns.group)) if columns.group is not None else None
            part = part_at(grid, [(grid.columns[at], cell_at(row, at)) for at in columns.parts], line)
            found.append((line, Record(identifier_of(path, finder.base), path, label, group, part)))
    return found


def _without_repeats(records: list[tuple[int, Record]], losses: Losses) -> list[tuple[int, Record]]:
    """Each image once. A row that repeats an earlier one goes; an image with two different labels goes altogether."""
    by_id: dict[str, list[tuple[int, Record]]] = defaultdict(list)
    for line, record in records:
        by_id[record.id].append((line, record))
    kept = []
    for rows in by_id.values():
        if len({record.target for _, record in rows}) > 1:
            for line, record in rows:
                losses.add("of images that are given different labels", line, record.id)
            continue
        kept.append(rows[0])
        for line, record in rows[1:]:
            elsewhere = record.part != rows[0][1].part
            losses.add("putting an image into a second part" if elsewhere else "repeating an earlier row", line, record.id)
    return kept


# ------------------------------------------------------------------------------------------------------- words for people


def _nothing_left(grid: Grid, columns: Columns, finder: Finder, losses: Losses) -> BadTable:
    if not grid.rows:
        return BadTable(f"{grid.name} has a header ({', '.join(grid.columns[:12])}) and no rows. It needs a row for each image.")
    text = f"{grid.name} leaves no image to use. " + " ".join(losses.sentences())
    reasons = Counter({reason: len(rows) for reason, rows in losses.rows.items()})
    worst = reasons.most_common(1)[0][0]
    if worst == "whose file does not exist":
        text += f" They were looked for in {quoted(clean(finder.base))}: if the images lie elsewhere, give folder=..."
    elif "different labels" in worst:
        text += " If an image may have several labels at once, write them in one cell with ; between them, or a column for each."
    return BadTable(f"{text} {_roles(grid, columns)}")


def _roles(grid: Grid, columns: Columns) -> str:
    names = [grid.columns[at] for at in columns.labels]
    labels = quoted(names[0]) if len(names) == 1 else f"{len(names)} columns ({', '.join(names[:3])}, ...)"
    return f"Read the column {quoted(grid.columns[columns.image])} as the image and {labels} as the label."


def _hints(grid: Grid, columns: Columns) -> list[str]:
    """What was guessed, and what might be used."""
    hints = []
    names = [grid.columns[at].casefold() for at in columns.labels]
    if grid.columns[columns.image].casefold() not in IMAGE or (len(names) == 1 and names[0] not in LABEL):
        hints.append(_roles(grid, columns))
    if columns.group is not None:
        hints.append(f"Images with the same {quoted(grid.columns[columns.group])} stay on one side of the split.")
    else:
        subjects = [name for name in grid.columns if name.casefold() in SUBJECTS]
        if subjects:
            hints.append(
                f"Images with the same {quoted(subjects[0])} may be too alike to judge by: consider group_by={subjects[0]!r}."
            )
    return hints
