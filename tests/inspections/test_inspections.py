"""The contract of the folder: every inspection finds what was planted, is silent on the clean twin, and says why where it cannot be made."""

import json
from dataclasses import replace

import numpy as np
import pytest

from headstart import plugins
from headstart.core import Finding
from headstart.inspections import _trace, calibration, confusion, duplicates, labels, losses, shortcuts
from headstart.inspections._plant import layer, logits, trace
from headstart.learner.inspecting import answered, ordered

NAMES = plugins.names("inspections")
QUIET = {
    "calibration": "good",
    "shortcuts": "good",
    "labels": "good",
    "confusion": "good",
    "duplicates": "good",
    "losses": "good",
    "drift": "good",
    "evidence": "unknown",
    "occlusion": "good",
    "neighbours": "good",
    "influence": "good",
    "dynamics": "good",
    "slices": "good",
    "summary": "good",
}
"""The verdict on each clean twin."""


@pytest.mark.parametrize("name", NAMES)
def test_every_inspection_has_a_question_and_known_needs(name: str) -> None:
    module = plugins.find("inspections", name)
    assert module.QUESTION.endswith("?") and set(module.NEEDS) <= set(_trace.PRODUCTS)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NAMES)
def test_what_was_planted_is_found(name: str, seed: int) -> None:
    module = plugins.find("inspections", name)
    planted = module.plant(seed)
    found = module.inspect(planted.faulty)
    assert isinstance(found, Finding) and found.name == name and found.question == module.QUESTION
    assert planted.found(found)
    assert json.loads(json.dumps(found.json()))["headline"] == found.headline


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NAMES)
def test_the_clean_twin_is_not_complained_of(name: str, seed: int) -> None:
    module = plugins.find("inspections", name)
    found = module.inspect(module.plant(seed).clean)
    assert found.verdict == QUIET[name], found.headline


@pytest.mark.parametrize("name", NAMES)
def test_an_inspection_changes_nothing_and_says_the_same_twice(name: str) -> None:
    module = plugins.find("inspections", name)
    faulty = module.plant(0).faulty
    before = faulty.said.copy()
    first, second = (module.inspect(faulty).json() for _ in range(2))
    assert json.dumps(first) == json.dumps(second)
    np.testing.assert_array_equal(faulty.said, before)


@pytest.mark.parametrize("name", [name for name in NAMES if plugins.find("inspections", name).NEEDS])
def test_without_what_it_needs_it_says_why(name: str) -> None:
    module = plugins.find("inspections", name)
    truth = np.arange(12) % 2
    bare = trace(logits(truth, 2, 0), truth, classes=None, absent={need: f"{need} is gone." for need in _trace.PRODUCTS})
    found = answered(name, module, bare, module.inspect)
    assert found.verdict == "unknown" and found.headline == f"Not available: {module.NEEDS[0]} is gone."


def test_inspections_stand_in_the_order_of_the_page_and_others_after_them() -> None:
    assert ordered(["drift", "zebra", "labels", "ant"]) == ["labels", "drift", "ant", "zebra"]


# ------------------------------------------------------------------------------------------------------------- losses


def test_the_largest_losses_come_first_and_are_those_of_the_task() -> None:
    planted = losses.plant(0).faulty
    found = losses.inspect(planted)
    shown = [item["loss"] for item in found.items]
    assert shown == sorted(shown, reverse=True)
    place = planted.ids.index(found.items[0]["id"])
    assert found.items[0]["loss"] == pytest.approx(planted.losses[place])
    assert planted.valid[place]
    assert found.numbers["nll"].value == pytest.approx(planted.losses[planted.valid].mean())


# ---------------------------------------------------------------------------------------------------------- confusion


def test_confusion_counts_each_pair_among_validation_examples() -> None:
    planted = confusion.plant(0).faulty
    found = confusion.inspect(replace(planted, valid=np.arange(400) < 200))
    said, truth = planted.said[:200].argmax(1), planted.classes[:200]
    for item in found.items:
        true, other = (int(item[key].split()[1]) for key in ("true", "taken for"))
        assert item["count"] == ((truth == true) & (said == other)).sum()
        assert item["of"] == (truth == true).sum() and item["low"] <= item["share"] <= item["high"]
    assert found.numbers["error_rate"].value == pytest.approx((said != truth).mean())


