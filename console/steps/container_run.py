"""``container-run``: the serving container, on the host's network, restarted by its engine.

The container that ran before is stopped and kept under another name until the next deployment, so that undo only has
to start it again. Devices are handed in as the vendors document it: NVIDIA by CDI or ``--gpus``, Ascend by device
nodes and driver folders, AMD by /dev/kfd and /dev/dri.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from console.errors import WorldError, code
from console.i18n import N_
from console.steps import container
from console.steps.base import Change, StepKind, Task
from console.steps.container_image import _MANIFEST, _archive, image_id
from console.steps.host import Host, digest

NOT_RUNNING = code("deploy.container-not-running", WorldError,
                   N_("The container does not run on {server}. Its log ends with: {log}"),
                   N_("The log says why. Correct the cause and plan again."))
LABEL = "org.sealift.spec"
DEVICES = ("none", "nvidia", "ascend", "amd")
_ASCEND_NODES = ("davinci_manager", "devmm_svm", "hisi_hdc")
_ASCEND_MOUNTS = ("/usr/local/dcmi", "/usr/local/bin/npu-smi", "/usr/local/Ascend/driver/lib64",
                  "/usr/local/Ascend/driver/version.info", "/etc/ascend_install.info")


def _name(task: Task) -> str:
    return f"sealift-{task.name}"


def _kept(task: Task) -> str:
    return f"sealift-{task.name}-before"


def inspect(host: Host, task: Task) -> dict[str, Any]:
    """The engine; the container of this name with its spec's digest, and whether it runs."""
    facts = container.find(host, bool(task.options.get("sudo"))) | {"server": host.server, "container": None,
                                                                    "active": False}
    if facts["engine"]:
        for found in container.ask(host, facts, "container", "inspect", _name(task)):
            labels = (found.get("Config") or {}).get("Labels") or {}
            facts["container"] = str(labels.get(LABEL, "unknown"))
            facts["active"] = bool((found.get("State") or {}).get("Running"))
    return facts


def _devices(task: Task, engine: str) -> list[str]:
    kind = task.options.get("devices", "none")
    if kind == "nvidia":
        return ["--device", "nvidia.com/gpu=all"] if engine == "podman" else ["--gpus", "all"]
    if kind == "amd":
        return ["--device", "/dev/kfd", "--device", "/dev/dri", "--group-add", "video", "--security-opt",
                "seccomp=unconfined"]
    if kind == "ascend":
        nodes = [f"davinci{n}" for n in range(int(task.values.get("devices") or 0))]
        return [word for node in (*nodes, *_ASCEND_NODES) for word in ("--device", f"/dev/{node}")] + \
            [word for path in _ASCEND_MOUNTS for word in ("-v", f"{path}:{path}:ro")]
    return []


def arguments(task: Task, engine: str, image: str) -> list[str]:
    """Everything after ``podman`` or ``docker``."""
    words = ["run", "-d", "--name", _name(task), "--network", "host", "--restart",
             "always" if engine == "podman" else "unless-stopped", "--pull", "never"]
    if task.options.get("shm_size"):
        words += ["--shm-size", task.text(task.options["shm_size"])]
    if task.options.get("ipc_host"):
        words += ["--ipc", "host"]
    words += ["--ulimit", "memlock=-1"] if task.options.get("memlock") else []
    words += _devices(task, engine)
    words += ["-v", f"{task.values['model_dir']}:{task.options.get('model_mount', '/model')}:ro"]
    for file, place in sorted(task.options.get("mounts", {}).items()):
        words += ["-v", f"{task.text(file)}:{place}:ro"]
    for name, value in sorted(task.options.get("environment", {}).items()):
        words += ["-e", f"{name}={task.text(value)}"]
    if task.options.get("entrypoint"):
        words += ["--entrypoint", task.text(task.options["entrypoint"])]
    # The answers count too: a file that is mounted may be written from them.
    answers = sorted((key, str(value)) for key, value in task.values.items() if key.startswith("answer."))
    spec = digest(json.dumps([words, task.words(task.options["command"]), [s for _, s in task.runtime_files], answers]))
    return [*words, "--label", f"{LABEL}={spec}", image, *task.words(task.options["command"])]


