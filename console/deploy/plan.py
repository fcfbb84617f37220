"""A plan: what will change on which server, fixed by one digest, so that what was approved is what is done."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from console.deploy.playbook import Playbook
from console.errors import InputError, UsageError, WorldError, code
from console.facts.ports import listening as sockets
from console.i18n import N_
from console.steps import Change, Host, Task, kinds

NO_COMPONENT = code("deploy.no-component", InputError, N_("The release has no {type} component in a format that the "
                                                          "playbook "
                                                         "serves ({formats})."),
                    N_("Choose another playbook, or a release that carries what this one needs."))
CHOOSE = code("deploy.choose-component", InputError, N_("The release has several {type} components: {found}."),
              N_("Say which one with --{type} ID."))
BAD_NAME = code("deploy.bad-name", UsageError, N_("A deployment cannot be called {name}."),
                N_("Use lower-case letters, digits, dots and dashes, at most 63."))
NO_PORT = code("deploy.no-port", WorldError, N_("No port from {first} to {last} is free on {server}."),
               N_("Stop what listens there, or name a port with --answer port=NUMBER."))
WRONG_ARCH = code("deploy.wrong-machine", WorldError, N_("{server} is {found}, and the playbook is for {wanted}."),
                  N_("Choose a playbook for this machine, or another server."))
NO_DEVICES = code("deploy.no-accelerator", WorldError, N_("{server} shows no {wanted} device in its inventory."),
                  N_("Take the inventory again, check the driver, or choose a playbook for what the server has."))

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
PORTS_TRIED = 200
_LISTENING = "uname -m; cat /proc/net/tcp /proc/net/tcp6 2>/dev/null; :"


@dataclass(frozen=True)
class ServerPlan:
    """One server's part. ``refused`` is the error (as a dict) that stops it at step ``stops_at``, or None."""

    name: str
    port: int | None
    tasks: tuple[Task, ...]
    changes: tuple[Change, ...]
    refused: dict[str, Any] | None = None
    stops_at: int | None = None

    def as_dict(self, lang: str | None = None) -> dict[str, Any]:
        """For the store; with ``lang``, for people too (a ``summary`` to each change)."""
        changes = [c.as_dict() | ({"summary": c.summary(lang)} if lang else {}) for c in self.changes]
        plain = {"name": self.name, "port": self.port, "changes": changes, "refused": self.refused,
                 "stops_at": self.stops_at}
        return plain if lang else plain | {"tasks": [task.as_dict() for task in self.tasks]}


@dataclass(frozen=True)
class Plan:
    """Everything that an approval is about. ``digest`` covers all of it but the id, the author and the time.

    ``attempt`` counts: the same was planned, applied and ended before. Each needs its own yes.
    """

    id: str
    digest: str
    name: str
    served_name: str
    playbook: str
    playbook_digest: str
    status: str
    release_id: str
    components: tuple[str, ...]
    answers: dict[str, Any]
    service: dict[str, Any]
    servers: tuple[ServerPlan, ...]
    created_by: str = ""
    attempt: int = 1

    def as_dict(self, lang: str = "en") -> dict[str, Any]:
        """For JSON and the screen."""
        return self._head() | {"id": self.id, "digest": self.digest, "created_by": self.created_by,
                               "servers": [one.as_dict(lang) for one in self.servers]}

    def document(self) -> dict[str, Any]:
        """What the digest covers and the store keeps."""
        return self._head() | {"servers": [one.as_dict() for one in self.servers]}

    def _head(self) -> dict[str, Any]:
        return {"name": self.name, "served_name": self.served_name, "playbook": self.playbook,
                "playbook_digest": self.playbook_digest, "status": self.status, "release_id": self.release_id,
                "components": list(self.components), "answers": self.answers, "service": self.service} | (
            {"attempt": self.attempt} if self.attempt > 1 else {})


