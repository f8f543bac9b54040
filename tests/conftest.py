"""No test touches the user's folders or keys, and none leaves this machine."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest
from hypothesis import settings

# No test is held to a clock: on a loaded machine a first import alone passes a deadline.
settings.register_profile("no clock", deadline=None)
settings.load_profile("no clock")

KEYS = re.compile(r"_API_KEY$|_BASE_URL$|_API_BASE$|^PBCLIENT_|_PROXY$|^AWS_|^XDG_", re.IGNORECASE)


@pytest.fixture(scope="session", autouse=True)
def _clean_environment(tmp_path_factory):
    before = dict(os.environ)
    for name in list(os.environ):
        if KEYS.search(name):
            del os.environ[name]
    # platformdirs obeys this on Linux: the built-in samples are drawn once for the whole session.
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache-home"))
    os.environ["XDG_DATA_HOME"] = str(tmp_path_factory.mktemp("data-home"))
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _stay_on_this_machine(monkeypatch):
    """Connecting anywhere but to loopback fails at once, so that no test can spend money by accident."""
    connect = socket.socket.connect

    def guarded(self, address):
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1", "localhost")):
            raise ConnectionRefusedError(f"tests do not leave this machine: {address[0]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def samples(tmp_path_factory) -> Path:
    """The built-in samples, in a folder of this session."""
    from pbclient.data.samples import write_samples

    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder, per_dataset=6)
    return folder
