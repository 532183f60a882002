import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.errors import StoreError
from headstart.store import atomic
from headstart.store._leftover import beside, found

OLD, NEW = {"a.txt": "old", "deep/b.txt": "old" * 2000}, {"a.txt": "new", "deep/c.txt": "new" * 2000}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(folder: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def put(target: Path, new: dict[str, str]) -> None:
    with atomic.replace_folder(target) as fresh:
        fill(fresh, new)


KILLER = """
    import json, os, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_atomic import NEW, OLD, content, put
    from headstart.store import atomic

    NAMES = ("mkdir", "open", "fsync", "rename", "replace", "unlink", "rmdir")

    def die_at(step, after):
        count = 0
        def wrap(call):
            def wrapped(*arguments, **named):
                nonlocal count
                count += 1
                if count == step and not after:
                    os._exit(9)
                result = call(*arguments, **named)
                if count == step:
                    os._exit(9)
                return result
            return wrapped
        for name in NAMES:
            setattr(os, name, wrap(getattr(os, name)))

    seen = []
    for first in (True, False):
        for after in (False, True):
            for step in range(1, 200):
                folder = Path(sys.argv[2]) / f"{first}-{after}-{step}"
                folder.mkdir()
                if not first:
                    put(folder / "bundle", OLD)
                child = os.fork()
                if child == 0:
                    die_at(step, after)
                    put(folder / "bundle", NEW)
                    os._exit(0)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                atomic.finish_swap(folder / "bundle")
                there = content(folder / "bundle")
                state = "new" if there == NEW else "old" if there == OLD else "nothing" if not there else "torn"
                seen.append([first, after, step, code, state, sorted(p.name for p in folder.iterdir())])
                if code == 0:
                    break
    print(json.dumps(seen))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks once per instant")
def test_killed_at_any_instant_a_reader_finds_all_of_the_old_or_all_of_the_new(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(KILLER), str(Path(__file__).parent), str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert answer.returncode == 0, answer.stderr
    seen = json.loads(answer.stdout)
    assert len(seen) > 40 and sum(code == 0 for *_, code, _, _ in seen) == 4
    for first, after, step, code, state, names in seen:
        where = (first, after, step)
        assert state in (("nothing", "new") if first else ("old", "new")), where
        assert names == (["bundle"] if state != "nothing" else []), (where, names)
        assert code == 9 or state == "new", where
    assert {state for first, *_, state, _ in seen if not first} == {"old", "new"}


def test_a_reader_during_a_replacement_finds_all_of_the_old_or_all_of_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "bundle"
    put(target, OLD)
    rename, seen = os.rename, []

    def watched(source: Path, place: Path) -> None:
        rename(source, place)
        monkeypatch.setattr(os, "rename", rename)
        seen.append(atomic.read_folder(target, content))
        monkeypatch.setattr(os, "rename", watched)

    monkeypatch.setattr(os, "rename", watched)
    put(target, NEW)
    assert len(seen) >= 2 and all(each in (OLD, NEW) for each in seen)
    assert content(target) == NEW and names(tmp_path) == ["bundle"]


def test_a_folder_that_is_replaced_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    target, reads = tmp_path / "bundle", []
    put(target, OLD)

    def read(folder: Path) -> tuple[str, str]:
        first = (folder / "a.txt").read_text()
        if not reads:
            put(target, {"a.txt": "new"})
        reads.append(first)
        return first, (folder / "a.txt").read_text()

    assert atomic.read_folder(target, read) == ("new", "new") and reads == ["old", "new"]


def test_a_failure_inside_leaves_the_old_folder_and_no_trace(tmp_path: Path) -> None:
    put(tmp_path / "bundle", OLD)
    with pytest.raises(KeyboardInterrupt), atomic.replace_folder(tmp_path / "bundle") as fresh:
        fill(fresh, NEW)
        raise KeyboardInterrupt
    assert content(tmp_path / "bundle") == OLD and names(tmp_path) == ["bundle"]


def test_what_a_living_writer_is_filling_is_left_alone_and_what_a_dead_one_left_goes(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    mine = beside(target, "new")
    mine.mkdir()
    dead = Path(str(mine).replace(f"-{os.getpid()}-", f"-{dead_process()}-"))
    fill_later = [dead, tmp_path / dead.name.replace("bundle", "other")]
    for folder in fill_later:
        folder.mkdir()
    atomic.finish_swap(target)
    assert mine.exists() and not fill_later[0].exists() and fill_later[1].exists()
    atomic.sweep(tmp_path)
    assert mine.exists() and not fill_later[1].exists()


def test_an_older_replacement_that_was_never_finished_does_not_undo_a_newer_one(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    stale = Path(str(beside(target, "ready")).replace(f"-{os.getpid()}-", f"-{dead_process()}-"))
    fill_into(stale, OLD)
    os.utime(stale, (1e9, 1e9))
    fill_into(target, NEW)
    atomic.finish_swap(target)
    assert content(target) == NEW and names(tmp_path) == ["bundle"]


def fill_into(folder: Path, new: dict[str, str]) -> None:
    folder.mkdir()
    fill(folder, new)


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_long_and_odd_names_of_targets_have_temporaries(tmp_path: Path) -> None:
    for name in ("x" * 200, "ü" * 100, "a\nb", ".hidden", "a.new-b"):
        put(tmp_path / name, OLD)
        put(tmp_path / name, NEW)
        assert content(tmp_path / name) == NEW
    assert not list(found(tmp_path))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, ["disk is full", "are free", "--clear-cache"]),
        (errno.EROFS, ["read-only", "HEADSTART_CACHE"]),
        (errno.EACCES, ["permission denied"]),
        (errno.EIO, [os.strerror(errno.EIO)]),
    ],
)
def test_what_the_disk_refuses_is_told_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: list[str]
) -> None:
    put(tmp_path / "bundle", OLD)
    atomic.write_text(tmp_path / "plan.json", "old")

    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError) as folder_error:
        put(tmp_path / "bundle", NEW)
    with pytest.raises(StoreError) as file_error:
        atomic.write_text(tmp_path / "plan.json", "new")
    for error, name in ((folder_error, "bundle"), (file_error, "plan.json")):
        assert all(word in str(error.value) for word in [*words, str(tmp_path / name)]), str(error.value)
    assert names(tmp_path) == ["bundle", "plan.json"]
    assert content(tmp_path / "bundle") == OLD and (tmp_path / "plan.json").read_text() == "old"


def test_a_file_where_a_folder_is_needed_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(StoreError, match="a file stands where a folder is needed"):
        atomic.write_text(tmp_path / "runs" / "plan.json", "x")


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=12).map(lambda data: json.dumps(data.decode("latin-1"))), max_size=6), st.integers(0, 40))
def test_a_torn_last_line_is_cut_off_before_the_next(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], cut: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "history.jsonl"
    for line in lines:
        atomic.append_line(path, line)
    whole = path.read_bytes() if lines else b""
    torn = whole[: max(0, len(whole) - cut)]
    path.write_bytes(torn)
    atomic.append_line(path, '"next"')
    kept = path.read_text(encoding="utf-8").splitlines()
    assert kept[-1] == '"next"' and kept[:-1] == lines[: len(kept) - 1]
    assert len(kept) - 1 >= torn.count(b"\n")


def test_a_complete_row_that_lacks_only_its_newline_is_kept(tmp_path: Path) -> None:
    (tmp_path / "h").write_text('{"a": 1}\n{"a": 2}')
    atomic.append_line(tmp_path / "h", '{"a": 3}')
    assert (tmp_path / "h").read_text() == '{"a": 1}\n{"a": 2}\n{"a": 3}\n'


def test_json_is_strict_and_survives_names_that_are_no_unicode(tmp_path: Path) -> None:
    data = {"file\udcff": [1.5, float("nan"), float("inf"), "ü", None, (True,)]}
    atomic.write_json(tmp_path / "x.json", data)
    assert atomic.read_json(tmp_path / "x.json") == {"file\udcff": [1.5, None, None, "ü", None, [True]]}
    assert b"NaN" not in (tmp_path / "x.json").read_bytes()


@pytest.mark.parametrize("broken", [b"", b'{"a":', b"\x00\x01", b"[1] 2"])
def test_a_broken_file_is_named(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / "plan.json").write_bytes(broken)
    with pytest.raises(StoreError, match=r"plan\.json.*not valid JSON"):
        atomic.read_json(tmp_path / "plan.json")
    with pytest.raises(StoreError, match="not there"):
        atomic.read_json(tmp_path / "missing.json")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="uses SIGKILL")
def test_killed_by_the_system_at_random_instants(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); from test_atomic import NEW, OLD, put\n"
        "put(Path(sys.argv[2]), OLD); print('go', flush=True)\n"
        "while True: put(Path(sys.argv[2]), NEW); put(Path(sys.argv[2]), OLD)"
    )
    for delay in range(15):
        target = tmp_path / str(delay) / "bundle"
        target.parent.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(Path(__file__).parent), str(target)], stdout=subprocess.PIPE
        )
        assert process.stdout and process.stdout.readline() == b"go\n"
        try:
            process.wait(timeout=0.003 * delay)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        assert atomic.read_folder(target, content) in (OLD, NEW)
        assert names(target.parent) == ["bundle"]
