"""What the head sees where the settings leave it open: all layers of the backbone or the last one, as the evidence of the solved head says.

The evidence asks how well the labels were foretold before they were seen, by a head whose prior had the best width; more numbers to see
raise it only where they carry more than they cost. It reads no validation image (docs/decisions/0024).
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from headstart import model as models
from headstart.backbones._wrapped import Wrapped
from headstart.core import Settings
from headstart.train.features import Features, can_be_held
from headstart.train.state import TrainState

if TYPE_CHECKING:
    from headstart.train.head_solve import SolvedHead


def is_open(settings: Settings) -> bool:
    """Whether it is still to be decided."""
    return settings.features == "auto"


def widest(settings: Settings) -> str:
    """What the backbone is made to give: a head that is not solved has no evidence to decide by."""
    return "last" if is_open(settings) and settings.head != "solve" else settings.features


def held(backbone: Wrapped, settings: Settings, examples: int) -> Wrapped:
    """The backbone, or the one it was made of where it is open and the features of so many examples would not fit into memory."""
    fits = not is_open(settings) or can_be_held(examples, backbone.spec.width)
    return backbone if fits or not backbone.dress else backbone.bare


def last_alone(state: TrainState) -> None:
    """Decides for the last layer where it is open: the model has a new head that sees nothing else."""
    if is_open(state.settings):
        _look_at_the_last(state)


def by_evidence(
    state: TrainState, features: Features, solved: "SolvedHead", alone: "SolvedHead | None", seconds: float
) -> tuple[Features, "SolvedHead", str]:
    """What the head sees from now on, the head solved on it, and a sentence that tells why; none where there was nothing to decide.

    Args:
        features: of the backbone as it is; those of its last layer are the first of them.
        solved: the head on them, which the model has.
        alone: the head on those of the last layer, its guide, which took so many `seconds`; None where there are no others.
    """
    if alone is None:
        _look_at_the_last(state)
        return features, solved, ""
    train, guide = state.parts["train"], state.model.head.guide
    item, told = train.store.modality.words.item, [f"{each.log_evidence / len(train):.3f}" for each in (solved, alone)]
    if solved.log_evidence > alone.log_evidence:
        state.settings = replace(state.settings, features="layers")
        words = f"The head sees all layers: by the evidence {told[0]} nats an {item}, against {told[1]} with the last alone."
        return features, solved, words
    _look_at_the_last(state)
    state.model.head.load_state_dict(guide.state_dict())
    state.spent["solving"] = seconds
    words = f"The head sees the last layer: by the evidence {told[1]} nats an {item}, against {told[0]} with all layers."
    return features.first(state.model.backbone.spec.width), alone, words


def _look_at_the_last(state: TrainState) -> None:
    state.settings = replace(state.settings, features="last")
    model, device = state.model, next(state.model.head.parameters()).device
    if model.backbone.dress:
        fresh = models.build(model.backbone.bare, state.task.outputs, model.head_kind, state.settings.seed)
        model.backbone, model.head = fresh.backbone, fresh.head.to(device)
