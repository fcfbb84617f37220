"""The inventory of a fleet against ansible-core: the same script by its ``raw`` module, and its ``setup``.

Endpoints are loopback addresses behind real sshd processes; as many forks there as threads here, both sides started as the
programs they are. Run by ``make bench``. Needs root, OpenSSH, and ansible-core on the PATH, in ``SEALIFT_BENCH_ANSIBLE`` (a
folder with the program ``ansible-playbook``) or to be had by pip. The last lines are the figures.

The window is measured over the same endpoints: how long its thread is away from its loop while their answers come in.

``SEALIFT_BENCH_ENDPOINTS`` (200) and ``SEALIFT_BENCH_ROUNDS`` (1) set the size.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from console.servers.gather import full_script, known_facts

SSHD = Path("/usr/sbin/sshd")
pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.skipif(os.geteuid() != 0 or not SSHD.exists(), reason="needs root and /usr/sbin/sshd"),
]
ENDPOINTS = int(os.environ.get("SEALIFT_BENCH_ENDPOINTS", "200"))
ROUNDS = int(os.environ.get("SEALIFT_BENCH_ROUNDS", "1"))
THREADS = 16
"""What the setting inventory.threads is when nobody changed it."""

ADDRESSES_EACH = 16
"""One sshd listens on at most 16 addresses."""

MOST_OF_RAW, MOST_OF_SETUP, MOST_OF_PLAIN = 0.30, 0.12, 1.10


@dataclass(frozen=True)
class Fleet:
    """The endpoints, and the files that reach them."""

    folder: Path
    port: int
    addresses: tuple[str, ...]
    host_key: str
    servers: tuple[subprocess.Popen, ...] = ()

    @property
    def key(self) -> Path:
        return self.folder / "user"


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    folder, running = Path(tempfile.mkdtemp(prefix="sealift-bench-")), []
    Path("/run/sshd").mkdir(exist_ok=True)
    # A home of its own: what this machine's root has in its log-in files is no part of the comparison.
    (folder / "home").mkdir()
    for name in ("host", "user"):
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)), check=True)
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    addresses = tuple(f"127.77.{n // 250}.{n % 250 + 1}" for n in range(ENDPOINTS))
    with socket.create_server((addresses[0], 0)) as listener:
        port = listener.getsockname()[1]
    try:
        for first in range(0, ENDPOINTS, ADDRESSES_EACH):
            running.append(_sshd(folder, port, addresses[first : first + ADDRESSES_EACH]))
        made = Fleet(folder, port, addresses, " ".join((folder / "host.pub").read_text().split()[:2]), tuple(running))
        (folder / "known_hosts").write_text("".join(f"[{a}]:{port} {made.host_key}\n" for a in addresses))
        yield made
    finally:
        for server in running:
            server.terminate()
            server.wait()
        shutil.rmtree(folder)


def _sshd(folder: Path, port: int, addresses: tuple[str, ...]) -> subprocess.Popen:
    config = folder / f"sshd-{addresses[0]}"
    config.write_text(
        f"Port {port}\n" + "".join(f"ListenAddress {a}\n" for a in addresses) + f"HostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        f"Subsystem sftp internal-sftp\nMaxStartups 500\nSetEnv HOME={folder}/home\n"
    )
    server = subprocess.Popen((SSHD, "-D", "-e", "-f", str(config)), stderr=subprocess.DEVNULL)
    end = time.monotonic() + 10
    for address in addresses:
        while True:
            try:
                socket.create_connection((address, port), 1).close()
                break
            except OSError:
                assert time.monotonic() < end and server.poll() is None, "sshd did not start"
    return server


@pytest.fixture(scope="module")
def ansible(fleet: Fleet) -> Path:
    """The program ansible-playbook, from the machine or in an environment of its own."""
    given = os.environ.get("SEALIFT_BENCH_ANSIBLE")
    found = shutil.which("ansible-playbook", path=given) if given else shutil.which("ansible-playbook")
    if found:
        return Path(found)
    place = fleet.folder / "ansible"
    subprocess.run((sys.executable, "-m", "venv", str(place)), check=True)
    got = subprocess.run((place / "bin/pip", "install", "-q", "ansible-core"), capture_output=True, text=True)
    if got.returncode:
        pytest.skip(f"ansible-core is not here and could not be installed: {got.stderr.strip()[-300:]}")
    return place / "bin/ansible-playbook"


class Sealift:
    """A workspace that knows the fleet."""

    def __init__(self, fleet: Fleet):
        self._workspace = Path(tempfile.mkdtemp(prefix="workspace-", dir=fleet.folder))
        # Both programs are compiled once, as where they are installed, whatever this machine's own setting is.
        self._environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        table = fleet.folder / "fleet.csv"
        table.write_text("name,address,port,user,identity\n" + "".join(
            f"host-{n:03},{a},{fleet.port},root,{fleet.key}\n" for n, a in enumerate(fleet.addresses)))  # fmt: skip
        self.run("server", "import", str(table))
        self.run("server", "import", str(fleet.folder / "known_hosts"))

    def run(self, *words: str) -> dict:
        program = (sys.executable, "-m", "console", "--workspace", str(self._workspace), "--json", "--progress", "none")
        return json.loads(subprocess.run((*program, *words), check=True, stdout=subprocess.PIPE, env=self._environment).stdout)

    def inventory(self) -> None:
        # All of it each time: what lasts as long as a server runs would be asked in the first round only.
        servers = self.run("inventory", "--full")["servers"]
        assert len(servers) == ENDPOINTS and all(s["reached"] for s in servers)
        assert all(s["facts"]["os.kernel"]["state"] == "value" for s in servers)

    @property
    def workspace(self) -> Path:
        return self._workspace


class Ansible:
    """Playbooks over the same endpoints, with connections of their own in every run."""

    def __init__(self, program: Path, fleet: Fleet):
        self._program, self._folder = program, fleet.folder
        common = (f"ansible_user=root\nansible_port={fleet.port}\nansible_ssh_private_key_file={fleet.key}\n"
                  f"ansible_python_interpreter={sys.executable}\n")  # fmt: skip
        (fleet.folder / "hosts").write_text("[all]\n" + "".join(f"{a}\n" for a in fleet.addresses) + f"[all:vars]\n{common}")
        (fleet.folder / "ansible.cfg").write_text("[defaults]\n")
        script = full_script("0" * 32).decode()
        for name, task in (("raw", {"raw": script}), ("setup", {"setup": {}})):
            # As JSON, which is YAML too; marked unsafe below, so that nothing in the script is taken for a template.
            text = json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task | {"register": "got"}]}])
            (fleet.folder / f"{name}.yml").write_text(text.replace('{"raw": ', '{"raw": !unsafe '))

    def play(self, name: str) -> None:
        control = Path(tempfile.mkdtemp(prefix="cp-", dir="/tmp"))
        settings = os.environ | {
            "ANSIBLE_FORKS": str(THREADS), "ANSIBLE_SSH_CONTROL_PATH_DIR": str(control), "ANSIBLE_HOME": str(self._folder / "home"),
            "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_CONFIG": str(self._folder / "ansible.cfg"),
            "ANSIBLE_SSH_COMMON_ARGS": f"-F none -o UserKnownHostsFile={self._folder}/known_hosts"}  # fmt: skip
        try:
            done = subprocess.run((self._program, "-i", str(self._folder / "hosts"), str(self._folder / f"{name}.yml")),
                                  env=settings, capture_output=True, text=True)  # fmt: skip
        finally:
            for link in control.iterdir():
                subprocess.run(("ssh", "-F", "none", "-o", f"ControlPath={link}", "-O", "exit", "any"), capture_output=True)
            shutil.rmtree(control, ignore_errors=True)  # masters take their sockets away themselves, at times meanwhile
        assert done.returncode == 0, done.stdout[:2000] + done.stderr[-2000:]
        assert done.stdout.count("ok=1") == ENDPOINTS, done.stdout[-2000:]


class PlainSsh:
    """The same script by OpenSSH's own client, as many at a time, its answers thrown away: what the endpoints themselves cost
    here, since they share this machine's processors with their clients."""

    def __init__(self, fleet: Fleet):
        self._fleet = fleet
        (fleet.folder / "script").write_bytes(full_script("0" * 32))

    def run(self) -> None:
        fleet = self._fleet
        options = f"-F none -o UserKnownHostsFile={fleet.folder}/known_hosts -o BatchMode=yes -i {fleet.key} -p {fleet.port}"
        line = f"ssh {options} root@$1 sh -s <{fleet.folder}/script >/dev/null 2>&1"
        subprocess.run(("xargs", "-P", str(THREADS), "-n", "1", "sh", "-c", line, "sh"), input="\n".join(fleet.addresses), text=True,
                       check=True)  # fmt: skip


