"""Answers under digests: durable, shared, and never more than JSON whatever the file says."""

import asyncio
import os
import pickle
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import diskcache
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import MISS, CacheError, CorruptEntry, Entry, Stats, Store, canonical, digest
from cache.disk import MAX_VALUE, MODE_JSON, SETTINGS, BadKey

ROOT = Path(__file__).parents[1]
ASKED = {"model": "m", "messages": ["look"]}
ANSWER = {"text": "a dog", "cost": 0.5}
KEY = digest(ASKED)


def fill(store, *requests):
    async def main():
        await asyncio.gather(*(store.put(digest(asked), asked, ANSWER) for asked in requests))

    asyncio.run(main())


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "cache", clock=lambda: 1.5) as store:
        fill(store, ASKED)
        yield store


@contextmanager
def database(store_or_directory):
    directory = getattr(store_or_directory, "_directory", store_or_directory)
    with closing(sqlite3.connect(directory / "cache.db", isolation_level=None)) as connection:
        yield connection


def plant(store, **columns):
    """Change the row of `KEY` behind the store's back."""
    with database(store) as connection:
        for column, value in columns.items():
            connection.execute(f"UPDATE Cache SET {column} = ? WHERE rowid = 1", (value,))


def packed(value):
    return zlib.compress(canonical(value))


def test_what_was_put_is_got(store):
    assert store.get(KEY) == Entry(ASKED, ANSWER, 1.5)
    assert store.get(digest("another")) is MISS


def test_a_second_put_replaces_the_first(store):
    asyncio.run(store.put(KEY, ASKED, "another"))
    assert store.get(KEY).answer == "another"
    assert store.stats().entries == 1


def test_answers_outlive_the_store(tmp_path):
    with Store(tmp_path) as store:
        fill(store, ASKED, "two")
    with Store(tmp_path) as store:
        assert store.get(KEY).answer == ANSWER
        assert dict(store.entries()).keys() == {KEY, digest("two")}
        assert store.check() == []


def test_any_json_value_comes_back_exactly(tmp_path):
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    leaves |= st.text(st.characters(codec=None))
    values = st.recursive(
        leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
    )

    with Store(tmp_path) as store, asyncio.Runner() as runner:

        @given(values)
        def comes_back(value):
            runner.run(store.put(digest(value), value, [value]))
            entry = store.get(digest(value))
            assert canonical(entry.asked) == canonical(value)
            assert canonical(entry.answer) == canonical([value])

        comes_back()


def test_it_is_private(tmp_path):
    with Store(tmp_path / "a" / "cache") as store:
        fill(store, ASKED)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "a" / "cache").iterdir()}
        assert modes.keys() == {"cache.db", "cache.db-wal", "cache.db-shm"}
        assert set(modes.values()) == {0o600}
        assert (tmp_path / "a" / "cache").stat().st_mode & 0o777 == 0o700


def test_stats(store):
    clock = iter([3.0, 2.0])
    store._clock = lambda: next(clock)
    fill(store, "two", "three")
    stats = store.stats()
    assert stats == Stats(entries=3, bytes=stats.bytes, oldest=1.5, newest=3.0)
    assert stats.bytes == sum(path.stat().st_size for path in store._directory.iterdir())


def test_stats_of_nothing(tmp_path):
    with Store(tmp_path) as store:
        stats = store.stats()
    assert (stats.entries, stats.oldest, stats.newest) == (0, None, None)


def test_entries_skip_none(store):
    many = [f"request {number}" for number in range(1500)]
    with database(store) as connection:
        rows = [(digest(asked), MODE_JSON, packed({"asked": asked, "answer": 0})) for asked in many]
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO Cache(rowid, key, raw, tag, mode, value)"
            " VALUES (1000 + abs(random() >> 4), ?, 1, 2.5, ?, ?)",
            rows,
        )
        connection.execute("COMMIT")
    found = list(store.entries())
    assert len(found) == store.stats().entries == 1501
    assert {key for key, _ in found} == {KEY} | {digest(asked) for asked in many}


