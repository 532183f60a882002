"""Labels from names: what matches, what is left out, what is guessed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.data.labels import by_rule, describe, from_names_advice, guess_pattern, no_labels, tidy
from headstart.errors import BadSetting, DataError


def labels(rule, *ids, setting="label"):
    return by_rule(rule, setting, [(each, f"/data/{each}") for each in ids])


PETS = ["Abyssinian_1.jpg", "Bengal_12.jpg", "yorkshire_terrier_7.jpg", "beagle_3.jpg"]


def test_the_breed_is_a_group_of_the_pattern():
    assert labels(r"^(.+)_\d+\.jpg$", *PETS) == ["Abyssinian", "Bengal", "yorkshire_terrier", "beagle"]


def test_the_species_is_a_function_of_the_capital():
    assert labels(lambda path: "cat" if path.name[0].isupper() else "dog", *PETS) == ["cat", "cat", "dog", "dog"]


def test_a_named_group_wins():
    assert labels(r"^(\d+)_(?P<label>[a-z]+)", "01_cat.jpg") == ["cat"]
    assert labels(r"^(?P<group>\d+)_([a-z]+)", "01_cat.jpg", setting="group_by") == ["01"]


def test_a_pattern_sees_the_name_and_with_a_slash_the_path():
    assert labels(r"^(\w+?)_", "b/a_1.jpg") == ["a"]
    assert labels(r"^(\w+)/", "b/a_1.jpg") == ["b"]
    assert labels(r"([^/]+)_\d+.jpg$", "b/great_dane_1.jpg") == ["great_dane"]


def test_files_that_do_not_match_have_no_label():
    assert labels(r"^(cat)?_?\d", "cat_1.jpg", "7.jpg", "dog.jpg") == ["cat", None, None]


def test_ignoring_case_makes_one_class_in_the_commonest_spelling():
    ids = ("Cat_1.JPG", "cat_2.jpg", "cat_3.jpg", "DOG_1.jpg")
    assert labels(r"(?i)^(cat|dog)_\d+\.jpg$", *ids) == ["cat", "cat", "cat", "DOG"]
    assert labels(r"^(\w+?)_", *ids) == ["Cat", "cat", "cat", "DOG"]


def test_wrong_rules_are_taught():
    with pytest.raises(BadSetting, match="not a regular expression: missing \\)"):
        labels("(", "a.jpg")
    with pytest.raises(BadSetting, match=r"has no group\. Put parentheses around what is the label"):
        labels(r"^\w+_", "a.jpg")
    with pytest.raises(BadSetting, match="what is the group"):
        labels(r"^\w+_", "a.jpg", setting="group_by")


def test_a_function_that_fails_names_the_file():
    with pytest.raises(DataError, match=r'failed on "x/b\.jpg" \(KeyError: \'b\'\)'):
        labels(lambda path: {"a": "cat"}[path.stem], "a.jpg", "x/b.jpg")


def test_whatever_a_function_returns_becomes_text():
    answers = iter([3, 2.0, 2.5, None, "", "  dog ", float("nan"), True])
    assert labels(lambda path: next(answers), *"abcdefgh") == ["3", "2", "2.5", None, None, "dog", None, "True"]


@pytest.mark.slow
@given(st.text() | st.none() | st.floats() | st.integers())
def test_tidy_labels_can_be_stored(value):
    label = tidy(value)
    assert label is None or (label == label.strip() and label)
    (label or "").encode("utf-8")


def test_one_letter_written_in_two_ways_is_one_label():
    assert tidy("Bär") == tidy("Ba\u0308r")


def test_rules_as_json():
    assert describe(None) is None
    assert describe("^(a)") == "^(a)"
    assert describe(len) == {"function": "len"}


# ------------------------------------------------------------------------------------------------------------ guessing


def files(*kinds, form, n=5):
    return [form.format(kind=kind, number=number, code=f"{number * 7919:x}z") for kind in kinds for number in range(1, n)]


@pytest.mark.parametrize(
    ("form", "kinds"),
    [
        ("{kind}_{number}.jpg", ("beagle", "yorkshire_terrier")),
        ("{kind}.{number}.jpg", ("cat", "dog")),
        ("{kind} ({number}).JPG", ("cat", "dog")),
        ("{kind}{number}.png", ("cat", "dog")),
        ("{number:05}_{kind}.jpg", ("cat", "dog")),
        ("{kind}_{code}.jpg", ("cat", "dog")),
        ("scan_{code}_{kind}.jpg", ("cat", "dog")),
    ],
)
def test_usual_names_are_guessed_and_the_guess_works(form, kinds):
    ids = [f"pictures/{name}" for name in files(*kinds, form=form)]
    guess = guess_pattern(ids)
    assert guess is not None
    assert set(guess.classes) == set(kinds)
    assert set(labels(guess.pattern, *ids)) == set(kinds)


@pytest.mark.parametrize(
    "names",
    [
        [f"IMG_{number}.jpg" for number in range(9)],
        [f"{camera}_{number}.jpg" for camera in ("IMG", "DSC") for number in range(9)],
        [f"2024-01-{number:02}.jpg" for number in range(9)],
        [f"{number * 7919:x}z.jpg" for number in range(9)],
        [f"{name}.jpg" for name in ("anna", "bert", "carl", "dora")],
        [*files("cat", "dog", form="{kind}_{number}.jpg"), *(f"{number * 7919:x}z.jpg" for number in range(4))],
        ["cat_1.jpg"],
        [],
    ],
)
def test_names_that_tell_nothing_are_not_guessed(names):
    assert guess_pattern(names) is None
    assert "give a regular expression" in from_names_advice(names)


def test_no_labels_shows_three_ways():
    message = str(no_labels("photos", files("cat", "dog", form="{kind}.{number}.jpg"), ["labels.csv"]))
    assert "photos/cat/1.jpg" in message
    assert 'would give 2 classes: "cat", "dog"' in message
    assert "path.name[0].isupper()" in message
    assert "photos/labels.csv (it lies there already)" in message
    assert "\n" not in str(no_labels("photos", ["a\nb.jpg"]))


def test_functions_get_the_path_of_the_file():
    assert labels(lambda path: path.parent.name if isinstance(path, Path) else None, "cat/1.jpg") == ["cat"]
