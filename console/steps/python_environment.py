"""``python-environment``: a virtual environment from the wheels of the release, with no network.

It lies at ``deployments/<name>/env-<digest of the wheels>``, so a new release never touches the environment that the
running one uses. pip installs with ``--no-index`` and compares every wheel with the digest of the signed index. A
cancel or a crash leaves a folder without its stamp, which the next apply builds anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from console.errors import WorldError, code
from console.i18n import N_
from console.steps.base import Change, StepKind, Task
from console.steps.host import Host, digest
from console.steps.wheels import Wheel, choose, parse

NO_PYTHON = code("deploy.no-python", WorldError,
                 N_("{server} has no python3, so the runtime cannot be installed there. The weights are not affected."),
                 N_("Have the administrator install Python 3 from the system's own packages, take the inventory again "
                    "and "
                    "plan again; or serve from another server."))
UNSUITABLE = code("deploy.python-unsuitable", WorldError,
                  N_("No Python on {server} fits the wheels of the release. Found: {found}. No wheel of {missing} "
                     "fits."),
                  N_("Install one of the Python versions that the wheels are for ({wanted}), or bring a bundle with "
                     "wheels "
                     "for what the server has."))
NO_VENV = code("deploy.no-venv", WorldError, N_("Python on {server} cannot make virtual environments: {found}."),
               N_("Have the administrator install the system's package for it (python3-venv on Debian and Ubuntu)."))
NO_WHEELS = code("deploy.no-wheels", WorldError, N_("The release carries no wheels for the runtime."),
                 N_("Choose a release whose bundle holds the wheels that this playbook installs."))
BROKEN = code("deploy.environment-broken", WorldError, N_("The Python environment on {server} does not load {module}: "
                                                          "{output}"),
              N_("The wheels may be for another processor or an older system. Bring wheels that fit, or choose "
                 "another server."))

_FIND = r"""
for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8; do
  path=$(command -v "$name") || continue
  "$path" -c 'import importlib.util, json, platform, sys
print(json.dumps({"path": sys.argv[1], "version": list(sys.version_info[:2]), "machine": platform.machine(),
  "libc": platform.libc_ver(), "venv": importlib.util.find_spec("venv") is not None,
  "pip": importlib.util.find_spec("ensurepip") is not None}))' "$path" 2>/dev/null
done
:
"""
_STAMP = '"$1/bin/python" -c "" 2>/dev/null && cat "$1/.sealift-complete" 2>/dev/null || :'
_BUILD = r"""
set -eu
python=$1 env=$2 requirements=$3 wheels=$4 pip=$5
rm -rf "$env"
mkdir -p "$(dirname "$env")"
if [ -n "$pip" ]; then
  "$python" -m venv --without-pip "$env"
  set -- "$env/bin/python" "$pip/pip"
else
  "$python" -m venv "$env"
  set -- "$env/bin/python" -m pip
fi
cat >"$env/requirements.txt"
export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
unset PYTHONPATH PYTHONHOME
"$@" install --quiet --isolated --no-index --no-deps --no-cache-dir --no-compile --require-hashes \
  --find-links "$wheels" --requirement "$env/requirements.txt" </dev/null
"""
_FINISH = 'cat >"$1/.part" && sync "$1/.part" 2>/dev/null || sync; mv -f "$1/.part" "$1/.sealift-complete"'
_LOAD = '"$1/bin/python" -B -c "import importlib, sys; importlib.import_module(sys.argv[1])" "$2"'
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,100}")


def wheels_digest(task: Task) -> str:
    """What the environment's folder is named after."""
    rows = sorted([path.rsplit("/", 1)[-1], sha256] for path, sha256 in task.runtime_files if path.endswith(".whl"))
    return digest(json.dumps(rows))


def _wheels(task: Task) -> list[Wheel]:
    found = [parse(path, sha256) for path, sha256 in task.runtime_files if path.endswith(".whl")]
    return [wheel for wheel in found if wheel]


def inspect(host: Host, task: Task) -> dict[str, Any]:
    """The Pythons of the server, and the stamp of the environment if it is whole and starts."""
    pythons = []
    for line in host.script("looking for Python", _FIND).splitlines():
        try:
            pythons.append(json.loads(line))
        except ValueError:
            continue
    return {"server": host.server, "pythons": pythons[:16],
            "stamp": host.script("looking at the environment", _STAMP, task.values["env_dir"]).strip() or None}


