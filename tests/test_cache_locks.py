"""One holder per key: among tasks, threads, instances and processes, whoever is cancelled or killed."""

import asyncio
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from cache import CacheError, KeyLocks, digest
from cache.locks import LONGEST_WAIT, _offset

ROOT = Path(__file__).parents[1]
KEY = digest("asked")


@contextmanager
def python(source, *args):
    """A real second process; it is killed at the end of the block if it still runs."""
    command = [sys.executable, "-c", source, *map(str, args)]
    with subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


HOLDER = """
import asyncio, sys
from pathlib import Path
from cache import KeyLocks

async def main():
    async with KeyLocks(Path(sys.argv[1])).hold(sys.argv[2]):
        print("holding", flush=True)
        sys.stdin.readline()
    print("left", flush=True)
    sys.stdin.readline()

asyncio.run(main())
"""

PROBE = """
import asyncio, sys
from pathlib import Path
from cache import KeyLocks

class Waited(Exception):
    pass

async def refuse(seconds):
    raise Waited

async def main():
    try:
        async with KeyLocks(Path(sys.argv[1]), sleep=refuse).hold(sys.argv[2]):
            print("free")
    except Waited:
        print("taken")

asyncio.run(main())
"""


def seen_from_outside(directory, key=KEY):
    return subprocess.run(
        [sys.executable, "-c", PROBE, directory, key], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


async def turns(count=5):
    """Let every task that can run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_one_task_at_a_time_and_in_order(tmp_path):
    inside, order = [], []

    async def worker(locks, number):
        async with locks.hold(KEY):
            inside.append(number)
            assert inside == [number]
            await turns()
            order.append(inside.pop())

    async def main():
        with KeyLocks(tmp_path) as locks:
            await asyncio.gather(*(worker(locks, number) for number in range(20)))
            assert len(locks._file.queues) == 0

    asyncio.run(main())
    assert order == list(range(20))


def test_different_keys_do_not_wait_and_leave_nothing_behind(tmp_path):
    async def worker(locks, number, barrier):
        async with locks.hold(digest(number)):
            await barrier.wait()

    async def main():
        with KeyLocks(tmp_path) as locks:
            descriptors = len(os.listdir("/dev/fd"))
            barrier = asyncio.Barrier(1001)
            async with asyncio.TaskGroup() as group:
                for number in range(1000):
                    group.create_task(worker(locks, number, barrier))
                await turns()
                assert len(locks._file.queues) == 1000
                assert len(os.listdir("/dev/fd")) == descriptors
                await barrier.wait()
            assert len(locks._file.queues) == 0

    asyncio.run(main())


def test_offsets_fit_a_file_offset():
    offsets = {_offset(digest(number)) for number in range(1000)}
    assert len(offsets) == 1000
    assert all(0 <= offset < 2**62 for offset in offsets)


@pytest.mark.parametrize("moment", ["waiting", "granted"])
def test_a_cancelled_waiter_is_passed_over(tmp_path, moment):
    entered = []

    async def worker(locks, name, leave):
        async with locks.hold(KEY):
            entered.append(name)
            await leave.wait()

    async def main():
        with KeyLocks(tmp_path) as locks:
            leave = asyncio.Event()
            first, second, third = (
                asyncio.create_task(worker(locks, name, leave)) for name in ("first", "second", "third")
            )
            await turns()
            if moment == "granted":
                leave.set()
                await first  # `second` has been handed the key by now, and has not run
            second.cancel()
            leave.set()
            results = await asyncio.gather(first, second, third, return_exceptions=True)
            assert isinstance(results[1], asyncio.CancelledError)
            assert len(locks._file.queues) == 0

    asyncio.run(main())
    assert entered == (["first", "third"])


def test_a_holder_that_is_cancelled_or_fails_lets_go(tmp_path):
    async def worker(locks, error):
        async with locks.hold(KEY):
            if error:
                raise error
            await asyncio.Event().wait()

    async def main():
        with KeyLocks(tmp_path) as locks:
            holder = asyncio.create_task(worker(locks, None))
            await turns()
            holder.cancel()
            with pytest.raises(ZeroDivisionError):
                await worker(locks, ZeroDivisionError())
            async with locks.hold(KEY):
                assert holder.cancelled()
            assert len(locks._file.queues) == 0

    asyncio.run(main())


def test_instances_of_one_directory_share_its_keys(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)

    async def main():
        first, second = KeyLocks(real), KeyLocks(link)
        async with first.hold(KEY):
            waiter = asyncio.create_task(anext(aiter_hold(second)))
            await turns()
            assert not waiter.done()
            # Closing a descriptor of the file would drop the lock that `first` holds.
            KeyLocks(real).close()
            assert seen_from_outside(real) == "taken"
        await waiter
        first.close()
        second.close()
        with pytest.raises(CacheError, match="closed"):
            async with first.hold(KEY):
                pass

    async def aiter_hold(locks):
        async with locks.hold(KEY):
            pass
        yield

    asyncio.run(main())
    assert seen_from_outside(real) == "free"


def test_closing_waits_for_the_holders(tmp_path):
    async def main():
        locks = KeyLocks(tmp_path)
        descriptors = len(os.listdir("/dev/fd"))
        async with locks.hold(KEY):
            locks.close()
            assert seen_from_outside(tmp_path) == "taken"
        assert len(os.listdir("/dev/fd")) == descriptors - 1
        locks.close()

    asyncio.run(main())


def test_event_loops_in_several_threads(tmp_path):
    inside, entered = [], []
    together = threading.Barrier(4)

    async def worker(locks):
        async with locks.hold(KEY):
            inside.append(threading.get_ident())
            assert len(inside) == 1
            await turns()
            entered.append(inside.pop())

    async def main():
        together.wait()
        with KeyLocks(tmp_path) as locks:
            await asyncio.gather(*(worker(locks) for _ in range(25)))

    threads = [threading.Thread(target=asyncio.run, args=(main(),), daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == 100
    assert len(set(entered)) == 4


def test_a_waiter_whose_event_loop_died_blocks_nobody(tmp_path):
    locks = KeyLocks(tmp_path)

    async def enter():
        async with locks.hold(KEY):
            pass

    async def main():
        other = asyncio.new_event_loop()
        async with locks.hold(KEY):
            waiter = enter()  # stepped by hand, as a loop would that is closed before its turn comes

            async def queue():
                waiter.send(None)

            thread = threading.Thread(target=other.run_until_complete, args=(queue(),))
            thread.start()
            thread.join()
            other.close()
            assert len(locks._file.queues) == 1
        async with asyncio.timeout(5):
            await enter()
        waiter.close()
        assert len(locks._file.queues) == 0

    asyncio.run(main())
    locks.close()


def test_waits_for_another_process_with_growing_intervals_until_it_is_killed(tmp_path):
    waited = []

    async def main(holder):
        async def sleep(seconds):
            waited.append(seconds)
            if len(waited) == 12:
                holder.kill()
                holder.wait()

        with KeyLocks(tmp_path, sleep=sleep) as locks:
            async with locks.hold(digest("another")):
                assert not waited
            async with locks.hold(KEY):
                assert holder.returncode == -9

    with python(HOLDER, tmp_path, KEY) as holder:
        assert holder.stdout.readline() == "holding\n"
        asyncio.run(main(holder))
    assert waited[0] == 0.02
    assert waited == sorted(waited)
    assert waited[-1] == LONGEST_WAIT
    assert len(waited) == 12


def test_cancelled_while_another_process_holds_the_key(tmp_path):
    async def main(holder):
        polling = asyncio.Event()

        async def sleep(_):
            polling.set()
            await asyncio.sleep(0)

        async def enter(locks):
            async with locks.hold(KEY):
                return "entered"

        with KeyLocks(tmp_path, sleep=sleep) as locks:
            first, second = asyncio.create_task(enter(locks)), asyncio.create_task(enter(locks))
            await polling.wait()
            first.cancel()
            await turns()
            assert first.cancelled()
            holder.stdin.write("\n")
            holder.stdin.flush()
            assert await second == "entered"
            assert len(locks._file.queues) == 0

    with python(HOLDER, tmp_path, KEY) as holder:
        assert holder.stdout.readline() == "holding\n"
        asyncio.run(main(holder))
        assert holder.stdout.readline() == "left\n"


CONTENDER = """
import asyncio, sys, time
from pathlib import Path
from cache import KeyLocks

async def main():
    with KeyLocks(Path(sys.argv[1]), sleep=lambda _: asyncio.sleep(0.001)) as locks:
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(20):
            async with locks.hold(sys.argv[2]):
                entered = time.monotonic_ns()
                await asyncio.sleep(0.001)
                print(entered, time.monotonic_ns(), flush=True)

asyncio.run(main())
"""


def test_processes_are_never_inside_together(tmp_path):
    with python(CONTENDER, tmp_path, KEY) as one, python(CONTENDER, tmp_path, KEY) as other:
        for process in (one, other):
            assert process.stdout.readline() == "ready\n"
        for process in (one, other):
            process.stdin.write("\n")
            process.stdin.flush()
        stays = [tuple(map(int, line.split())) for process in (one, other) for line in process.stdout]
    assert len(stays) == 40
    stays.sort()
    assert all(left < entered for (_, left), (entered, _) in pairwise(stays))


FORK = """
import asyncio, os, sys
from pathlib import Path
from cache import KeyLocks

locks = KeyLocks(Path(sys.argv[1]))

class Waited(Exception):
    pass

async def refuse(seconds):
    raise Waited

async def in_child():
    locks._sleep = refuse
    try:
        async with locks.hold(sys.argv[2]):
            return 1
    except Waited:
        pass
    async with locks.hold("another"):
        return 0 if len(locks._file.queues) == 1 else 2

async def main():
    async with locks.hold(sys.argv[2]):
        child = os.fork()
        if child == 0:
            asyncio.events._set_running_loop(None)
            os._exit(asyncio.new_event_loop().run_until_complete(in_child()))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        sys.stdin.readline()

asyncio.run(main())
"""


def test_a_forked_child_holds_nothing_and_takes_nothing(tmp_path):
    with python(FORK, tmp_path, KEY) as parent:
        assert parent.stdout.readline() == "0\n"
        assert seen_from_outside(tmp_path) == "taken"


@pytest.mark.parametrize("below", ["", "below"])
def test_a_directory_that_is_none(tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"file.* cannot be used: .*[Nn]ot a directory"):
        KeyLocks(tmp_path / "file" / below)
