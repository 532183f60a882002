"""The audit: groups, conflicts, leaks, classes, and what is said of them."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.core import Dataset, MaskFile, Record
from headstart.data._fingerprint import SIDE
from headstart.data._groups import Union
from headstart.data.audit import Audit, FileReport, audit, require_usable
from headstart.errors import DataError


def print_of(seed):
    coarse = np.random.default_rng(seed).integers(40, 216, (4, 4))
    return np.kron(coarse, np.ones((SIDE // 4, SIDE // 4))).astype(np.uint8)


LOOKS: dict[str, int] = {}
"""What the file of each report shows."""


def report(name, look=None, digest=None, **facts):
    seed = abs(hash(name)) % 2**31 if look is None else look
    LOOKS[name] = seed
    given = {"width": 40, "height": 30, "format": "PNG", "mode": "RGB", "digest": digest or name}
    return FileReport(name, "ok", **(given | facts))


def bad(name, reason, message=""):
    return FileReport(name, "quarantined", reason, message or f"{name} is {reason}.")


class Classes:
    """What an audit asks of a task that tells classes apart."""

    def __init__(self, names):
        self.names = names

    def counts(self, raw):
        tally = Counter(raw)
        return {name: tally[name] for name in dict.fromkeys((*self.names, *raw))}


def dataset(reports, labels=None, parts=None):
    labels, parts = labels or {}, parts or {}
    records = tuple(Record(r.id, f"/x/{r.id}", labels.get(r.id, "a"), part=parts.get(r.id)) for r in reports)
    return Dataset("photos", records, "/x")


def found(reports, classes=("a", "b"), **options) -> Audit:
    pictures = [print_of(LOOKS[r.id]) if r.status == "ok" else np.zeros((SIDE, SIDE), np.uint8) for r in reports]
    seen = np.stack(pictures) if pictures else np.zeros((0, SIDE, SIDE), np.uint8)
    return audit(dataset(reports, **options), reports, seen, Classes(classes))


def test_masks_of_copies_are_no_contradiction_though_their_files_have_other_names():
    reports = [report("a", 1, "d1"), report("b", 1, "d1")]
    labels = {name: MaskFile(f"{name}.png", f"/m/{name}.png", name) for name in "ab"}
    told = found(reports, labels=labels)
    assert told.exact == (("a", "b"),) and told.conflicts == ()


def test_exact_copies_conflicts_and_the_key_they_share():
    reports = [report("a", 1, "d1"), report("b", 1, "d1"), report("c", 2, "d2"), report("d", 2, "d2"), report("e", 3)]
    result = found(reports, labels={"d": "b"})
    assert result.exact == (("a", "b"), ("c", "d"))
    assert result.conflicts == (("c", "d"),)
    assert result.near == ()
    groups = result.groups()
    assert groups["a"] == groups["b"] != groups["c"] == groups["d"]
    assert "e" not in groups
    text = " ".join(result.summary())
    assert "2 images are exact copies" in text
    assert "1 group of exact copies carries different labels" in text
    assert "c (a) = d (b)" in text


def test_near_copies_take_their_exact_copies_along():
    reports = [
        report("a", 1, "d1"),
        report("b", 5),
        report("c", 1, "d1"),
        report("d", 1, "other"),
        *(report(f"x{i}", 50 + i) for i in range(20)),
    ]
    result = found(reports)
    assert result.exact == (("a", "c"),)
    assert result.near == (("a", "c", "d"),)
    assert len({result.groups()[name] for name in "acd"}) == 1
    assert "near-duplicates (3 images" in " ".join(result.summary())
    assert "random split keeps each together" in " ".join(result.summary())


def test_groups_across_given_parts_leak():
    reports = [
        report("t", 1, "d1"),
        report("v", 1, "d1"),
        report("t2", 2),
        report("v2", 2, "near"),
        report("t3", 3, "d3"),
        report("t4", 3, "d3"),
    ]
    parts = {"t": "train", "v": "valid", "t2": "train", "v2": "test", "t3": "train", "t4": "train"}
    result = found(reports, parts=parts)
    assert set(result.leaks) == {("t", "v"), ("t2", "v2")}
    text = " ".join(result.summary())
    assert "2 groups of copies lie in more than one" in text
    assert "random split" not in text


def test_classes_are_counted_among_usable_files_only():
    reports = [*(report(f"a{i}") for i in range(30)), *(report(f"b{i}") for i in range(4)), bad("b9", "empty")]
    labels = {r.id: r.id[0] for r in reports}
    result = found(reports, labels=labels, classes=("a", "b", "c"))
    assert dict(result.classes) == {"a": 30, "b": 4, "c": 0}
    assert result.small_classes == {"b": 4, "c": 0}
    assert result.imbalance == 7.5
    text = " ".join(result.summary())
    assert "2 classes have fewer than 5 usable images" in text
    assert "b (4), c (0)" in text
    assert "a has 30 images, b 4" in text


def test_quarantine_is_told_in_two_lines():
    reports = [report("good"), bad("x.jpg", "empty"), bad("y.jpg", "empty"), bad("z.heic", "heic"), bad("w", "truncated")]
    lines = found(reports).summary()
    assert (
        lines[0]
        == "4 of 5 files cannot be used and are left out: 2 empty, 1 HEIC (convert them to JPEG), 1 damaged or cut short."
    )
    assert lines[1] == "Left out: x.jpg is empty. · y.jpg is empty. · z.heic is heic. (1 more in audit.json)"
    assert found(reports).usable() == {"good"}


def test_nothing_wrong_needs_no_words():
    reports = [report(f"{i}", 100 + i) for i in range(10)]
    assert found(reports, labels={f"{i}": "ab"[i % 2] for i in range(10)}).summary() == []


def test_odd_files_are_remarked():
    reports = [report(f"{i}", 100 + i, notes=("exif_rotated", "grey")) for i in range(6)]
    text = found(reports, classes=("a",)).summary()
    assert text == ["Files that are used, but odd: 6 turned upright as their EXIF data says."]


def test_json_is_plain_and_complete():
    reports = [report("a", 1, "d"), report("b", 1, "d", width=80), report("c", 2, mode="L", notes=("grey",)), bad("q", "empty")]
    data = json.loads(json.dumps(found(reports, labels={"b": "b"}).json(), allow_nan=False))
    assert data["files"] == 4
    assert data["usable"] == 3
    assert data["quarantine"] == [{"id": "q", "reason": "empty", "message": "q is empty."}]
    assert data["exact_duplicates"] == [["a", "b"]]
    assert data["conflicting_labels"] == [{"a": "a", "b": "b"}]
    assert data["width"] == {"min": 40, "median": 40, "max": 80}
    assert data["modes"] == {"RGB": 2, "L": 1}
    assert data["remarks"] == {"grey": ["c"]}
    assert data["classes"] == {"a": 2, "b": 1}


def test_nothing_usable_is_a_lesson():
    reports = [bad("a.jpg", "empty", "a.jpg is empty (0 bytes). Copy it again."), bad("b.jpg", "truncated")]
    data = dataset(reports)
    with pytest.raises(DataError, match=r"none of the 2 files of photos .* 1 empty, 1 damaged.* The first: a\.jpg is empty"):
        require_usable(data, found(reports))
    with pytest.raises(DataError, match="no image"):
        require_usable(dataset([]), found([]))
    require_usable(dataset([report("a")]), found([report("a")]))


@pytest.mark.slow
@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=4), max_size=20))
def test_union_is_the_transitive_closure(links):
    union = Union()
    for link in links:
        union.join(str(each) for each in link)
    slow = {i: {i} for i in range(31)}
    for link in links:
        merged = set().union(*(slow[i] for i in link))
        for i in merged:
            slow[i] = merged
    for i in range(31):
        for j in range(31):
            assert (union.root(str(i)) == union.root(str(j))) == (j in slow[i])
