"""Training examples as held-out ones: no head judges an example that it has learned from, and nothing is taken where the body has."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headstart as hs
from headstart.backbones import identity
from headstart.core import Outputs
from headstart.data._steps import exhausted
from headstart.data.split import folds
from headstart.learner import believing, crossed
from headstart.learner.books import Books
from headstart.tasks.single_label import SingleLabel
from watched import Notes

pytestmark = pytest.mark.usefixtures("plain_training")
COUNT, INPUTS = 60, 12


def numbers(count: int = COUNT, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Rows of numbers, the first of which tells two classes apart, not always."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, INPUTS))
    return rows, ["yes" if row[0] + 0.7 * rng.standard_normal() > 0 else "no" for row in rows]


def divided(rows: np.ndarray, labels: list[str]) -> hs.Dataset:
    return hs.from_arrays(rows, labels, parts=["valid" if place % 4 == 0 else "train" for place in range(len(rows))])


def solved(rows: np.ndarray, labels: list[str], run: Path, seen: Notes | None = None) -> hs.Learner:
    return hs.Learner(divided(rows, labels), observer=seen or Notes(), run=run).fine_tune(0)


def judged(learn: hs.Learner) -> Any:
    begun = learn._session.ready()
    state, seen = begun.state, begun.state.seen
    return crossed.judged(state, seen, believing._learned(state, seen), crossed.dealt(begun, state.parts["train"].ids))


@pytest.mark.slow
def test_what_is_said_of_an_example_does_not_hang_on_its_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossed, "dealt", lambda _, ids: np.arange(len(ids)) % crossed.FOLDS)  # those dealt hang on the classes
    rows, labels = numbers()
    before = solved(rows, labels, tmp_path / "one")
    place = 1  # the first training example
    other = [*labels]
    other[place] = "no" if labels[place] == "yes" else "yes"
    after = solved(rows, other, tmp_path / "two")
    first, second = judged(before), judged(after)
    torch.testing.assert_close(first.said[0], second.said[0], rtol=0, atol=1e-3)
    assert (first.said[1:] - second.said[1:]).abs().max() > 0.05, "the others have learned from it"
    learned = believing._learned(before._session.ready().state, before._session.ready().state.seen)
    assert (learned.said[0] - first.said[0]).abs().max() > 0.05, "and the head itself has"


@pytest.mark.slow
def test_they_err_as_often_as_on_what_nobody_knows(tmp_path: Path) -> None:
    rows, labels = numbers(240)
    learn = solved(rows, labels, tmp_path / "run")
    found, (fresh, truth) = judged(learn), numbers(2000, seed=1)
    task = learn.task
    nll = task.metrics(("nll",))["nll"]
    unknown = nll(
        Outputs(torch.from_numpy(np.log([one.values for one in learn.predict(fresh, posterior="none")]))), task.encode(truth)
    )
    own = nll(Outputs(believing._learned(learn._session.ready().state, learn._session.ready().state.seen).said), found.targets)
    across = nll(Outputs(found.said), found.targets)
    assert across.low < unknown.value < across.high
    assert own.value < across.value


@pytest.mark.slow
def test_promises_stand_on_them_and_on_the_validation_part(tmp_path: Path) -> None:
    rows, labels = numbers()
    notes = Notes()
    learn = solved(rows, labels, tmp_path / "run", notes)
    promises = learn.posterior().fitted.task.promises
    assert len(promises.true) == COUNT
    assert any("45 training examples as heads judge them" in note for note in notes.notes)
    again = hs.load(learn.run.path, data=divided(rows, labels), observer=Notes())
    assert again.predict(rows[0]).row() == learn.predict(rows[0]).row()
    assert len(again.posterior("temperature").fitted.task.promises.true) == COUNT, "fitted anew after the run"


@pytest.mark.slow
def test_where_the_body_has_learned_from_them_they_tell_nothing(shapes: Path, tmp_path: Path) -> None:
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", keep="last", batch_size=8, observer=Notes(), run=tmp_path / "a")
    learn.fine_tune(1)
    state = learn._session.ready().state
    assert learn.kept == 1 and not crossed.possible(state)
    assert len(learn.posterior().fitted.task.promises.true) == len(state.parts["valid"])
    onward = hs.Learner(hs.image_folder(shapes), from_run=learn.run.path, observer=Notes(), run=tmp_path / "b").fine_tune(0)
    assert not crossed.possible(onward._session.ready().state), "its body comes from the run before"
    chained = hs.Learner(hs.image_folder(shapes), backbone=str(learn.run.path), observer=Notes(), run=tmp_path / "c").fine_tune(0)
    assert not crossed.possible(chained._session.ready().state)


def test_many_validation_examples_serve_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn = solved(*numbers(), tmp_path / "run")
    state = learn._session.ready().state
    assert crossed.possible(state)
    monkeypatch.setattr(crossed, "FEW", len(state.parts["valid"]))
    assert not crossed.possible(state)


def test_a_class_with_one_example_is_not_known_to_the_head_that_judges_it(tmp_path: Path) -> None:
    rows, labels = numbers()
    labels[1] = "rare"
    learn = solved(rows, labels, tmp_path / "run")
    found, rare = judged(learn), learn.task.names.index("rare")
    assert found.said[0].softmax(0)[rare] < 0.05
    begun = learn._session.ready()
    dealt = torch.from_numpy(crossed.dealt(begun, begun.state.parts["train"].ids))
    for fold in range(crossed.FOLDS):  # without an example of the class there is nothing that could tell it by
        assert (len(found.said[dealt == fold, rare].unique()) == 1) == (fold == int(dealt[0]))


def test_what_belongs_together_is_in_one_fold_and_classes_are_spread() -> None:
    rows, labels = numbers()
    data = hs.from_arrays(rows, labels, groups=[place // 3 for place in range(COUNT)])
    task = SingleLabel(("no", "yes"))
    ids = [record.id for record in data.records]
    dealt = folds(data, ids, {ids[0]: "same", ids[4]: "same"}, task, 5)
    assert set(dealt) == set(ids) and set(dealt.values()) == set(range(5))
    assert all(
        len({dealt[record.id] for record in data.records if record.group == group}) == 1
        for group in {r.group for r in data.records}
    )
    assert dealt[ids[0]] == dealt[ids[4]] == dealt[ids[1]]
    alone = folds(hs.from_arrays(rows, labels), ids, {}, task, 5)
    for name in task.classes:
        each = np.bincount([alone[record.id] for record in data.records if record.target == name], minlength=5)
        assert each.max() - each.min() <= 1


@pytest.mark.slow
def test_without_time_for_it_the_validation_part_stands_alone(tmp_path: Path) -> None:
    begun = solved(*numbers(), tmp_path / "run")._session.ready()
    begun.state.spent["solving"] = 100.0
    counts = []
    for left in (100.0 * crossed.FOLDS, 1000.0 * crossed.FOLDS):
        found = exhausted(believing.of_kept(begun, begun.state.settings, lambda left=left: left))
        counts.append(len(found.task.promises.true))
    assert counts == [COUNT // 4, COUNT]


def test_numbers_are_standardised_without_the_fold() -> None:
    """Against a backbone that has settled on the others alone, numbers that are missing among them."""
    rows, some = np.random.default_rng(0).normal(3, 2, (20, 4)).astype(np.float32), np.arange(20) % 5 > 0
    rows[[2, 7, 8], 1] = np.nan
    names = tuple("abcd")
    every, others = identity.build(names, [1]), identity.build(names, [1])
    every.settle([torch.from_numpy(rows)])
    others.settle([torch.from_numpy(rows[some])])
    known, expected = (each.features(torch.from_numpy(rows)).numpy() for each in (every, others))
    assert every.resettled(known, some) == pytest.approx(expected, abs=1e-5)
    assert np.abs(known - expected).max() > 0.05


@pytest.mark.slow
def test_a_stop_keeps_the_posterior_that_is_there(tmp_path: Path) -> None:
    session = solved(*numbers(), tmp_path / "run")._session
    books = Books(session.folder_of_run(), session.data)
    books.fitted = session.fitted
    assert session.fitted is not None
    for stopped, left in ((True, float("inf")), (False, 0.0)):
        list(books.settle(session.ready(), stopped, lambda left=left: left))
        assert books.fitted is session.fitted
