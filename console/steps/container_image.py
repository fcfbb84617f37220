"""``container-image``: the image archive of the release, loaded into the server's engine and compared by image id.

The image id is the SHA-256 of the image's configuration (OCI image specification, "ImageID"); it is read from the
archive's own manifest on the server, whose bytes the push verified. Undo leaves a loaded image: nothing runs from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from console.errors import InputError, WorldError, code
from console.i18n import N_
from console.steps import container
from console.steps.base import Change, StepKind, Task, nothing
from console.steps.host import Host

NO_ARCHIVE = code("deploy.no-image-archive", InputError, N_("The release carries no single image archive ({found})."),
                  N_("Put exactly one .tar of `docker save` or `podman save` into the runtime component."))
NOT_AN_IMAGE = code("deploy.bad-image-archive", WorldError, N_("{archive} on {server} is not an image archive of "
                                                               "`docker save`."),
                    N_("Make it with `docker save` or `podman save --format docker-archive` and build the bundle "
                       "again."))
OTHER = code("deploy.image-differs", WorldError, N_("The image that {server} loaded is not the one in the archive "
                                                    "({image})."),
             N_("Apply again. If it stays, look at the container engine on the server."))

_MANIFEST = 'tar -xOf "$1" manifest.json 2>/dev/null | head -c 1048576'
_CONFIG = re.compile(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?")


def _archive(task: Task) -> str:
    found = [path for path, _ in task.runtime_files if path.endswith(".tar")]
    if len(found) != 1:
        raise NO_ARCHIVE(found=", ".join(found) or "–")
    return f"{task.values['runtime_dir']}/{found[0]}"


def image_id(manifest: str) -> str | None:
    """The image id that a ``docker save`` archive's manifest.json names; None when it names not exactly one."""
    try:
        rows = json.loads(manifest)
        match = _CONFIG.fullmatch(rows[0]["Config"]) if len(rows) == 1 else None
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return match[1] if match else None


def inspect(host: Host, task: Task) -> dict[str, Any]:
    """The engine, and whether it has the image already. Before the push the archive's image id is not known."""
    facts = container.find(host, bool(task.options.get("sudo"))) | {"server": host.server, "image": None,
                                                                    "present": False}
    facts["image"] = image_id(host.script("reading the image archive", _MANIFEST, _archive(task)))
    if facts["engine"] and facts["image"]:
        facts["present"] = bool(container.ask(host, facts, "image", "inspect", facts["image"]))
    return facts


def plan(facts: Mapping[str, Any], task: Task) -> tuple[Change, ...]:
    """One load, unless the image is there."""
    container.needed(facts)
    if facts["present"]:
        return ()
    archive = _archive(task)
    sha256 = next(s for path, s in task.runtime_files if path.endswith(".tar"))
    return (Change("container-image", "load", archive, N_("Load the image {archive} (SHA-256 {sha256}) into {engine}."),
                   {"archive": archive.rsplit("/", 1)[-1], "sha256": sha256, "engine": facts["engine"]}, sha256,
                   undoable=False),)


def apply(ctx: Any, host: Host, task: Task, facts: Mapping[str, Any]) -> None:
    """Load the archive and compare."""
    if not facts["image"]:
        raise NOT_AN_IMAGE(archive=_archive(task).rsplit("/", 1)[-1], server=host.server)
    container.do(host, facts, "load the image", "load", "-i", _archive(task),
                 timeout_s=float(task.options.get("timeout_s", 3600)))


def verify(ctx: Any, host: Host, task: Task) -> None:
    """The engine has an image of that id."""
    facts = inspect(host, task)
    if not facts["present"]:
        raise OTHER(server=host.server, image=str(facts["image"])[:16])


STEP = StepKind("container-image", N_("Load the container image"), {"timeout_s": (int, False), "sudo": (bool, False)},
                inspect, plan, apply, verify, nothing)
