"""``write-file``: a small text file in the deployment's folder, written whole and compared there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.errors import InputError, WorldError, code
from console.i18n import N_
from console.steps.base import Change, StepKind, Task
from console.steps.host import Host, digest

BAD_PATH = code("playbook.bad-path", InputError, N_("{path} is not a plain relative path."),
                N_("Name a file below the deployment's folder, without .. and without a leading slash."))
DIFFERS = code("deploy.file-differs", WorldError, N_("On {server}, {path} does not hold what the plan says."),
               N_("Apply again. If it stays, look who else changes that file."))
MODES = ("0600", "0640", "0644", "0700", "0750", "0755")


def _path(task: Task) -> str:
    path = str(task.options["path"])
    parts = path.split("/")
    if not path or any(p in ("", ".", "..") for p in parts) or any(not c.isprintable() for c in path):
        raise BAD_PATH(path=path)
    return f"{task.values['deployment_dir']}/{path}"


def _content(task: Task) -> str:
    return task.text(task.options["content"])


def inspect(host: Host, task: Task) -> dict[str, Any]:
    """The file's text; None when there is none."""
    return {"content": host.read_file(_path(task))}


def plan(facts: Mapping[str, Any], task: Task) -> tuple[Change, ...]:
    """One write, unless it holds that text already."""
    path, content = _path(task), _content(task)
    if facts["content"] == content:
        return ()
    text = N_("Write {path}.") if facts["content"] is None else N_("Replace {path}.")
    return (Change("write-file", "write", path, text, {"path": path}, digest(content)),)


def apply(ctx: Any, host: Host, task: Task, facts: Mapping[str, Any]) -> None:
    """Write to a temporary name, compare, rename."""
    mode = str(task.options.get("mode", "0600"))
    host.write_file(_path(task), _content(task), mode if mode in MODES else "0600")


def verify(ctx: Any, host: Host, task: Task) -> None:
    """The file holds the text."""
    if host.read_file(_path(task)) != _content(task):
        raise DIFFERS(server=host.server, path=_path(task))


def undo(ctx: Any, host: Host, task: Task, before: Mapping[str, Any]) -> None:
    """The old text again, or no file."""
    if before["content"] is None:
        host.remove_file(_path(task))
    else:
        host.write_file(_path(task), before["content"], str(task.options.get("mode", "0600")))


STEP = StepKind("write-file", N_("Write a file"), {"path": (str, True), "content": (str, True), "mode": (str, False)},
                inspect, plan, apply, verify, undo)
