"""Recording the arrivals of a web service, whichever ASGI framework it is written in."""

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from workloads.recorder import TraceRecorder

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def body_bytes(scope: Scope) -> int:
    """The request's Content-Length, 0 where it has none: a `size_of` for the middleware's recorder.

    It goes with `column="body_bytes"`: bytes are not tokens, and a replay does not take them so.
    """
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


class RecordingMiddleware:
    """Notes the arrival of every HTTP request as it reaches the application.

        app.add_middleware(RecordingMiddleware, recorder=TraceRecorder("arrivals-{pid}.rec"))

    Args:
        app: the ASGI application.
        recorder: where to; its `size_of`, if it has one, is given the request's ASGI scope.
        paths: record requests to these paths only, so that health checks and scrapes stay out;
            None records all.
    """

    def __init__(
        self, app: App, recorder: TraceRecorder, paths: Collection[str] | None = None
    ) -> None:
        self._app = app
        self._recorder = recorder
        self._paths = None if paths is None else frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record, then pass on."""
        if scope["type"] == "http" and (self._paths is None or scope["path"] in self._paths):
            self._recorder.arrived(scope)
        await self._app(scope, receive, send)
