"""What a replay sends its requests to."""

from asyncio import AbstractEventLoop
from typing import Any, Protocol

from batching import Request, Statistics


class Target(Protocol):
    """Something that answers requests; a `DynamicBatcher` is one as it stands."""

    def start(self) -> None:
        """Get ready; requests may be submitted once this returns."""
        ...

    def submit(self, payload: Any, loop: AbstractEventLoop | None = None) -> Request:
        """Send one request; never blocks."""
        ...

    def stop(self, *, drain: bool = True) -> None:
        """Return once every request has ended; without `drain` those that wait are cancelled."""
        ...

    def statistics(self) -> Statistics:
        """Counts as they stand."""
        ...
