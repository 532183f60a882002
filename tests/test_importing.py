"""Importing does nothing, and the source calls nothing that exists on one operating system only without a way round."""

import re
import subprocess
import sys
from pathlib import Path

import headstart as hs

SOURCE = Path(hs.__file__).parent
HEAVY = ("torch", "timm", "openvino", "numpy", "PIL", "matplotlib", "rich")
ONE_SYSTEM_ONLY = re.compile(
    r"\b(os\.fork|os\.symlink|symlink_to|os\.link|hardlink_to|fcntl|msvcrt|os\.sched_\w+|os\.mkfifo|signal\.SIG(KILL|ALRM|USR1)|pwd\.|grp\.|resource\.|os\.uname|/proc/|/dev/)"
)


def test_import_headstart_imports_nothing_heavy() -> None:
    code = f"import headstart, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_imports_neither_torch_nor_timm() -> None:
    code = "import sys; from headstart.cli.main import main; main(['train', '--help']); print(sorted({'torch', 'timm'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_every_public_name_is_there() -> None:
    assert sorted(hs.__all__) == sorted(
        [
            "Dataset",
            "Learner",
            "Settings",
            "apply_labels",
            "array_csv",
            "check",
            "choose",
            "coco_json",
            "from_arrays",
            "from_huggingface",
            "image_csv",
            "image_folder",
            "load",
            "mask_folder",
            "resume",
            "show",
            "text_csv",
        ]
    )
    for name in hs.__all__:
        assert getattr(hs, name) is not None
    assert set(hs.__all__) <= set(dir(hs))


def test_one_system_only_calls_have_a_fallback() -> None:
    """Each such call stands in a function that says what happens elsewhere: it tests the platform or catches the error."""
    caught = r"except \(?[\w, ]*(OSError|AttributeError|ImportError)|suppress\("
    guards = re.compile(rf"sys\.platform|platform\.|{caught}|\.exists\(\)|is_dir\(\)|is_file\(\)")
    unguarded = []
    for file in SOURCE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        for match in ONE_SYSTEM_ONLY.finditer(text):
            start = max(text.rfind("\ndef ", 0, match.start()), text.rfind("\n    def ", 0, match.start()), 0)
            ends = [place for place in (text.find("\ndef ", match.end()), text.find("\n    def ", match.end())) if place > 0]
            if not guards.search(text[start : min(ends, default=len(text))]):
                unguarded.append(f"{file.relative_to(SOURCE)}: {match.group()}")
    assert unguarded == []


def test_state_is_data() -> None:
    forbidden = re.compile(r"^\s*(import|from) (pickle|joblib|dill|cloudpickle)|torch\.save\(|allow_pickle=True", re.MULTILINE)
    found = [str(file) for file in SOURCE.rglob("*.py") if forbidden.search(file.read_text(encoding="utf-8"))]
    assert found == []
    loads = [
        (file.relative_to(SOURCE).as_posix(), re.findall(r"\bweights_only=(\w+)", call))
        for file in SOURCE.rglob("*.py")
        for call in re.findall(r"\btorch\.load\([^\n]*", file.read_text(encoding="utf-8"))
    ]
    assert loads == [("backbones/_files.py", ["True"])]
    said = [word for file in SOURCE.rglob("*.py") for word in re.findall(r"weights_only=(\w+)", file.read_text(encoding="utf-8"))]
    assert said == ["True"]
