"""The gatherer: who shares a batch, and what is left of one that fails. Threads meet at events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import Unusable
from providers.hf.batch import OutOfMemory
from providers.hf.engine import SLACK, Gatherer

LONG = 60.0  # s: a wait that only company ends


@dataclass(eq=False)
class Job:
    name: int = 0
    size: int = 0
    kind: str = "any"
    shape: str = "any"
    gone: bool = False
    error: Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def over(self) -> bool:
        return self.gone or self.done.is_set()

    def fail(self, error: Exception) -> None:
        self.error = error
        self.done.set()


@dataclass
class Device:
    """Answers jobs, remembers its batches, and fails as `trouble` says of a batch."""

    trouble: Callable[[Sequence[Job]], Exception | None] = lambda jobs: None
    batches: list[list[int]] = field(default_factory=list)
    busy: threading.Event = field(default_factory=threading.Event)
    free: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.free.set()

    def run(self, jobs: Sequence[Job]) -> None:
        self.busy.set()
        assert self.free.wait(LONG)
        self.batches.append([job.name for job in jobs])
        if error := self.trouble(jobs):
            raise error
        for job in jobs:
            job.done.set()


def finish(jobs: Sequence[Job]) -> None:
    for job in jobs:
        assert job.done.wait(LONG)


def queue_behind_a_batch(device: Device, gatherer: Gatherer, jobs: Sequence[Job]) -> None:
    """All jobs wait while one other job runs; then they go."""
    device.free.clear()
    first = Job(-1, kind="first")
    gatherer.put(first)
    assert device.busy.wait(LONG)
    for job in jobs:
        gatherer.put(job)
    device.free.set()
    finish([first, *jobs])


def test_those_who_come_within_the_wait_share_a_batch():
    device = Device()
    gatherer = Gatherer(device.run, most=3, wait=LONG)
    jobs = [Job(name) for name in range(3)]
    for job in jobs:
        gatherer.put(job)
    finish(jobs)
    assert device.batches == [[0, 1, 2]]


def test_an_idle_device_does_not_wait_for_ever():
    device = Device()
    gatherer = Gatherer(device.run, most=3, wait=0.001)
    gatherer.put(job := Job())
    finish([job])
    assert device.batches == [[0]]


def test_what_comes_while_a_batch_runs_is_taken_together():
    device = Device()
    queue_behind_a_batch(device, Gatherer(device.run, most=8, wait=0), [Job(name) for name in range(5)])
    assert device.batches == [[-1], [0, 1, 2, 3, 4]]


def test_a_lone_asker_is_not_made_to_wait_again():
    device = Device()
    gatherer = Gatherer(device.run, most=8, wait=0.001)
    gatherer.put(first := Job(0))
    finish([first])
    gatherer._wait = LONG  # from here on a wait would end the test by its deadline
    for name in (1, 2):
        gatherer.put(job := Job(name))
        finish([job])
    assert device.batches == [[0], [1], [2]]


def test_one_who_is_announced_is_waited_for():
    device = Device()
    gatherer = Gatherer(device.run, most=3, wait=LONG)
    gatherer._expected = 1
    with gatherer.announced():
        gatherer.put(first := Job(0))
        gatherer.put(second := Job(1))
    finish([first, second])
    assert device.batches == [[0, 1]]


def test_one_who_is_announced_and_does_not_come_is_not_missed():
    device = Device()
    gatherer = Gatherer(device.run, most=3, wait=0.001)
    with gatherer.announced():
        gatherer.put(job := Job(0))
        finish([job])  # within the block: nobody is waited for that long
    assert device.batches == [[0]]


def test_the_oldest_goes_with_those_nearest_to_it_in_size():
    device = Device()
    jobs = [Job(0, 1000), Job(1, 100), Job(2, 1010), Job(3, 1500), Job(4, 990), Job(5, 3000 + SLACK + 1)]
    queue_behind_a_batch(device, Gatherer(device.run, most=3, wait=0), jobs)
    assert device.batches == [[-1], [0, 2, 4], [1], [3], [5]]


def test_kinds_never_mix():
    device = Device()
    jobs = [Job(0, kind="text"), Job(1, kind="image"), Job(2, kind="text")]
    queue_behind_a_batch(device, Gatherer(device.run, most=8, wait=0), jobs)
    assert device.batches == [[-1], [0, 2], [1]]


def test_memory_that_is_full_halves_the_batch_and_is_remembered():
    device = Device(lambda jobs: OutOfMemory() if len(jobs) > 3 else None)
    said: list[str] = []
    gatherer = Gatherer(device.run, most=10, wait=0, say=said.append)
    queue_behind_a_batch(device, gatherer, jobs := [Job(name) for name in range(10)])
    assert not any(job.error for job in jobs)
    # 10 and 5 did not fit; who waited longest still goes first.
    assert [len(batch) for batch in device.batches[1:]] == [10, 5, 2, 2, 2, 2, 2]
    assert device.batches[3] == [0, 1]
    assert gatherer.most == 2
    assert said == [
        "A batch of 10 did not fit into memory: from now on at most 5 at once.",
        "A batch of 5 did not fit into memory: from now on at most 2 at once.",
    ]


def test_one_that_does_not_fit_alone_fails_and_the_others_go_on():
    device = Device(lambda jobs: OutOfMemory("too large") if 1 in [job.name for job in jobs] else None)
    queue_behind_a_batch(
        device, Gatherer(device.run, most=3, wait=0), jobs := [Job(name) for name in range(3)]
    )
    assert [str(job.error) for job in jobs] == ["None", "too large", "None"]


def test_only_the_one_at_fault_fails():
    device = Device(lambda jobs: ValueError("odd") if any(job.size == 7 for job in jobs) else None)
    jobs = [Job(0), Job(1, 7), Job(2)]
    queue_behind_a_batch(device, Gatherer(device.run, most=8, wait=0), jobs)
    assert [str(job.error) for job in jobs] == ["None", "odd", "None"]
    assert device.batches == [[-1], [0, 2, 1], [0], [2], [1]]


def test_an_answer_that_was_given_before_the_fault_stays():
    def run(jobs: Sequence[Job]) -> None:
        if len(jobs) > 1:
            jobs[0].done.set()
            raise ValueError
        counted.append(jobs[0].name)
        jobs[0].done.set()

    counted: list[int] = []
    gatherer = Gatherer(run, most=2, wait=LONG)
    jobs = [Job(0), Job(1)]
    for job in jobs:
        gatherer.put(job)
    finish(jobs)
    assert counted == [1]


def test_a_model_that_takes_no_mixed_shapes_is_not_asked_twice():
    device = Device(lambda jobs: ValueError() if len({job.shape for job in jobs}) > 1 else None)
    gatherer = Gatherer(device.run, most=8, wait=0)
    for _ in range(2):
        jobs = [Job(0, shape="wide"), Job(1, shape="high"), Job(2, shape="wide")]
        queue_behind_a_batch(device, gatherer, jobs)
        assert not any(job.error for job in jobs)
    assert device.batches == [[-1], [0, 1, 2], [0], [1], [2], [-1], [0, 2], [1]]


def test_nobody_waits_for_a_job_without_an_asker():
    device = Device()
    gone = Job(1, gone=True)
    gatherer = Gatherer(device.run, most=8, wait=0)
    device.free.clear()
    gatherer.put(first := Job(0))
    assert device.busy.wait(LONG)
    for job in (gone, last := Job(2)):
        gatherer.put(job)
    device.free.set()
    finish([first, last])
    assert device.batches == [[0], [2]]


def test_calls_are_made_by_the_owner():
    device = Device()
    gatherer = Gatherer(device.run, most=1)
    assert gatherer.call(threading.current_thread).result(LONG).name == "device-owner"
    with pytest.raises(ZeroDivisionError):
        gatherer.call(lambda: 1 / 0).result(LONG)


def test_closing_ends_what_runs_fails_what_waits_and_does_the_last_work():
    def run(jobs: Sequence[Job]) -> None:
        device.busy.set()
        while not gatherer.closing:
            device.free.wait(0.001)

    device = Device()
    gatherer = Gatherer(run, most=1, wait=0)
    device.free.clear()
    jobs = [Job(0), Job(1)]
    for job in jobs:
        gatherer.put(job)
    assert device.busy.wait(LONG)
    done: list[str] = []
    gatherer.close(lambda: done.append(threading.current_thread().name)).result(LONG)
    gatherer._thread.join(LONG)
    assert not gatherer._thread.is_alive()
    assert done == ["device-owner"]
    gatherer.put(late := Job(2))
    assert {str(job.error) for job in (*jobs, late)} == {"The model was closed."}
    with pytest.raises(Unusable, match="closed"):
        gatherer.call(lambda: None)
    assert gatherer.close().result(LONG) is None


def test_a_job_that_the_device_forgot_fails():
    gatherer = Gatherer(lambda jobs: None, most=1)
    gatherer.put(job := Job())
    finish([job])
    assert str(job.error) == "The model gave no answer."


@given(
    sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=30),
    most=st.integers(1, 12),
    room=st.integers(1, 12),
)
def test_every_job_is_answered_once_whatever_fits(sizes, most, room):
    device = Device(lambda jobs: OutOfMemory() if len(jobs) > room else None)
    answered: list[int] = []

    def run(jobs: Sequence[Job]) -> None:
        device.run(jobs)
        answered.extend(job.name for job in jobs)

    gatherer = Gatherer(run, most=most, wait=0)
    jobs = [Job(name, size) for name, size in enumerate(sizes)]
    for job in jobs:
        gatherer.put(job)
    finish(jobs)
    gatherer.close().result(LONG)
    assert sorted(answered) == list(range(len(sizes)))
    assert max(map(len, device.batches)) <= most
