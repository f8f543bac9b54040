"""Downloads over real HTTP from a hub on this machine: whole or not at all, continued with what lacks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from huggingface_hub import HfApi, close_session, constants, file_download, hf_hub_download
from huggingface_hub.utils import _http
from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter
from loopback_hub import COMMIT, REPOSITORY, Fault, LoopbackHub

from pbclient.benchmark.package import DATA_SETS, STEMS
from pbclient.cli.app import main
from pbclient.data import download as downloads
from pbclient.data.check import check
from pbclient.data.download import STAGING
from pbclient.data.folder import open_data
from pbclient.data.home import RECORD, default_folder, downloaded_folder, recorded
from pbclient.data.hub import digest_of, progress_bar
from pbclient.errors import DataError, InputError

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "hf_fake0f5c7a91e2d34b68"
ROD = "Realistic-Occlusion-Dataset.zip"
ROD_ROWS = "Realistic-Occlusion-Dataset_preprocessed.jsonl"
# Of no data set by its name.
OTHER = "images.zip"


@pytest.fixture(scope="module")
def source(samples, tmp_path_factory) -> Path:
    """The built-in samples as they would be published: rows, and the frames in archives."""
    folder = tmp_path_factory.mktemp("source")
    frames = {"rod": ROD, "qd": "QuickDraw-1.zip", "mvp-n": "MVP-N.zip", "in-c": "ImageNet-C_test.zip"}
    for path in samples.glob("*.jsonl"):
        shutil.copy(path, folder)
    for path in sorted(samples.iterdir()):
        if path.is_dir():
            with zipfile.ZipFile(folder / frames.get(path.name, OTHER), "a") as archive:
                for frame in sorted(path.rglob("*.*")):
                    archive.write(frame, frame.relative_to(samples))
    return folder


@pytest.fixture
def hub(source, tmp_path, monkeypatch):
    """A hub with a copy of its own, which is the one that `huggingface_hub` finds."""
    # Read when the library was imported; it would ask a hub by which program it is called.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    published = tmp_path / "published"
    shutil.copytree(source, published)
    with LoopbackHub(published) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub
        close_session()


@pytest.fixture(autouse=True)
def slept(monkeypatch) -> list[float]:
    """The seconds that the library would have waited before it tries again."""
    seconds: list[float] = []
    for module in (file_download, _http):
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=seconds.append))
    return seconds


class Watch:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[tuple[str, int, int]] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def progress(self, name: str, have: int, size: int) -> None:
        self.steps.append((name, have, size))


def download(folder: Path, *datasets: str, revision: str | None = None):
    return downloads.download(folder, datasets, revision, Watch())


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, ["data", *map(str, args)])


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def not_installed(folder: Path) -> None:
    """Nothing that could be taken for data, and no command finds the folder by itself."""
    assert downloaded_folder(folder) is None
    assert not folder.exists() or files(folder) == set()


def refused(folder: Path, *says: str, **options) -> str:
    with pytest.raises(InputError) as caught:
        download(folder, **options)
    for each in says:
        assert each in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    not_installed(folder)
    return str(caught.value)


def test_a_download_is_a_data_folder_as_it_is(hub, tmp_path, samples):
    folder = tmp_path / "data"
    record = download(folder)
    assert files(folder) == {*files(hub.folder), RECORD}
    assert [path for path in folder.iterdir() if path.is_dir()] == []
    assert downloaded_folder(folder) == folder
    assert record.commit == COMMIT
    assert record.datasets == tuple(each.acronym for each in DATA_SETS)
    with open_data(folder) as found, open_data(samples) as original:
        assert found.digest == original.digest
    report = check(folder, decode=True)
    assert report.problems == ()
    assert report.samples


def test_each_byte_is_sent_once_and_a_second_download_asks_for_none(hub, tmp_path):
    download(tmp_path / "data")
    for name in files(hub.folder):
        assert hub.starts(name) == [None]
        assert hub.sent(name) == (hub.folder / name).stat().st_size
    record = (tmp_path / "data" / RECORD).stat()
    download(tmp_path / "data")
    assert all(hub.starts(name) == [None] for name in files(hub.folder))
    assert (tmp_path / "data" / RECORD).stat().st_mtime_ns == record.st_mtime_ns


def test_the_hub_on_this_machine_is_one_for_the_library_too(hub, tmp_path):
    api = HfApi(endpoint=hub.endpoint)
    listed = {
        entry.path for entry in api.list_repo_tree(REPOSITORY, "test", repo_type="dataset", revision=COMMIT)
    }
    assert listed == {f"test/{name}" for name in (*files(hub.folder), "more")}
    for name in (ROD, ROD_ROWS):
        got = hf_hub_download(
            REPOSITORY, f"test/{name}", repo_type="dataset", endpoint=hub.endpoint, local_dir=tmp_path / "got"
        )
        assert Path(got).read_bytes() == (hub.folder / name).read_bytes()


def test_it_works_without_xet(hub, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hf_xet", None)
    download(tmp_path / "data")
    assert downloaded_folder(tmp_path / "data")


def test_a_cut_connection_is_taken_up_again(hub, tmp_path, slept, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.faults[ROD] = Fault(cut_after=5000, times=3)
    download(tmp_path / "data")
    assert hub.starts(ROD) == [None, 5000, 10000, 15000]
    assert slept == [1, 1, 1]
    assert (tmp_path / "data" / ROD).read_bytes() == (hub.folder / ROD).read_bytes()


def test_patience_ends(hub, tmp_path, slept):
    hub.faults[ROD] = Fault(cut_after=0)
    refused(tmp_path / "data", "cannot be reached", "goes on with the files that are missing")
    assert len(slept) == 5
    assert hub.starts(ROD) == [None] * 6


def test_the_next_command_goes_on_with_the_files_that_are_missing(hub, tmp_path):
    hub.faults[ROD] = Fault(cut_after=5000, times=6)
    refused(tmp_path / "data", "run the same command again")
    assert hub.starts("ImageNet-C_test.zip") == [None]
    hub.seen.clear()
    download(tmp_path / "data")
    assert hub.starts("ImageNet-C_test.zip") == []
    assert hub.starts(ROD) == [None]
    assert {path.name for path in (tmp_path / "data").iterdir()} == {*files(hub.folder), RECORD}


def test_the_token_is_for_the_hub_and_not_for_its_storage(hub, tmp_path):
    download(tmp_path / "data", "ROD")
    assert {seen.token for seen in hub.seen if not seen.path.startswith("/storage/")} == {True}
    assert {seen.token for seen in hub.seen if seen.path.startswith("/storage/")} == {False}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_is_continued(hub, tmp_path, number):
    hub.faults[ROD] = Fault(stall_after=5000, times=1)
    folder = tmp_path / "data"
    program = f"from pbclient.cli.app import main\nmain(['data', 'download', {str(folder)!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    while process.poll() is None and not hub.starts(ROD):
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert "Traceback" not in said
    if number == signal.SIGINT:
        assert said.splitlines()[-1] == "Stopped: the same command goes on from here."
    not_installed(folder)
    assert len(list((folder / STAGING).rglob("*.incomplete"))) == (number == signal.SIGKILL)
    download(folder)
    assert hub.starts(ROD) == [None, None]
    assert hub.starts("ImageNet-C_test.zip") == [None]
    assert {path.name for path in folder.iterdir()} == {*files(hub.folder), RECORD}
    assert downloaded_folder(folder) == folder


@pytest.mark.parametrize("name", [ROD, ROD_ROWS], ids=["kept as a large file", "kept as a plain one"])
def test_other_bytes_are_thrown_away(hub, tmp_path, name):
    hub.faults[name] = Fault(spoil=True, times=1)
    refused(tmp_path / "data", name, "damaged")
    assert list((tmp_path / "data" / STAGING).rglob(name)) == []
    download(tmp_path / "data")
    assert hub.starts(name) == [None, None]
    # What had arrived before is not asked for again.
    assert hub.starts("ImageNet-C_test.zip") == [None]
    assert downloaded_folder(tmp_path / "data")


@pytest.mark.parametrize("listed", [100, 10**7], ids=["fewer", "more"])
def test_another_number_of_bytes_is_thrown_away(hub, tmp_path, listed):
    hub.sizes[ROD] = listed
    refused(tmp_path / "data", ROD, "damaged")


def test_a_file_that_ends_early_is_none(hub, tmp_path):
    hub.faults[ROD] = Fault(cut_after=5000, unsaid=True)
    refused(tmp_path / "data", f"test/{ROD} has not arrived", "run the same command again")


@pytest.mark.parametrize(
    ("location", "says"),
    [
        (f"/api/datasets/{REPOSITORY}", "is not the hub"),
        ("http://127.0.0.2:9/file", "127.0.0.2, where the hub keeps its files, cannot be reached"),
        ("file:///etc/passwd", "missing an 'http://'"),
        (f"/datasets/{REPOSITORY}/resolve/{COMMIT}/test/{ROD}", "redirects"),
    ],
    ids=["a page of its own", "a host that is not there", "a file here", "itself"],
)
def test_a_redirect_that_leads_nowhere(hub, tmp_path, location, says):
    hub.faults[ROD] = Fault(location=location)
    refused(tmp_path / "data", says, "check")


def test_a_server_that_knows_no_ranges_sends_everything(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.faults[ROD] = Fault(cut_after=5000, ignore_range=True, times=2)
    download(tmp_path / "data")
    assert hub.starts(ROD) == [None, 5000, 5000]
    assert (tmp_path / "data" / ROD).read_bytes() == (hub.folder / ROD).read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk(hub, tmp_path, monkeypatch):
    folder, http_get = tmp_path / "data", file_download.http_get

    def to_a_full_disk(url: str, _, **options) -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            http_get(url, file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(file_download, "http_get", to_a_full_disk)
        refused(folder, os.strerror(errno.ENOSPC), "free some space", str(folder))
    assert not (folder / STAGING).exists()
    download(folder)
    assert downloaded_folder(folder) == folder


def test_space_is_checked_before_anything_is_fetched(hub, tmp_path):
    hub.sizes[ROD] = 10**18
    assert re.search(r"1\.0 EB .* [0-9.]+ [kMGT]B are free", refused(tmp_path / "data"))
    assert hub.starts("ImageNet-C_test.zip") == []
    assert not (tmp_path / "data" / STAGING).exists()


def test_a_folder_that_cannot_be_written(hub, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is not a folder"):
        download(tmp_path / "file")
    with pytest.raises(DataError, match="cannot take the data"):
        download(tmp_path / "file" / "below")
    assert hub.starts(ROD) == []


def test_a_file_that_is_listed_and_not_there(hub, tmp_path):
    hub.faults[ROD] = Fault(status=404)
    refused(tmp_path / "data", f"has no test/{ROD}", "--revision")


@pytest.mark.parametrize(
    ("gone", "says"),
    [((ROD_ROWS,), f"has no test/{ROD_ROWS}"), ((ROD, OTHER), "no archive with the frames of ROD")],
)
def test_a_repository_without_what_a_data_set_needs(hub, tmp_path, gone, says):
    for name in gone:
        (hub.folder / name).unlink()
    refused(tmp_path / "data", says)
    assert not (tmp_path / "data" / STAGING).exists()


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (401, None, "HF_TOKEN"),
        (403, "GatedRepo", "accept the terms"),
        (404, "RepoNotFound", f"no data set repository {REPOSITORY}"),
        (404, None, f"no data set repository {REPOSITORY}"),
        (429, None, "again"),
        (503, None, "status 503"),
        (400, None, "status 400"),
    ],
)
def test_a_hub_that_refuses(hub, tmp_path, status, code, says):
    hub.status, hub.error_code = status, code
    refused(tmp_path / "data", says)
    assert not (tmp_path / "data").exists()


def test_a_hub_in_trouble_is_asked_again(hub, tmp_path, slept):
    hub.faults[ROD] = Fault(status=503, times=3)
    download(tmp_path / "data")
    assert slept == [1, 2]


def test_a_hub_that_names_a_wait_is_given_it(hub, tmp_path, slept):
    hub.faults[ROD] = Fault(status=429, headers={"Retry-After": "30"}, times=2)
    download(tmp_path / "data")
    assert slept == [31]


def test_a_hub_that_stays_in_trouble_ends_the_download(hub, tmp_path):
    hub.faults[ROD] = Fault(status=503)
    refused(tmp_path / "data", "status 503", "run the same command again")


def test_a_revision_that_is_not_there(hub, tmp_path):
    refused(tmp_path / "data", "no revision v9", "--revision", revision="v9")
    assert download(tmp_path / "data", revision=COMMIT).commit == COMMIT


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "nonsense", "http://["])
def test_nobody_there(hub, tmp_path, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    refused(tmp_path / "data", "HF_ENDPOINT")


def test_something_else_there(hub, tmp_path):
    hub.commit = ""
    refused(tmp_path / "data", "is not the hub", "HF_ENDPOINT")


def test_a_token_that_cannot_be_sent_is_not_shown(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\u00e9")
    refused(tmp_path / "data", "HF_TOKEN")


def test_offline_mode_of_the_library(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(tmp_path / "data", "HF_HUB_OFFLINE")


def test_some_data_sets_and_then_the_others(hub, tmp_path):
    folder = tmp_path / "data"
    record = download(folder, "rod", "QuickDraw")
    # An archive whose name tells no data set may belong to any.
    rows = {f"{STEMS[name]}_preprocessed.jsonl" for name in ("ROD", "QD")}
    assert files(folder) == {ROD, "QuickDraw-1.zip", OTHER, RECORD, *rows}
    assert record.datasets == ("ROD", "QD")
    assert [found.dataset for found in check(folder).datasets] == ["ROD", "QD"]
    assert check(folder).problems == ()
    assert download(folder, "COCO").datasets == ("ROD", "QD", "COCO")
    assert download(folder).datasets == tuple(each.acronym for each in DATA_SETS)
    assert files(folder) == {*files(hub.folder), RECORD}
    assert all(hub.starts(name) == [None] for name in files(hub.folder))


def test_an_unknown_data_set(hub, tmp_path):
    with pytest.raises(DataError, match="choose from ROD"):
        download(tmp_path / "data", "CIFAR")
    assert hub.seen == []


def test_a_newer_revision_replaces_what_changed_and_drops_what_is_gone(hub, tmp_path):
    folder = tmp_path / "data"
    download(folder)
    hub.commit = COMMIT[::-1]
    with zipfile.ZipFile(hub.folder / ROD, "a") as archive:
        archive.writestr("more.txt", "more")
    (hub.folder / "MVP-N.zip").rename(hub.folder / "MVP-N-2.zip")
    # One data set is asked for, and the folder stays of one revision.
    record = download(folder, "ROD")
    assert record.commit == COMMIT[::-1]
    assert files(folder) == {*files(hub.folder), RECORD}
    assert {path.name: path.read_bytes() for path in hub.folder.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name != RECORD
    }
    assert hub.starts(ROD) == [None, None]
    assert hub.starts("ImageNet-C_test.zip") == [None]


def test_a_file_that_another_revision_has_too_is_not_fetched_again(hub, tmp_path):
    hub.faults["images.zip"] = Fault(status=404)
    refused(tmp_path / "data")
    assert hub.starts(ROD) == hub.starts("MVP-N.zip") == [None]
    hub.faults.clear()
    hub.commit = COMMIT[::-1]
    with zipfile.ZipFile(hub.folder / ROD, "a") as archive:
        archive.writestr("more.txt", "more")
    (hub.folder / "MVP-N.zip").rename(hub.folder / "MVP-N-2.zip")
    download(tmp_path / "data")
    assert hub.starts(ROD) == [None, None]
    assert hub.starts("ImageNet-C_test.zip") == [None]
    assert files(tmp_path / "data") == {*files(hub.folder), RECORD}
    assert not (tmp_path / "data" / STAGING).exists()


@pytest.mark.parametrize("spoil", ["record", "size", "missing"])
def test_a_folder_that_is_not_whole_is_not_found_and_is_mended(hub, tmp_path, spoil):
    folder = tmp_path / "data"
    download(folder)
    if spoil == "record":
        # As a kill between the first move and the last leaves it.
        said = json.loads((folder / RECORD).read_text())
        (folder / RECORD).write_text(json.dumps({**said, "complete": False}))
    elif spoil == "size":
        (folder / ROD).write_bytes(b"short")
    else:
        (folder / ROD).unlink()
    assert downloaded_folder(folder) is None
    download(folder)
    assert downloaded_folder(folder) == folder
    assert len(hub.starts(ROD)) == (1 if spoil == "record" else 2)


ELSEWHERE = {"schema": 1, "commit": "c", "datasets": [], "complete": True}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"schema": 2}',
        '{"schema": 1, "files": {"a": 1}}',
        json.dumps({**ELSEWHERE, "files": {"../a": {"size": 0, "digest": "git:"}}}),
        json.dumps({**ELSEWHERE, "files": {}, "datasets": ["CIFAR"]}),
    ],
)
def test_a_record_that_cannot_be_read_is_none(tmp_path, text):
    (tmp_path / RECORD).write_text(text)
    assert recorded(tmp_path) is None
    assert downloaded_folder(tmp_path) is None


def test_files_of_the_user(hub, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    shutil.copy(hub.folder / ROD, folder)
    (folder / ROD_ROWS).write_text("mine too")
    with pytest.raises(DataError, match=r"is not the published file.*move it away"):
        download(folder)
    assert (folder / ROD_ROWS).read_text() == "mine too"
    (folder / ROD_ROWS).unlink()
    download(folder)
    assert hub.starts(ROD) == []
    assert (folder / "notes.txt").read_text() == "mine"


def test_one_at_a_time(hub, tmp_path):
    staging = tmp_path / "data" / STAGING
    staging.mkdir(parents=True)
    with (staging / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(tmp_path / "data", "is running")
    assert hub.starts(ROD) == []


def test_names_that_lead_elsewhere_are_refused(hub, tmp_path):
    (hub.folder / "a\\b.zip").touch()
    refused(tmp_path / "data", "is not the hub")


def test_progress_counts_every_byte_up_to_the_last(hub, tmp_path):
    watch = Watch()
    downloads.download(tmp_path / "data", (), None, watch)
    for name in files(hub.folder):
        size = (hub.folder / name).stat().st_size
        steps = [(have, whole) for told, have, whole in watch.steps if told == name]
        assert steps == sorted(steps)
        assert steps[0] == (0, size)
        assert steps[-1] == (size, size)
    assert len(watch.said) == len(files(hub.folder))


def test_progress_of_a_file_that_comes_over_xet():
    told: list[int] = []
    bars = XetDownloadProgressReporter(
        reconstruction_desc="a", total=10, log_level=0, tqdm_class=progress_bar(told.append)
    )
    with bars:
        for have in (4, 10):
            bars.update_progress(
                SimpleNamespace(
                    total_bytes=10,
                    total_bytes_completed=have,
                    total_bytes_completion_rate=1.0,
                    total_transfer_bytes_completed=have // 2,
                    total_transfer_bytes_completion_rate=None,
                )
            )
    assert told == [4, 10]


def test_a_digest_is_what_git_calls_it(tmp_path):
    (tmp_path / "file").write_bytes(b"hello\n")
    assert digest_of(tmp_path / "file", "git:") == "git:ce013625030ba8dba906f756967f9e9ca394464a"


def test_the_command_fills_the_users_folder(hub, tmp_path):
    assert downloaded_folder() is None
    result = invoke("download", "--dataset", "ROD")
    assert result.exit_code == 0, result.output
    assert downloaded_folder() == default_folder() == tmp_path / "share" / "pbclient" / "ProactiveBench"
    assert result.stdout == f"ROD at revision {COMMIT[:12]} in {default_folder()}\n"
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == [ROD, OTHER, ROD_ROWS]
    assert TOKEN not in result.output
    again = invoke("download", "--dataset", "ROD")
    assert again.stderr.splitlines()[0] == f"{ROD}: already there"
    checked = invoke("check")
    assert checked.exit_code == 0, checked.output


def test_the_command_names_a_folder_of_ones_own(hub, tmp_path):
    result = invoke("download", tmp_path / "data", "--revision", "main")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"Use it with: --data {tmp_path / 'data'}"
    assert downloaded_folder() is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--dataset", "CIFAR"], "choose from ROD"),
        (["--revision", ""], "--revision"),
        (["--revision", "v9"], "no revision v9"),
        ([""], "empty"),
    ],
)
def test_bad_input_is_one_sentence(hub, tmp_path, options, says):
    result = invoke("download", *options)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert says in result.stderr.splitlines()[-1]
    assert not default_folder().exists()
