"""Container engines, their runtimes and images, and CDI specifications."""

from __future__ import annotations

import re
from typing import Any

from console.facts import frameworks
from console.facts.fact import ENDS, Fact, quiet_fact
from console.facts.grammar import Page, clean, shown, strict_json
from console.i18n import N_

# Where a daemon of Docker may be reached. Without one nothing can answer, and the start of its client costs more than all the
# rest of an inventory. A program that hung is not asked a second time.
_DAEMON = ENDS + r"""daemon() {
case ":$hung:" in *:docker:*) return 2;; esac
command -v docker >/dev/null 2>&1 || return 1
[ -z "$DOCKER_HOST" ] || return 0
for s in /var/run/docker.sock /run/docker.sock "$XDG_RUNTIME_DIR/docker.sock" "$HOME/.docker/config.json"; do
[ -e "$s" ] && return 0; done
return 1; }
"""

_ENGINES_SCRIPT = _DAEMON + r"""for t in docker podman nerdctl ctr crictl isula enroot apptainer nvidia-ctk nvidia-container-cli ascend-docker-runtime; do
command -v "$t" >/dev/null 2>&1 || continue
said=; case $t in docker) daemon; case $? in 1) said='|no daemon';; 2) said='|late';; esac;; esac
[ -n "$said" ] || { $flush; said=$($limit "$t" --version 2>/dev/null); }
out="$out$t|${said%%
*}
"; done; :"""

_DOCKER_SCRIPT = _DAEMON + r"""if daemon; then $flush; $limit docker info --format '{{json .}}'
else ends 127; fi"""

# Podman makes folders and leaves a process behind when it is asked for its images; its own list is a file.
_IMAGES_SCRIPT = _DAEMON + r"""late=
if daemon; then
$flush; $limit docker images --format 'docker|{{.Repository}}:{{.Tag}}' 2>/dev/null
case $? in 124|137|143) late=124;; *)
$limit docker ps --format 'running|{{.Image}}|{{.Names}}' 2>/dev/null;; esac; fi
for f in /var/lib/containers/storage/overlay-images/images.json "$HOME/.local/share/containers/storage/overlay-images/images.json"; do
[ -r "$f" ] && $flush && grep -o '"names":\[[^]]*\]' "$f" | tr ',[]' '\n\n\n' | sed -n 's/^"\([^"]*\)"$/podman|\1/p'; done
[ -z "$late" ] || ends "$late"
"""

_CDI_SCRIPT = r"""for f in /etc/cdi/* /var/run/cdi/*; do [ -f "$f" ] || continue
$flush; printf '%s|%s\n' "$f" "$(sed -n 's/^"\{0,1\}kind"\{0,1\}: *//p' "$f" 2>/dev/null | head -n 1)"; done; :"""


def _engines(text: str) -> list[dict[str, Any]]:
    """Engines and runtimes by ``name`` with their ``version``; ``daemon`` False where only the client of one is there."""
    found = []
    for line in clean(text).splitlines():
        name, mark, said = line.partition("|")
        if mark:
            version = re.search(r"v?(\d+(?:\.\d+)+[\w.+~-]*)", said[:300])
            found.append({"name": name, "version": version[1] if version else None, "daemon": not said.endswith("|no daemon")})
    return found


def _docker(text: str) -> dict[str, Any]:
    page = Page(clean(text), "docker info")
    value = strict_json(page.text, page)
    if not isinstance(value, dict):
        page.fail(0, N_("the JSON is not an object"))
    if not shown(str(value.get("ServerVersion") or "")):
        page.fail(0, "; ".join(map(str, value.get("ServerErrors") or ())) or N_("the daemon does not answer"))
    runtimes = value.get("Runtimes")
    return {"version": shown(str(value.get("ServerVersion") or "")), "root": value.get("DockerRootDir"),
            "runtimes": sorted(runtimes) if isinstance(runtimes, dict) else [],
            "default_runtime": value.get("DefaultRuntime"), "cgroup_version": value.get("CgroupVersion"),
            "storage_driver": value.get("Driver")}


def _images(text: str) -> list[dict[str, Any]]:
    """Images by name with the ``engine`` that has them, and under ``containers`` the names of those that run from one."""
    found: dict[str, dict[str, Any]] = {}
    for line in clean(text).splitlines():
        kind, mark, rest = line[:1000].partition("|")
        name, _, container = rest.partition("|")
        if mark and name and kind in ("docker", "podman", "running"):
            entry = found.setdefault(name, {"name": name, "engine": "docker" if kind == "running" else kind, "containers": []})
            entry["containers"] += [container] if kind == "running" else []
    return [entry for name, entry in found.items() if name != "<none>:<none>"]


def _framework_images(text: str) -> list[dict[str, Any]]:
    return frameworks.images(_images(text))


def _cdi(text: str) -> list[dict[str, Any]]:
    return [{"file": file, "kind": kind.strip('"') or None}
            for file, mark, kind in (line.partition("|") for line in clean(text).splitlines()) if mark]


_ASKED = quiet_fact("containers.images", _IMAGES_SCRIPT, 20, _images, tool="docker images")
FACTS = [
    _ASKED,
    Fact("frameworks.images", _ASKED.argv, _ASKED.timeout_s, _framework_images, of=_ASKED.id, tool=_ASKED.tool),
    quiet_fact("containers.engines", _ENGINES_SCRIPT, 20, _engines),
    quiet_fact("containers.docker", _DOCKER_SCRIPT, 20, _docker, needs="docker", tool="Docker daemon"),
    quiet_fact("containers.cdi", _CDI_SCRIPT, 5, _cdi),
]
