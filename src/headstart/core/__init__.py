"""The vocabulary: plain types and Protocols that every other module speaks. Nothing here computes, and nothing here imports torch.

Axis names used in shapes all over the package: `batch`, `outputs` (numbers per example that the head gives), `classes`,
`features` (numbers per example that the backbone gives), `height`, `width`, `samples` (draws from a posterior).
Arrays in the signatures of Protocols are torch tensors; they are written `Any` so that this module stays light.
"""

from headstart.core.data import Batch, Dataset, Record, Split
from headstart.core.events import Changed, Cooling, EpochDone, Event, Events, Note, Observer, Progress, RowDone, StepDone
from headstart.core.finding import Bars, Check, Finding, Picture, Strip, Tone, Verdict
from headstart.core.modality import InputWords, Modality, Named
from headstart.core.model import Backbone, BackboneSpec, Outputs, Posterior, Prediction, Predictive, Spread
from headstart.core.plan import Phase, Plan
from headstart.core.settings import CHOICES, Defaults, Settings
from headstart.core.task import Task, TaskWords
from headstart.core.words import FORMAT, Label, MaskFile, Part, Row

__all__ = [
    "Backbone",
    "BackboneSpec",
    "Bars",
    "Batch",
    "CHOICES",
    "Changed",
    "Check",
    "Cooling",
    "Dataset",
    "Defaults",
    "EpochDone",
    "Event",
    "Events",
    "FORMAT",
    "Finding",
    "InputWords",
    "Label",
    "MaskFile",
    "Modality",
    "Named",
    "Note",
    "Observer",
    "Outputs",
    "Part",
    "Phase",
    "Picture",
    "Plan",
    "Posterior",
    "Prediction",
    "Predictive",
    "Progress",
    "Record",
    "Row",
    "RowDone",
    "Settings",
    "Split",
    "Spread",
    "StepDone",
    "Strip",
    "Task",
    "TaskWords",
    "Tone",
    "Verdict",
]