def sealed(plan_without_id: Plan) -> Plan:
    """The plan with its digest and the id made from it."""
    text = json.dumps(plan_without_id.document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Plan(**{**plan_without_id.__dict__, "id": f"plan-{digest[:12]}", "digest": digest})


def from_row(row: Mapping[str, Any]) -> Plan:
    """The plan that the store keeps."""
    plain = dict(row["document"])
    servers = tuple(ServerPlan(one["name"], one["port"], tuple(Task.from_dict(t) for t in one["tasks"]),
                               tuple(Change(**c) for c in one["changes"]), one["refused"], one["stops_at"])
                    for one in plain.pop("servers"))
    return Plan(id=row["id"], digest=row["digest"], created_by=row["created_by"], servers=servers,
                **plain | {"components": tuple(plain["components"])})


def component(release: Any, kind: str, formats: Iterable[str], chosen: str | None) -> Any:
    """The release's one component of ``kind`` in one of ``formats``; None when the playbook wants none.

    Raises:
        InputError: ``deploy.no-component``, ``deploy.choose-component``.
    """
    formats = tuple(formats)
    if not formats:
        return None
    found = [c for c in release.components if c.type == kind and c.format in formats and chosen in (None, c.id)]
    if not found:
        raise NO_COMPONENT(type=kind, formats=", ".join(formats))
    if len(found) > 1:
        raise CHOOSE(type=kind, found=", ".join(c.id for c in found))
    return found[0]


def files_of(release: Any, part: Any) -> tuple[tuple[str, str], ...]:
    """(path below the component, sha256) of each of its files."""
    if part is None:
        return ()
    prefix = part.path.rstrip("/") + "/"
    return tuple((f.path.removeprefix(prefix), f.sha256) for f in release.files if f.component == part.id)


@dataclass(frozen=True)
class Order:
    """What is to be planned, the same for every server."""

    playbook: Playbook
    release: Any
    model: Any
    runtime: Any
    name: str
    answers: dict[str, Any]

    def tasks(self, store: str, port: int, devices: int) -> tuple[Task, ...]:
        """The steps bound to one server. ``devices`` is how many the server's inventory shows."""
        release_dir, deployment_dir = f"{store}/releases/{self.release.release_id}", f"{store}/deployments/{self.name}"
        files = files_of(self.release, self.runtime)
        wheels = sorted([path.rsplit("/", 1)[-1], sha256] for path, sha256 in files if path.endswith(".whl"))
        env_dir = f"{deployment_dir}/env-{hashlib.sha256(json.dumps(wheels).encode()).hexdigest()[:16]}"
        values = {"store": store, "release_dir": release_dir, "deployment_dir": deployment_dir, "env_dir": env_dir,
                  "model_dir": f"{release_dir}/{self.model.path}",
                  "runtime_dir": f"{release_dir}/{self.runtime.path}" if self.runtime else None,
                  "python": f"{env_dir}/bin/python", "port": port, "host": self.playbook.service["host"],
                  "name": self.name, "served_name": self.name, "devices": devices or None,
                  **{f"answer.{key}": value for key, value in self.answers.items()}}
        return tuple(Task(kind, self.name, self.release.release_id, options, values,
                          files if kind in ("python-environment", "container-image", "container-run") else ())
                     for kind, options in self.playbook.steps)


def listening(host: Host) -> tuple[str, set[int]]:
    """The machine's architecture and the TCP ports on which something listens."""
    machine, _, rows = host.script("looking at the ports", _LISTENING).partition("\n")
    return machine.strip(), {row["port"] for row in sockets(rows)}


def free_port(server: str, first: int, taken: set[int]) -> int:
    """The first port from ``first`` that is not ``taken``.

    Raises:
        WorldError: ``deploy.no-port``.
    """
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        if port not in taken:
            return port
    raise NO_PORT(server=server, first=first, last=first + PORTS_TRIED - 1)


def look(host: Host, tasks: tuple[Task, ...]) -> tuple[list[Change], Exception | None, int | None]:
    """The changes of each task as the server stands; with the error that a step raised, and its position."""
    changes: list[Change] = []
    for position, task in enumerate(tasks):
        kind = kinds()[task.kind]
        try:
            changes.extend(kind.plan(kind.inspect(host, task), task))
        except WorldError as problem:
            if problem.code.startswith("ssh."):
                raise
            return changes, problem, position
    return changes, None, None