def seconds(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def test_a_fleet_is_read_in_a_fraction_of_the_time_of_ansible(fleet: Fleet, ansible: Path):
    """At most 0.30 of ``raw`` and 0.12 of ``setup``, or else no slower than the endpoints alone allow: on a machine with few
    processors their own work, which is the same for every client, is most of each figure."""
    ours, theirs, plain = Sealift(fleet), Ansible(ansible, fleet), PlainSsh(fleet)
    calls = {"sealift": ours.inventory, "raw": lambda: theirs.play("raw"), "setup": lambda: theirs.play("setup"), "ssh": plain.run}
    took: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS):
        for name in list(calls)[:: -1 if turn % 2 else 1]:
            took[name].append(seconds(calls[name]))
    middle = {name: statistics.median(times) for name, times in took.items()}
    ratio = {name: middle["sealift"] / value for name, value in middle.items()}
    print(f"\n{ENDPOINTS} endpoints, {len(known_facts())} facts, {THREADS} threads or forks, {os.cpu_count()} processors, median of {ROUNDS}:")
    print("".join(f"  {name} {value:.1f} s, sealift / {name} {ratio[name]:.3f}\n" for name, value in middle.items()))
    assert (ratio["raw"] <= MOST_OF_RAW and ratio["setup"] <= MOST_OF_SETUP) or ratio["ssh"] <= MOST_OF_PLAIN


