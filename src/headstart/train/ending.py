"""Why a phase ends earlier than planned, and how: its rate falls to zero before it does, so that the model is finished."""

from headstart.core import Phase, RowDone, StepDone
from headstart.train.pacing import Fall, Pacing
from headstart.train.state import TrainState

HURRIED_SHARE = 0.1
"""Of what was done, and of what is left, that a user in a hurry waits at most."""
FEW_STEPS = 3


def rows_without_best(state: TrainState, phase: Phase) -> int:
    """How many rows of the phase, since it was last prolonged, came after the best row of all."""
    best = max(state.lowest()["epoch"], phase.after_row)
    return sum(row["epoch"] > best for row in state.rows)


def ended_early(state: TrainState, event: RowDone | StepDone, pacing: Pacing, late: bool = False) -> tuple[Phase, str] | None:
    """The phase under way made short, and what to say; None as long as it shall go on as it was planned.

    `late` tells that a phase of so many epochs meets a deadline; what would come after it is left out then.
    """
    assert state.course is not None, "a row or step belongs to a course"
    phase, place, patience = state.course.phase, state.course.place, state.settings.patience
    if pacing.over(place):
        return None
    if state.hurry:
        state.hurry, state.hurried = False, True
        why, fall = "Ending early as asked", hurried_fall
    elif late and not state.hurried:
        state.hurried = True
        why, fall = "The minutes are nearly over", hurried_fall
    elif isinstance(event, RowDone) and patience is not None and rows_without_best(state, phase) >= patience:
        why = f"No new best {state.settings.monitor} in {patience} row{'s' * (patience > 1)}"
        fall = as_if_planned(phase)
    else:
        return None
    short = pacing.end_early(place, phase, fall)
    if short == phase:
        return None
    return short, f"{why}: the learning rate falls from now on, and about {pacing.steps(place) - place.step} steps are left."


def as_if_planned(phase: Phase) -> Fall:
    """The cool-down has the share that it would have had, had the phase been meant to be so short."""
    share = phase.cooldown / (1.0 - phase.cooldown) if phase.cooldown < 1 else float("inf")
    return lambda done, left, step: min(left, share * done) if done else left


def hurried_fall(done: float, left: float, step: float) -> float:
    """A few steps, or a tenth of what was done or is left, whichever is less."""
    return min(left, max(FEW_STEPS * step, HURRIED_SHARE * min(done, left)))
