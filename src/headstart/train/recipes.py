"""What `fit` and `fine_tune` do, as plain sequences: each recipe runs one phase after another and yields what happens."""

from collections.abc import Iterator

from headstart.core import Event, Note, Phase
from headstart.train import norms, phases
from headstart.train.budget import Clock, seconds_at_the_end, time_a_forward
from headstart.train.phase_run import run_phase
from headstart.train.solved import solve_again
from headstart.train.state import TrainState


def train_head(state: TrainState, clock: Clock) -> Iterator[Event]:
    """Step 1, as the textbook has it: a random head trained by gradient steps on a frozen body, `freeze_epochs` rows."""
    yield from run_phase(state, phases.head_alone(state), clock)


def train_all(state: TrainState, epochs: int | None, clock: Clock) -> Iterator[Event]:
    """Step 2: every stage, later ones faster, for `epochs` complete passes or until the clock's deadline; starts gently."""
    phase = phases.step_two(state, epochs)
    if (
        phase.norms == "adapt"
        and state.settings.head == "solve"
        and not phases.goes_on(state, phase)
        and _time_to_adapt(state, phase, clock)
    ):
        yield from _adapt_norms(state, phase)
    yield from run_phase(state, phase, clock)


def fit(state: TrainState, epochs: int | None, clock: Clock) -> Iterator[Event]:
    """Trains what is trainable from where the weights are, all stages at one rate."""
    yield from run_phase(state, phases.one_rate(state, epochs), clock)


def _time_to_adapt(state: TrainState, phase: Phase, clock: Clock) -> bool:
    """Whether two forwards of the training images fit into the time before what must follow them."""
    if phase.seconds is None:
        return True
    time_a_forward(state)
    return clock.left() > 2 * len(state.parts["train"]) * state.spent["a forward"] + seconds_at_the_end(state, phase)


def _adapt_norms(state: TrainState, phase: Phase) -> Iterator[Event]:
    """Moves the norms to the training images, and the solved head, which was made for what the old statistics gave, after them."""
    adapted = yield from norms.adapt(state, phase.first_stage)
    if adapted:
        outputs, before = (yield from solve_again(state)), state.rows[-1]["valid_loss"]
        now = float(state.task.loss(outputs.mean, state.parts["valid"].targets).mean())
        verdict = "" if now <= before else ' These images are served better by the stored statistics: norms="frozen".'
        yield Note(f"With them valid_loss is {now:.3f}; it was {before:.3f} in the last row.{verdict}")
