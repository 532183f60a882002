"""One training verb from its first event to the saved model: who is told, what is written down, what Ctrl-C does."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

from headstart.core import Event, Note, Observer, RowDone, StepDone
from headstart.errors import HeadstartError, Stopped
from headstart.learner import onward
from headstart.learner.books import Books
from headstart.learner.presses import Presses
from headstart.store.runs import Run
from headstart.train.begin import Begun
from headstart.train.budget import Clock
from headstart.train.course import snapshot

Events = Generator[Event, None, None]


@dataclass
class Watching:
    """Follows the events of a recipe; `begun` tells what the training has begun with, once it has, and `opened` is told then."""

    books: Books
    observer: Observer
    clock: Clock
    presses: Presses
    begun: Callable[[], Begun | None]
    opened: Callable[[Begun], None]
    stopped: bool = False
    moved: bool = False
    """Whether anything was trained, so that there is something to keep."""

    def through(self, events: Events) -> None:
        """Runs the recipe to its end, or to where the user stops it, and keeps what there is; a press after that quits.

        Raises:
            Stopped: when there is no row yet, or nothing was trained.
            HeadstartError: of the recipe; rows made before it are not lost.
        """
        try:
            with closing(events):  # one that is stopped gives the model back as it goes on
                self._follow(events)
        except KeyboardInterrupt:
            if self.presses.quits():
                raise
            self._stop()
        except HeadstartError:
            if self.moved:
                self._finish()
            else:
                self._give_back()
            raise
        self._finish()

    def _follow(self, events: Events) -> None:
        noted = None
        if (begun := self.begun()) is not None:
            noted = self._noted(begun)
        for event in events:
            if (begun := self.begun()) is not None:
                noted = noted or self._noted(begun)
                for sentence in self.books.happened(begun, event, self.clock.seconds()):
                    self.observer.show(Note(sentence))
            self.observer.show(event)
            self.moved = self.moved or isinstance(event, StepDone | RowDone)
            if self.presses.asks():
                self._hurry()
            self.presses.raise_if_any()

    def _noted(self, begun: Begun) -> Begun:
        self.books.began(begun)
        self.opened(begun)
        return begun

    def _hurry(self) -> None:
        """Hands on that the user asks for an early end; a press before the first step stops as it does without."""
        begun = self.begun()
        if begun is None or begun.state.course is None:
            self.presses.gentle = 0
        elif not (begun.state.hurry or begun.state.hurried):
            begun.state.hurry = True
            self.observer.show(
                Note(
                    "Ending early: the learning rate falls to zero within a few steps, then the model is evaluated and saved. "
                    "Press Ctrl-C again to stop at once and save what `resume` goes on from, a third time to quit."
                )
            )

    def _stop(self) -> None:
        self.stopped = True
        begun = self.begun()
        if begun is None or not self.moved:
            self._give_back()
            raise Stopped(_untouched(self.books.run))
        self.observer.show(Note("Stopped. What was done so far is being saved; press Ctrl-C again to quit at once."))
        state = begun.state
        if state.course is not None:
            if state.trunk is None or state.trunk.phase != state.course.phase:
                state.trunk = snapshot(state.model, state.course)
            self.books.stopped(begun, self.clock.seconds())
        if not state.rows:
            raise Stopped(
                f"stopped before the first row, so there is no model yet. Finish it: headstart resume {self.books.run.path}"
            )

    def _give_back(self) -> None:
        """The model as it was kept: a verb that was refused leaves a run as it found it."""
        begun = self.begun()
        if begun is not None and begun.state.rows:
            begun.state.restore(begun.state.kept()["epoch"])

    def _finish(self) -> None:
        begun = self.begun()
        if begun is None or not begun.state.rows:
            return
        state = begun.state
        state.seconds = self.clock.seconds()
        state.restore(state.kept()["epoch"])
        for event in self.books.settle(begun, self.stopped, self._left):
            self.observer.show(event)
        for line in (*onward.told_changes(self.books.run, begun), *self.books.finished(begun, self.stopped)):
            self.observer.show(Note(line))

    def _left(self) -> float:
        """Seconds until the deadline; none once the user wants an end."""
        return 0.0 if self.presses.count else self.clock.left()


def _untouched(run: Run) -> str:
    """What to say when the user stops before anything was trained."""
    if run.bundle.is_dir():
        return f"stopped before anything was trained: {run.path} is as it was."
    return (
        "stopped before the first row, so there is no model yet. Run the same again: images already read and "
        "features already computed are taken from the cache."
    )
