"""The HTTP side: routes, limits, metrics, shutdown."""

from __future__ import annotations

import argparse
import hmac
import json
import signal
import socket
import socketserver
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Iterator

from onnx_server import __version__
from onnx_server.decode import ModelError, PromptTooLong, SmallModel

MAX_BODY_BYTES = 1 << 20
MAX_MESSAGES = 256
MAX_TOKENS = 4096
READ_TIMEOUT_S = 30
GRACE_S = 10
AT_ONCE = 4
JSON_TYPE, EVENT_TYPE = "application/json", "text/event-stream; charset=utf-8"
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
KNOWN_PATHS = ("/health", "/ready", "/version", "/metrics", "/v1/models", "/v1/completions", "/v1/chat/completions")


class Refused(Exception):
    """A request that gets an error answer instead of a result."""

    def __init__(self, status: int, kind: str, message: str, param: "str | None" = None):
        self.status, self.kind, self.message, self.param = status, kind, message, param
        super().__init__(message)


def _bad(message: str, param: "str | None" = None) -> Refused:
    return Refused(400, "invalid_request_error", message, param)


class State:
    """What all requests share: the model once it is loaded, the counters, the settings."""

    def __init__(self, served_name: str, api_key: "str | None" = None):
        self.served_name, self.api_key, self.started = served_name, api_key, time.time()
        self.model: "SmallModel | None" = None
        self.failed: "str | None" = None
        self.turns = threading.BoundedSemaphore(AT_ONCE)
        self.active, self.stopping = 0, False
        self._lock = threading.Lock()
        self._requests: "dict[tuple[str, int], int]" = {}
        self._seconds: "dict[str, float]" = {}
        self._tokens = {"prompt": 0, "generation": 0}

    def enter(self) -> None:
        with self._lock:
            self.active += 1

    def leave(self, path: str, status: int, seconds: float) -> None:
        with self._lock:
            self.active -= 1
            self._requests[path, status] = self._requests.get((path, status), 0) + 1
            self._seconds[path] = self._seconds.get(path, 0.0) + seconds

    def count(self, prompt: int, generation: int) -> None:
        with self._lock:
            self._tokens["prompt"] += prompt
            self._tokens["generation"] += generation

    def metrics(self) -> str:
        """The counters as Prometheus text."""
        with self._lock:
            requests, seconds, tokens = dict(self._requests), dict(self._seconds), dict(self._tokens)
            active = self.active
        lines = ["# TYPE sealift_onnx_info gauge", 'sealift_onnx_info{version="%s"} 1' % __version__,
                 "# TYPE sealift_onnx_ready gauge", "sealift_onnx_ready %d" % (self.model is not None),
                 "# TYPE sealift_onnx_start_time_seconds gauge", "sealift_onnx_start_time_seconds %.3f" % self.started,
                 "# TYPE sealift_onnx_requests_running gauge", "sealift_onnx_requests_running %d" % active,
                 "# TYPE sealift_onnx_requests_total counter"]
        lines += ['sealift_onnx_requests_total{path="%s",status="%d"} %d' % (path, status, n)
                  for (path, status), n in sorted(requests.items())]
        lines.append("# TYPE sealift_onnx_request_seconds_total counter")
        lines += ['sealift_onnx_request_seconds_total{path="%s"} %.6f' % item for item in sorted(seconds.items())]
        lines.append("# TYPE sealift_onnx_tokens_total counter")
        lines += ['sealift_onnx_tokens_total{kind="%s"} %d' % item for item in sorted(tokens.items())]
        return "\n".join(lines) + "\n"


def _number(body: "dict[str, Any]", name: str, default: Any, least: float, most: float, kind: type = float) -> Any:
    value = body.get(name)
    if value is None:
        return default
    allowed = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed) or not least <= value <= most:
        raise _bad("%s must be a number from %g to %g" % (name, least, most), name)
    return value


def _stops(body: "dict[str, Any]") -> "list[str]":
    stop = body.get("stop")
    stops = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > 4 or not all(isinstance(s, str) and 0 < len(s) <= 64 for s in stops):
        raise _bad("stop must be a text or up to four texts of at most 64 characters", "stop")
    return stops


