"""``switch``: the name ``models/<name>/current`` points to the release, by one atomic rename of a symlink.

A cancel before the rename leaves the old target, after it the new one; there is no state between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.errors import WorldError, code
from console.i18n import N_
from console.steps.base import Change, StepKind, Task
from console.steps.host import Host

NOT_SWITCHED = code("deploy.not-switched", WorldError, N_("On {server}, {path} does not point to the release."),
                    N_("Apply again. If it stays, look who else changes that folder."))

_READ = '[ -L "$1" ] && readlink "$1" || [ ! -e "$1" ] || exit 45'
_SWITCH = """
set -eu
mkdir -p "$(dirname "$1")"
part="$1.$$.part"
trap 'rm -f "$part"' EXIT
ln -s "$2" "$part"
mv -T -f "$part" "$1"
trap - EXIT
sync "$(dirname "$1")" 2>/dev/null || sync
"""


def _link(task: Task) -> str:
    return f"{task.values['store']}/models/{task.name}/current"


def _target(task: Task) -> str:
    """Relative, so that the store may be moved as a whole."""
    return "../../" + task.values["model_dir"].removeprefix(task.values["store"] + "/")


def inspect(host: Host, task: Task) -> dict[str, Any]:
    """Where the link points now; None when there is none."""
    target = host.script(f"reading {_link(task)}", _READ, _link(task)).strip()
    return {"target": target or None}


def plan(facts: Mapping[str, Any], task: Task) -> tuple[Change, ...]:
    """One switch, unless it points there already."""
    if facts["target"] == _target(task):
        return ()
    return (Change("switch", "switch", _link(task), N_("Switch {path} from {old} to {new}, in one step."),
                   {"path": _link(task), "old": facts["target"] or "–", "new": _target(task)}, _target(task)),)


def apply(ctx: Any, host: Host, task: Task, facts: Mapping[str, Any]) -> None:
    """Rename a new link over the old."""
    host.script(f"switching {_link(task)}", _SWITCH, _link(task), _target(task))


def verify(ctx: Any, host: Host, task: Task) -> None:
    """The link points to the release."""
    if inspect(host, task)["target"] != _target(task):
        raise NOT_SWITCHED(server=host.server, path=_link(task))


def undo(ctx: Any, host: Host, task: Task, before: Mapping[str, Any]) -> None:
    """Point back, or remove the link when there was none."""
    if before["target"]:
        host.script(f"switching {_link(task)} back", _SWITCH, _link(task), before["target"])
    else:
        host.remove_file(_link(task))


STEP = StepKind("switch", N_("Switch over"), {}, inspect, plan, apply, verify, undo)
