"""``smoke``: the deployed model answers, whole and streamed. Changes nothing; a wrong answer fails the deployment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.errors import WorldError, code
from console.i18n import N_, tr
from console.smoke.runtime import expected
from console.smoke.service import service as ask
from console.steps.base import Change, StepKind, Task, nothing
from console.steps.host import Host

FAILED = code("deploy.smoke-failed", WorldError, N_("The model on {server} does not answer as it should ({probe}): "
                                                    "{reason}"),
              N_("What ran before runs again. Look at the answer and at the service's log, correct the cause and plan "
                 "again."))


def inspect(host: Host, task: Task) -> dict[str, Any]:
    """Nothing to know before."""
    return {}


def plan(facts: Mapping[str, Any], task: Task) -> tuple[Change, ...]:
    """No changes: this step only asks."""
    return ()


def known_answers(host: Host, task: Task) -> list[dict[str, str]]:
    """The questions and answers that lie beside the model, if the playbook names the file."""
    name = task.options.get("expect")
    return expected((host.read_file(f"{task.values['model_dir']}/{name}") or "{}").encode()) if name else []


def _health_port(task: Task) -> int | None:
    asked = task.options.get("health_port")
    return int(task.text(asked)) if asked else None


def verify(ctx: Any, host: Host, task: Task) -> None:
    """Ask the service.

    Raises:
        WorldError: ``deploy.smoke-failed`` naming the first probe that failed.
    """
    known = known_answers(host, task)
    found = ask(ctx, host.transport, int(task.values["port"]), str(task.values["served_name"]), known or None,
                health=str(task.options.get("health", "/health")), max_tokens=int(task.options.get("max_tokens", 64)),
                timeout_s=float(task.options.get("timeout_s", 300)), health_port=_health_port(task),
                lists_models=bool(task.options.get("models", True)))
    record = host.services.get("smoked")
    if record:
        record(host.server, found, known)
    for probe in found.probes:
        if probe.verdict == "fail":
            raise FAILED(server=host.server, probe=probe.name, reason=tr(probe.reason, "en", **(probe.params or {})))


STEP = StepKind("smoke", N_("Ask the model"),
                {"expect": (str, False), "health": (str, False), "health_port": (str, False), "models": (bool, False),
                 "max_tokens": (int, False), "timeout_s": (int, False)},
                inspect, plan, nothing, verify, nothing)
