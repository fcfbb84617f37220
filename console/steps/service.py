"""``service``: the serving process, kept running and surviving the SSH session.

Where systemd is PID 1 and the login may act as root: a unit that runs as the login user, with as few rights as
serving needs. Elsewhere: a supervisor of ours in POSIX sh, in a session of its own, that starts the command again
with a growing pause; it does not come back by itself after a reboot, and the plan says so. The command names the
release's own folder, so a running process is bound to one release. A cancel leaves the old or the new service.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from console.errors import InputError, WorldError, code
from console.i18n import N_
from console.steps.base import Change, StepKind, Task
from console.steps.host import Host, digest

BAD_WORD = code("playbook.bad-argument", InputError, N_("The service's argument {word} holds a control character."),
                N_("Correct the playbook or the answer."))
NOT_RUNNING = code("deploy.service-not-running", WorldError, N_("The service does not run on {server}. Its log ends "
                                                                "with: {log}"),
                   N_("The log says why. Correct the cause and plan again."))
NO_START = code("deploy.service-not-started", WorldError, N_("The service could not be started on {server}: {output}"),
                N_("The message says why. Correct the cause and apply again."))

NO_REBOOT = N_("It does not start by itself after a reboot, because the login has no systemd rights here.")
AS_ROOT = N_("It runs as root, because the login is root.")

HARDENING = """NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=full
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
UMask=0077
"""
ONLY_LOOPBACK = "IPAddressDeny=any\nIPAddressAllow=localhost\n"

_ASK = """
systemd=no
[ -d /run/systemd/system ] && [ "$(cat /proc/1/comm 2>/dev/null)" = systemd ] && systemd=yes
printf '%s\\n%s\\n' "$systemd" "$(id -u)"
id -un
"""
_UNIT_STATE = 'systemctl is-active "$1" 2>/dev/null || :'
_ALIVE = r"""
pid=$(cat "$1/$2" 2>/dev/null) || exit 1
case $pid in ''|*[!0-9]*) exit 1;; esac
kill -0 "$pid" 2>/dev/null || exit 1
[ ! -r "/proc/$pid/cmdline" ] || tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "$1/supervise"
"""
_STOP = r"""
alive() {
  pid=$(cat "$1/supervisor.pid" 2>/dev/null) || return 1
  case $pid in ''|*[!0-9]*) return 1;; esac
  kill -0 "$pid" 2>/dev/null || return 1
  [ ! -r "/proc/$pid/cmdline" ] || tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "$1/supervise"
}
alive "$1" || { rm -f "$1/supervisor.pid"; exit 0; }
kill -TERM "$pid"
n=0
while alive "$1" && [ "$n" -lt 150 ]; do n=$((n + 1)); sleep 0.1; done
alive "$1" || exit 0
child=$(cat "$1/service.pid" 2>/dev/null)
kill -KILL "$pid"
case $child in ''|*[!0-9]*) ;; *) kill -KILL "$child" 2>/dev/null;; esac
rm -f "$1/supervisor.pid" "$1/service.pid"
"""
_START = r"""
set -eu
cd "$1"
if command -v setsid >/dev/null; then
  setsid nohup sh "$1/supervise" "$1" </dev/null >/dev/null 2>&1 &
else
  nohup sh "$1/supervise" "$1" </dev/null >/dev/null 2>&1 &
fi
n=0
while [ ! -s "$1/supervisor.pid" ] && [ "$n" -lt 100 ]; do n=$((n + 1)); sleep 0.1; done
[ -s "$1/supervisor.pid" ]
"""
SUPERVISE = r"""#!/bin/sh
# Keeps one service running: starts it again with a growing pause, ends it and itself on TERM.
cd "$1" || exit 1
umask 077
echo "$$" >supervisor.pid
child= pause=1
stop() {
  trap '' TERM INT
  if [ -n "$child" ]; then
    kill -TERM "$child" 2>/dev/null
    n=0
    while kill -0 "$child" 2>/dev/null && [ "$n" -lt 120 ]; do n=$((n + 1)); sleep 0.1; done
    kill -KILL "$child" 2>/dev/null
  fi
  rm -f supervisor.pid service.pid
  exit 0
}
trap stop TERM INT
trap '' HUP
while :; do
  if [ -f log ] && [ "$(wc -c <log)" -gt 8388608 ]; then mv -f log log.1; fi
  began=$(date +%s)
  sh ./run </dev/null >>log 2>&1 &
  child=$!
  echo "$child" >service.pid
  wait "$child"
  code=$?
  child=
  [ $(($(date +%s) - began)) -lt 60 ] || pause=1
  echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) the service ended with code $code; starting again in $pause s" >>log
  sleep "$pause" &
  wait "$!"
  pause=$((pause * 2))
  [ "$pause" -le 60 ] || pause=60
