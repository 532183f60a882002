"""A finished model is inspected: one pass of the model as it was and one as it is, and every question that these can answer."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from headstart import plugins
from headstart.core import Event, Finding, Note, Progress
from headstart.engine import device as engine
from headstart.errors import BadSetting, DataError, StoreError
from headstart.evaluate.predict import prepared
from headstart.inspections._trace import Trace, missing
from headstart.learner import answering
from headstart.learner.session import Session, untrained
from headstart.learner.tracing import outside, traced
from headstart.modalities._scan import counted
from headstart.report.page import Report
from headstart.train.observers.rows import measured, metric_names

ORDER = (
    "duplicates",
    "labels",
    "shortcuts",
    "confusion",
    "slices",
    "losses",
    "drift",
    "evidence",
    "occlusion",
    "neighbours",
    "influence",
    "dynamics",
    "calibration",
    "summary",
)
"""On the page; others come after these, by their names."""
PAGE = "report.html"
MOST = 100
"""Images that can be looked into at once, and letters of the name of a page."""


def inspected(session: Session, show: Callable[[Event], None], only: str | Sequence[str]) -> Report:
    """The report of all inspections, or of these on a page of their own; in the run folder too, where there is one.

    Raises:
        UnknownName: for an inspection that there is not, with the nearest.
        BadSetting: before the first training.
        DataError: where the data is not at hand.
    """
    asked = _asked(session, only, ordered(plugins.names("inspections")))
    with engine.tuned_run(session.device):
        trace = traced(session, show, _needs(asked))
        findings = _found(asked, trace, lambda module: module.inspect(trace), show)
    report = Report(f"What {session.data.name} taught this model", _facts(session, trace), findings)
    every = set(asked) == set(plugins.names("inspections"))
    return _kept(session, show, report, PAGE if every else f"report_{'_'.join(asked)[:MOST]}.html")


def looked_into(session: Session, show: Callable[[Event], None], only: str | Sequence[str], inputs: Any) -> Report:
    """What these inspections, or all that can, say of a few images; in images/ of the run folder too.

    Raises:
        UnknownName, BadSetting: as `inspected`; for an inspection of all examples, for no image or too many.
        DataError: where an image cannot be read, or the data of the run is not at hand.
    """
    able = [name for name in ordered(plugins.names("inspections")) if hasattr(plugins.find("inspections", name), "look")]
    asked = _asked(session, only, able)
    for name in asked:
        if name not in able:
            raise BadSetting(
                f"{name} asks about all examples together, not about one image. Of one image tell: {', '.join(able)}."
            )
    inputs = list(inputs) if isinstance(inputs, Iterator) else inputs
    with engine.tuned_run(session.device):
        pictures = _read(session, inputs)
        trace = traced(session, show, _needs(asked))
        why = trace.lacks(("answers", "pictures"))
        if why is not None:
            raise BadSetting(f"single examples cannot be looked into here: {why}")
        shown = [outside(session, name, example) for name, example in pictures]
        findings = _found(asked, trace, lambda module: module.look(trace, shown), show)
    answers = zip(shown, answering.of(session, show, session.fitted).predictions(inputs), strict=True)
    facts = {one.id: str(answer) for one, answer in answers}
    more = f" and {counted(len(shown) - 1, 'other image')}" if len(shown) > 1 else ""
    report = Report(f"Why does it say that of {shown[0].id}{more}?", facts, findings)
    return _kept(session, show, report, f"images/{_plain(f'{Path(shown[0].id).name}{more}')}/{PAGE}")


def _asked(session: Session, only: str | Sequence[str], every: Sequence[str]) -> dict[str, Any]:
    """The inspections that are named, or all, by name."""
    if not session.history:
        raise BadSetting(_no_model(session))
    named = only.split(",") if isinstance(only, str) else only
    names = [name.strip() for name in named if name.strip()]
    return {name: plugins.find("inspections", name) for name in names or every}


def _no_model(session: Session) -> str:
    """Why there is nothing to look at yet."""
    if session.start is not None:
        return (
            f"{session.data.name} is not the data that the run was made with (images are gone, new, or of other classes), and there is no model "
            "of it yet. Inspect the run with its own images, or train on these first: headstart more RUN --data PATH, learn.fine_tune()."
        )
    return untrained("there is nothing to inspect")


def _needs(asked: Mapping[str, Any]) -> set[str]:
    return {need for module in asked.values() for need in (*module.NEEDS, *getattr(module, "WANTS", ()))}


def _found(
    asked: Mapping[str, Any], trace: Trace, answer: Callable[[Any], Finding], show: Callable[[Event], None]
) -> tuple[Finding, ...]:
    """The answer of each, or why there is none."""
    findings = []
    for number, (name, module) in enumerate(asked.items()):
        show(Progress(f"inspecting: {name}", number, len(asked)))
        findings.append(answered(name, module, trace, answer))
    show(Progress("inspecting", len(asked), len(asked)))
    return tuple(findings)


def answered(name: str, module: Any, trace: Trace, answer: Callable[[Any], Finding]) -> Finding:
    """What an inspection answers, or why it cannot be made of this trace."""
    why = trace.lacks(module.NEEDS)
    return answer(module) if why is None else missing(name, module.QUESTION, why)


def _read(session: Session, inputs: Any) -> list[tuple[str, Any]]:
    """(id, the picture as the model sees it) of each input."""
    found = []
    for name, each in prepared(inputs, session.modality, 2, 8):
        if each.error is not None:
            raise DataError(each.error)
        found.append((name, each.example))
        if len(found) > MOST:
            raise BadSetting(
                f"{MOST} images can be looked into at once, and these are more. Name fewer; `predict` takes any number."
            )
    if not found:
        raise DataError("there are no images to look into. Give at least one.")
    return found


def _kept(session: Session, show: Callable[[Event], None], report: Report, place: str) -> Report:
    """The report, with its page at this place of the run folder, where there is one."""
    if session.run is None:
        return report
    page = session.run.path / place
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        report.keep(page)
    except (StoreError, OSError) as error:  # what was found must not be lost with a full disk
        show(Note(f"The report could not be kept in the run folder: {error}"))
        return report
    return replace(report, page=page)


def _plain(name: str) -> str:
    """A name for a folder."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "image"


