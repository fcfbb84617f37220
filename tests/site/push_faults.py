"""Random faults against pushes to real servers: what must hold, holds, whatever breaks in the middle.

    tests/site/push_faults.py [--faults 200] [--seed 1] [--servers 3]

Needs root. Each server is an OpenSSH server in a network namespace with a link and a small disk of its own; the console is
a process of its own behind a link of 100 Mbit/s, so that there is a middle to break things in. In each round one push is
hit by one or two faults; then everything is mended and pushed again. It must hold:

- every push ends in time, each server verified or with an error that has a code;
- nothing that lies in a release's folder is ever wrong;
- what a server had verified before the fault is found again, but for two chunks, and what was damaged on its disk;
- the push after it is verified everywhere, and then no key and no line in ``authorized_keys`` is left.

Prints a line for each round and ends with ``N rounds, N wrong``.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from console.bundles.library import Release  # noqa: E402
from console.bundles.manifest import Component, FileEntry  # noqa: E402
from console.engine import Engine  # noqa: E402
from console.errors import Cancelled, declared  # noqa: E402
from console.events import Progress  # noqa: E402
from console.jobs.job import Context  # noqa: E402
from console.push import connection, relay  # noqa: E402
from tests.push.local import make, noise  # noqa: E402
from tests.push.sshd import family, keys_left  # noqa: E402

CHUNK, DISK = 1 << 20, "300m"
FILES = {"model/a": noise(1, 28 << 20), "model/b": noise(2, 17_000_001), "model/c": b"{}", "runtime/d": noise(4, 300_000)}
END_S = 240.0


# The console's process -------------------------------------------------------------------------------------------------


def console(order: dict[str, Any]) -> int:
    """One push, as the service does it; notes each server's verified bytes as they come, prints the result."""
    relay.WORTH_BYTES = 8 << 20
    if order["lie"]:
        _lie(order["lie"])
    if order["flip_after"] is not None:
        _flip(order["flip_after"])
    engine = Engine.open(Path(order["workspace"]))
    entries = tuple(FileEntry(e[0], e[1], e[2], e[3], e[4], tuple((d, n) for d, n in e[5])) for e in order["entries"])
    parts = tuple(Component(i, "model", "1", i, "other", 0) for i in sorted({e.component for e in entries}))
    release = Release("ab" * 32, "cd" * 16, "Test", "main", 1, "", "", parts, entries, b"", b"", ())
    progress = Path(order["progress"])

    def note(event: Any) -> None:
        if isinstance(event, Progress) and event.server:
            (progress / event.server).write_text(str(event.done))

    engine.events.subscribe(note)
    try:
        told = engine.push.run(Context(engine.events), release, order["names"], degree=order["degree"])
        told["hops"] = engine.audit.list()[0]["detail"].get("relay")
    except Cancelled:
        told = {"servers": [], "cancelled": True}
    print(json.dumps(told), flush=True)
    engine.close()
    return 0


def _lie(kind: str) -> None:
    """Receivers that pass on other bytes, or say of the first chunks that they are right before they are written."""
    lies = {
        "passes-on": (b"after.at += len(block)", b"block = (bytes(1) if number % 2 == 0 else block[:1]) + block[1:]; after.at += len(block)"),
        "acknowledges": (b"if real != digest:", b"if every < 2: self.wire.say(ok=[number, index]); return\\n        if real != digest:"),
    }  # fmt: skip
    honest = connection.receiver_source()
    lying = honest.replace(*lies[kind])
    assert lying != honest
    connection.receiver_source = lambda: lying


def _flip(after: int) -> None:
    """One bit of what this process sends is flipped on its way."""
    import socket

    from console.transport import ssh

    real, left, lock = ssh._tuned_socket, [after], threading.Lock()

    class Flipping(socket.socket):
        def send(self, data: Any, *flags: int) -> int:
            count = None
            with lock:
                if 0 <= left[0] < len(data):
                    data = bytearray(data)
                    data[left[0]] ^= 4
                    left[0] = -1
                elif left[0] >= 0:
                    left[0] -= len(data)
            count = super().send(data, *flags)
            return count

    def tuned(*given: Any) -> socket.socket:
        sock = real(*given)
        timeout = sock.gettimeout()
        flipping = Flipping(sock.family, sock.type, sock.proto, fileno=sock.detach())
        flipping.settimeout(timeout)
        return flipping

    ssh._tuned_socket = tuned


# The site --------------------------------------------------------------------------------------------------------------


