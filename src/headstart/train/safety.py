"""What a training does when a step cannot be made, or goes wrong: it goes on from where it was whole, more gently."""

from dataclasses import dataclass, replace

from headstart.core import Phase
from headstart.errors import HeadstartError
from headstart.train import course as courses
from headstart.train.state import TrainState

SMALLEST_PIECE = {"frozen": 1, "adapt": 2, "train": 2}
"""By norm mode: norms that look at the other images must have some."""
GENTLER = 0.3
"""What the peak rate is multiplied with when the loss was no number."""
MOST_SETBACKS = 3


@dataclass(frozen=True, slots=True)
class MemoryShort:
    """A step on a batch of so many images needs more memory than there is; nothing has changed."""

    images: int

    def mended(self, state: TrainState) -> tuple[Phase, str]:
        """The phase with half the piece, and what to say.

        Raises:
            HeadstartError: when the piece is as small as can be.
        """
        assert state.course is not None, "a step belongs to a course"
        phase = state.course.phase
        was, least = min(phase.piece, self.images), SMALLEST_PIECE[phase.norms]
        if was <= least:
            modality = state.parts["train"].store.modality
            size = modality.size
            raise HeadstartError(
                f"memory does not suffice to train the backbone {state.settings.backbone} on {modality.words.items} of {modality.words.size}, even "
                f"{was} at a time. Give a smaller size (--size {max(16, size * 2 // 3)}) or a smaller backbone, or end other "
                "programs that use the memory. What was done so far is kept."
            )
        piece = max(least, was // 2)
        same = (
            "gradients add up, so the training is the same"
            if phase.norms == "frozen"
            else "gradients add up, but the norm layers now see the statistics of these alone"
        )
        return replace(phase, piece=piece), (
            f"Memory ran out with {was} images at once: from now on {piece} go through the model at once. "
            f"The effective batch is still {phase.batch_size}: {same}."
        )


@dataclass(frozen=True, slots=True)
class Diverged:
    """The loss of a step or an epoch is no number."""

    loss: float

    def mended(self, state: TrainState) -> tuple[Phase, str]:
        """The phase with a lower rate, its course back where its epoch began, and what to say. Time does not go back.

        Raises:
            HeadstartError: when that was done often enough.
        """
        course = state.course
        assert course is not None and course.good is not None, "the loop keeps where its epoch began"
        phase, seconds = course.phase, course.place.seconds
        if phase.setbacks >= MOST_SETBACKS:
            raise HeadstartError(
                f"the training loss of epoch {course.place.epoch} is {self.loss}, also after going on {MOST_SETBACKS} times at a "
                "lower rate: the learning rate is too high for these images or this backbone "
                f"(peak {phase.lr:g} at last). Nothing is lost: the best row so far is kept. Try again with base_lr={phase.lr / 5:.1g}."
            )
        gentler = replace(phase, lr=phase.lr * GENTLER, setbacks=phase.setbacks + 1)
        again = courses.taken_up(state.model, course.good, gentler)
        course.optimizer, course.place, course.adapters, course.average = (
            again.optimizer,
            again.place,
            again.adapters,
            again.average,
        )
        course.place.seconds = seconds
        return gentler, (
            f"The training loss became {self.loss} in epoch {course.place.epoch}: the training steps back to where that epoch "
            f"began, and goes on with a peak rate of {gentler.lr:.3g} instead of {phase.lr:.3g}."
        )