def _last_user_text(body: "dict[str, Any]") -> str:
    messages = body.get("messages")
    if not isinstance(messages, list) or not 0 < len(messages) <= MAX_MESSAGES:
        raise _bad("messages must be a list of 1 to %d messages" % MAX_MESSAGES, "messages")
    found = None
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ("system", "developer", "user", "assistant"):
            raise _bad("each message needs a role: system, user or assistant", "messages")
        text = _content(message.get("content"))
        if message["role"] == "user":
            found = text
    if found is None:
        raise _bad("there is no message with the role user", "messages")
    return found


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(p, dict) and p.get("type") == "text"
                                         and isinstance(p.get("text"), str)
                                         for p in content):
        return "".join(part["text"] for part in content)
    raise _bad("a message's content must be text", "messages")


class Turn:
    """One generation: the pieces of text as they come, then why it ended and what it took."""

    def __init__(self, state: State, prompt: "list[int]", body: "dict[str, Any]"):
        self.model, self.state, self.prompt = state.model, state, prompt
        asked = body.get("max_completion_tokens")
        named = "max_tokens" if asked is None else "max_completion_tokens"
        self.limit = _number(body, named, 64, 1, MAX_TOKENS, int)
        self.stops, self.finish, self.tokens = _stops(body), "stop", 0
        self._ids = self.model.generate(prompt, self.limit, _number(body, "temperature", 0.0, 0, 2),
                                        _number(body, "seed", None, -(1 << 63), (1 << 63) - 1, int))

    def _counted(self) -> "Iterator[int]":
        room = min(self.limit, self.model.context - len(self.prompt))
        for token in self._ids:
            self.tokens += 1
            yield token
        if self.tokens >= room:
            self.finish = "length"

    def pieces(self) -> "Iterator[str]":
        """Text as it comes, ended before the first stop text."""
        longest, held = max(map(len, self.stops), default=0), ""
        try:
            for piece in self.model.tokenizer.text(self._counted()):
                held += piece
                ends = [at for at in (held.find(stop) for stop in self.stops) if at >= 0]
                if ends:
                    held, self.finish = held[: min(ends)], "stop"
                    break
                if len(held) > longest:
                    out, held = held[: len(held) - longest], held[len(held) - longest:]
                    yield out
            if held:
                yield held
        finally:
            self.state.count(len(self.prompt), self.tokens)

    def usage(self) -> "dict[str, int]":
        return {"prompt_tokens": len(self.prompt), "completion_tokens": self.tokens,
                "total_tokens": len(self.prompt) + self.tokens}