class Site:
    """The servers, the workspace, and what is asked of both."""

    def __init__(self, folder: Path, servers: int):
        from tests.push.network import Network

        self.folder = folder
        self.network = Network(folder, 0)
        self.network.mount_size = DISK
        self.network.add(servers)
        self.servers = self.network.servers
        self.network.shape("console", 100)
        self.progress = folder / "progress"
        self.progress.mkdir()
        engine = Engine.open(folder / "workspace")
        engine.site.init("Test", "other", "internal")
        engine.site.set(policy={"push_degree": "received"})
        for server in self.servers.values():
            engine.servers.add(server.unpinned)
            engine.servers.trust(server.name, engine.servers.offered_key(server.name).fingerprint)
        made = make(folder / "made", FILES, CHUNK)
        for entry in made.entries:
            place = engine.library.file(entry.sha256)
            place.parent.mkdir(parents=True, exist_ok=True)
            (made.folder / entry.sha256).replace(place)
        self.entries = [(e.path, e.size, e.sha256, e.path.split("/")[0], e.exec, e.chunks) for e in made.entries]
        self.release_id = "ab" * 32
        engine.close()

    def push(self, degree: str, lie: str = "", flip_after: int | None = None) -> subprocess.Popen:
        """Start a push to all servers."""
        for server in self.servers:
            (self.progress / server).write_text("0")
        order = {
            "workspace": str(self.folder / "workspace"), "entries": self.entries, "progress": str(self.progress), "degree": degree,
            "names": list(self.servers), "lie": lie, "flip_after": flip_after,
        }  # fmt: skip
        with open(self.folder / "console.log", "ab") as log:
            process = subprocess.Popen([sys.executable, __file__, "--console"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                       start_new_session=True)  # fmt: skip
        process.stdin.write(json.dumps(order).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def done(self, name: str) -> int:
        """Bytes that a server had verified, as far as the console heard."""
        return int((self.progress / name).read_text() or 0)

    def wrong_bytes(self, name: str) -> list[str]:
        """Files in a release's folder that are not what was signed."""
        found = self.servers[name].released(self.release_id)
        return [path for path, data in found.items() if FILES.get(path) != data]

    def processes(self, name: str, word: str) -> list[int]:
        """Processes on a server whose command line holds a word."""
        found = []
        for pid in family(self.servers[name].process.pid)[1:]:
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if any(word.encode() in w for w in words) and b"sshd" not in words[0]:
                    found.append(pid)
        return found

    def mend(self) -> None:
        """Everything as it should be."""
        for name, server in self.servers.items():
            self.network.plug(name, True)
            (server.home / "ballast").unlink(missing_ok=True)
            if server.process.poll() is not None:
                server.start()


class Faults:
    """One round's faults. ``excused`` are bytes of each server that may have to go again."""

    def __init__(self, site: Site, dice: random.Random):
        self.site, self.dice = site, dice
        self.excused: collections.Counter = collections.Counter()
        self.timers: list[threading.Timer] = []
        self.killed = False

    def kill_console(self, name: str, process: subprocess.Popen) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
            self.killed = True

    def kill_receiver(self, name: str, process: subprocess.Popen) -> None:
        for pid in self.site.processes(name, "exec(compile(d"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_hop(self, name: str, process: subprocess.Popen) -> None:
        for pid in self.site.processes(name, "-out/known_hosts"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def cut(self, name: str, process: subprocess.Popen) -> None:
        self.site.network.plug(name, False)
        self._later(self.dice.choice([0.5, 2.0, 2.0, 45.0]), lambda: self.site.network.plug(name, True))

    def crash(self, name: str, process: subprocess.Popen) -> None:
        server = self.site.servers[name]
        server.crash()
        self._later(self.dice.choice([1.0, 5.0]), server.start)

    def full(self, name: str, process: subprocess.Popen) -> None:
        home = self.site.servers[name].home
        state = os.statvfs(home)
        with suppress(OSError), open(home / "ballast", "wb") as out:
            out.write(bytes(max(0, state.f_bavail * state.f_frsize - self.dice.randrange(6 << 20))))

    def rot(self, name: str, process: subprocess.Popen) -> None:
        store = self.site.servers[name].home / "store"
        files = [p for p in (*store.glob("staging/*/*.part"), *store.glob("objects/*/*")) if p.suffix != ".chunks" and p.stat().st_size]
        for path in self.dice.sample(files, min(len(files), 2)):
            self.excused[name] += CHUNK
            with suppress(OSError):
                state = path.stat()
                with open(path, "r+b") as file:
                    file.seek(self.dice.randrange(state.st_size))
                    byte = file.read(1)
                    file.seek(-1, os.SEEK_CUR)
                    file.write(bytes([byte[0] ^ 8]))
                os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    def _later(self, seconds: float, act: Any) -> None:
        self.timers.append(threading.Timer(seconds, act))
        self.timers[-1].start()

    def finish(self) -> None:
        """Wait for what was set to happen later."""
        for timer in self.timers:
            timer.join()


KINDS = ("kill_console", "kill_receiver", "kill_hop", "cut", "crash", "full", "rot", "flip", "lie")


def ended(process: subprocess.Popen) -> dict[str, Any] | None:
    """The push's result; None when the console was killed or hangs."""
    try:
        said, _ = process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {"hangs": True, "servers": []}
    try:
        return json.loads(said)
    except ValueError:
        return None


def judge(site: Site, told: dict[str, Any] | None, killed: bool, rotten: tuple[str, ...] = ()) -> list[str]:
    """What is wrong with how a push ended. On ``rotten`` servers a file may have been damaged after it was verified."""
    wrong = []
    if told is None:
        log = (site.folder / "console.log").read_text(errors="replace").strip().splitlines()
        return [] if killed else ["the console ended without a result: " + " | ".join(log[-3:])]
    if told.get("hangs"):
        wrong.append("the push hangs")
    for server in told["servers"]:
        code = (server["error"] or {}).get("code")
        if server["outcome"] == "verified":
            if server["name"] not in rotten and site.servers[server["name"]].released(site.release_id) != FILES:
                wrong.append(f"{server['name']} was called verified and is not")
        elif code not in declared() or code == "internal.bug":
            wrong.append(f"{server['name']} {server['outcome']} with {code}")
    return wrong


def one_round(site: Site, dice: random.Random, kinds: tuple[str, ...]) -> tuple[list[str], str]:
    """A push that is hit, and one that mends; what is wrong, and a line about it."""
    for name in site.servers:
        if dice.random() < 0.7:
            shutil.rmtree(site.servers[name].home / "store", ignore_errors=True)
    degree, faults = dice.choice(["received", "stored", "media"]), Faults(site, dice)
    lie = dice.choice(["passes-on", "acknowledges"]) if "lie" in kinds else ""
    process = site.push(degree, lie, dice.randrange(100_000, 60_000_000) if "flip" in kinds else None)
    shown = []
    for kind in kinds:
        name = dice.choice(list(site.servers))
        wait = dice.uniform(0.3, 4.0)
        with suppress(subprocess.TimeoutExpired):
            process.wait(wait)
        shown.append(f"{kind} {name} after {wait:.1f} s")
        if kind not in ("flip", "lie"):
            getattr(faults, kind)(name, process)
    told = ended(process)
    faults.finish()
    wrong = judge(site, told, faults.killed, tuple(faults.excused))
    had = {name: site.done(name) for name in site.servers}
    # A byte that was flipped on a disk is wrong until the next push looks; everything else must be right at once.
    wrong += [f"{n} has wrong bytes live: {w}" for n in site.servers if not faults.excused[n] and (w := site.wrong_bytes(n))]
    site.mend()
    # A byte that was flipped between its verification and the note of it is found only by reading the medium again.
    after = ended(site.push("media" if "rot" in kinds else degree))
    wrong += judge(site, after, False)
    for server in after["servers"] if after else []:
        if server["outcome"] != "verified":
            wrong.append(f"{server['name']} is {server['outcome']} when nothing is broken: {server['error']}")
        lost = had[server["name"]] - server["bytes_reused"] - server["bytes_resumed"] - faults.excused[server["name"]]
        if lost > 2 * CHUNK and lie != "acknowledges":
            wrong.append(f"{server['name']} had verified {had[server['name']]} bytes and {lost} of them went again")
    end = time.monotonic() + 5
    while (keys_left() or not all(s.untouched for s in site.servers.values())) and time.monotonic() < end:
        time.sleep(0.1)
    wrong += [f"left: {p}" for p in keys_left()] + [f"authorized_keys of {n}" for n, s in site.servers.items() if not s.untouched]
    outcomes = [f"{s['name']} {(s['error'] or {}).get('code') or s['outcome']} {s['via']}" for s in (told or {"servers": []})["servers"]]
    return wrong, f"{', '.join(shown)}: {'; '.join(outcomes) or 'console gone'}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Random faults against pushes.")
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=KINDS)
    parser.add_argument("--console", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.console:
        return console(json.load(sys.stdin))
    folder = Path(tempfile.mkdtemp(prefix="sealift-faults-", dir="/dev/shm"))
    site, hit, rounds, bad = Site(folder, asked.servers), 0, 0, 0
    dice = random.Random(asked.seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        while hit < asked.faults:
            kinds = tuple(dice.sample(asked.only or KINDS, 1 if asked.only or dice.random() < 0.6 else 2))
            began = time.monotonic()
            wrong, line = one_round(site, dice, kinds)
            hit, rounds, bad = hit + len(kinds), rounds + 1, bad + bool(wrong)
            print(f"{hit:4} {'WRONG' if wrong else 'ok   '} {time.monotonic() - began:5.1f} s  {line}", flush=True)
            for text in wrong:
                print(f"      {text}", flush=True)
    finally:
        site.network.clear()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{rounds} rounds, {hit} faults, {bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