def test_a_row_that_none_can_follow_stops_an_iteration_and_nothing_else(store):
    with database(store) as connection:
        connection.execute("UPDATE Cache SET rowid = ?", (2**63 - 1,))
    for action in (store.stats, store.check, lambda: list(store.entries())):
        with pytest.raises(CacheError, match="cannot be used: Python int too large"):
            action()
    assert store.get(KEY).answer == ANSWER
    fill(store, "two")
    assert store.get(digest("two")).answer == ANSWER
    assert store.clear() == 2


def test_iterating_holds_one_entry_at_a_time(store):
    fill(store, *("x" * 100_000 + str(number) for number in range(200)))
    tracemalloc.start()
    for _, entry in store.entries():
        del entry
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000_000


# A row as the versions before wrote it, with their own SQL: `store_time` was that of the answer.
OLD_ROW = """
    INSERT INTO Cache(key, raw, store_time, access_time, tag, mode, value)
    VALUES (?, 1, 2.5, 2.5, 2.5, 74, ?)
"""


@pytest.mark.parametrize("level", [0, 1])
def test_a_row_of_an_older_version_is_hit(store, level):
    payload = b'{"answer":{"text":"old"},"asked":"old"}'
    with database(store) as connection:
        connection.execute("UPDATE Settings SET value = 8192 WHERE key = 'sqlite_cache_size'")
        connection.execute(OLD_ROW, (digest("old"), zlib.compress(payload, level)))
    with Store(store._directory) as again:
        assert again.get(digest("old")) == Entry("old", {"text": "old"}, 2.5)
        assert again.answer(digest("old"), canonical("old")) == {"text": "old"}
        assert again.check() == []
        assert [entry.stored for _, entry in again.entries()] == [1.5, 2.5]
        asyncio.run(again.put(digest("old"), "old", "new"))
        assert again.get(digest("old")) == Entry("old", "new", again.get(digest("old")).stored)
        assert again.clear() == 2


def test_a_row_has_the_bytes_that_older_versions_read(store):
    with database(store) as connection:
        row = connection.execute(
            "SELECT key, raw, tag, mode, filename, expire_time, size, value FROM Cache"
        ).fetchone()
    payload = b'{"answer":%b,"asked":%b}' % (canonical(ANSWER), canonical(ASKED))
    assert row == (KEY, 1, 1.5, 74, None, None, 0, zlib.compress(payload, 0))


def test_clear(store):
    fill(store, "two", "three")
    assert store.clear(lambda entry: entry.asked == "two") == 1
    assert {entry.asked if isinstance(entry.asked, str) else "" for _, entry in store.entries()} == {
        "",
        "three",
    }
    assert store.clear() == 2
    assert store.get(KEY) is MISS
    assert store.clear() == 0


@pytest.mark.parametrize("key", ["", "é", "\ud800", "k" * 129, b"bytes", 1, None])
def test_keys_are_ascii(store, key):
    with pytest.raises(CacheError, match="a cache key is"):
        store.get(key)
    with pytest.raises(CacheError, match="a cache key is"):
        asyncio.run(store.put(key, ASKED, ANSWER))


def test_what_cannot_be_kept_is_refused_alone(store):
    async def main():
        return await asyncio.gather(
            store.put(KEY, ASKED, float("nan")),
            store.put(digest("long"), "long", "x" * MAX_VALUE),
            store.put(digest("two"), "two", ANSWER),
            return_exceptions=True,
        )

    nan, long, fine = asyncio.run(main())
    assert "not JSON" in str(nan)
    assert "the cache keeps up to" in str(long)
    assert fine is None
    assert store.get(KEY).answer == ANSWER
    assert store.get(digest("two")).answer == ANSWER


def test_what_just_fits_comes_back(tmp_path):
    with Store(tmp_path) as store:
        answer = "x" * (MAX_VALUE - len(canonical({"asked": 1, "answer": ""})))
        asyncio.run(store.put(KEY, 1, answer))
        assert store.get(KEY).answer == answer


