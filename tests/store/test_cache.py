import os
import subprocess
import sys
from pathlib import Path

import pytest

from headstart.errors import UnknownName
from headstart.store import cache
from headstart.store._leftover import beside


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "caches"))
    return tmp_path / "caches"


def entry(kind: str, name: str, size: int, used: float) -> Path:
    path = cache.make(kind) / name
    if name.endswith("/"):
        path.mkdir()
        (path / "data").write_bytes(b"x" * size)
    else:
        path.write_bytes(b"x" * size)
    os.utime(path, (used, used))
    return path


def test_nothing_is_created_until_something_is_written(own_cache: Path) -> None:
    assert cache.usage() == dict.fromkeys(cache.KINDS, 0)
    assert cache.writable("pixels") and cache.clear() == 0 and cache.bound("features", 0) == 0
    assert cache.folder("pixels").is_relative_to(own_cache) and not own_cache.exists()


def test_usage_counts_every_file_once_and_clear_frees_it(own_cache: Path) -> None:
    entry("pixels", "a", 1000, 1e9)
    entry("features", "b/", 300, 1e9)
    (own_cache / "mine.txt").write_text("a file of the user")
    assert cache.usage() == {"pixels": 1000, "features": 300, "engines": 0, "weights": 0}
    assert cache.clear() == 1300
    assert cache.usage() == dict.fromkeys(cache.KINDS, 0) and not cache.folder("pixels").exists()
    assert (own_cache / "mine.txt").exists()


def test_clear_never_meets_folders_of_the_user_that_are_called_like_a_cache(own_cache: Path) -> None:
    (own_cache / "features").mkdir(parents=True)
    (own_cache / "features" / "thesis.txt").write_text("three years of work")
    cache.clear()
    assert (own_cache / "features" / "thesis.txt").exists()


def test_bound_drops_the_least_recently_used_until_it_fits() -> None:
    old, middle, new = (entry("pixels", name, 100, 1e9 + age) for name, age in (("old", 0), ("middle/", 1), ("new", 2)))
    assert cache.bound("pixels", 300) == 0
    cache.touch(old)
    assert cache.bound("pixels", 250) == 100
    assert old.exists() and not middle.exists() and new.exists()
    assert cache.bound("pixels", 0, keep=[new]) == 100
    assert not old.exists() and new.exists()


def test_bound_spares_what_a_living_writer_fills_and_sweeps_what_a_dead_one_left() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    living = beside(cache.make("pixels") / "x", "new")
    dead = Path(str(living).replace(f"-{os.getpid()}-", f"-{process.pid}-"))
    living.write_bytes(b"x" * 50)
    dead.write_bytes(b"x" * 50)
    cache.bound("pixels", 0)
    assert living.exists() and not dead.exists()


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"x" * 99)
    try:
        (cache.make("pixels") / "link").symlink_to(outside, target_is_directory=True)
    except OSError:
        pytest.skip("this system lets nobody make links")
    assert cache.usage()["pixels"] == 0
    cache.clear()
    assert (outside / "file").exists() and not cache.folder("pixels").exists()


def test_a_file_in_the_way_is_not_writable(own_cache: Path) -> None:
    own_cache.parent.mkdir(exist_ok=True)
    own_cache.write_text("a file")
    assert not cache.writable("pixels") and cache.usage()["pixels"] == 0


@pytest.mark.skipif(sys.platform == "win32" or os.environ.get("USER") == "root" or not os.getuid(), reason="root writes anywhere")
def test_a_read_only_place_is_not_writable(own_cache: Path) -> None:
    own_cache.mkdir()
    own_cache.chmod(0o500)
    assert not cache.writable("pixels")


def test_another_kind_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match='"pixels"'):
        cache.folder("pixel")


@pytest.mark.parametrize(
    ("platform", "variable", "value", "end"),
    [
        ("linux", "XDG_CACHE_HOME", "xdg", "xdg/headstart"),
        ("linux", "XDG_CACHE_HOME", "", ".cache/headstart"),
        ("darwin", "XDG_CACHE_HOME", "xdg", "Library/Caches/headstart"),
        ("win32", "LOCALAPPDATA", "local", "local/headstart/Cache"),
        ("win32", "LOCALAPPDATA", "", "AppData/Local/headstart/Cache"),
    ],
)
def test_each_platform_has_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, variable: str, value: str, end: str
) -> None:
    monkeypatch.delenv("HEADSTART_CACHE")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path / value) if value else "")
    assert cache.root() == tmp_path / end
