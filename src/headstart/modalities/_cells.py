"""What cells of a table say: numbers, yes and no, several names at once."""

from collections import Counter
from collections.abc import Sequence

YES = frozenset({"true", "1", "1.0", "yes", "y", "t"})
NO = frozenset({"false", "0", "0.0", "no", "n", "f"})
UNKNOWN = frozenset({"", "nan", "na", "n/a", "none", "null", "?", "-"})
SEPARATORS = ("|", ";", ",", " ")
"""Between the labels of one cell; earlier ones are looked for first."""
TEXT = (
    *("text", "sentence", "review", "comment", "content", "body", "message", "document", "tweet", "question"),
    *("description", "title"),
)
"""Usual names of a column with texts."""


def is_unknown(cell: str) -> bool:
    """Whether the cell says that nobody knows."""
    return cell.strip().casefold() in UNKNOWN


def number(cell: str) -> float | None:
    """The number that the cell holds, which may be infinite or no number; None for a word."""
    try:
        return float(cell)
    except ValueError:
        return None


def are_measured(cells: Sequence[str]) -> bool:
    """Whether cells hold measurements and not names: numbers, not all of them whole."""
    numbers = [found for cell in cells if (found := number(cell)) is not None]
    return len(numbers) == len(cells) and any(each % 1 for each in numbers)


def is_flag(cell: str) -> bool:
    """Whether the cell says yes or no."""
    return cell.strip().casefold() in YES | NO


def separator_of(cells: Sequence[str]) -> str | None:
    """What stands between labels in these cells; None where each seems to be a single one.

    That is a character which divides some cells into names that mostly come back in other cells too: words of a sentence, or
    parts of a name ("New York"), do not.
    """
    for separator in SEPARATORS:
        divided = [parts(cell, separator) for cell in cells]
        several = [each for each in divided if len(each) > 1]
        if len(several) < max(2, 0.05 * len(cells)):
            continue
        tally = Counter(name for each in divided for name in each)
        combinations = {tuple(sorted(each)) for each in divided}
        often = sum(tally[name] > 2 for each in several for name in each) / sum(map(len, several))
        if often > 0.9 and len(tally) < len(combinations) and len(set(map(len, divided))) > 1:
            return separator
    return None


def parts(cell: str, separator: str | None) -> list[str]:
    """The names in a cell, each once, in its order."""
    return list(dict.fromkeys(filter(None, map(str.strip, cell.split(separator)))))
