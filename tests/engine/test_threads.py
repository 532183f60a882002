"""How many threads are used beside other programs."""

from collections.abc import Callable, Iterator

import pytest
import torch

from headstart.engine import threads
from headstart.engine.threads import Timing


@pytest.fixture(autouse=True)
def given_back() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


Machine = Callable[[Callable[[], object]], Timing]


def machine(seconds: dict[int, float], processors: dict[int, float], asked: list[int]) -> Machine:
    """One on which work with so many threads takes so long and gets so many processors."""

    def measure(_work: Callable[[], object]) -> Timing:
        count = torch.get_num_threads()
        asked.append(count)
        return Timing(count, seconds[count], processors[count])

    return measure


@pytest.mark.parametrize(
    ("seconds", "processors", "asked", "best"),
    [
        ({2: 1.0}, {2: 1.99}, [2], 2),  # idle
        ({2: 4.0, 1: 1.8}, {2: 1.1, 1: 1.0}, [2, 1], 1),  # one of two kept busy
        ({2: 3.0, 1: 2.9}, {2: 1.0, 1: 0.7}, [2, 1], 2),  # both kept busy: no gain worth a change
        ({8: 4.0, 7: 1.2, 4: 2.0}, {8: 4.6, 7: 7.0, 4: 4.0}, [8, 7, 4], 7),
        ({8: 4.0, 7: 3.9, 2: 2.0}, {8: 2.1, 7: 2.1, 2: 2.0}, [8, 7, 2], 2),
        ({1: 1.0}, {1: 0.3}, [1], 1),
        ({2: 4.0, 1: 1.0}, {2: 0.4, 1: 0.4}, [2, 1], 1),
    ],
)
def test_fewer_threads_where_others_leave_no_room(
    seconds: dict[int, float], processors: dict[int, float], asked: list[int], best: int
) -> None:
    tried: list[int] = []
    torch.set_num_threads(max(seconds))
    assert threads.fastest(lambda: None, machine(seconds, processors, tried)).threads == best
    assert tried == asked
    assert torch.get_num_threads() == max(seconds)


def test_the_threads_come_back_after_an_error() -> None:
    torch.set_num_threads(2)

    def measure(_work: Callable[[], object]) -> Timing:
        if torch.get_num_threads() == 1:
            raise ZeroDivisionError
        return Timing(2, 1.0, 1.0)

    with pytest.raises(ZeroDivisionError):
        threads.fastest(lambda: None, measure)
    assert torch.get_num_threads() == 2


def test_timing_runs_the_work_and_takes_medians() -> None:
    calls: list[int] = []
    torch.set_num_threads(1)
    found = threads.timed(lambda: calls.append(1), runs=5)
    assert len(calls) == 5
    assert found.threads == 1
    assert found.seconds >= 0.0


def test_a_run_has_the_threads_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads.of_a_run() == 3
    threads.use(3)
    threads.use(0)
    assert torch.get_num_threads() == 3
