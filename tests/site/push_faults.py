"""Random faults against pushes to real servers: what must hold, holds, whatever breaks in the middle.

    tests/site/push_faults.py [--faults 200] [--seed 1] [--servers 3]

Needs root. Each server is an OpenSSH server in a network namespace with a link and a small ext4 disk of its own, whose power
can be cut so that what was not flushed is gone; the console is a process of its own behind a link of 100 Mbit/s, so that there
is a middle to break things in. In each round one push is hit by one or two faults; then everything is mended and pushed again,
from the same console or from another one. It must hold:

- every push ends in time, each server verified or with an error that has a code;
- a server that is not hit itself is verified, whatever happens to the others;
- nothing that lies in a release's folder is ever wrong;
- what a server had verified before the fault is found again, but for two chunks, and what was damaged on its disk;
- where the push itself came to an end no key and no line in ``authorized_keys`` is left, and after a crash none outlives the
  next push;
- the next push is verified everywhere, and leaves nothing half done.

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
from console.push import connection, relay, sender  # noqa: E402
from tests.push.local import make, noise  # noqa: E402
from tests.push.sshd import family, keys_left  # noqa: E402

CHUNK, DISK_MIB = 1 << 20, 300
FILES = {"model/a": noise(1, 28 << 20), "model/b": noise(2, 17_000_001), "model/c": b"{}", "runtime/d": noise(4, 300_000)}
END_S = 240.0


# The console's process -------------------------------------------------------------------------------------------------


def console(order: dict[str, Any]) -> int:
    """One push, as the service does it; notes each server's verified bytes as they come, prints the result."""
    # All in the proportions of a push of many gigabytes.
    relay.WORTH_BYTES = 8 << 20
    connection.STUCK_S = sender.STUCK_S = 8.0
    _change("SYNC_BYTES = 32 << 20", f"SYNC_BYTES = {2 * CHUNK}")
    if order["lie"]:
        _lie(order["lie"], order["liar"])
    if order["flip_after"] is not None:
        _flip(order["flip_after"])
    engine = Engine.open(Path(order["workspace"]))
    entries = tuple(FileEntry(e[0], e[1], e[2], e[3], e[4], tuple((d, n) for d, n in e[5])) for e in order["entries"])
    parts = tuple(Component(i, "model", "1", i, "other", 0) for i in sorted({e.component for e in entries}))
    release = Release("ab" * 32, "cd" * 16, "Test", "main", 1, "", "", parts, entries, ())
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


OK, WRONG = "self.wire.say(ok=[number, index])\n\n", "if flight.digest() != digest:"
LIES = {
    # Passes on other bytes than it got.
    "passes-on": ("after.at += len(block)", "block = (bytes(1) if number % 2 == 0 else block[:1]) + block[1:] if LIAR else block\n        after.at += len(block)"),
    # Says of the first chunks that they are right before they are written.
    "acknowledges": (WRONG, "if every < 2 and LIAR:\n            self.wire.say(ok=[number, index])\n            return\n        " + WRONG),
    # Says each thing a thousand times.
    "floods": (OK, "for _ in range(1000 if LIAR else 1):\n            " + OK),
    # Noise without an end.
    "garbles": (OK, OK.rstrip() + "\n        for _ in range(100 if LIAR else 0):\n            os.write(1, os.urandom(4096))\n\n"),
    # Gives signs of life and no answer.
    "keeps silent": (WRONG, "if every > 2 and LIAR:\n            return\n        " + WRONG),
    # Never comes to an end.
    "never ends": ("self.sync_changed()\n        if self.replaced", "while LIAR:\n            self.wire.said_at = 0\n            self.wire.live()\n            self.wire.take(1)\n        if self.replaced"),
    # Finds everything wrong.
    "refuses": (WRONG, WRONG[:-1] + " or LIAR:"),
}  # fmt: skip


def _lie(kind: str, liar: str) -> None:
    """One server's receiver does not do what it says."""
    whose = "self.receiver.store" if kind == "passes-on" else "self.store"
    old, new = LIES[kind]
    _change(old, new.replace("LIAR", f"('/{liar}/' in {whose})"))


