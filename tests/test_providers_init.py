"""The package as others see it: what it exports and what it does not import."""

import subprocess
import sys

import providers

HEAVY = ("litellm", "openai", "httpx", "aiohttp", "PIL", "pydantic")


def test_exports_are_sorted_and_real() -> None:
    assert providers.__all__ == sorted(providers.__all__)
    assert all(hasattr(providers, name) for name in providers.__all__)


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom providers.hosted.wire import Hosted\n"
        "Hosted.of('openai', 'm', base_url='http://127.0.0.1:1/v1').identity\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_wire_of_litellm_is_loaded_by_who_uses_it() -> None:
    code = "import sys, pbclient.models.model\nprint('providers.hosted.wire' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