class Handler(BaseHTTPRequestHandler):
    """Routes. ``state`` is set on the class made for each server."""

    state: State
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sealift-onnx-server", ""
    timeout = READ_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it so
        """Requests are counted in /metrics, not logged: a log would hold nothing more and grow for ever."""

    def do_GET(self) -> None:  # noqa: N802  the base class names it so
        self._handle("GET")

    def do_POST(self) -> None:  # noqa: N802
        self._handle("POST")

    def send_error(self, code: int, message: "str | None" = None, explain: "str | None" = None) -> None:
        """Errors that the base class finds (a malformed request line, an unknown method), in our form."""
        self.close_connection, self.status = True, 0
        self._error(Refused(code, "invalid_request_error", message or "the request is malformed"))

    def _handle(self, method: str) -> None:
        path = self.path.split("?", 1)[0]
        known = path if path in KNOWN_PATHS else "other"
        self.status, began = 0, time.monotonic()
        self.state.enter()
        try:
            self._route(method, path)
        except Refused as refused:
            self._error(refused)
        except (BrokenPipeError, ConnectionResetError, socket.timeout):
            self.close_connection = True
        # Whatever a request met must not end the server; the text may hold paths, so it stays out of the answer.
        except Exception as error:
            print("request failed: %s" % type(error).__name__, file=sys.stderr, flush=True)
            self._error(Refused(500, "server_error", "the server met an unexpected condition"))
        finally:
            self.state.leave(known, self.status, time.monotonic() - began)

    def _route(self, method: str, path: str) -> None:
        body = self._body() if method == "POST" else None
        if path.startswith("/v1/"):
            self._authorise()
        wanted = "POST" if path in ("/v1/completions", "/v1/chat/completions") else "GET"
        if path not in KNOWN_PATHS:
            raise Refused(404, "not_found_error", "there is no such page")
        if method != wanted:
            raise Refused(405, "invalid_request_error", "use %s for this page" % wanted)
        if path == "/health":
            self._health()
        elif path == "/ready":
            self._model()
            self._json(200, {"status": "ready", "model": self.state.served_name})
        elif path == "/version":
            self._json(200, {"version": __version__, "name": "sealift-onnx-server"})
        elif path == "/metrics":
            self._send(200, TEXT_TYPE, self.state.metrics().encode())
        elif path == "/v1/models":
            self._models()
        else:
            self._complete(body, chat=path == "/v1/chat/completions")

    def _health(self) -> None:
        if self.state.failed:
            raise Refused(503, "server_error", self.state.failed)
        self._json(200, {"status": "ok" if self.state.model else "loading"})

    def _models(self) -> None:
        model = self._model()
        self._json(200, {"object": "list", "data": [
            {"id": self.state.served_name, "object": "model", "created": int(self.state.started), "owned_by": "site",
             "max_model_len": model.context}]})

    def _model(self) -> SmallModel:
        if self.state.failed:
            raise Refused(503, "server_error", self.state.failed)
        if self.state.model is None or self.state.stopping:
            raise Refused(503, "server_error", "the model is being loaded" if not self.state.stopping
                          else "the server is stopping")
        return self.state.model

    def _authorise(self) -> None:
        key = self.state.api_key
        if key is None:
            return
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), ("Bearer " + key).encode()):
            raise Refused(401, "authentication_error", "the API key is missing or wrong")

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") or not (length.isascii() and length.isdigit()):
            self.close_connection = True
            raise Refused(411, "invalid_request_error", "a body needs a Content-Length")
        if len(length) > 12 or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            raise Refused(413, "invalid_request_error", "the body is larger than %d bytes" % MAX_BODY_BYTES)
        data = self.rfile.read(int(length))
        if len(data) != int(length):
            self.close_connection = True
            raise _bad("the body is shorter than its Content-Length")
        return data

    def _complete(self, raw: "bytes | None", chat: bool) -> None:
        model = self._model()
        try:
            body = json.loads((raw or b"").decode("utf-8"))
        except (ValueError, RecursionError):
            raise _bad("the body is not valid JSON") from None
        if not isinstance(body, dict):
            raise _bad("the body is not a JSON object")
        if body.get("model", self.state.served_name) != self.state.served_name:
            raise Refused(404, "not_found_error", "this server has no model of that name", "model")
        if body.get("n", 1) != 1:
            raise _bad("n must be 1", "n")
        if chat:
            prompt = model.tokenizer.chat(_last_user_text(body))
        elif isinstance(body.get("prompt"), str):
            prompt = model.tokenizer.plain(body["prompt"])
        else:
            raise _bad("prompt must be text", "prompt")
        try:
            turn = Turn(self.state, prompt, body)
        except PromptTooLong as error:
            raise Refused(400, "context_length_exceeded", str(error)) from None
        if not self.state.turns.acquire(timeout=READ_TIMEOUT_S):
            raise Refused(429, "rate_limit_error", "the server is busy")
        try:
            self._answer(turn, body, chat)
        finally:
            self.state.turns.release()

    def _answer(self, turn: Turn, body: "dict[str, Any]", chat: bool) -> None:
        kind = "chat.completion" if chat else "text_completion"
        base = {"id": ("chatcmpl-" if chat else "cmpl-") + uuid.uuid4().hex, "created": int(time.time()),
                "model": self.state.served_name}
        if body.get("stream") is True:
            self._stream(turn, {**base, "object": kind + ".chunk" if chat else kind}, body, chat)
            return
        text = "".join(turn.pieces())
        choice: "dict[str, Any]" = {"index": 0, "finish_reason": turn.finish, "logprobs": None}
        choice.update({"message": {"role": "assistant", "content": text}} if chat else {"text": text})
        self._json(200, {**base, "object": kind, "choices": [choice], "usage": turn.usage()})

    def _stream(self, turn: Turn, base: "dict[str, Any]", body: "dict[str, Any]", chat: bool) -> None:
        options = body.get("stream_options")
        wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        self._head(200, EVENT_TYPE, None)
        if chat:
            self._event({**base, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""},
                                              "finish_reason": None}]})
        for piece in turn.pieces():
            part = {"delta": {"content": piece}} if chat else {"text": piece}
            self._event({**base, "choices": [{"index": 0, "finish_reason": None, **part}]})
        part = {"delta": {}} if chat else {"text": ""}
        self._event({**base, "choices": [{"index": 0, "finish_reason": turn.finish, **part}]})
        if wants_usage:
            self._event({**base, "choices": [], "usage": turn.usage()})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, content: "dict[str, Any]") -> None:
        self._chunk(b"data: " + json.dumps(content, ensure_ascii=False).encode("utf-8") + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _head(self, status: int, kind: str, length: "int | None") -> None:
        self.status = status
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Cache-Control", "no-cache")
        else:
            self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _send(self, status: int, kind: str, data: bytes) -> None:
        self._head(status, kind, len(data))
        self.wfile.write(data)

    def _json(self, status: int, content: "dict[str, Any]") -> None:
        self._send(status, JSON_TYPE, json.dumps(content, ensure_ascii=False).encode("utf-8"))

    def _error(self, refused: Refused) -> None:
        if getattr(self, "status", 0):  # the head of a stream is out already: all that is left is to cut it
            self.close_connection = True
            return
        try:
            self._json(refused.status, {"error": {"message": refused.message, "type": refused.kind,
                                                  "param": refused.param,
                                                  "code": refused.status}})
        except OSError:
            self.close_connection = True


class Server(ThreadingHTTPServer):
    """One listener; a thread a connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: "tuple[str, int]", state: State):
        self.state = state
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, type("BoundHandler", (Handler,), {"state": state}))

    def server_bind(self) -> None:
        """Bind without the base class's reverse look-up of the address, which waits for a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A broken connection is the client's affair."""

    def stop(self) -> None:
        """Take no more requests, give running ones ``GRACE_S`` seconds, end."""
        self.state.stopping = True
        self.shutdown()
        end = time.monotonic() + GRACE_S
        while self.state.active and time.monotonic() < end:
            time.sleep(0.02)
        self.server_close()


def load(state: State, folder: Path, threads: int) -> None:
    """Load the model and answer one throw-away token, so that ready means that it computes."""
    try:
        model = SmallModel(folder, threads)
        next(iter(model.generate(model.tokenizer.chat("."), 1)), None)
        state.model = model
    except ModelError as error:
        state.failed = str(error)
    # numpy and onnxruntime may be missing or built for another processor; the server says so instead of vanishing.
    except Exception as error:
        state.failed = "the model cannot be loaded (%s)" % type(error).__name__
    if state.failed:
        print("error: " + state.failed, file=sys.stderr, flush=True)


def _key(path: "str | None") -> "str | None":
    if path is None:
        return None
    key = Path(path).read_text(encoding="utf-8").strip()
    if not key or "\n" in key:
        raise ValueError("the API key file must hold one line")
    return key


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="onnx_server", description="A small OpenAI-compatible server for small ONNX "
                                                                     "models, "
                                     "for smoke tests; not an engine for production models.")
    parser.add_argument("--model", required=True, metavar="DIR")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--served-model-name", default="model")
    parser.add_argument("--api-key-file", metavar="FILE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def main(argv: "list[str] | None" = None) -> int:
    """Serve until SIGTERM or SIGINT. Returns 0 after a clean stop, 2 when it could not start."""
    asked = arguments().parse_args(argv)
    try:
        state = State(asked.served_model_name, _key(asked.api_key_file))
        server = Server((asked.host, asked.port), state)
    except (OSError, ValueError, OverflowError) as error:
        print("error: cannot start: %s" % (getattr(error, "strerror", None) or error), file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.stop, name="stop").start())
    threading.Thread(target=load, args=(state, Path(asked.model), asked.threads), name="load", daemon=True).start()
    print("serving %s on %s port %d" % (asked.served_model_name, *server.server_address[:2]), flush=True)
    server.serve_forever(poll_interval=0.1)
    for thread in threading.enumerate():
        if thread.name == "stop":
            thread.join(GRACE_S + 5)
    return 0