def _change(old: str, new: str) -> None:
    """Other text in the receiver that is sent."""
    modules, _, loader = connection.receiver_source().partition(b"\n")
    told: dict[str, Any] = {}
    exec(modules, told)  # noqa: S102 - our own text
    changed = {name: text.replace(old, new) for name, text in told["SOURCES"].items()}
    assert changed != told["SOURCES"], old
    source = f"SOURCES = {changed!r}\n".encode() + loader
    connection.receiver_source = lambda: source


def _flip(after: int) -> None:
    """One bit of what this process sends is flipped on its way."""
    import socket

    from console.transport import ssh

    real, left, lock = ssh.tuned_socket, [after], threading.Lock()

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

    ssh.tuned_socket = tuned


# The site --------------------------------------------------------------------------------------------------------------


class Site:
    """The servers, the workspace, and what is asked of both."""

    def __init__(self, folder: Path, servers: int):
        from tests.push.network import Network

        self.folder = folder
        self.network = Network(folder, 0, "sf", "10.214.8")
        self.network.disk_mib = DISK_MIB
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
        shutil.copytree(folder / "workspace", folder / "other")
        os.sync()

    def push(self, degree: str, lie: str = "", liar: str = "", flip_after: int | None = None, console: str = "workspace") -> subprocess.Popen:
        """Start a push to all servers."""
        for server in self.servers:
            (self.progress / server).write_text("0")
        order = {
            "workspace": str(self.folder / console), "entries": self.entries, "progress": str(self.progress), "degree": degree,
            "names": list(self.servers), "lie": lie, "liar": liar, "flip_after": flip_after,
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

    def half_done(self, name: str) -> list[str]:
        """What a push that is over has no use for any more."""
        store = self.servers[name].home / "store"
        return [str(p.relative_to(store)) for p in (*store.glob("staging/*"), *store.glob("releases/*.new"), *store.glob("objects/*/*.part"))]

    def untidy(self, wait_s: float) -> list[str]:
        """Keys and lines that let keys in, after so long."""
        end = time.monotonic() + wait_s
        while (keys_left() or not all(s.untouched for s in self.servers.values())) and time.monotonic() < end:
            time.sleep(0.1)
        return [f"left: {p}" for p in keys_left()] + [f"authorized_keys of {n}" for n, s in self.servers.items() if not s.untouched]

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
    """One round's faults. ``excused`` are bytes of each server that may have to go again; ``hit`` the servers that may fail."""

    def __init__(self, site: Site, dice: random.Random):
        self.site, self.dice = site, dice
        self.excused: collections.Counter = collections.Counter()
        self.timers: list[threading.Timer] = []
        self.killed, self.crashed, self.hit = False, False, set()

    def kill_console(self, name: str, process: subprocess.Popen) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
            self.killed = True

    def kill_receiver(self, name: str, process: subprocess.Popen) -> None:
        self.crashed = True
        for pid in self.site.processes(name, "exec(compile(d"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_hop(self, name: str, process: subprocess.Popen) -> None:
        for pid in self.site.processes(name, "-out/known_hosts"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def cut(self, name: str, process: subprocess.Popen) -> None:
        self.crashed = True  # what is out of reach cannot be tidied up
        self.site.network.plug(name, False)
        self._later(self.dice.choice([0.5, 2.0, 2.0, 45.0]), lambda: self.site.network.plug(name, True))

    def crash(self, name: str, process: subprocess.Popen) -> None:
        server, self.crashed = self.site.servers[name], True
        server.crash()
        self._later(self.dice.choice([1.0, 5.0]), server.start)

    def power(self, name: str, process: subprocess.Popen) -> None:
        self.crashed = True
        self.site.network.power_cut(name)
        self._later(self.dice.choice([1.0, 5.0]), self.site.servers[name].start)

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


KINDS = ("kill_console", "kill_receiver", "kill_hop", "cut", "crash", "power", "full", "rot", "flip", "lie")


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


def judge(site: Site, told: dict[str, Any] | None, faults: Faults | None = None) -> list[str]:
    """What is wrong with how a push ended."""
    wrong, killed, rotten = [], faults is not None and faults.killed, faults.excused if faults else ()
    if told is None:
        log = (site.folder / "console.log").read_text(errors="replace").strip().splitlines()
        return [] if killed else ["the console ended without a result: " + " | ".join(log[-3:])]
    if told.get("hangs"):
        wrong.append("the push hangs")
    for server in told["servers"]:
        code = (server["error"] or {}).get("code")
        if server["outcome"] == "verified":
            # A file may have been damaged after it was verified.
            if server["name"] not in rotten and site.servers[server["name"]].released(site.release_id) != FILES:
                wrong.append(f"{server['name']} was called verified and is not")
        elif code not in declared() or code == "internal.bug":
            wrong.append(f"{server['name']} {server['outcome']} with {code}")
        elif faults is None or server["name"] not in faults.hit:
            wrong.append(f"{server['name']} was not hit and is {server['outcome']}: {server['error']['message']}")
        elif code == "push.disk-full" and not (server["error"]["details"]["need_bytes"] or 0) > 0:
            wrong.append(f"{server['name']} does not say what it needs: {server['error']['details']}")
    return wrong


def one_round(site: Site, dice: random.Random, kinds: tuple[str, ...]) -> tuple[list[str], str]:
    """A push that is hit, and one that mends; what is wrong, and a line about it."""
    for name in site.servers:
        if dice.random() < 0.7:
            shutil.rmtree(site.servers[name].home / "store", ignore_errors=True)
    degree, faults = dice.choice(["received", "stored", "media"]), Faults(site, dice)
    lie, liar = (dice.choice(list(LIES)), dice.choice(list(site.servers))) if "lie" in kinds else ("", "")
    faults.hit = {liar} - {""} | (set(site.servers) if "flip" in kinds else set())
    process = site.push(degree, lie, liar, dice.randrange(100_000, 60_000_000) if "flip" in kinds else None)
    shown = []
    for kind in kinds:
        name = liar if kind == "lie" else dice.choice(list(site.servers))
        wait = dice.uniform(0.3, 4.0)
        with suppress(subprocess.TimeoutExpired):
            process.wait(wait)
        shown.append(f"{kind} {lie if kind == 'lie' else ''} {name} after {wait:.1f} s".replace("  ", " "))
        faults.hit.add(name)
        if kind not in ("flip", "lie"):
            getattr(faults, kind)(name, process)
    told = ended(process)
    faults.finish()
    wrong = judge(site, told, faults)
    if not faults.killed and not faults.crashed:
        wrong += site.untidy(1)
    had = {name: site.done(name) for name in site.servers}
    # A byte that was flipped on a disk is wrong until the next push looks; everything else must be right at once.
    wrong += [f"{n} has wrong bytes live: {w}" for n in site.servers if not faults.excused[n] and (w := site.wrong_bytes(n))]
    site.mend()
    # A byte that was flipped between its verification and the note of it is found only by reading the medium again.
    after = ended(site.push("media" if "rot" in kinds else degree, console=dice.choice(["workspace", "other"])))
    wrong += judge(site, after)
    again = {s["name"]: max(0, had[s["name"]] - s["bytes_reused"] - s["bytes_resumed"]) for s in (after or {"servers": []})["servers"]}
    for name, lost in again.items():
        if lost - faults.excused[name] > 2 * CHUNK and lie != "acknowledges":
            wrong.append(f"{name} had verified {had[name]} bytes and {lost} of them went again")
    wrong += site.untidy(5) + [f"{n} keeps {p}" for n in site.servers for p in site.half_done(n)]
    outcomes = [f"{s['name']} {(s['error'] or {}).get('code') or s['outcome']} {s['via']}" for s in (told or {"servers": []})["servers"]]
    return wrong, f"{', '.join(shown)}: {'; '.join(outcomes) or 'console gone'}; went again {sum(again.values())}"


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
