"""The learning curve."""

import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image

from headstart.errors import UsageError
from headstart.report import curve


def a_row(epoch: int, loss: float, error: float | None, **more: object) -> dict:
    bounds = None if error is None else [error - 0.02, error + 0.03]
    stage, lr = ("head", None) if epoch == 0 else ("all", 1e-3)
    row = {
        "epoch": epoch,
        "stage": stage,
        "train_loss": loss - 0.05,
        "valid_loss": loss,
        "error_rate": error,
        "error_rate_95": bounds,
    }
    return {**row, **more, "lr": lr, "seconds": 1.0}


ROWS = [a_row(0, 0.235, 0.097), a_row(1, 0.262, 0.106), a_row(2, 0.219, 0.088)]


def test_losses_and_metrics_have_a_panel_each_with_bands_from_the_rows():
    loss, error = curve.figure(ROWS).axes
    lines = {line.get_label(): line for line in loss.get_lines()}
    assert list(lines["valid_loss"].get_xdata()) == [0, 1, 2]
    assert list(lines["valid_loss"].get_ydata()) == [0.235, 0.262, 0.219]
    assert list(lines["train_loss"].get_xdata()) == [1, 2], "row 0 is over un-augmented images: it is not joined to the others"
    assert list(lines["train_loss, un-augmented"].get_xdata()) == [0]
    assert list(lines["lowest valid_loss"].get_xdata()) == [2]
    (band,) = error.collections
    low, high = band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()
    assert (low, high) == pytest.approx((0.068, 0.136))


def test_row_0_is_marked_in_every_panel():
    for axes in curve.figure(ROWS).axes:
        assert any(line.get_marker() == "D" and list(line.get_xdata()) == [0] for line in axes.get_lines())


def test_a_trained_head_is_one_of_the_line():
    rows = [{**ROWS[0], "lr": 1e-3}, *ROWS[1:]]
    lines = {line.get_label(): line for line in curve.figure(rows).axes[0].get_lines()}
    assert list(lines["train_loss"].get_xdata()) == [0, 1, 2]


def test_a_single_row_missing_values_and_many_metrics_are_drawn():
    assert len(curve.figure(ROWS[:1]).axes) == 2
    rows = [a_row(0, 0.3, None, f1=0.5, f1_95=None), a_row(1, 0.2, 0.1, f1=0.6, f1_95=[0.5, 0.7], mine=3.0)]
    assert len(curve.figure(rows).axes) == 4
    assert curve.png(rows)


def test_no_rows_is_a_lesson():
    with pytest.raises(UsageError, match="fine_tune"):
        curve.figure([])


def test_svg_is_light_valid_and_the_same_for_the_same_rows():
    text = curve.svg(ROWS, "cats & <dogs>")
    assert text == curve.svg(ROWS, "cats & <dogs>")
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "cats &amp; &lt;dogs&gt;" in text
    assert len(text) < 60_000


def test_a_title_with_dollars_is_no_formula():
    assert curve.svg(ROWS, "photos_$a_$b {") and curve.png(ROWS, "$\\frac{")


def test_saved_as_its_ending_says(tmp_path: Path):
    assert curve.save(ROWS, tmp_path / "curve.svg").read_text(encoding="utf-8").startswith("<?xml")
    picture = Image.open(io.BytesIO(curve.save(ROWS, str(tmp_path / "curve.PNG")).read_bytes()))
    assert picture.format == "PNG" and picture.width > picture.height
    with pytest.raises(UsageError, match=r"\.svg or \.png"):
        curve.save(ROWS, tmp_path / "curve.jpg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.PNG", "curve.svg"]


def test_drawing_leaves_no_state_in_matplotlib():
    import matplotlib
    import matplotlib._pylab_helpers

    before = dict(matplotlib.rcParams)
    curve.svg(ROWS)
    assert dict(matplotlib.rcParams) == before
    assert not matplotlib._pylab_helpers.Gcf.figs
    assert "pyplot" not in Path(curve.__file__).read_text(encoding="utf-8")