def _spec(task: Task, engine: str) -> str:
    return next(w for w in arguments(task, engine, "image") if w.startswith(f"{LABEL}=")).partition("=")[2]


def plan(facts: Mapping[str, Any], task: Task) -> tuple[Change, ...]:
    """Start, or replace and keep the old one; none when this very container runs."""
    container.needed(facts)
    spec = _spec(task, facts["engine"])
    if facts["container"] == spec and facts["active"]:
        return ()
    text = N_("Run the container {name}: {command}") if facts["container"] is None else \
        N_("Replace the container {name}, keeping the old one stopped: {command}")
    words = arguments(task, facts["engine"], "IMAGE")
    return (Change("container-run", "run", _name(task), text,
                   {"name": _name(task), "command": shlex.join([facts["engine"], *words])}, spec),)


def _image(host: Host, task: Task) -> str:
    return image_id(host.script("reading the image archive", _MANIFEST, _archive(task))) or "missing"


def apply(ctx: Any, host: Host, task: Task, facts: Mapping[str, Any]) -> None:
    """Put the old container aside, run the new one."""
    now = inspect(host, task)
    if now["container"] is not None and now["container"] != _spec(task, facts["engine"]):
        _forget(host, facts, _kept(task))
        container.do(host, facts, "stop the old container", "stop", _name(task))
        container.do(host, facts, "put the old container aside", "rename", _name(task), _kept(task))
    else:
        _forget(host, facts, _name(task))
    container.do(host, facts, "run the container", *arguments(task, facts["engine"], _image(host, task)), timeout_s=600)


def _forget(host: Host, facts: Mapping[str, Any], name: str) -> None:
    if container.ask(host, facts, "container", "inspect", name):
        container.do(host, facts, "remove a container", "rm", "-f", name)


def log_tail(host: Host, task: Task, lines: int = 15) -> str:
    """The last lines of the container's log; "–" when there is none."""
    facts = container.find(host, bool(task.options.get("sudo")))
    if not facts["engine"]:
        return "–"
    done = host.transport.run((facts["engine"], "logs", "--tail", str(lines), _name(task)), sudo=facts["sudo"],
                              timeout_s=30)
    return (done.stdout + done.stderr)[-1500:].decode("utf-8", "replace").strip() or "–"


def verify(ctx: Any, host: Host, task: Task) -> None:
    """The planned container runs."""
    facts = inspect(host, task)
    if not facts["engine"] or facts["container"] != _spec(task, facts["engine"]) or not facts["active"]:
        raise NOT_RUNNING(server=host.server, log=log_tail(host, task))


def undo(ctx: Any, host: Host, task: Task, before: Mapping[str, Any]) -> None:
    """The container that ran before runs again; where none was, none is left."""
    facts = container.find(host, bool(task.options.get("sudo")))
    if not facts["engine"]:
        return
    kept = container.ask(host, facts, "container", "inspect", _kept(task))
    current = inspect(host, task)
    if before["container"] is None:
        for name in (_name(task), _kept(task)):
            _forget(host, facts, name)
    elif current["container"] != before["container"] and kept:
        _forget(host, facts, _name(task))
        container.do(host, facts, "give the old container its name back", "rename", _kept(task), _name(task))
    if before["container"] is not None and before["active"]:
        container.do(host, facts, "start the old container", "start", _name(task))


STEP = StepKind("container-run", N_("Run the container"), {
    "command": (list, True), "environment": (dict, False), "devices": (str, False), "shm_size": (str, False),
    "ipc_host": (bool, False), "memlock": (bool, False), "model_mount": (str, False), "mounts": (dict, False),
    "entrypoint": (str, False), "sudo": (bool, False)}, inspect, plan, apply, verify, undo)