done
"""


def unit_name(task: Task) -> str:
    """The systemd unit of a deployment."""
    return f"sealift-{task.name}.service"


def _unit_path(task: Task) -> str:
    return f"/etc/systemd/system/{unit_name(task)}"


def _folder(task: Task) -> str:
    return task.values["deployment_dir"]


def inspect(host: Host, task: Task) -> dict[str, Any]:
    """Which manager, what is installed, whether it runs. An installed service keeps its manager."""
    systemd, uid, user = (host.script("looking at the service manager", _ASK).split("\n") + ["", "", ""])[:3]
    supervised = host.read_file(f"{_folder(task)}/run")
    unit = host.read_file(_unit_path(task)) if systemd == "yes" else None
    fresh = systemd == "yes" and host.sudo and supervised is None
    manager = "systemd" if unit is not None or (fresh and _may_sudo(host)) else "supervised"
    content = unit if manager == "systemd" else supervised
    return {"manager": manager, "user": user, "uid": uid, "content": content,
            "active": content is not None and _active(host, task, manager)}


def _may_sudo(host: Host) -> bool:
    try:
        return host.transport.run(("true",), sudo=True, timeout_s=30).ok
    except WorldError as problem:
        if problem.code != "ssh.sudo-refused":
            raise
        return False


def _active(host: Host, task: Task, manager: str) -> bool:
    if manager == "systemd":
        return host.script("asking systemd", _UNIT_STATE, unit_name(task)).strip() in ("active", "activating",
                                                                                       "reloading")
    return host.try_script(_ALIVE, _folder(task), "supervisor.pid").ok


def _command(task: Task) -> tuple[list[str], dict[str, str]]:
    words = task.words(task.options["command"])
    environment = {str(name): task.text(value) for name, value in sorted(task.options.get("environment", {}).items())}
    for word in (*words, *environment.values()):
        if any(not c.isprintable() for c in word):
            raise BAD_WORD(word=word)
    return words, environment


def content(facts: Mapping[str, Any], task: Task) -> str:
    """The unit, or the script that the supervisor runs."""
    words, environment = _command(task)
    return _unit(facts, task, words, environment) if facts["manager"] == "systemd" else _script(words, environment)


def _script(words: list[str], environment: Mapping[str, str]) -> str:
    lines = ["#!/bin/sh", *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
             "exec " + shlex.join(words)]
    return "\n".join(lines) + "\n"


def _unit(facts: Mapping[str, Any], task: Task, words: list[str], environment: Mapping[str, str]) -> str:
    loopback = task.values.get("host") in ("127.0.0.1", "::1")
    return (f"[Unit]\nDescription=Sealift: {task.name}\nAfter=network.target\n\n"
            f"[Service]\nType=simple\nUser={facts['user']}\nWorkingDirectory={_quoted(_folder(task))[1:-1]}\n"
            + "".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in environment.items())
            + f"ExecStart={' '.join(_quoted(word, dollar=True) for word in words)}\n"
            + f"Restart=always\nRestartSec=5\nTimeoutStopSec=60\n{HARDENING}{ONLY_LOOPBACK if loopback else ''}\n"
            "[Install]\nWantedBy=multi-user.target\n")


def _quoted(word: str, *, dollar: bool = False) -> str:
    """One word as systemd reads it (systemd.service(5), "Command lines"; systemd.unit(5), specifiers)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped.replace("$", "$$") if dollar else escaped}"'


