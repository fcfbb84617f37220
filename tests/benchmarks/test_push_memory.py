"""How much memory a push takes on either side, whatever it brings: many small files, and one very large one.

Run by ``make bench``; the last lines are the figures. ``SEALIFT_BENCH_SPARSE_BYTES`` sets the size of the one file (2 GB; 200 GB
takes a quarter of an hour), ``SEALIFT_BENCH_FILES`` the number of small files (100,000), ``SEALIFT_BENCH_STORE`` a folder for the
servers, where memory cannot hold the file. The console is a process of its own with a real workspace; its workers count with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.push.network import own_loopback
from tests.push.sshd import Sshd, needs_sshd

pytestmark = [pytest.mark.benchmark, needs_sshd]
FILES = int(os.environ.get("SEALIFT_BENCH_FILES", "100000"))
SPARSE_BYTES = int(os.environ.get("SEALIFT_BENCH_SPARSE_BYTES", str(2 * 10**9)))
STORE = os.environ.get("SEALIFT_BENCH_STORE") or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
CONSOLE_LIMIT_BYTES, RECEIVER_LIMIT_BYTES = 150 * 10**6, 40 * 10**6

CONSOLE = """
import hashlib, json, sys
from pathlib import Path
from console.bundles.chunking import fixed
from console.bundles.library import Release
from console.bundles.manifest import Component, FileEntry
from console.engine import Engine
from console.jobs.job import NullContext
from console.push.lanes import Slots
from console.servers.record import ServerRecord

order = json.loads(sys.argv[1])
engine = Engine.open(Path(order["workspace"]))
engine.site.init("Bench", "other", "internal")
for name, address, port, key in order["servers"]:
    engine.servers.add(ServerRecord(name, address, port, "root", key, "key", store="~/store"))
    engine.servers.trust(name, engine.servers.offered_key(name).fingerprint)
if order["connections"]:
    engine.push._slots = Slots(order["connections"] - 1)


def shelved(path, size, sha256, chunks):
    place = engine.library.file(sha256)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place, FileEntry(path, size, sha256, "docs", False, chunks)


entries = []
for number in range(order["files"]):
    data = b"%d\\n" % number
    digest = hashlib.sha256(data).hexdigest()
    place, entry = shelved(f"docs/{number // 1000:03}/{number}.txt", len(data), digest, ((digest, len(data)),))
    place.write_bytes(data)
    entries.append(entry)
if order["sparse_bytes"]:
    # The digest of the whole is nothing but a name here: what counts is that of each chunk.
    lengths = fixed(order["sparse_bytes"])
    digests = {length: hashlib.sha256(bytes(length)).hexdigest() for length in set(lengths)}
    place, entry = shelved("docs/zeros", order["sparse_bytes"], "ab" * 32, tuple((digests[n], n) for n in lengths))
    with open(place, "wb") as out:
        out.truncate(order["sparse_bytes"])
    entries.append(entry)
release = Release("ab" * 32, "cd" * 16, "Bench", "main", 1, "", "", (Component("docs", "docs", "1", "Docs", "other", 0),), tuple(entries), ())
print("begins", flush=True)
names = [s[0] for s in order["servers"]]
done = engine.push.run(NullContext(), release, names, relay=order["relay"], connections=order["connections"])
print(json.dumps(done))
engine.close()
"""


def resident(process: psutil.Process) -> int:
    """Bytes in memory, shared pages counted in full; 0 for one that has ended."""
    with suppress(psutil.Error):
        return process.memory_info().rss
    return 0


def own(process: psutil.Process) -> int:
    """Bytes in memory, of shared pages its share: what a process and the one that it has just forked hold together counts once."""
    with suppress(psutil.Error):
        return process.memory_full_info().pss
    return 0


def tree(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []


def measured(names: tuple[str, ...], **order) -> tuple[int, int, int, float]:
    """(peak of the console, of it with its workers together, of any receiver, seconds) of one push."""
    folder = Path(tempfile.mkdtemp(prefix="sealift-memory-", dir=STORE))
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")), check=True)
    for name in names:
        (folder / name).mkdir()
    servers = []
    try:
        servers += [Sshd(folder / name, folder / "key", name) for name in names]
        order |= {"workspace": str(folder / "workspace"), "servers": [(s.name, s.address, s.port, str(s.key)) for s in servers]}
        words = (sys.executable, "-c", CONSOLE, json.dumps(order))
        console = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert console.stdout.readline() == "begins\n"
        began, alone, together, receiver, root = time.monotonic(), 0, 0, 0, psutil.Process(console.pid)
        while console.poll() is None:
            alone, together = max(alone, resident(root)), max(together, sum(map(own, tree(root))))
            for server in servers:
                for process in tree(psutil.Process(server.process.pid))[1:]:
                    with suppress(psutil.Error):
                        if process.name().startswith("python"):
                            receiver = max(receiver, resident(process))
            time.sleep(0.1)
        took = time.monotonic() - began
        done = json.loads(console.stdout.read())
        assert console.returncode == 0 and {s["outcome"] for s in done["servers"]} == {"verified"}, done
        return alone, together, receiver, took
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(folder)


CASES = {
    "many, one server": (("a",), {"files": FILES}),
    "many, two servers": (("a", "b"), {"files": FILES}),
    "many, two servers fed alike": (("a", "b"), {"files": FILES, "relay": "off"}),
    "sparse, four connections": (("a",), {"sparse_bytes": SPARSE_BYTES, "connections": 4}),
}


@pytest.mark.parametrize("case", CASES)
def test_memory_stays_small(case):
    names, order = CASES[case]
    with own_loopback():
        alone, together, receiver, seconds = measured(names, **{"files": 0, "sparse_bytes": 0, "relay": "auto", "connections": None} | order)
    print(f"\nFIGURE push, {case}: console {alone / 1e6:.0f} MB, with its workers {together / 1e6:.0f} MB, "
          f"receiver {receiver / 1e6:.0f} MB, {seconds:.0f} s", file=sys.stderr)  # fmt: skip
    assert together < CONSOLE_LIMIT_BYTES and receiver < RECEIVER_LIMIT_BYTES
