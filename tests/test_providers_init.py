"""The package as others see it: what it exports and what it does not import."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import providers
from providers import Request

HEAVY = ("litellm", "openai", "httpx", "aiohttp", "PIL", "pydantic")


def test_exports_are_sorted_and_real() -> None:
    assert providers.__all__ == sorted(providers.__all__)
    assert all(hasattr(providers, name) for name in providers.__all__)


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, providers\n"
        "providers.Hosted.of('openai', 'm', base_url='http://127.0.0.1:1/v1').identity\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_wire_of_litellm_is_loaded_by_who_uses_it() -> None:
    code = "import sys, providers, pbclient.models.model\n"
    code += "print('providers.hosted.wire' in sys.modules)\nproviders.Hosted"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_no_other_name_is_made_up() -> None:
    with pytest.raises(AttributeError, match="no attribute 'hosted_'"):
        providers.hosted_  # noqa: B018


@given(st.builds(Request, st.just(()), st.just({}), st.integers(), st.integers(), st.text(), st.integers()))
def test_who_names_or_covers_a_request_changes_nothing_else(request: Request) -> None:
    assert request.named("k", b"s") == request._replace(key="k", spelled=b"s")
    assert request.covered(7) == request._replace(hold=7)
