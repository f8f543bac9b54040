"""Hold a call back until its account's rate controller lets it leave, and tell that how the call went."""

from __future__ import annotations

from dataclasses import dataclass, field

from pbclient.calls.rate import RateController
from providers import Provider, ProviderError, RateLimited, Request, Response, TransientError, Unusable


@dataclass
class Limited:
    """A provider behind its account's controller; calls that were refused go before those not yet tried."""

    inner: Provider
    controller: RateController
    _refused: set[str] = field(default_factory=set)

    async def complete(self, request: Request) -> Response:
        controller = self.controller
        departure = await controller.leave(1 if request.key in self._refused else request.turn)
        self._refused.discard(request.key)
        try:
            response = await self.inner.complete(request)
            controller.answered(departure, response.usage, response.limits)
            return response
        except RateLimited as error:
            self._refused.add(request.key)
            controller.refused(departure, error.retry_after, error.limits)
            raise
        except TransientError:
            controller.faulted()
            raise
        except Unusable:
            controller.withdrawn(departure)  # no call can be made: the others need neither try nor wait
            raise
        except ProviderError:
            controller.open()
            raise
        except Exception:
            controller.withdrawn(departure)  # no money, or no picture: nothing was sent
            raise
        finally:
            controller.back()
