"""Smoke inference through a deployed service, over the connection to its server; and the engine's smoke service.

Engines differ: some end a stream with ``[DONE]``, some only with a finish reason; some call the model ``NAME@main``;
some are healthy and answer no question. So the model must really answer, whole and streamed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from console.errors import SealiftError, WorldError, code
from console.i18n import N_
from console.secrets import Secret
from console.smoke.device import device
from console.smoke.http import Client
from console.smoke.local import local
from console.smoke.result import Probe, SmokeResult
from console.transport.base import Transport

QUESTION = "What is the capital of France?"
NOT_200 = N_("It answered with status {status}.")
OTHER_MODEL = N_("It serves {served}, and the plan says {planned}.")
NO_TEXT = N_("The answer holds no text.")
WRONG = N_("The answer differs from the known one: {expected}")
NOT_ALIKE = N_("The streamed answer differs from the whole one.")
CUT = N_("The stream ended without a finish reason and without [DONE].")
FAILED = N_("{message}")
NOT_DEPLOYED = code("smoke.not-deployed", WorldError, N_("{deployment} serves on none of the servers asked."),
                    N_("See `sealift deploy status` for what became of it."))


def service(ctx: Any, transport: Transport, port: int, served_name: str, expect: Sequence[dict[str, str]] | None = None,
            *,
            health: str = "/health", health_port: int | None = None, lists_models: bool = True,
            api_key: Secret | None = None, max_tokens: int = 64, timeout_s: float = 120) -> SmokeResult:
    """Ask the service on ``port`` for its health, its models, a completion and a streamed completion.

    Args:
        served_name: the name that the plan gave the model; the service must list exactly it.
        expect: questions with known answers, of which the first three are asked; None to ask one question and
            require only that there is text.
        health_port: where the health page is, when not on ``port``.
        lists_models: False for engines that have no /v1/models; that probe is then left out.
        max_tokens: of each answer; reasoning models need more than a few.

    A link that breaks is raised (WorldError, retryable); everything else becomes a failed probe.
    """
    client = Client(transport, port, api_key=api_key)
    known = list(expect or ())[:3]
    watched = Client(transport, health_port) if health_port else client
    probes = [_probe("health", f"GET {health}", lambda: _health(watched, health))]
    ctx.checkpoint()
    if lists_models:
        probes.append(_probe("models", "GET /v1/models", lambda: _models(client, served_name)))
    texts: list[str] = []
    for one in known or [{"question": QUESTION, "answer": None}]:
        ctx.checkpoint()
        body = _body(served_name, one["question"], max_tokens)
        probes.append(_probe("completion", one["question"], lambda b=body,
                             o=one: _whole(client, b, o["answer"], timeout_s)))
        texts.append(probes[-1].got)
    ctx.checkpoint()
    body = _body(served_name, (known[-1]["question"] if known else QUESTION), max_tokens) | {"stream": True}
    probes.append(_probe("stream", str(body["messages"][0]["content"]),
                         lambda: _streamed(client, body, texts[-1] if known else None, timeout_s)))
    return SmokeResult("service", transport.server, tuple(probes), texts[0] or None)


def _body(served_name: str, question: str, max_tokens: int) -> dict[str, Any]:
    return {"model": served_name, "messages": [{"role": "user", "content": question}], "temperature": 0,
            "max_tokens": max_tokens}


def _probe(name: str, asked: str, act: Callable[[], Probe]) -> Probe:
    began = time.monotonic()
    try:
        found = act()
    except SealiftError as problem:
        if problem.code == "ssh.connection-lost":
            raise
        found = Probe(name, "fail", reason=FAILED, params={"message": problem.message(), "code": problem.code})
    return Probe(name, found.verdict, asked, found.got, round(time.monotonic() - began, 3), found.reason, found.params)


def _health(client: Client, path: str) -> Probe:
    answer = client.get(path)
    if answer.status != 200:
        return Probe("health", "fail", got=answer.text(), reason=NOT_200, params={"status": answer.status})
    return Probe("health", "pass", got=answer.text())


def _models(client: Client, served_name: str) -> Probe:
    answer = client.get("/v1/models")
    if answer.status != 200:
        return Probe("models", "fail", got=answer.text(), reason=NOT_200, params={"status": answer.status})
    listed = answer.json()
    rows = listed.get("data") if isinstance(listed, dict) else None
    names = [str(row.get("id")) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    shown = ", ".join(names) or "–"
    if served_name not in names:
        return Probe("models", "fail", got=shown, reason=OTHER_MODEL, params={"served": shown, "planned": served_name})
    return Probe("models", "pass", got=shown)


def _first_choice(content: Any) -> dict[str, Any]:
    choices = content.get("choices") if isinstance(content, dict) else None
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _said(part: Any) -> str:
    """Text of a message or delta, reasoning included: a reasoning model may spend few tokens on nothing else."""
    if not isinstance(part, dict):
        return ""
    return "".join(v for k in ("reasoning_content", "reasoning", "content") if isinstance(v := part.get(k), str))


def _whole(client: Client, body: dict[str, Any], right: str | None, timeout_s: float) -> Probe:
    answer = client.post("/v1/chat/completions", body, timeout_s)
    if answer.status != 200:
        return Probe("completion", "fail", got=answer.text(), reason=NOT_200, params={"status": answer.status})
    text = _said(_first_choice(answer.json()).get("message"))
    if not text:
        return Probe("completion", "fail", got=answer.text(), reason=NO_TEXT)
    if right is not None and text.strip() != right.strip():
        return Probe("completion", "fail", got=text, reason=WRONG, params={"expected": right})
    return Probe("completion", "pass", got=text)


def _streamed(client: Client, body: dict[str, Any], whole: str | None, timeout_s: float) -> Probe:
    pieces, ended = [], False
    for data in client.stream("/v1/chat/completions", body, timeout_s):
        if data.strip() == "[DONE]":
            ended = True
            break
        try:
            choice = _first_choice(json.loads(data))
        except (ValueError, RecursionError):
            continue
        pieces.append(_said(choice.get("delta")))
        ended = ended or choice.get("finish_reason") is not None
    text = "".join(pieces)
    if not text:
        return Probe("stream", "fail", reason=NO_TEXT)
    if not ended:
        return Probe("stream", "fail", got=text, reason=CUT)
    if whole is not None and text != whole:
        return Probe("stream", "fail", got=text, reason=NOT_ALIKE)
    return Probe("stream", "pass", got=text)


class SmokeService:
    """The three levels, on servers and deployments of the site; ``engine.smoke``."""

    def __init__(self, engine: Any):
        self._engine = engine

    def local(self, model_dir: Path | None = None) -> SmokeResult:
        """See :func:`console.smoke.local.local`."""
        return local(model_dir)

    def device(self, ctx: Any, names: Sequence[str]) -> list[SmokeResult]:
        """A small computation on each server's devices; a server that cannot be reached is a failed probe.

        Raises:
            InputError: ``server.unknown``. DeniedError: no operator.
        """
        self._engine.require("operator")
        servers = [record.name for record in self._engine.servers.select(list(names))]
        with self._engine.act("smoke.device", {"kind": "servers", "id": ", ".join(servers), "digest": None}) as told:
            found = [self._each(ctx, name, "device", lambda link: device(ctx, link)) for name in servers]
            told["verdicts"] = {one.place: one.verdict for one in found}
        return found

    def service(self, ctx: Any, deployment: str, names: Sequence[str] = ()) -> list[SmokeResult]:
        """Ask every server on which ``deployment`` serves.

        Raises:
            WorldError: ``smoke.not-deployed``. DeniedError: no operator.
        """
        self._engine.require("operator")
        served = [row for row in self._engine.deployments.served(deployment) if not names or row["server"] in names]
        if not served:
            raise NOT_DEPLOYED(deployment=deployment)
        with self._engine.act("smoke.service", {"kind": "deployment", "id": deployment, "digest": None}) as told:
            found = [self._each(ctx, row["server"], "service", lambda link, row=row: service(
                ctx, link, row["port"], row["served_name"], row["expect"] or None, health=row["health"],
                health_port=row["health_port"], lists_models=row["lists_models"], max_tokens=row["max_tokens"]))
                for row in served]
            told["verdicts"] = {one.place: one.verdict for one in found}
        return found

    def _each(self, ctx: Any, name: str, level: Any, ask: Callable[[Transport], SmokeResult]) -> SmokeResult:
        ctx.checkpoint()
        try:
            link = self._engine.servers.connect(name)
            try:
                found = ask(link)
            finally:
                link.close()
        except SealiftError as problem:
            failed = Probe("reach", "fail", reason=FAILED, params={"message": problem.message(), "code": problem.code})
            found = SmokeResult(level, name, (failed,))
        ctx.server(name).result(found.verdict, answer=found.answer)
        return found


__all__ = ["SmokeService", "service"]