def plan(facts: Mapping[str, Any], task: Task) -> tuple[Change, ...]:
    """Install and start, replace and restart, or start; none when this very service runs."""
    made = content(facts, task)
    if facts["content"] == made and facts["active"]:
        return ()
    if facts["content"] == made:
        action, text = "start", N_("Start the service {service}.")
    elif facts["content"] is not None:
        action, text = "replace", N_("Replace the service {service} and restart it: {command}")
    else:
        action, text = "install", N_("Install and start the service {service}: {command}")
    systemd = facts["manager"] == "systemd"
    caution = (AS_ROOT if facts["uid"] == "0" else "") if systemd else NO_REBOOT
    service = unit_name(task) if systemd else f"{_folder(task)}/supervise"
    return (Change("service", action, service, text, {"service": service, "command": shlex.join(_command(task)[0])},
                   digest(made), caution=caution),)


def apply(ctx: Any, host: Host, task: Task, facts: Mapping[str, Any]) -> None:
    """Stop what runs, install, start."""
    _install(host, task, facts["manager"], content(facts, task))


def _install(host: Host, task: Task, manager: str, made: str) -> None:
    if manager == "systemd":
        host.write_file(_unit_path(task), made, "0644", sudo=True)
        _systemctl(host, "daemon-reload")
        _systemctl(host, "enable", unit_name(task))
        _systemctl(host, "restart", unit_name(task))
        return
    host.script("stopping the service", _STOP, _folder(task), timeout_s=60)
    host.write_file(f"{_folder(task)}/run", made, "0700")
    host.write_file(f"{_folder(task)}/supervise", SUPERVISE, "0700")
    done = host.try_script(_START, _folder(task), timeout_s=60)
    if not done.ok:
        raise NO_START(server=host.server, output=done.stderr[-500:].decode("utf-8", "replace")
                       or "the supervisor did not start")


def _systemctl(host: Host, *words: str) -> None:
    done = host.transport.run(("systemctl", *words), sudo=True, timeout_s=120)
    if not done.ok:
        raise NO_START(server=host.server, output=done.stderr[-1000:].decode("utf-8", "replace"))


def verify(ctx: Any, host: Host, task: Task) -> None:
    """The service is installed as planned and runs."""
    facts = inspect(host, task)
    if facts["content"] != content(facts, task) or not facts["active"]:
        raise NOT_RUNNING(server=host.server, log=log_tail(host, task))


def log_tail(host: Host, task: Task, lines: int = 15) -> str:
    """The last lines of the service's log."""
    if host.read_file(f"{_folder(task)}/run") is not None:
        done = host.try_script('tail -n "$2" "$1/log" 2>/dev/null', _folder(task), str(lines))
    else:
        done = host.transport.run(("journalctl", "-u", unit_name(task), "-n", str(lines), "--no-pager", "-o", "cat"),
                                  sudo=host.sudo, timeout_s=30)
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", done.stdout.decode("utf-8", "replace")).strip()
    return text[-1500:] or "–"


def undo(ctx: Any, host: Host, task: Task, before: Mapping[str, Any]) -> None:
    """What ran before runs again; where nothing was, nothing is left but the log."""
    if before["content"] is None:
        _remove(host, task, before["manager"])
    elif before["active"]:
        _install(host, task, before["manager"], before["content"])
    else:
        _remove(host, task, before["manager"])
        path = _unit_path(task) if before["manager"] == "systemd" else f"{_folder(task)}/run"
        host.write_file(path, before["content"], "0600", sudo=before["manager"] == "systemd")


def _remove(host: Host, task: Task, manager: str) -> None:
    if manager == "systemd":
        if host.read_file(_unit_path(task)) is not None:
            _systemctl(host, "disable", "--now", unit_name(task))
            host.remove_file(_unit_path(task), sudo=True)
            _systemctl(host, "daemon-reload")
        return
    host.script("stopping the service", _STOP, _folder(task), timeout_s=60)
    for name in ("run", "supervise"):
        host.remove_file(f"{_folder(task)}/{name}")


STEP = StepKind("service", N_("Run the service"), {"command": (list, True), "environment": (dict, False)},
                inspect, plan, apply, verify, undo)
