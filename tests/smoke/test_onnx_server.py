"""The small runtime as servers run it: a process of its own, spoken to over real HTTP."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from console.smoke import runtime

HERE = runtime.package().parent


def start(tmp_path: Path, *options: str, model: Path | None = None) -> tuple[subprocess.Popen, int]:
    """The server on a free port; returns once it says where it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "onnx_server", "--model", str(model or runtime.smoke_model()), "--port", "0",
         "--served-model-name", "smoke", *options],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    return process, int(line.split()[-1])


def ask(port: int, method: str, path: str, body: object = None, headers: dict | None = None) -> tuple[int, dict, bytes]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        link.request(method, path, raw, headers or {})
        answer = link.getresponse()
        return answer.status, dict(answer.headers), answer.read()
    finally:
        link.close()


def wait_ready(port: int) -> None:
    end = time.monotonic() + 30
    while ask(port, "GET", "/ready")[0] != 200:
        assert time.monotonic() < end, "never ready"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    process, port = start(tmp_path_factory.mktemp("server"))
    wait_ready(port)
    yield port
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    process.stdout.close()
    process.stderr.close()


def chat(question: str, **more: object) -> dict:
    return {"model": "smoke", "messages": [{"role": "user", "content": question}], **more}


def test_answers_what_it_was_trained_on(server):
    for one in json.loads((runtime.smoke_model() / "expected.json").read_text())["answers"]:
        status, _, body = ask(server, "POST", "/v1/chat/completions", chat(one["question"]))
        assert status == 200
        answer = json.loads(body)
        assert answer["choices"][0]["message"]["content"] == one["answer"]
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"]["completion_tokens"] == len(one["answer"].encode())


def test_lists_its_model_and_itself(server):
    assert json.loads(ask(server, "GET", "/v1/models")[2])["data"][0]["id"] == "smoke"
    assert json.loads(ask(server, "GET", "/version")[2])["version"]
    assert ask(server, "GET", "/health")[0] == 200


def test_stream_ends_with_done_and_never_splits_a_character(server):
    status, headers, body = ask(server, "POST", "/v1/chat/completions",
                                chat("法国的首都是哪里？", stream=True, stream_options={"include_usage": True}))
    assert status == 200 and headers["Content-Type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]
    assert events[-1] == "[DONE]"
    parts = [json.loads(event) for event in events[:-1]]
    pieces = [p["choices"][0]["delta"].get("content", "") for p in parts if p["choices"]]
    assert "".join(pieces) == "巴黎。" and pieces.count("巴") == 1
    assert parts[-1]["usage"]["total_tokens"] > 0
    assert parts[-2]["choices"][0]["finish_reason"] == "stop"


def test_plain_completion_length_stop_and_sampling(server):
    status, _, body = ask(server, "POST", "/v1/completions", {"model": "smoke", "prompt": "x", "max_tokens": 2})
    assert status == 200 and json.loads(body)["choices"][0]["finish_reason"] in ("length", "stop")
    body = ask(server, "POST", "/v1/chat/completions", chat("Who are you?", max_tokens=4))[2]
    assert json.loads(body)["choices"][0] | {"logprobs": None} == {
        "index": 0, "finish_reason": "length", "logprobs": None, "message": {"role": "assistant", "content": "I am"}}
    body = ask(server, "POST", "/v1/chat/completions", chat("Who are you?", stop=["Sealift"]))[2]
    assert json.loads(body)["choices"][0]["message"]["content"] == "I am the "
    one, two = (ask(server, "POST", "/v1/chat/completions", chat("Who are you?", temperature=2, seed=5))[2]
                for _ in range(2))
    assert json.loads(one)["choices"] == json.loads(two)["choices"]


@pytest.mark.parametrize("body, status", [
    (b"{", 400), (b"[]", 400), (b"\xff", 400), ({"model": "smoke"}, 400), ({"model": "other", "messages": []}, 404),
    (chat("x", n=2), 400), (chat("x", max_tokens=0), 400), (chat("x", max_tokens="4"), 400),
    (chat("x", temperature=9), 400),
    (chat("x", stop=[1]), 400), (chat("x" * 200), 400), ({"messages": [{"role": "user", "content": 7}]}, 400),
    ({"messages": [{"role": "system", "content": "x"}]}, 400), (b"[" * 100_000, 400)])
def test_bad_requests_get_clear_errors(server, body, status):
    got, _, answer = ask(server, "POST", "/v1/chat/completions", body)
    assert got == status
    error = json.loads(answer)["error"]
    assert error["message"] and "/" not in error["message"]


def test_limits_and_unknown_pages(server):
    assert ask(server, "GET", "/etc/passwd")[0] == 404
    assert ask(server, "GET", "/v1/chat/completions")[0] == 405
    assert ask(server, "PATCH", "/health")[0] == 501
    with socket.create_connection(("127.0.0.1", server), 10) as link:
        link.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n")
        assert b" 413 " in link.recv(4096)
    with socket.create_connection(("127.0.0.1", server), 10) as link:
        link.sendall(b"garbage\r\n\r\n")
        assert link.recv(4096)


def test_metrics_count(server):
    before = ask(server, "GET", "/metrics")[2].decode()
    ask(server, "POST", "/v1/chat/completions", chat("2+2"))
    after = ask(server, "GET", "/metrics")[2].decode()
    assert "sealift_onnx_ready 1" in after
    row = 'sealift_onnx_requests_total{path="/v1/chat/completions",status="200"} '
    counts = [int(next((x for x in text.splitlines() if x.startswith(row)), "0").rsplit(" ", 1)[-1])
              for text in (before, after)]
    assert counts[1] == counts[0] + 1


def test_api_key_from_a_file(tmp_path):
    key = tmp_path / "key"
    key.write_text("s3cret\n")
    process, port = start(tmp_path, "--api-key-file", str(key))
    try:
        wait_ready(port)
        assert ask(port, "GET", "/v1/models")[0] == 401
        assert ask(port, "GET", "/v1/models", headers={"Authorization": "Bearer wrong"})[0] == 401
        assert ask(port, "GET", "/v1/models", headers={"Authorization": "Bearer s3cret"})[0] == 200
    finally:
        process.terminate()
        process.communicate(timeout=15)


def test_a_folder_without_a_model_is_unhealthy_in_words(tmp_path):
    process, port = start(tmp_path, model=tmp_path)
    try:
        end = time.monotonic() + 20
        while (answer := ask(port, "GET", "/health"))[0] != 503 and time.monotonic() < end:
            time.sleep(0.02)
        assert answer[0] == 503 and b"config.json cannot be read" in answer[2] and str(tmp_path).encode() not in answer[2]
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=15)
    assert "Traceback" not in errors


def test_a_taken_port_is_an_error_and_no_traceback(tmp_path, server):
    done = subprocess.run([sys.executable, "-m", "onnx_server", "--model", str(tmp_path), "--port", str(server)],
                          cwd=tmp_path,
                          env=os.environ | {"PYTHONPATH": str(HERE)}, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