@pytest.fixture
def apart(fleet: Fleet) -> Iterator[None]:
    """The endpoints stand for other machines, which take no processor's time from this one: they get one half of the processors here, this
    program and what it starts the other. (To be nice would not do: where each session of a server is a group of its own for the
    scheduler, as autogroups make it, a thread of ours waits for all those groups in turn, however nice they are.)"""
    before = sorted(os.sched_getaffinity(0))
    half = len(before) // 2
    try:
        if half:
            os.sched_setaffinity(0, before[:half])
            for server in fleet.servers:
                os.sched_setaffinity(server.pid, before[half:])
        yield
    finally:
        for pid in (0, *(server.pid for server in fleet.servers)):
            os.sched_setaffinity(pid, before)


def test_the_window_stays_responsive_while_the_fleet_answers(fleet: Fleet, apart, qtbot, qapp, monkeypatch):
    """No gap of over 50 ms between the beats of its loop, times not counted in which its thread was ready and had no processor: this machine
    is shared, and the whole of the console has half of it here. Those are printed too."""
    from console.engine import Engine
    from console.processes import LITTER
    from tests.ui.heartbeat import LONG_S, Heartbeat
    from tests.ui.test_screens import opened, settled
    from ui.app import TURN_S
    from ui.window import SCREENS

    sealift = Sealift(fleet)
    # As the program sets them when it starts.
    before, litter = sys.getswitchinterval(), gc.get_threshold()
    gc.set_threshold(*LITTER)
    with Engine.open(sealift.workspace) as engine:
        application = opened(qapp, engine)
        try:
            application.window.show_screen("site")
            settled(qtbot, application.window)
            qtbot.waitUntil(lambda: len(application.window.screens) == len(SCREENS), timeout=60_000)  # a moment after it opened
            screen = application.window.current()
            names = tuple(view.name for view in screen._views)
            sys.setswitchinterval(TURN_S)
            beat, began = Heartbeat(), time.perf_counter()
            screen.ask(names)
            qtbot.waitUntil(lambda: all(view.inventory for view in screen._views) and not screen._asking() and not screen.busy(),
                            timeout=600_000)  # fmt: skip
            took = time.perf_counter() - began
            beat.stop()
            assert len(names) == ENDPOINTS and all(view.inventory.reached for view in screen._views)
        finally:
            sys.setswitchinterval(before)
            gc.set_threshold(*litter)
            application.close()
    longest, slowest, late = beat.longest(), beat.slowest(), sum(gap.wall_s > LONG_S for gap in beat.gaps)
    print(f"\n{ENDPOINTS} endpoints read in {took:.1f} s with the window open: longest away from its loop {longest.wall_s * 1000:.0f} ms "
          f"({longest.cpu_s * 1000:.0f} ms computing, {longest.starved_s * 1000:.0f} ms without a processor); {late} of {beat.beats} beats over "
          f"{LONG_S * 1000:.0f} ms; longest with a processor {(slowest.wall_s - slowest.starved_s) * 1000:.0f} ms")
    assert slowest.wall_s - slowest.starved_s < LONG_S, slowest.where
