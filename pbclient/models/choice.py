"""What a user named of a model: the options of the model under test, or of a judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pbclient.models.engines import EngineOptions

if TYPE_CHECKING:
    from providers import Json

LITELLM, DIRECT = "litellm", "direct"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a user named of a model. `prefix` begins the flags that name it: "" or "judge-".

    `sees` is whether it will be shown images, `grammar` whether a judge is held to the form of a verdict,
    `offline` whether nothing will be asked of it.
    """

    provider: str
    model: str | None = None
    base_url: str | None = None
    max_tokens: int | None = None
    temperature: float | None = 0.0
    params: Mapping[str, Json] = field(default_factory=dict)
    price: str | None = None
    image_tokens: int | None = None
    timeout: float = 300.0
    wire: str = LITELLM
    engine: EngineOptions = field(default_factory=EngineOptions)
    grammar: bool = False
    prefix: str = ""
    sees: bool = True
    offline: bool = False

    def flag(self, name: str) -> str:
        """The flag that sets this."""
        return f"--{self.prefix}{name}"


def judge_named(provider: str, **options: Any) -> Choice:
    """A judge: it sees no images, and is asked at temperature 0. `options` are fields of `Choice`."""
    return Choice(provider=provider, prefix="judge-", sees=False, temperature=0.0, **options)
