"""A learner inspected: real runs, end to end, in Python and on the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headstart as hs
from headstart import plugins
from headstart.cli.main import main
from headstart.errors import BadSetting, DataError, UnknownName
from headstart.inspections import labels
from headstart.inspections._survey import weights_moved
from headstart.learner import inspecting, tracing
from watched import Notes


@pytest.fixture(scope="module")
def tuned(train_shapes: Any) -> Any:
    """A learner that has trained all its layers."""
    return train_shapes(1, keep="last")


def test_a_report_answers_every_question_and_lies_in_the_run(tuned: Any) -> None:
    report = tuned.inspect()
    assert [found.name for found in report.findings] == list(inspecting.ORDER)
    assert not [
        found.headline for found in report.findings if found.headline.startswith("Not available") and found.name != "evidence"
    ]
    page = (tuned.run.path / "report.html").read_text(encoding="utf-8")
    assert page == report.html()
    for found in report.findings:
        assert json.loads((tuned.run.path / "findings" / f"{found.name}.json").read_text())["verdict"] == found.verdict
        assert f'id="{found.name}"' in page
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page and len(page) < 15e6


def test_the_model_is_as_it_was_after_it_was_inspected(tuned: Any) -> None:
    model = tuned.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    tuned.inspect()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


def test_what_a_survey_saw_is_what_the_model_says(tuned: Any) -> None:
    session = tuned._session
    trace = tracing.traced(session, lambda _: None, {"layers", "before", "folds"})
    state = session.ready().state
    said = torch.cat([torch.as_tensor(state.outputs(part).mean) for part in ("valid", "train")]).numpy()
    np.testing.assert_allclose(trace.said, said, atol=1e-5)
    assert trace.valid.sum() == len(state.parts["valid"]) and len(trace.ids) == 32
    for layer, (name, module) in zip(trace.after.layers, tuned.model.backbone.stages(), strict=True):
        assert layer.name == name
        place, channel = 3, 5
        maps = _maps(tuned.model, module, trace.inputs([place]))[0, channel]
        assert layer.means[place, channel] == pytest.approx(float(maps.mean()), abs=1e-5)
        assert layer.highest[place, channel] == pytest.approx(float(maps.max()), abs=1e-5)
        assert float(maps.flatten()[layer.places[place, channel]]) == pytest.approx(float(maps.max()), abs=1e-5)
    assert trace.folds is not None and set(trace.folds.tolist()) == set(range(tracing.FOLDS))
    assert trace.before is not trace.after and all(moved > 0 for moved in trace.weights.values())


def _maps(model: Any, module: Any, x: torch.Tensor) -> torch.Tensor:
    kept = []
    hook = module.register_forward_hook(lambda _module, _given, output: kept.append(output))
    with torch.no_grad():
        model.eval()(x)
    hook.remove()
    return kept[0]


@pytest.mark.slow
def test_where_only_the_head_learned_no_layer_has_changed(trained: Any) -> None:
    found = trained.inspect("drift")["drift"]
    assert "only the head learned" in found.headline


@pytest.mark.slow
def test_layers_that_were_frozen_have_not_changed_at_all(shapes: Path, tmp_path: Path) -> None:
    learn = hs.Learner(
        hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=Notes(), run=tmp_path / "run", keep="last"
    )
    learn.freeze().fit(1)
    trace = tracing.traced(learn._session, lambda _: None, {"before"})
    assert trace.before is trace.after and set(trace.weights.values()) == {0.0}


def test_statistics_that_were_learned_anew_are_a_change_though_no_weight_moved(trained: Any) -> None:
    from copy import deepcopy

    body = trained.model.backbone
    other = deepcopy(body)
    assert set(weights_moved(body, other).values()) == {0.0}
    norm = next(module for module in other.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert norm.running_mean is not None
    norm.running_mean += 1.0
    moved = list(weights_moved(body, other).values())
    assert moved[0] > 0 and set(moved[1:]) == {0.0}


def test_what_heads_say_that_have_not_seen_a_label_does_not_hang_on_it(trained: Any) -> None:
    """With the labels of one fold turned round, what is said of that fold stays the same."""
    trace = tracing.traced(trained._session, lambda _: None, {"folds", "before", "layers"})
    rows, given = labels.wide(trace.before), trace.classes
    away = trace.folds == 2
    turned = np.where(away, 1 - given, given)
    first, again = (labels.heads(rows, each, 2, trace.folds) for each in (given, turned))
    np.testing.assert_allclose(again[away], first[away], atol=1e-6)
    assert not np.allclose(again[~away], first[~away], atol=1e-3)


@pytest.mark.slow
def test_labels_that_are_wrong_are_named_in_a_real_run(make_shapes: Any, tmp_path: Path) -> None:
    folder = make_shapes(20)
    wrong = sorted((folder / "square").iterdir())[:2]
    moved = [path.rename(folder / "disc" / f"moved_{path.name}") for path in wrong]
    learn = hs.Learner(hs.image_folder(folder), backbone="tiny", batch_size=8, observer=Notes(), run=tmp_path / "run").fine_tune(
        0
    )
    found = learn.inspect("labels")["labels"]
    suspects = {item["id"] for item in found.items[:4]}
    assert {f"disc/{path.name}" for path in moved} <= suspects


@pytest.mark.slow
def test_fixes_are_a_label_file_that_train_takes(make_shapes: Any, tmp_path: Path) -> None:
    folder = make_shapes(20)
    moved = [path.rename(folder / "disc" / f"moved_{path.name}") for path in sorted((folder / "square").iterdir())[:2]]
    learn = hs.Learner(hs.image_folder(folder), backbone="tiny", batch_size=8, observer=Notes(), run=tmp_path / "run").fine_tune(
        0
    )
    report = learn.inspect("duplicates,labels")
    file = report.fixes(tmp_path / "fixes.csv")
    mended = hs.apply_labels(hs.image_folder(folder), file)
    labelled = {record.id: record.target for record in mended.records}
    changed = {row["path"]: row["label"] for row in report["labels"].fixes}
    assert set(changed) <= {name for name, label in labelled.items() if label == changed.get(name)}
    assert sum(labelled[f"disc/{path.name}"] == "square" for path in moved) >= 1
    with pytest.raises(BadSetting, match="there already"):
        report.fixes(file)
    code = main(["inspect", str(tmp_path / "run"), "--only", "labels", "--fixes", str(tmp_path / "again.csv")])
    assert code == 0 and (tmp_path / "again.csv").read_text().startswith("path,label,action,part,reason\n")
    assert main(["inspect", str(tmp_path / "run"), "--fixes", str(file)]) == 2


def test_a_typo_and_an_untrained_model_are_told(shapes: Path, trained: Any) -> None:
    with pytest.raises(UnknownName, match="labels"):
        trained.inspect("lables")
    with pytest.raises(BadSetting, match="first training"):
        hs.Learner(hs.image_folder(shapes), backbone="tiny", observer=Notes()).inspect()


@pytest.mark.slow
def test_other_tasks_say_what_they_cannot_answer(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(60, 4))
    data = hs.from_arrays(rows, rows @ [1.0, 0.5, 0.0, -1.0])
    report = hs.Learner(data, observer=Notes(), run=tmp_path / "run").fine_tune(0).inspect()
    assert report["losses"].verdict == "good" and report["losses"].items
    assert all(report[name].headline.startswith("Not available") for name in ("labels", "confusion", "drift", "evidence"))


@pytest.mark.slow
def test_the_command_writes_the_page_and_speaks(tuned: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["inspect", str(tuned.run.path), "--only", "losses, confusion", "--output", str(page)]) == 0
    said = capsys.readouterr().out
    assert "Which classes does it mix up?" in said and str(page) in said and page.is_file()
    assert main(["inspect", str(tuned.run.path), "--only", "losses", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["findings"][0]["name"] == "losses" and Path(told["page"]).is_file()
    assert main(["inspect", str(tuned.run.path), "--output", "page.txt"]) == 2


def test_the_help_of_the_command_names_every_inspection(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["inspect", "--help"]) == 0
    assert ",".join(inspecting.ordered(plugins.names("inspections"))) in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_whose_images_are_gone_is_told(make_shapes: Any, tmp_path: Path) -> None:
    folder = make_shapes(8)
    hs.Learner(hs.image_folder(folder), backbone="tiny", batch_size=8, observer=Notes(), run=tmp_path / "run").fine_tune(0)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="not at hand"):
        hs.load(tmp_path / "run", observer=Notes()).inspect()
    assert hs.load(tmp_path / "run", data=tmp_path / "elsewhere", observer=Notes()).inspect("losses")["losses"].items
    assert main(["inspect", str(tmp_path / "run"), "--only", "losses"]) == 1
    assert main(["inspect", str(tmp_path / "run"), "--only", "losses", "--data", str(tmp_path / "elsewhere")]) == 0
