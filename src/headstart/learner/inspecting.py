"""A finished model is inspected: one pass of the model as it was and one as it is, and every question that these can answer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from headstart import plugins
from headstart.core import Event, Finding, Note, Progress
from headstart.engine import device as engine
from headstart.errors import BadSetting, StoreError
from headstart.inspections._trace import Trace, missing
from headstart.learner.session import Session
from headstart.learner.tracing import traced
from headstart.report.page import Report
from headstart.train.observers.rows import measured, metric_names

ORDER = ("duplicates", "labels", "shortcuts", "confusion", "losses", "drift", "evidence", "calibration")
"""On the page; others come after these, by their names."""


def inspected(session: Session, show: Callable[[Event], None], names: Sequence[str]) -> Report:
    """The report of these inspections, or of all; in the run folder too, where there is one.

    Raises:
        UnknownName: for an inspection that there is not, with the nearest.
        BadSetting: before the first training.
        DataError: where the data is not at hand.
    """
    asked = {name: plugins.find("inspections", name) for name in names or ordered(plugins.names("inspections"))}
    if not session.history:
        raise BadSetting(
            "there is nothing to inspect before the first training: fine_tune(0) solves the head, fine_tune(3) trains all."
        )
    with engine.tuned_run(session.device):
        needs = {need for module in asked.values() for need in module.NEEDS}
        trace = traced(session, show, needs)
        findings = []
        for number, (name, module) in enumerate(asked.items()):
            show(Progress(f"inspecting: {name}", number, len(asked)))
            findings.append(answered(name, module, trace))
        show(Progress("inspecting", len(asked), len(asked)))
    report = Report(f"What {session.data.name} taught this model", _facts(session, trace), tuple(findings))
    if session.run is None:
        return report
    try:
        report.keep(session.run.path)
    except StoreError as error:  # what was found must not be lost with a full disk
        show(Note(f"The report could not be kept in the run folder: {error}"))
        return report
    return replace(report, folder=session.run.path)


def ordered(names: Sequence[str]) -> list[str]:
    """As they stand on the page."""
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def answered(name: str, module: Any, trace: Trace) -> Finding:
    """What an inspection finds in the trace, or why it cannot be made."""
    why = trace.lacks(module.NEEDS)
    return module.inspect(trace) if why is None else missing(name, module.QUESTION, why)


def _facts(session: Session, trace: Trace) -> dict[str, str]:
    """What the model is, for the head of the page."""
    row = next(row for row in trace.rows if row["epoch"] == trace.kept)
    figures = ", ".join(f"{name} {measured(row, name)}" for name in metric_names(row))
    stage = "the head alone learned" if trace.kept == 0 else f"epoch {trace.kept} of {trace.rows[-1]['epoch']} is kept"
    return {
        "Learned": trace.task.words.learned,
        "Body": f"{session.model.backbone.spec.name}, weights from {session.model.backbone.spec.source}",
        "Training": stage,
        "On the validation part": figures,
        "Looked at": f"{int(trace.valid.sum()):,} validation and {int((~trace.valid).sum()):,} training examples",
    }
