"""What both container steps share: which engine a server has, and how it is asked. podman or docker, the same words."""

from __future__ import annotations

import json
from typing import Any

from console.errors import WorldError, code
from console.i18n import N_
from console.steps.host import Host, tail

NO_ENGINE = code("deploy.no-container-engine", WorldError, N_("{server} has no podman and no docker that this login "
                                                              "may use: "
                                                              "{reason}"),
                 N_("Have the administrator install one from the system's own packages and allow this login to use "
                    "it, or use "
                    "a playbook without containers."))
BROKE = code("deploy.container-failed", WorldError, N_("On {server}, {engine} could not {what}: {output}"),
             N_("The message says why. Correct the cause and apply again."))

_WHICH = """
for engine in podman docker; do
  command -v "$engine" >/dev/null || continue
  if said=$("$engine" info --format '{{.ID}}{{.Host.OS}}' 2>&1) || said=$("$engine" info 2>&1 >/dev/null); then
    printf '%s\\n' "$engine"; exit 0
  fi
  printf '%s: %s\\n' "$engine" "$said" | head -c 500 >&2
done
exit 1
"""


def find(host: Host, sudo: bool) -> dict[str, Any]:
    """``{"engine", "sudo", "reason"}``: the first engine that answers, as the login and, where allowed, as root."""
    said = ""
    for as_root in ((True,) if sudo and host.sudo else (False, True) if host.sudo else (False,)):
        done = host.try_script(_WHICH, sudo=as_root)
        if done.ok:
            return {"engine": done.stdout.decode().strip(), "sudo": as_root, "reason": ""}
        said = tail(done, 300) or said
    return {"engine": None, "sudo": False, "reason": said or "neither is installed"}


def ask(host: Host, facts: dict[str, Any] | Any, *argv: str) -> list[dict[str, Any]]:
    """``inspect``'s list; empty when there is nothing of that name."""
    done = host.transport.run((facts["engine"], *argv), sudo=facts["sudo"], timeout_s=60)
    try:
        found = json.loads(done.stdout) if done.ok else []
    except (ValueError, RecursionError):
        found = []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def do(host: Host, facts: Any, what: str, *argv: str, timeout_s: float = 120) -> str:
    """Run the engine; its output.

    Raises:
        WorldError: ``deploy.container-failed``.
    """
    done = host.transport.run((facts["engine"], *argv), sudo=facts["sudo"], timeout_s=timeout_s)
    if not done.ok:
        raise BROKE(server=host.server, engine=facts["engine"], what=what, output=tail(done))
    return done.stdout.decode("utf-8", "replace").strip()


def needed(facts: Any) -> None:
    """Refuse a server without an engine."""
    if not facts["engine"]:
        raise NO_ENGINE(server=facts["server"], reason=facts["reason"])
