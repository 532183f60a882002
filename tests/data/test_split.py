"""The split against its definition: whole groups, every class trained, shares met, nothing moved without need."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.core import Dataset, Record, Split
from headstart.data._draw import units_of
from headstart.data.split import check_shares, make_split
from headstart.errors import BadSetting, DataError


class Classes:
    """What a split asks of a task that tells classes apart."""

    divides = True

    def strata(self, raw):
        return list(raw)


def dataset(records, valid=0.2, test=0.0, seed=0, name="photos"):
    return Dataset(name, tuple(records), None, valid, test, seed)


def of_classes(**sizes):
    return [Record(f"{label}/{index:04d}.jpg", "", label) for label, size in sizes.items() for index in range(size)]


def split(data, tied=None, usable=None):
    return make_split(data, {record.id for record in data.records} if usable is None else usable, tied or {}, Classes())


def per_class(ids):
    return Counter(identifier.split("/")[0] for identifier in ids)


def test_shares_are_met_in_every_class_and_in_total():
    result = split(dataset(of_classes(cat=100, dog=50, bird=10), valid=0.2, test=0.1))
    assert per_class(result.valid) == {"cat": 20, "dog": 10, "bird": 2}
    assert per_class(result.test) == {"cat": 10, "dog": 5, "bird": 1}
    assert len(set(result.train) | set(result.valid) | set(result.test)) == 160
    assert len(result.train) == 160 - 32 - 16
    assert result.rule == "20% valid and 10% test drawn at random from all, stratified by class, seed 0"


def test_odd_classes_round_to_the_right_total():
    result = split(dataset(of_classes(**{f"c{index}": 7 for index in range(10)})))
    assert len(result.valid) == 14
    assert set(per_class(result.valid).values()) <= {1, 2}


def test_the_seed_decides_and_nothing_else():
    records = of_classes(cat=60, dog=60)
    first = split(dataset(records, seed=3))
    assert split(dataset(records[::-1], seed=3)) == replace(first, train=first.train[::-1], valid=first.valid[::-1])
    assert set(split(dataset(records, seed=4)).valid) != set(first.valid)


def test_more_images_move_few():
    records = of_classes(cat=100, dog=100)
    before = split(dataset(records))
    after = split(dataset([*records, Record("cat/new.jpg", "", "cat")]))
    assert len(set(before.valid) ^ set(after.valid)) <= 2


def test_a_larger_test_part_leaves_valid_alone():
    records = of_classes(cat=100, dog=100)
    assert split(dataset(records)).valid == split(dataset(records, test=0.3)).valid


def test_ids_keep_the_order_of_the_records():
    records = of_classes(cat=20, dog=20)
    order = [record.id for record in records]
    result = split(dataset(records))
    assert list(result.train) == sorted(result.train, key=order.index)
    assert list(result.valid) == sorted(result.valid, key=order.index)


def test_unlabelled_and_unusable_records_are_in_no_part():
    records = [*of_classes(cat=10, dog=10), Record("what.jpg", "", None)]
    usable = [record.id for record in records if record.id != "cat/0003.jpg"]
    result = split(dataset(records), usable=usable)
    assert set(result.train) | set(result.valid) == set(usable) - {"what.jpg"}


# ----------------------------------------------------------------------------------------------------------------- groups


def slow_units(records, tied):
    """Connected components by flooding, from the definition: records touch when they share a group or a key."""
    left, units = list(records), []
    while left:
        unit, frontier = [], [left.pop()]
        while frontier:
            one = frontier.pop()
            unit.append(one)
            touching = [
                each
                for each in left
                if (one.group is not None and one.group == each.group) or (one.id in tied and tied[one.id] == tied.get(each.id))
            ]
            left = [each for each in left if each not in touching]
            frontier += touching
        units.append({record.id for record in unit})
    return units


@st.composite
def grouped(draw):
    n = draw(st.integers(4, 60))
    labels = draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n))
    groups = draw(st.lists(st.none() | st.integers(0, n // 2).map(str), min_size=n, max_size=n))
    keys = draw(st.lists(st.none() | st.integers(0, n // 2).map(str), min_size=n, max_size=n))
    shares = draw(st.sampled_from([(0.2, 0.0), (0.3, 0.2), (0.05, 0.0), (0.5, 0.25)]))
    return labels, groups, keys, shares, draw(st.integers(0, 3))


@pytest.mark.slow
@settings(max_examples=50)
@given(grouped())
def test_whole_units_on_one_side_every_class_trained_nobody_lost(case):
    labels, groups, keys, (valid, test), seed = case
    records = [Record(f"{index}.jpg", "", label, group) for index, (label, group) in enumerate(zip(labels, groups, strict=True))]
    tied = {record.id: key for record, key in zip(records, keys, strict=True) if key is not None}
    data = dataset(records, valid, test, seed)
    units = slow_units(data.records, tied)
    try:
        result = split(data, tied)
    except DataError as error:
        labels = {record.id: record.target for record in data.records}
        in_all = Counter(labels.values())
        some_unit_can_go = any(
            all(in_all[label] > n for label, n in Counter(labels[each] for each in unit).items()) for unit in units
        )
        assert len(in_all) == 1 or not some_unit_can_go, str(error)
        return
    parts = {each: name for name in ("train", "valid", "test") for each in getattr(result, name)}
    assert set(parts) == {record.id for record in data.records}
    assert len(result.train) + len(result.valid) + len(result.test) == len(parts)
    assert all(len({parts[each] for each in unit}) == 1 for unit in units)
    targets = {record.id: record.target for record in data.records}
    assert {targets[each] for each in result.train} == set(data.classes)
    assert result.valid


def test_groups_still_give_about_the_share():
    records = [Record(f"{index}.jpg", "", "ab"[index // 5 % 2], group=str(index // 5)) for index in range(500)]
    results = [split(dataset(records, seed=seed)) for seed in range(3)]
    for result in results:
        assert 90 <= len(result.valid) <= 110
        assert "100 groups of duplicates or related images (500 images) kept together" in result.rule
    assert len({result.valid for result in results}) == 3


def test_one_big_group_does_not_swallow_validation():
    records = [*of_classes(cat=100, dog=100)]
    records = [replace(record, group="burst") if record.id < "cat/0070" else record for record in records]
    result = split(dataset(records))
    assert "cat/0001.jpg" in result.train
    assert per_class(result.valid) == {"cat": 20, "dog": 20}


def test_a_class_that_lives_in_one_group_is_trained():
    groups = [("b", None), ("b", "3"), ("b", "2"), ("b", "2"), ("c", "1"), ("c", "1"), ("b", "1")]
    records = [Record(str(index), "", label, group) for index, (label, group) in enumerate(groups)]
    for seed in range(8):
        result = split(dataset(records, valid=0.2, test=0.4, seed=seed))
        assert {"4", "5", "6"} <= set(result.train)
        assert result.valid


def test_large_groups_are_placed_before_small_ones():
    sizes = [40] * 6 + [2] * 40
    records = [
        Record(f"{group}-{index}", "", "ab"[index % 2], str(group)) for group, size in enumerate(sizes) for index in range(size)
    ]
    for seed in range(6):
        assert abs(len(split(dataset(records, seed=seed)).valid) / len(records) - 0.2) < 0.02


def test_a_group_and_a_key_of_the_same_name_are_two_things():
    records = [Record("a", "", "a", group="x"), Record("b", "", "a"), Record("c", "", "a", group="x"), Record("d", "", "a")]
    assert sorted("".join(record.id for record in unit) for unit in units_of(records, {"b": "x", "d": "x"})) == ["ac", "bd"]


def test_the_order_of_records_does_not_matter_to_groups():
    records = [Record(str(index), "", "ab"[index % 2], str(index // 3)) for index in range(90)]
    assert set(split(dataset(records)).valid) == set(split(dataset(records[::-1])).valid)


def test_duplicates_across_classes_stay_together():
    result = split(dataset(of_classes(cat=30, dog=30)), tied={"cat/0000.jpg": "x", "dog/0000.jpg": "x"})
    assert ("cat/0000.jpg" in result.train) == ("dog/0000.jpg" in result.train)


# ------------------------------------------------------------------------------------------------------------ given parts


def with_parts(records, **parts):
    return [replace(record, part=next((part for part, ids in parts.items() if record.id in ids), None)) for record in records]


def test_given_parts_are_respected():
    records = of_classes(cat=10, dog=10)
    records = [replace(record, part="valid" if record.id.endswith(("1.jpg", "2.jpg")) else "train") for record in records]
    result = split(dataset(records), tied={"cat/0000.jpg": "x", "cat/0001.jpg": "x"})
    assert set(result.valid) == {record.id for record in records if record.part == "valid"}
    assert result.rule == "given: train, valid"


def test_a_given_train_without_valid_gives_some_of_it():
    records = [replace(record, part="train") for record in of_classes(cat=20, dog=20)]
    tests = [Record(f"test/{index}.jpg", "", "cat", part="test") for index in range(3)]
    result = split(dataset([*records, *tests], test=0.5))
    assert len(result.valid) == 8
    assert set(result.test) == {record.id for record in tests}
    assert result.rule.startswith("given: train, test; 20% valid drawn at random from train")


def test_a_test_part_can_be_drawn_beside_a_given_valid():
    records = [replace(record, part="valid" if record.id.endswith("5.jpg") else None) for record in of_classes(cat=20, dog=20)]
    result = split(dataset(records, test=0.25))
    assert len(result.valid) == 4
    assert len(result.test) == 9


def test_groups_torn_by_given_parts_are_reported():
    records = [
        replace(record, part="valid" if "1.jpg" in record.id else "train", group="p7") for record in of_classes(cat=9, dog=9)
    ]
    assert 'BEWARE: the given parts separate 1 group (first: "p7")' in split(dataset(records)).rule


def test_classes_that_train_lacks_are_named_with_the_nearest():
    records = [replace(record, part="train") for record in of_classes(Cats=5, dogs=5)]
    records += [Record("valid/cats/1.jpg", "", "cats", part="valid")]
    with pytest.raises(DataError, match=r'no image of it: "cats".*has 1 image in valid.*Did you mean "Cats"\?'):
        split(dataset(records))


def test_unreadable_validation_is_an_error():
    records = [replace(record, part="valid" if "4.jpg" in record.id else "train") for record in of_classes(cat=5, dog=5)]
    with pytest.raises(DataError, match="none of the images given for validation"):
        split(dataset(records), usable=[record.id for record in records if record.part == "train"])


# -------------------------------------------------------------------------------------------------------------- too little


@pytest.mark.parametrize(
    ("records", "text"),
    [
        ([], "has no labelled image"),
        ([Record("a.jpg", "", None)], "has no labelled image"),
        (of_classes(cat=1), "has one image: nothing can be learned"),
        (of_classes(cat=9), r'only one class \("cat", 9 images\)'),
        (of_classes(cat=1, dog=1), "each of the 2 classes has one image only"),
        (of_classes(**{f"c{index}": 1 for index in range(30)}), "free text or measurements"),
        ([replace(record, group=record.target) for record in of_classes(cat=5, dog=5)], "form 2 groups of related images"),
        ([replace(record, part="valid") for record in of_classes(cat=5, dog=5)], "no image to train on"),
    ],
)
def test_too_little_data_is_a_lesson(records, text):
    with pytest.raises(DataError, match=text):
        split(dataset(records))


def test_one_class_of_named_files_gets_a_pattern():
    records = [Record(f"images/{kind}_{index}.jpg", "", "images") for kind in ("beagle", "pug") for index in range(5)]
    with pytest.raises(DataError, match=r"label=r'\^\(\.\+\)_.*2 classes: \"beagle\", \"pug\""):
        split(dataset(records))


def test_nothing_readable():
    data = dataset(of_classes(cat=5, dog=5))
    with pytest.raises(DataError, match="none of the 10 images"):
        split(data, usable=[])
    with pytest.raises(DataError, match=r"one image that can be read \(of 10\)"):
        split(data, usable=["cat/0001.jpg"])
    with pytest.raises(DataError, match=r'class "dog" has no training image that can be read \(5 images of "dog" cannot\)'):
        split(data, usable=[record.id for record in data.records if record.target == "cat"])


def test_a_class_with_one_image_trains_it():
    result = split(dataset(of_classes(cat=20, dog=20, newt=1)))
    assert "newt/0000.jpg" in result.train
    assert 'without a validation image: "newt"' in result.rule


def test_the_smallest_possible_data_set():
    result = split(dataset(of_classes(cat=2, dog=1)))
    assert (len(result.train), len(result.valid)) == (2, 1)
    assert isinstance(result, Split)


@pytest.mark.parametrize(("valid", "test"), [(0.0, 0.0), (1.0, 0.0), (-0.1, 0.0), (0.2, -0.1), (0.6, 0.4), (0.2, 1.0)])
def test_shares_out_of_range(valid, test):
    with pytest.raises(BadSetting):
        check_shares(valid, test)


def test_percent_is_answered_with_the_share():
    with pytest.raises(BadSetting, match=r"Did you mean valid=0\.2\?"):
        check_shares(20.0, 0.0)
