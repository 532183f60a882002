"""What the training verbs of a learner do, as sequences of events, and how one is run from its first event to the saved model."""

import sys
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path

from headstart.core import Dataset, Event, Note, Observer
from headstart.data._paths import FOLDERS, outside
from headstart.engine import device as engine
from headstart.learner import books
from headstart.learner.books import Books, first_plan
from headstart.learner.presses import counted
from headstart.learner.session import Session
from headstart.learner.watching import Events, Watching
from headstart.store.checkpoints import Checkpoint
from headstart.store.runs import Run
from headstart.train import checkpoint, phases, recipes, seeing, solved, tracking
from headstart.train.begin import torch_features
from headstart.train.budget import Clock
from headstart.train.features import Features
from headstart.train.observers import Together, choose
from headstart.train.observers.guarded import Guarded
from headstart.train.phase_run import go_on

Recipe = Callable[[Clock], Events]


def two_steps(session: Session, epochs: int | None, clock: Clock) -> Events:
    """`fine_tune`: the head alone where there is no row yet, then all layers."""
    solve = session.settings.head == "solve"
    if session.begun is None or not session.begun.state.rows:
        yield from session.begin_anew(solve and not session.earlier)
    begun = session.ready()
    state = begun.state
    if epochs != 0:
        phases.require_pairs(state)
        phases.require_dropout(state)
    state.first_stage = 0  # freezing was for the next fit
    if state.rows:
        state.judge_first_row()
        yield Note(f"Going on after {len(state.rows)} rows; restart=True would start over.")
    elif solve and begun.features is not None:
        again = partial(features_again, session)
        yield from solved.solve_head(state, begun.features, again, clock, session.start is not None)
    else:
        seeing.last_alone(state)
        yield from recipes.train_head(state, clock)
    if epochs != 0 and not (state.hurry or state.hurried):
        yield from recipes.train_all(state, epochs, clock)


def one_step(session: Session, epochs: int | None, clock: Clock) -> Events:
    """`fit`: what is trainable, from where the weights are."""
    if session.begun is None or not session.begun.state.rows:
        yield from session.begin_anew(False)
    state = session.ready().state
    seeing.last_alone(state)
    phases.require_pairs(state)
    phases.require_dropout(state)
    state.judge_first_row()
    state.first_stage = session.first_stage
    yield from recipes.fit(state, epochs, clock)


def resumed(session: Session, found: Checkpoint | None, troubles: Sequence[str], clock: Clock) -> Events:
    """`resume`: what the checkpoint leaves to be done, or all of it where there is none."""
    for sentence in troubles:
        yield Note(sentence)
    settings, run = session.settings, session.folder_of_run()
    session.earlier = []
    if found is None:
        yield Note("The run was interrupted before its first checkpoint: it starts from the beginning.")
        run.write_rows([])
        steps = one_step if settings.method == "fit" else two_steps
        yield from steps(session, settings.epochs, clock)
        return
    begun = yield from session.continued(False)
    checkpoint.take_up(begun.state, found, str(run.checkpoints))
    run.write_rows(begun.state.rows)
    books.recall(run, begun.state)
    session.begun = begun
    state = begun.state
    assert state.course is not None, "a checkpoint is one of a course"
    state.course.good = checkpoint.good_of(run.epoch, state.course.place)
    logged = checkpoint.logged_after(run.steps(), state.course.place.step)
    state.spent["a step"] = 0.0  # beware: the first steps of a process are slow, and would be taken for a busy machine
    yield Note(f"Resumed in epoch {state.course.place.epoch}, after {state.course.place.step} steps.")
    yield from go_on(state, clock, logged)
    if state.course.phase.name == "head" and settings.epochs != 0 and not (state.hurry or state.hurried):
        yield from recipes.train_all(state, settings.epochs, clock)


def features_again(session: Session) -> Generator[Event, None, Features]:
    """The features of all images, by torch."""
    begun = session.ready()
    return (yield from torch_features(begun.store, begun.state.model, begun.state.device))


def watched(session: Session, recipe: Recipe, observer: Observer | None, clock: Clock) -> None:
    """Runs a recipe, tells the observer, keeps the books; Ctrl-C once keeps what there is, twice quits.

    With `interrupt="anneal"` there is a press before those two that asks for an early end.
    """
    created = session.run is None
    run = session.run = session.run or made_run(session)
    screen = screen_of(observer)
    trackers: Observer = Together()
    session.stopped = False
    if session.begun is not None:
        session.begun.state.hurry = session.begun.state.hurried = False
    gentle = int(session.settings.interrupt == "anneal")
    try:
        plan = first_plan(session.data, session.settings, session.task)
        trackers = tracking.started(session.settings.track, run.path, plan, lambda text: screen.show(Note(text)))
        told = Together((screen, trackers))
        books = Books(run, session.data, session.frozen)
        with run.claimed(), engine.tuned_run(session.device), counted(gentle) as presses:
            watching = Watching(books, told, clock, presses, lambda: session.begun, session.opened)
            try:
                watching.through(recipe(clock))
            finally:
                session.stopped, session.fitted = watching.stopped, books.fitted
                session.decided()
    finally:
        if created and not session.history and not run.checkpoints.is_dir():
            run.discard()
            session.run = None
        trackers.close()
        if observer is None:
            screen.close()


def screen_of(observer: Observer | None) -> Observer:
    """Who is told: the user's observer, whose faults stop nothing, or the table that suits where the output goes."""
    return choose() if observer is None else Guarded("The observer", observer, _to_stderr)


def made_run(session: Session) -> Run:
    """A new run folder with what is known before anything is read."""
    chosen = session.folder or (session.start.folder() if session.start else None)
    folder = None if chosen is None else outside(session.data, chosen)
    start = session.start.path if session.start else None
    plan = first_plan(session.data, session.settings, session.task, start, session.frozen)
    return Run.create(plan, folder, session.data.name, place_of_runs(session.data))


def place_of_runs(data: Dataset) -> Path | None:
    """The folder around the data when one works inside it, which is never written to; else None: here."""
    root = Path(data.root).absolute() if data.root and data.origin.get("kind") in FOLDERS else None
    return None if root is None or root not in (Path.cwd(), *Path.cwd().parents) else root.parent


def _to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")