def test_two_classes_have_no_pair_that_is_mixed_up_more_than_others() -> None:
    truth = np.arange(60) % 2
    assert confusion.inspect(trace(-logits(truth, 2, 0), truth)).verdict == "good"


# ------------------------------------------------------------------------------------------------------------- labels


def test_suspects_are_those_of_confident_learning() -> None:
    """By the definition, example by example."""
    draw = np.random.default_rng(0)
    said, given = 2 * draw.normal(size=(80, 4)), draw.integers(0, 4, 80)
    probs = np.exp(said) / np.exp(said).sum(1, keepdims=True)
    usual = [probs[given == number, number].mean() for number in range(4)]
    margins, others, suspected = labels.judged(said, given)
    for place in range(80):
        rest = [number for number in range(4) if number != given[place]]
        best = max(rest, key=lambda number: probs[place, number])
        assert others[place] == best
        assert margins[place] == pytest.approx(np.log(probs[place, given[place]] / probs[place, best]))
        assert suspected[place] == (probs[place, best] > probs[place, given[place]] and probs[place, best] >= usual[best])


def test_neighbours_vote_by_how_near_they_are_and_nobody_for_itself() -> None:
    """Written out, example by example."""
    draw = np.random.default_rng(0)
    features, given = draw.normal(size=(60, 5)).astype(np.float32), draw.integers(0, 3, 60)
    found = labels.neighbours(features, given, 4)
    centred = features - features.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    for place in range(60):
        others = sorted((other for other in range(60) if other != place), key=lambda other: -float(unit[place] @ unit[other]))
        near = others[: labels.NEAREST]
        votes, nearest = np.full(4, labels.PSEUDO), float(unit[place] @ unit[near[0]])
        for other in near:
            votes[given[other]] += np.exp(labels.SHARPNESS * (float(unit[place] @ unit[other]) - nearest))
        np.testing.assert_allclose(np.exp(found[place]), votes / votes.sum(), rtol=1e-3)
    assert labels.neighbours(features[:3], given[:3], 4).shape == (3, 4)


def test_layers_stand_beside_the_features_a_quarter_of_their_weight_each_and_not_twice() -> None:
    draw = np.random.default_rng(0)
    features, early, late = (draw.normal(2, 3, (50, width)).astype(np.float32) for width in (8, 4, 6))
    look = _trace.Look(features, (layer("first", early), layer("second", late), layer("last", features)))
    found = labels.wide(look)
    assert found.shape == (50, 8 + 2 * 6), "the later half, less the layer whose means are the features"
    spread = [found[:, part].var(0).sum() for part in (slice(0, 8), slice(8, 14), slice(14, 20))]
    np.testing.assert_allclose(spread[1:], np.array(spread[0]) / 4, rtol=0.1)
    all_layers = replace(look, features=np.hstack([features, early, late]), last=8)
    np.testing.assert_array_equal(labels.wide(all_layers), found)


def test_a_copy_with_the_same_wrong_label_is_no_witness() -> None:
    draw = np.random.default_rng(0)
    features = np.concatenate([draw.normal(3, 0.1, (20, 4)), draw.normal(-3, 0.1, (20, 4))])
    given = np.repeat([0, 1], 20)
    given[:2], features[1] = 1, features[0]
    groups = np.arange(40)
    groups[1] = 0
    alone = labels.neighbours(features, given, 2, groups)
    assert alone[0, 1] < labels.neighbours(features, given, 2)[0, 1]
    np.testing.assert_allclose(alone[0], labels.neighbours(np.delete(features, 1, 0), np.delete(given, 1), 2)[0], atol=1e-3)


def test_a_class_that_nobody_has_suspects_nobody() -> None:
    said = np.zeros((10, 3))
    said[:, 2] = 5.0
    assert not labels.judged(said, np.arange(10) % 2)[2].any()


# --------------------------------------------------------------------------------------------------------- duplicates


def test_the_score_without_leaks_leaves_out_those_that_have_a_copy_that_trained() -> None:
    truth = np.arange(40) % 2
    said = logits(truth, 2, 0, margin=0.0)
    copies = [["0.jpg", "1.jpg"], ["2.jpg", "3.jpg", "4.jpg"], ["6.jpg", "gone.jpg"]]
    found = duplicates.inspect(trace(said, truth, audit={"near_duplicates": copies, "exact_duplicates": []}))
    rest = list(range(6, 40, 2))
    assert found.numbers["error_rate without leaks"].n == len(rest)
    assert found.numbers["error_rate without leaks"].value == pytest.approx((said.argmax(1) != truth)[rest].mean())
    assert found.verdict == "bad" and [item["leaks"] for item in found.items] == ["yes", "yes"]