# What somebody may have planted.


class Evil:
    """Unpickling one makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def evil_value(store, bomb):
    plant(store, mode=diskcache.core.MODE_PICKLE, value=bomb)


def evil_file(store, bomb):
    (store._directory / "bomb.val").write_bytes(bomb)
    plant(store, mode=diskcache.core.MODE_PICKLE, value=None, filename="bomb.val")


def evil_key(store, bomb):
    plant(store, key=bomb, raw=0)


def trigger(directory):
    """What the stock library makes of the planted row."""
    with diskcache.Cache(str(directory)) as cache:
        for key in cache:
            cache.get(key)


@pytest.mark.parametrize("way", [evil_value, evil_file, evil_key])
def test_a_planted_pickle_is_never_loaded(store, tmp_path, way):
    executed = tmp_path / "executed"
    way(store, pickle.dumps(Evil(executed)))
    copy = tmp_path / "copy"
    fill(store, "fine")

    if way is evil_key:
        assert store.get(KEY) is MISS
        assert [type(key) for key in store._index] == [BadKey, str]
    else:
        with pytest.raises(CorruptEntry, match=KEY) as caught:
            store.get(KEY)
        assert caught.value.key == KEY
    refused = []
    assert [entry.asked for _, entry in store.entries(refused.append)] == ["fine"]
    assert len(refused) == 1
    assert store.clear(lambda entry: entry.asked == "nothing of the kind") == 0
    assert store.stats().entries == 2
    with Store(store._directory) as again:
        assert len(again.check()) == 1
    shutil.copytree(store._directory, copy)
    (problem,) = store.check(fix=True)
    assert "key is not text" in problem.reason if way is evil_key else problem.key == KEY
    assert store.check() == []
    assert store.stats().entries == 1
    fill(store, ASKED)
    assert store.get(KEY).answer == ANSWER
    assert not executed.exists()

    trigger(copy)
    assert executed.exists(), "the planted row is harmless: this test proves nothing"


BOMB = zlib.compress(b'"' + b"0" * 20 * MAX_VALUE + b'"')
TOO_LONG = packed({"asked": 1, "answer": "0" * (MAX_VALUE + 1 - len(canonical({"asked": 1, "answer": ""})))})


@pytest.mark.parametrize(
    "columns",
    [
        {"mode": 1},
        {"mode": diskcache.core.MODE_BINARY, "value": None, "filename": "../secret"},
        {"mode": diskcache.core.MODE_TEXT, "value": None, "filename": "/etc/hostname"},
        {"filename": "../secret"},
        {"mode": "74x"},
        {"mode": None},
        {"value": None},
        {"value": 5},
        {"value": "text"},
        {"value": b"not zlib"},
        {"value": packed({"asked": 1, "answer": 2})[:-3]},
        {"value": packed({"asked": 1, "answer": 2}) + b"more"},
        {"value": BOMB},
        {"value": TOO_LONG},
        {"value": zlib.compress(b'{"asked": 1, "answer": NaN}')},
        {"value": zlib.compress(b'{"asked": 1, "answer": ')},
        {"value": zlib.compress(b'{"asked": 1, "answer": "\xff"}')},
        {"value": zlib.compress(b"[" * 1_000_000)},
        {"value": packed([1, 2])},
        {"value": packed({"asked": 1})},
        {"value": packed({"asked": 1, "answer": 2, "more": 3})},
        {"tag": None},
        {"tag": "yesterday"},
        {"tag": 1},
        {"raw": 1, "tag": b"1.5"},
    ],
    ids=lambda columns: "-".join(f"{name}={value!r:.20}" for name, value in columns.items()),
)
def test_a_row_of_another_kind_is_corrupt(store, tmp_path, columns):
    (tmp_path / "secret").write_text('{"asked": 1, "answer": 2}')
    plant(store, **columns)
    with pytest.raises(CorruptEntry, match=KEY):
        store.get(KEY)
    assert list(store.entries()) == []
    assert [problem.key for problem in store.check()] == [KEY]
    fill(store, ASKED)  # asking again mends it
    assert store.get(KEY).answer == ANSWER
    assert store.check() == []
    assert (tmp_path / "secret").exists(), "a planted file name removed somebody's file"


@pytest.mark.parametrize("column", ["filename", "tag", "value"])
def test_text_that_is_not_utf8_is_corrupt(store, column):
    with database(store) as connection:
        connection.execute(f"UPDATE Cache SET {column} = CAST(x'ff' AS TEXT)")
    with pytest.raises(CorruptEntry, match=KEY):
        store.get(KEY)
    assert len(store.check()) == 1


@pytest.mark.parametrize("key", [7, 7.5, b"blob", b"\xff", "", "k" * 129, "é"])
def test_keys_of_another_kind_are_found_and_hide_nothing(store, key):
    fill(store, "two")
    plant(store, key=key)
    assert [entry.asked for _, entry in store.entries()] == ["two"]
    assert len(store.check(fix=True)) == 1
    assert store.stats().entries == 1
    assert store.check() == []


@pytest.mark.parametrize("columns", [{"key": None}, {"raw": None}])
def test_a_row_without_a_key_goes_when_all_goes(store, columns):
    fill(store, "two")
    plant(store, **columns)
    assert [entry.asked for _, entry in store.entries()] == ["two"]
    (problem,) = store.check(fix=True)
    assert "only when the whole cache is cleared" in problem.reason
    assert [left.reason for left in store.check()] == [problem.reason]
    assert store.clear() == 2
    assert store.check() == []


def test_a_key_that_is_not_utf8_is_said_and_no_other_is_lost(store):
    fill(store, "two")
    with database(store) as connection:
        connection.execute("UPDATE Cache SET key = CAST(x'ff61' AS TEXT) WHERE rowid = 1")
    for action in (store.stats, store.check, lambda: list(store.entries())):
        with pytest.raises(CacheError, match="cannot be used: Could not decode to UTF-8"):
            action()
    assert store.get(digest("two")).answer == ANSWER
    fill(store, ASKED)
    assert store.get(KEY).answer == ANSWER
    assert store.clear() == 3


def test_a_row_that_is_said_to_have_expired_is_a_miss(store):
    plant(store, expire_time=1)
    assert store.get(KEY) is MISS
    assert (list(store.entries()), store.check(fix=True), store.stats().entries) == ([], [], 0)
    fill(store, ASKED)
    assert store.get(KEY).answer == ANSWER


def test_an_answer_under_a_foreign_key_is_found(store):
    asyncio.run(store.put(digest("question"), "another question", ANSWER))
    (problem,) = store.check(fix=True)
    assert problem.key == digest("question")
    assert "not the digest" in problem.reason
    assert store.check() == []
    assert store.get(KEY).answer == ANSWER


def test_fix_spares_what_was_mended_meanwhile(store, monkeypatch):
    plant(store, mode=4)
    transact = store._index.transact

    def after_another_process():
        with Store(store._directory, clock=lambda: 1.5) as another:
            fill(another, ASKED)
        return transact()

    monkeypatch.setattr(store._index, "transact", after_another_process)
    assert len(store.check(fix=True)) == 1
    assert store.get(KEY).answer == ANSWER


def test_planted_settings_do_nothing(tmp_path):
    directory, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with Store(directory) as store:
        fill(store, ASKED)
    planted = {
        "_directory": str(elsewhere),
        "disk__directory": str(elsewhere),
        "disk_fetch": "x",
        "get": 1,
        "sqlite_user_version": 7,
        "sqlite_writable_schema": 1,
        "sqlite_synchronous": "0; DROP TABLE Cache",
        "sqlite_mmap_size": 2**26,
        "eviction_policy": "least-recently-used",
        "cull_limit": 10,
        "statistics": 1,
    }

    def plant_settings():
        with database(directory) as connection:
            connection.executemany("INSERT OR REPLACE INTO Settings VALUES (?, ?)", planted.items())

    def shown(store):
        names = [
            "user_version",
            "writable_schema",
            "synchronous",
            "mmap_size",
            "cache_size",
            "trusted_schema",
        ]
        return [store._index._sql(f"PRAGMA {name}").fetchone() for name in names]

    plant_settings()
    with Store(directory) as store:
        assert store.get(KEY).answer == ANSWER
        assert store._index.directory == str(directory)
        assert shown(store) == [(0,), (0,), (1,), (0,), (512,), (0,)]
        with database(directory) as connection:
            settings = dict(connection.execute("SELECT key, value FROM Settings"))
        assert settings.items() >= SETTINGS.items()
        plant_settings()  # while it is open: each thread has a connection, which reads them
        fill(store, "two")
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(store.get, KEY).result().answer == ANSWER
            assert pool.submit(shown, store).result() == [(0,), (0,), (1,), (0,), (512,), (0,)]
        assert store.check() == []
        assert {name: getattr(store._index, name) for name in SETTINGS} == SETTINGS
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", [b"sqlite_bytes", b"\xff"])
def test_settings_without_a_name_are_refused(tmp_path, name):
    with Store(tmp_path):
        pass
    with database(tmp_path) as connection:
        connection.execute("INSERT INTO Settings VALUES (?, 1)", (name,))
    with pytest.raises(CacheError, match="tampered"):
        Store(tmp_path)


# Writing.


@contextmanager
def locked(store):
    """Keep every other connection from writing."""
    with database(store) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@pytest.fixture
def batches(store, monkeypatch):
    """How many answers went into each transaction."""
    sizes = []
    commit = store._writer._commit
    monkeypatch.setattr(store._writer, "_commit", lambda batch: (sizes.append(len(batch)), commit(batch))[1])
    return sizes


def test_what_queues_up_is_written_together(store, batches):
    async def main():
        async with asyncio.TaskGroup() as group:
            with locked(store):
                for number in range(100):
                    group.create_task(store.put(digest(number), number, ANSWER))
                await asyncio.sleep(0)

    asyncio.run(main())
    assert sum(batches) == 100
    assert len(batches) <= 3
    assert store.stats().entries == 101


def test_a_cancelled_put_is_written_before_the_cancellation_passes(store):
    async def main():
        with locked(store):
            task = asyncio.create_task(store.put(digest("paid"), "paid", ANSWER))
            for _ in range(3):  # however often it is cancelled
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
            assert store.get(digest("paid")) is MISS
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.get(digest("paid")).answer == ANSWER

    asyncio.run(main())


def test_a_cancelled_put_that_fails_says_so_beneath_the_cancellation(store):
    async def main():
        with locked(store):
            task = asyncio.create_task(store.put(digest("paid"), "paid", ANSWER))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value.__cause__

    with database(store) as connection:
        connection.execute(
            "CREATE TRIGGER no BEFORE INSERT ON Cache BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    assert "no room" in str(asyncio.run(main()))


def test_closing_writes_what_is_queued(tmp_path):
    async def main():
        store = Store(tmp_path)
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(store.put(digest(number), number, ANSWER))
            await asyncio.sleep(0)
            store.close()
        with pytest.raises(CacheError, match="closed"):
            await store.put(KEY, ASKED, ANSWER)
        store.close()

    asyncio.run(main())
    with Store(tmp_path) as store:
        assert store.stats().entries == 10


def test_an_event_loop_that_is_gone_stops_no_writer(store):
    runner = asyncio.Runner()

    with locked(store):
        put = store.put(digest("left"), "left", ANSWER)

        async def start():
            put.send(None)

        runner.run(start())
        runner.close()
    fill(store, "next")
    assert store.get(digest("left")).answer == ANSWER
    put.close()


def test_several_threads_and_event_loops(store):
    def work(thread):
        fill(store, *(f"{thread} {number}" for number in range(50)))
        assert store.get(digest(f"{thread} 0")).answer == ANSWER

    threads = [threading.Thread(target=work, args=(thread,), daemon=True) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.stats().entries == 201
    assert store.check() == []


# Trouble.


def test_a_failed_transaction_fails_every_put_in_it_and_no_later_one(store):
    async def main(limit):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            puts = (store.put(digest(number), number, os.urandom(5000).hex()) for number in range(20))
            return await asyncio.gather(*puts, return_exceptions=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    size = (store._directory / "cache.db-wal").stat().st_size
    errors = asyncio.run(main(size + 1000))
    assert {type(error) for error in errors} == {CacheError}
    assert all(str(store._directory) in str(error) and "disk" in str(error) for error in errors)
    assert len({id(error) for error in errors}) == 20
    assert store.stats().entries == 1
    fill(store, "two")
    assert store.get(digest("two")).answer == ANSWER


def test_a_lock_that_is_never_let_go(store, monkeypatch):
    monkeypatch.setattr("cache.store.BUSY_SECONDS", 0.01)
    with Store(store._directory) as impatient:
        with locked(store), pytest.raises(CacheError, match="database is locked"):
            fill(impatient, "two")
        with locked(store), pytest.raises(CacheError, match="database is locked"):
            impatient.clear()
        fill(impatient, "two")
        assert impatient.stats().entries == 2


def below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "cache"


def a_file(tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file"


def nowhere(tmp_path):
    return Path("/proc/pbclient")


def another_file(tmp_path):
    (tmp_path / "cache.db").write_bytes(b"this is no database " * 100)
    return tmp_path


def a_folder_in_its_place(tmp_path):
    (tmp_path / "cache.db").mkdir()
    return tmp_path


@pytest.mark.parametrize("place", [below_a_file, a_file, nowhere, another_file, a_folder_in_its_place])
def test_a_directory_that_cannot_be_used(tmp_path, place):
    directory = place(tmp_path)
    with pytest.raises(CacheError, match="cannot be used: ") as caught:
        Store(directory)
    assert str(directory) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_named_like_a_variable_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ELSEWHERE", "elsewhere")
    with pytest.raises(CacheError, match="variable"):
        Store(tmp_path / "$ELSEWHERE")
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_is_gone(store):
    with database(store) as connection:
        connection.execute("DROP TABLE Cache")
    for action in (lambda: store.get(KEY), store.stats, store.check, store.clear, lambda: fill(store, "two")):
        with pytest.raises(CacheError, match="no such table"):
            action()


def test_the_reason_is_the_databases_and_not_what_came_before(store):
    with database(store) as connection:
        connection.execute("DROP TABLE Cache")
    try:
        raise ValueError("something else")
    except ValueError:
        with pytest.raises(CacheError, match="no such table"):
            store.get(KEY)


# Other processes.

PUT_AND_WAIT = """
import asyncio, sys
from pathlib import Path
from cache import Store, digest