def _select(facts: Mapping[str, Any], task: Task) -> tuple[dict[str, Any], list[Wheel], Wheel | None]:
    """The Python to use, the wheels that fit it, and the wheel of pip if one is carried.

    Raises:
        WorldError: ``deploy.no-python``, ``deploy.python-unsuitable``, ``deploy.no-venv``, ``deploy.no-wheels``.
    """
    wheels = _wheels(task)
    if not wheels:
        raise NO_WHEELS()
    if not facts["pythons"]:
        raise NO_PYTHON(server=facts["server"])
    missing: list[str] = []
    without_venv: list[str] = []
    for python in facts["pythons"]:
        fit, lacking = choose(wheels, python)
        pip = next((wheel for wheel in fit if wheel.name == "pip"), None)
        lacking = [name for name in lacking if name != "pip"]
        if lacking:
            missing = missing or lacking
        elif not python["venv"] or not (pip or python["pip"]):
            without_venv.append(_named(python))
        else:
            return python, [wheel for wheel in fit if wheel.name != "pip"], pip
    if without_venv:
        raise NO_VENV(server=facts["server"], found=", ".join(without_venv))
    raise UNSUITABLE(server=facts["server"], found=", ".join(dict.fromkeys(map(_named, facts["pythons"]))),
                     missing=", ".join(missing),
                     wanted=", ".join(sorted({tag for wheel in wheels for tag in wheel.pythons} - {"py3"})))


def _named(python: Mapping[str, Any]) -> str:
    version = ".".join(str(part) for part in python["version"])
    return f"{version} ({python['machine']}, {' '.join(str(p) for p in python['libc']) or 'libc unknown'})"


def plan(facts: Mapping[str, Any], task: Task) -> tuple[Change, ...]:
    """One environment, unless it stands complete; a server that cannot have it is refused here already."""
    if facts["stamp"] == wheels_digest(task):
        return ()
    python, wheels, _pip = _select(facts, task)
    names = ", ".join(f"{wheel.name} {wheel.version}" for wheel in wheels)
    return (Change("python-environment", "create", task.values["env_dir"],
                   N_("Make the Python environment {path} with {python}: {packages}."),
                   {"path": task.values["env_dir"], "python": _named(python), "packages": names},
                   digest(json.dumps([wheel.sha256 for wheel in wheels]))),)


def apply(ctx: Any, host: Host, task: Task, facts: Mapping[str, Any]) -> None:
    """Build, load every module named by the playbook, and stamp it complete last."""
    python, wheels, pip = _select(facts, task)
    folder = f"{task.values['runtime_dir']}"
    lines = [f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels]
    tool = f"{folder}/{pip.path}" if pip else ""
    where = f"{folder}/{wheels[0].path}".rsplit("/", 1)[0]
    host.script("making the Python environment", _BUILD, python["path"], task.values["env_dir"], "", where, tool,
                stdin="".join(lines).encode(), timeout_s=float(task.options.get("timeout_s", 900)))
    _load(host, task)
    host.script("finishing the Python environment", _FINISH, task.values["env_dir"], stdin=wheels_digest(task).encode())


def _load(host: Host, task: Task) -> None:
    for module in task.options.get("imports", []):
        if not _MODULE.fullmatch(str(module)):
            raise BROKEN(server=host.server, module=str(module), output="not a module's name")
        done = host.try_script(_LOAD, task.values["env_dir"], str(module), timeout_s=180)
        if not done.ok:
            raise BROKEN(server=host.server, module=module, output=done.stderr[-500:].decode("utf-8", "replace"))


def verify(ctx: Any, host: Host, task: Task) -> None:
    """The environment starts and is stamped with the digest of these wheels."""
    if inspect(host, task)["stamp"] != wheels_digest(task):
        raise BROKEN(server=host.server, module="python", output="the environment is not complete")


def undo(ctx: Any, host: Host, task: Task, before: Mapping[str, Any]) -> None:
    """Remove the environment, unless it stood complete before."""
    if before["stamp"] != wheels_digest(task):
        host.script("removing the Python environment", 'rm -rf -- "$1"', task.values["env_dir"], timeout_s=300)


STEP = StepKind("python-environment", N_("Install the runtime"), {"imports": (list, False), "timeout_s": (int, False)},
                inspect, plan, apply, verify, undo)
