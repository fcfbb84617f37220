"""``wait-healthy``: the service answers its health page through the connection to its server. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from console.errors import SealiftError, WorldError, code
from console.i18n import N_
from console.smoke.http import Client
from console.steps import container_run, service
from console.steps.base import Change, StepKind, Task, nothing
from console.steps.host import Host

NOT_HEALTHY = code("deploy.not-healthy", WorldError,
                   N_("The service on {server} was not healthy after {seconds} s ({last}). Its log ends with: {log}"),
                   N_("The log says why. What ran before runs again. Correct the cause and plan again."))


def inspect(host: Host, task: Task) -> dict[str, Any]:
    """Nothing to know before."""
    return {}


def plan(facts: Mapping[str, Any], task: Task) -> tuple[Change, ...]:
    """No changes: this step only looks."""
    return ()


def verify(ctx: Any, host: Host, task: Task) -> None:
    """Ask until it answers 200; a cancel is noticed at each turn.

    Raises:
        WorldError: ``deploy.not-healthy`` with the end of the service's log.
    """
    port = int(task.text(task.options.get("port", "{port}")))
    client, path = Client(host.transport, port), str(task.options.get("path", "/health"))
    limit_s, began, pause_s, last = float(task.options.get("timeout_s", 600)), time.monotonic(), 0.1, "–"
    while True:
        ctx.checkpoint()
        try:
            answer = client.get(path, timeout_s=10)
            if answer.status == 200:
                return
            last = f"{answer.status} {answer.text(200)}"
        except SealiftError as problem:
            if problem.code == "ssh.connection-lost":
                raise
            last = problem.message()
        if time.monotonic() - began > limit_s:
            raise NOT_HEALTHY(server=host.server, seconds=round(limit_s), last=last, log=_log(host, task))
        time.sleep(pause_s)
        pause_s = min(2.0, pause_s * 1.5)


def _log(host: Host, task: Task) -> str:
    try:
        return (container_run if task.options.get("container") else service).log_tail(host, task)
    except SealiftError:
        return "–"  # the log is evidence beside the failure, not a failure of its own


STEP = StepKind("wait-healthy", N_("Wait until it is healthy"),
                {"path": (str, False), "port": (str, False), "timeout_s": (int, False), "container": (bool, False)},
                inspect, plan, nothing, verify, nothing)
