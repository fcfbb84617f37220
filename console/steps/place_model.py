"""``place-model``: the release's files, verified on the server, in its store.

A cancel or a failure leaves verified chunks that the next push uses. Undo leaves the files: nothing runs from them,
and the release that ran before needs none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.errors import WorldError, code
from console.i18n import N_
from console.steps.base import Change, StepKind, Task, nothing
from console.steps.host import Host

NOT_PLACED = code("deploy.not-placed", WorldError, N_("The files of the release are not verified on {server}: "
                                                      "{reason}"),
                  N_("Apply again; the push goes on from the last verified chunk."), retryable=True)
GONE = code("deploy.files-missing", WorldError, N_("On {server} the files of the release are not at {path}."),
            N_("Push the release to the server again."), retryable=True)

_THERE = '[ -d "$1" ] && [ -n "$(ls -A "$1" 2>/dev/null)" ] && echo yes || echo no'


def _paths(task: Task) -> list[str]:
    return [task.values[key] for key in ("model_dir", "runtime_dir") if task.values.get(key)]


def _there(host: Host, path: str) -> bool:
    return host.script("looking for files", _THERE, path).strip() == "yes"


def inspect(host: Host, task: Task) -> dict[str, Any]:
    """Whether each component's folder is in the store."""
    return {"missing": [path for path in _paths(task) if not _there(host, path)]}


def plan(facts: Mapping[str, Any], task: Task) -> tuple[Change, ...]:
    """A push, unless every folder is there; what is there was verified when it came."""
    if not facts["missing"]:
        return ()
    return (Change("place-model", "push", task.values["release_dir"],
                   N_("Push the release {release} to {path}, every byte verified there."),
                   {"release": task.release_id[:16], "path": task.values["release_dir"]}, task.release_id,
                   undoable=False),)


def apply(ctx: Any, host: Host, task: Task, facts: Mapping[str, Any]) -> None:
    """Push through the engine, which resumes by itself."""
    result = host.services["push"](ctx, host.server)
    if result.get("outcome") != "verified":
        reason = (result.get("error") or {}).get("message") or str(result.get("outcome"))
        raise NOT_PLACED(server=host.server, reason=reason)


def verify(ctx: Any, host: Host, task: Task) -> None:
    """The folders are there. Their bytes were verified by the push."""
    for path in inspect(host, task)["missing"]:
        raise GONE(server=host.server, path=path)


STEP = StepKind("place-model", N_("Place the weights"), {}, inspect, plan, apply, verify, nothing)