async def main():
    store = Store(Path(sys.argv[1]))
    await store.put(digest("paid"), "paid", "answer")
    print("stored", flush=True)
    sys.stdin.readline()

asyncio.run(main())
"""

PUT_MANY = """
import asyncio, sys
from pathlib import Path
from cache import Store, digest

async def main():
    sys.stdin.readline()
    with Store(Path(sys.argv[1])) as store:
        for batch in range(5):
            asked = [f"{sys.argv[2]} {batch} {number}" for number in range(20)]
            await asyncio.gather(*(store.put(digest(text), text, text) for text in asked))

asyncio.run(main())
"""

FORK = """
import asyncio, os, sys, warnings
from pathlib import Path
from cache import CacheError, Store, digest

warnings.simplefilter("ignore", DeprecationWarning)  # forking with a thread: the very thing to show
store = Store(Path(sys.argv[1]))
asyncio.run(store.put(digest("paid"), "paid", "answer"))
child = os.fork()
if child == 0:
    assert store.get(digest("paid")).answer == "answer"
    try:
        asyncio.run(store.put(digest("child"), "child", "answer"))
    except CacheError:
        store.close()
        os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
asyncio.run(store.put(digest("parent"), "parent", "answer"))
store.close()
"""


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


def test_kill_after_put_loses_nothing(tmp_path):
    with python(PUT_AND_WAIT, tmp_path) as process:
        assert process.stdout.readline() == "stored\n"
        process.kill()
        process.wait()
    with Store(tmp_path) as store:
        assert store.get(digest("paid")).answer == "answer"
        assert store.check() == []


def test_processes_write_at_once(tmp_path):
    with python(PUT_MANY, tmp_path, "a") as one, python(PUT_MANY, tmp_path, "b") as other:
        for process in (one, other):
            process.stdin.write("\n")
            process.stdin.flush()
        assert (one.wait(), other.wait()) == (0, 0)
    with Store(tmp_path) as store:
        assert store.stats().entries == 200
        assert store.check() == []


def test_a_forked_child_reads_but_must_open_its_own_to_write(tmp_path):
    with python(FORK, tmp_path) as process:
        assert process.stdout.read() == "7\n"
        assert process.wait() == 0
    with Store(tmp_path) as store:
        assert {entry.asked for _, entry in store.entries()} == {"paid", "parent"}


def test_answer_is_the_one_to_what_was_asked(store):
    assert store.answer(KEY, canonical(ASKED)) == ANSWER
    assert store.answer(digest(1), canonical(1)) is MISS


@pytest.mark.parametrize("spelled", [b"", canonical({**ASKED, "model": "n"}), canonical(ASKED)[1:], b"}"])
def test_an_answer_to_something_else_is_corrupt(store, spelled):
    with pytest.raises(CorruptEntry, match="does not answer"):
        store.answer(KEY, spelled)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"answer":,"asked":' + canonical(ASKED) + b"}",
        b'{"answer":1,"more":2,"asked":' + canonical(ASKED) + b"}",
        b'{"answer":NaN,"asked":' + canonical(ASKED) + b"}",
        b'{"asked":' + canonical(ASKED) + b',"answer":1}',
    ],
)
def test_an_answer_that_is_not_one_value_is_corrupt(store, payload):
    plant(store, value=zlib.compress(payload))
    with pytest.raises(CorruptEntry):
        store.answer(KEY, canonical(ASKED))


def test_an_answer_is_broken_wherever_a_bit_of_it_is(store):
    with database(store) as connection:
        (value,) = connection.execute("SELECT value FROM Cache WHERE rowid = 1").fetchone()
    for place in range(2, len(value)):
        plant(store, value=value[:place] + bytes((value[place] ^ 1,)) + value[place + 1 :])
        with pytest.raises(CorruptEntry):
            store.answer(KEY, canonical(ASKED))


def test_large_values_are_squeezed(store):
    for length in (100, 100_000):
        asked = "a" * length
        asyncio.run(store.put(digest(asked), asked, ANSWER))
        assert store.get(digest(asked)).answer == store.answer(digest(asked), canonical(asked)) == ANSWER
    with database(store) as connection:
        assert connection.execute("SELECT max(length(value)) FROM Cache").fetchone()[0] < 1000


@given(
    st.dictionaries(
        st.text(),
        st.text()
        | st.integers(-(2**63), 2**64 - 1)
        | st.none()
        | st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_answers_come_back_by_their_spelling_as_by_their_key(tmp_path_factory, asked):
    with Store(tmp_path_factory.mktemp("cache")) as store:
        answer = {"to": asked}
        asyncio.run(store.keep(digest(asked), canonical(asked), answer))
        assert store.answer(digest(asked), canonical(asked)) == store.get(digest(asked)).answer
        assert store.get(digest(asked)).asked == asked
        assert store.check() == []