# -------------------------------------------------------------------------------------------------------------- fixes


def test_fixes_drop_copies_all_but_one_and_all_that_disagree_and_move_what_leaks() -> None:
    truth = np.arange(40) % 2
    audit = {
        "exact_duplicates": [["0.jpg", "2.jpg", "4.jpg"], ["1.jpg", "3.jpg"]],
        "conflicting_labels": [{"1.jpg": "a", "3.jpg": "b"}],
        "near_duplicates": [["0.jpg", "2.jpg", "4.jpg"], ["1.jpg", "3.jpg"], ["6.jpg", "7.jpg"]],
    }
    rows = duplicates.inspect(trace(logits(truth, 2, 0), truth, audit=audit)).fixes
    assert {(row["path"], row["action"]) for row in rows} == {
        *((f"{number}.jpg", "drop") for number in (1, 3, 2, 4)),
        ("6.jpg", "move"),
    }
    assert next(row for row in rows if row["action"] == "move")["part"] == "train"


def test_heads_that_tell_nothing_judge_no_label() -> None:
    truth = np.arange(60) % 2
    noise = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    found = labels.inspect(trace(noise, truth, folds=np.arange(len(truth)) % 5, before=_trace.Look(noise, ())))
    assert found.verdict == "unknown" and "no better than by always naming" in found.headline


def test_only_sure_corrections_are_written() -> None:
    planted = labels.plant(0).faulty
    found = labels.inspect(planted)
    sure = [item for item in found.items if item["probability"] >= labels.SURE]
    assert 0 < len(found.fixes) == len(sure)
    assert [(row["path"], row["label"]) for row in found.fixes] == [(item["id"], item["suggested"]) for item in sure]


# ---------------------------------------------------------------------------------------------------------- shortcuts


def test_a_thing_that_tells_a_class_is_worth_a_look_where_no_answer_hangs_on_it() -> None:
    """The mark is there in the corner, but the model looks at the middle."""
    faulty, clean = shortcuts.plant(0).faulty, shortcuts.plant(0).clean
    found = shortcuts.inspect(replace(clean, pictures=faulty.pictures))
    assert found.verdict == "look" and "do not hang on it" in found.headline


def test_the_size_of_files_that_tells_a_class_is_named_without_asking_the_model() -> None:
    clean = shortcuts.plant(0).clean
    assert clean.classes is not None
    sizes = 1000.0 + 500 * clean.classes + np.arange(120) % 7
    found = shortcuts.inspect(replace(clean, files={"the size of the picture": sizes, "the shape of the picture": np.ones(120)}))
    assert found.verdict == "look" and found.items[0]["thing"] == "the size of the picture"
    assert "AUROC 1.00" in found.headline and "not in the picture" in found.headline


def test_classes_of_which_there_are_few_are_not_judged() -> None:
    faulty = shortcuts.plant(0).faulty
    few = trace(faulty.said[:12], faulty.classes[:12], pictures=faulty.pictures, says=faulty.says)
    found = shortcuts.inspect(few)
    assert found.verdict == "unknown" and not found.items


# -------------------------------------------------------------------------------------------------------- calibration


def test_every_validation_example_is_in_one_row_of_the_table() -> None:
    planted = calibration.plant(0).clean
    found = calibration.inspect(planted)
    assert sum(item["n"] for item in found.items) == 2000
    right = sum(item["is right"] * item["n"] for item in found.items) / 2000
    assert right == pytest.approx((planted.said.argmax(1) == planted.classes).mean())
    assert all(item["low"] <= item["on average"] <= item["high"] for item in found.items)


def test_of_few_examples_nothing_is_told() -> None:
    planted = calibration.plant(0).faulty
    few = replace(planted, valid=np.arange(2000) < 150, believed=planted.believed.some(slice(150)))
    assert calibration.inspect(few).verdict == "unknown"


def test_where_nothing_tells_a_class_the_model_is_not_asked() -> None:
    def says(_: np.ndarray) -> np.ndarray:
        raise AssertionError("it costs a forward for each picture")

    found = shortcuts.inspect(replace(shortcuts.plant(0).clean, says=says))
    assert found.verdict == "good" and all("answers lost" not in item for item in found.items)