def ordered(names: Sequence[str]) -> list[str]:
    """As they stand on the page."""
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def _facts(session: Session, trace: Trace) -> dict[str, str]:
    """What the model is, for the head of the page."""
    row = next(row for row in trace.rows if row["epoch"] == trace.kept)
    figures = ", ".join(f"{name} {measured(row, name)}" for name in metric_names(row))
    last = trace.rows[-1]["epoch"]
    stage = f"epoch {trace.kept} of {last} is kept" if trace.kept else "the head alone learned"
    trained = sum(each["stage"] != "head" for each in trace.rows)
    if trained and not trace.kept:
        stage = f"the head alone is kept: {counted(trained, 'epoch')} of all layers did not improve on it"
    if not trace.finished:
        stage += "; this training was interrupted, or is still going on (headstart resume RUN finishes it)"
    gone = _gone(session)
    return {
        **({} if session.run is None else {"Run": session.run.path.name}),
        "Learned": trace.task.words.learned,
        "Body": f"{session.model.backbone.spec.name}, weights from {session.model.backbone.spec.source}",
        "Training": stage,
        "On the validation part": figures,
        "Looked at": f"{int(trace.valid.sum()):,} validation and {int((~trace.valid).sum()):,} training examples"
        + (f"; {len(trace.trained):,} more training examples are not looked at" if trace.trained else ""),
        **({"Beware": gone} if gone else {}),
    }


def _gone(session: Session) -> str:
    """What of the run's examples is no longer there, or cannot be read any more, in a sentence."""
    if session.run is None:
        return ""
    split, parts = session.run.split(), session.ready().state.parts
    lost = sorted({*split.train, *split.valid} - {*parts["train"].ids, *parts["valid"].ids})
    figures = "the figures of the run are older than what is told here"
    return f"{counted(len(lost), 'example')} of the run cannot be read any more (first: {lost[0]}): {figures}." if lost else ""
