"""A minimal HTTP/1.1 client over one connection to a server's port, for engines that speak OpenAI's interface.

What the engine sends is hostile input: sizes and times are bounded, text is decoded as it comes and shown by others.
"""

from __future__ import annotations

import codecs
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from console.errors import WorldError, code
from console.i18n import N_
from console.secrets import Secret
from console.transport.base import Transport

MAX_ANSWER_BYTES = 8 << 20
NO_HTTP = code("smoke.no-answer", WorldError, N_("The service on port {port} of {server} gave no usable HTTP answer: "
                                                 "{reason}."),
               N_("Look at the service's log on the server; it may still be starting, or another program holds the "
                  "port."),
               retryable=True)


@dataclass(frozen=True)
class Answer:
    """Status and body of one answer."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON; None when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def text(self, limit: int = 500) -> str:
        """The beginning of the body."""
        return self.body[:limit].decode("utf-8", "replace")


class _Tunnel(http.client.HTTPConnection):
    """HTTP over a socket that somebody else opens."""

    def __init__(self, port: int, timeout_s: float, opener: Callable[[], socket.socket]):
        super().__init__("127.0.0.1", port, timeout=timeout_s)
        self._opener = opener

    def connect(self) -> None:
        self.sock = self._opener()
        self.sock.settimeout(self.timeout)


class Client:
    """Speaks to ``port`` of the server behind ``transport``; a connection a request, as all engines allow.

    Args:
        host: where the service listens, as seen from the server.
        api_key: sent as a bearer token under ``/v1``.
    """

    def __init__(self, transport: Transport, port: int, *, host: str = "127.0.0.1", api_key: Secret | None = None):
        self._transport, self.port, self._host, self._key = transport, port, host, api_key

    def get(self, path: str, timeout_s: float = 30) -> Answer:
        """GET ``path``. Raises WorldError (``smoke.no-answer``, ``ssh.…``)."""
        return self._whole("GET", path, None, timeout_s)

    def post(self, path: str, content: dict[str, Any], timeout_s: float = 120) -> Answer:
        """POST ``content`` as JSON. Raises as :meth:`get`."""
        return self._whole("POST", path, content, timeout_s)

    def stream(self, path: str, content: dict[str, Any], timeout_s: float = 120) -> Iterator[str]:
        """POST and give the ``data`` of each server-sent event as it comes, to the end of the answer.

        Raises as :meth:`get`; an answer other than 200 is ``smoke.no-answer``.
        """
        link = self._link(timeout_s)
        try:
            answer = self._ask(link, "POST", path, content)
            if answer.status != 200:
                raise self._failed(f"status {answer.status}: {answer.read(500).decode('utf-8', 'replace')}")
            yield from _events(self._lines(answer, time.monotonic() + timeout_s))
        except (OSError, http.client.HTTPException, EOFError) as problem:
            raise self._failed(str(problem) or type(problem).__name__) from None
        finally:
            link.close()

    def _whole(self, method: str, path: str, content: dict[str, Any] | None, timeout_s: float) -> Answer:
        link = self._link(timeout_s)
        try:
            answer = self._ask(link, method, path, content)
            return Answer(answer.status, answer.read(MAX_ANSWER_BYTES))
        except (OSError, http.client.HTTPException, EOFError, ValueError) as problem:
            raise self._failed(str(problem) or type(problem).__name__) from None
        finally:
            link.close()

    def _link(self, timeout_s: float) -> _Tunnel:
        return _Tunnel(self.port, timeout_s, lambda: self._transport.connect_port(self._host, self.port))

    def _ask(self, link: _Tunnel, method: str, path: str, content: dict[str, Any] | None) -> http.client.HTTPResponse:
        headers = {"Host": f"{self._host}:{self.port}", "Accept": "*/*", "Connection": "close"}
        if self._key and path.startswith("/v1"):
            headers["Authorization"] = f"Bearer {self._key.reveal()}"
        body = None
        if content is not None:
            body, headers["Content-Type"] = json.dumps(content, ensure_ascii=False).encode(), "application/json"
        link.request(method, path, body, headers)
        return link.getresponse()

    def _lines(self, answer: http.client.HTTPResponse, deadline: float) -> Iterator[str]:
        decoder, rest, total = codecs.getincrementaldecoder("utf-8")("replace"), "", 0
        while data := answer.read1(16 << 10):
            total += len(data)
            if total > MAX_ANSWER_BYTES or time.monotonic() > deadline:
                raise self._failed("the streamed answer does not end")
            *whole, rest = (rest + decoder.decode(data)).replace("\r\n", "\n").split("\n")
            yield from whole
        rest += decoder.decode(b"", final=True)
        if rest:
            yield rest

    def _failed(self, reason: str) -> Exception:
        return NO_HTTP(server=self._transport.server, port=self.port, reason=reason)


def _events(lines: Iterator[str]) -> Iterator[str]:
    """The data of each event; the blank line that ends the last event may be missing."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []
    if data:
        yield "\n".join(data)
