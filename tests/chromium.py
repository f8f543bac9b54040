"""A real Chromium for the pages that we write."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

REQUIRED = "CHROMIUM_REQUIRED" in os.environ  # as in CI, where a skipped test would hide a fault
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_DRIVERS = ("playwright", "axe_playwright_python")
_ALONE = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
_ALONE += ("--disable-background-networking", "--disable-component-update")


def program() -> str | None:
    return next(filter(None, map(shutil.which, _PROGRAMS)), None)


def skip_module_without_it() -> None:
    """Skip the test module that is being imported, in one line that names what to install."""
    lacking = [] if program() else ["chromium"]
    lacking += [name for name in _DRIVERS if importlib.util.find_spec(name) is None]
    if lacking and not REQUIRED:
        pytest.skip(f"no browser here: install the package `{lacking[0]}`", allow_module_level=True)


@contextmanager
def launched() -> Iterator[Any]:
    """The browser, driven by playwright; until it is closed this thread has a running event loop."""
    from playwright.sync_api import sync_playwright

    path = program()
    assert path is not None, "install the package `chromium`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ALONE))
        yield browser
        browser.close()
