"""The push against its peers: ratios of wall time, peers and push in turn, the order reversed every other round.

A private sshd on loopback, sources in the page cache, destinations in memory; after each run the destination is compared
from outside. Run by ``make bench``. Needs root, OpenSSH, and rsync for one of the figures. The last lines are the figures.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import random
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

import psutil
import pytest

from console.bundles import chunking
from console.bundles.manifest import FileEntry
from console.jobs.job import NullContext
from console.push.lanes import Slots, Way
from console.push.manifest import PushPlan, Source
from console.push.sender import Means, Outcome, send
from console.transport.ssh import connect
from console.transport.target import Login, Target
from tests.push.network import own_loopback

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.skipif(os.geteuid() != 0 or not Path("/usr/sbin/sshd").exists(), reason="needs root and /usr/sbin/sshd"),
]
ROUNDS = int(os.environ.get("SEALIFT_BENCH_ROUNDS", "5"))
ADDRESS = "127.0.0.1"
WARM_BYTES = 1280 << 20
"""More than any of these tests brings."""


@dataclass
class Bench:
    """A private server, and the two sides' folders in memory."""

    folder: Path
    port: int
    host_key: str
    server: int

    def cpu_s(self) -> tuple[float, float]:
        """Seconds of processor that this side and the server's have used, with all that each started. Sessions are awaited."""
        server, end = psutil.Process(self.server), time.monotonic() + 5
        while server.children() and time.monotonic() < end:
            time.sleep(0.01)
        mine, theirs = os.times(), server.cpu_times()
        return tuple(t.user + t.system + t.children_user + t.children_system for t in (mine, theirs))

    @property
    def options(self) -> tuple[str, ...]:
        return ("-F", "none", "-o", f"UserKnownHostsFile={self.folder}/known_hosts", "-o", "Ciphers=aes128-gcm@openssh.com", "-o",
                f"IdentityFile={self.folder}/user", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "Compression=no")  # fmt: skip

    def ssh(self, command: str, **more) -> None:
        subprocess.run(
            ("ssh", *self.options, "-p", str(self.port), f"root@{ADDRESS}", command), check=True, stdout=subprocess.DEVNULL, **more
        )

    def scp(self, sources: list[Path], target: Path) -> None:
        subprocess.run(("scp", "-q", *self.options, "-P", str(self.port), *map(str, sources), f"root@{ADDRESS}:{target}/"), check=True)

    def push(self, plan: PushPlan, slots: int | None = None) -> Outcome:
        target = Target("bench", ADDRESS, self.port, "root", (self.host_key,), "key", str(self.folder / "user"))
        outcome, transport = Outcome(), connect(target, purpose="data")
        try:
            way = Way(target, Login(), "/usr/bin/python3")
            send(NullContext(), transport, plan, outcome, Means(way=way, slots=Slots(slots)), "/usr/bin/python3")
        finally:
            transport.close()
        return outcome


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with own_loopback():
        yield from benched()


def benched() -> Iterator[Bench]:
    """A private server on loopback, with all it needs in memory."""
    root = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="sealift-bench-", dir=root))
    for name in ("host", "user"):
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)), check=True)
    with socket.create_server((ADDRESS, 0)) as listener:
        port = listener.getsockname()[1]
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    host_key = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[{ADDRESS}]:{port} {host_key}\n")
    (folder / "config").write_text(
        f"Port {port}\nListenAddress {ADDRESS}\nHostKey {folder}/host\nPidFile none\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "Subsystem sftp internal-sftp\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        f"SetEnv HOME={folder}/home\n"
    )
    (folder / "home").mkdir()  # what this machine's root has in its log-in files is no part of the comparison
    Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen(("/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "config")), stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection((ADDRESS, port), 1).close()
                break
            except OSError:
                assert time.monotonic() < end, "sshd did not start"
        authorized = (folder / "authorized_keys").read_bytes()
        yield Bench(folder, port, host_key, server.pid)
        assert (folder / "authorized_keys").read_bytes() == authorized
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


def write_files(folder: Path, sizes: dict[str, int]) -> list[Path]:
    folder.mkdir(parents=True)
    for number, (name, size) in enumerate(sizes.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        dice = random.Random(number)
        with open(folder / name, "wb") as out:
            for at in range(0, size, 1 << 20):
                out.write(dice.randbytes(min(1 << 20, size - at)))
    return [folder / name for name in sizes]


def planned(files: list[Path], base: Path, store: Path, degree: str, name: str) -> PushPlan:
    """What the bundle's signed index gives: digests are made at packing, not at the push."""
    sources = []
    for file in files:
        data, at, pieces = file.read_bytes(), 0, []
        with open(file, "rb") as opened:
            lengths = chunking.plan(opened, len(data), file.name)[0] if file.name.startswith("model-") else chunking.fixed(len(data))
        for length in lengths:
            pieces.append(data[at : at + length])
            at += length
        entry = FileEntry(str(file.relative_to(base)), len(data), hashlib.sha256(data).hexdigest(), "model", False,
                          tuple((hashlib.sha256(p).hexdigest(), len(p)) for p in pieces))  # fmt: skip
        sources.append(Source(entry, file))
    release = hashlib.sha256(name.encode()).hexdigest()
    return PushPlan(release, str(store), degree, tuple(sources), tuple((s.entry.path, s.entry.sha256) for s in sources), frozenset())


def warm(folder: Path, size: int) -> None:
    """Have so much memory at hand. What a virtual machine's host took back while it lay free costs a fault a page on its next use,
    in whichever method happens to come first."""
    block = bytes(16 << 20)
    with open(folder / "warm", "wb") as out:
        for _ in range(size // len(block)):
            out.write(block)
    (folder / "warm").unlink()


def in_turn(bench: Bench, methods: dict[str, Callable[[], None]], reset: Callable[[], None], check: Callable[[str], None],
            bytes_total: int) -> dict[str, list[float]]:  # fmt: skip
    """Seconds of each method in each round. Prints the medians, and what each side's processors had to do, which moves less than the
    seconds do on a machine that others use too."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    work: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for turn in range(ROUNDS):
        for name in list(methods)[:: -1 if turn % 2 else 1]:
            reset()
            warm(bench.folder, WARM_BYTES)
            before, began = bench.cpu_s(), time.perf_counter()
            methods[name]()
            seconds[name].append(time.perf_counter() - began)
            work[name].append(tuple(now - then for now, then in zip(bench.cpu_s(), before, strict=True)))
            if turn == 0:
                check(name)
    reset()
    for name in methods:
        console, server = (statistics.median(side) * 1e9 / bytes_total for side in zip(*work[name], strict=True))
        print(f"{name}: {statistics.median(seconds[name]):.2f} s; CPU s/GB: console {console:.2f}, server {server:.2f}", file=sys.stderr)
    return seconds


def ratio(seconds: dict[str, list[float]], base: str, ours: str, floor: float, title: str) -> bool:
    """Print the median of the rounds' ratios; whether it reaches the floor."""
    each = [a / b for a, b in zip(seconds[base], seconds[ours], strict=True)]
    middle = statistics.median(each)
    print(f"FIGURE {title}: {middle:.2f} [{min(each):.2f} to {max(each):.2f}] (floor {floor})", file=sys.stderr)
    return middle >= floor


def same(one: Path, other: Path, names: list[str]) -> None:
    _, wrong, missing = filecmp.cmpfiles(one, other, names, shallow=False)
    assert not wrong and not missing


def test_big_files_against_scp(bench):
    """1 GiB in four files, one server."""
    source, target, store = bench.folder / "big", bench.folder / "big-there", bench.folder / "big-store"
    files = write_files(source, {f"shard-{n}.safetensors": 256 << 20 for n in range(4)})
    sums = bench.folder / "big.sums"
    sums.write_text("".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files))
    plans = {degree: planned(files, source, store, degree, "big") for degree in ("received", "stored")}

    def checked_by(command: str) -> None:
        bench.scp(files, target)
        bench.ssh(f"cd {target} && {command}")

    methods = {
        "scp": lambda: bench.scp(files, target),
        "scp + sha256sum -c": lambda: checked_by(f"sha256sum -c --quiet {sums}"),
        "scp + openssl": lambda: checked_by("openssl dgst -sha256 *"),
        "push received": lambda: bench.push(plans["received"]),
        "push stored": lambda: bench.push(plans["stored"]),
    }

    def reset() -> None:
        shutil.rmtree(store, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()

    def check(name: str) -> None:
        same(source, store / "releases" / plans["stored"].release_id if name.startswith("push") else target, [f.name for f in files])

    seconds = in_turn(bench, methods, reset, check, plans["stored"].bytes_total)
    reached = [
        ratio(seconds, "scp + sha256sum -c", "push received", 2.2, "scp gcm + sha256sum -c / verified push"),
        ratio(seconds, "scp + openssl", "push received", 1.5, "scp gcm + openssl dgst / verified push"),
        ratio(seconds, "scp", "push received", 0.95, "unverified scp gcm / verified push"),
        ratio(seconds, "push received", "push stored", 0.85, "push in received mode / in stored mode"),
        ratio(seconds, "scp + sha256sum -c", "push stored", 1.87, "scp gcm + sha256sum -c / push in stored mode"),
    ]
    assert all(reached)


def test_small_files_against_tar(bench):
    """2,000 files of 4 to 40 KiB."""
    source, target, store = bench.folder / "small", bench.folder / "small-there", bench.folder / "small-store"
    dice = random.Random(1)
    files = write_files(source, {f"d{n % 20}/f{n}": dice.randrange(4 << 10, 40 << 10) for n in range(2000)})
    names = [str(f.relative_to(source)) for f in files]
    sums = bench.folder / "small.sums"
    sums.write_text("".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {n}\n" for f, n in zip(files, names, strict=True)))
    plan = planned(files, source, store, "received", "small")

    def tar() -> None:
        with subprocess.Popen(("tar", "-C", str(source), "-c", "."), stdout=subprocess.PIPE) as packing:
            bench.ssh(f"tar -C {target} -x", stdin=packing.stdout)
        bench.ssh(f"cd {target} && sha256sum -c --quiet {sums}")

    def reset() -> None:
        shutil.rmtree(store, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()

    def check(name: str) -> None:
        same(source, store / "releases" / plan.release_id if name == "push" else target, names)

    seconds = in_turn(bench, {"tar + sha256sum -c": tar, "push": lambda: bench.push(plan)}, reset, check, plan.bytes_total)
    assert ratio(seconds, "tar + sha256sum -c", "push", 2.0, "tar over ssh + sha256sum -c / verified push, 2,000 small files")


def write_model(folder: Path, changed: bool) -> list[Path]:
    """Two safetensors files of 512 MiB, 16 layers each; the changed version has 1 % other tensors, together in one layer, and a
    longer header."""
    folder.mkdir(parents=True)
    files = []
    for number in range(2):
        dice, at, header, body = random.Random(number), 0, {}, []
        for layer in range(16):
            for name in ("attn.k", "attn.o", "attn.q", "attn.v", "mlp.down", "mlp.gate", "mlp.up", "norm"):
                size = 1 << 18 if name == "norm" else (32 << 20) // 7 // 1024 * 1024 - 38 * 1024
                other = changed and (number, layer) == (0, 5) and name in ("attn.k", "attn.o", "attn.q")
                body.append(random.Random(f"new {number} {name}").randbytes(size) if other else dice.randbytes(size))
                if other:
                    dice.randbytes(size)
                header[f"model.layers.{layer}.{name}.weight"] = {"dtype": "BF16", "shape": [size // 2], "data_offsets": [at, at + size]}
                at += size
        if changed:
            header["__metadata__"] = {"format": "pt", "note": "x" * 3000}
        raw = json.dumps(header).encode()
        raw += b" " * (-len(raw) % 8)
        files.append(folder / f"model-{number}.safetensors")
        with open(files[-1], "wb") as out:
            out.write(len(raw).to_bytes(8, "little") + raw)
            out.writelines(body)
    return files


@pytest.mark.skipif(not shutil.which("rsync"), reason="needs rsync")
def test_an_update_against_rsync(bench):
    """1 GiB of weights of which 1 % of the tensors changed and the headers grew, into a store that holds the older version."""
    source, newer = bench.folder / "old", bench.folder / "new"
    target, store, kept = bench.folder / "update-there", bench.folder / "update-store", bench.folder / "update-kept"
    old_files, new_files = write_model(source, False), write_model(newer, True)
    old = planned(old_files, source, store, "received", "old")
    plan = planned(new_files, newer, store, "received", "new")
    known = {s.entry.sha256 for s in old.sources}
    bench.push(old)
    shell = " ".join(("ssh", *bench.options, "-p", str(bench.port)))
    sent, by = [], {"push, hashing again": set(), "push, notes believed": set()}

    def reset() -> None:
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(("cp", "-a", str(source), str(target)), check=True)
        shutil.rmtree(store / "releases" / plan.release_id, ignore_errors=True)
        for file in (store / "objects").glob("*/*"):
            if file.name[:64] not in known:
                file.unlink()

    def update(title: str) -> None:
        outcome = bench.push(plan)
        sent.append(outcome.bytes_sent / plan.bytes_total)
        by[title].add(outcome.reused_by)

    def doubted() -> None:
        for sha256 in known:
            os.utime(store / "objects" / sha256[:2] / sha256)
        update("push, hashing again")

    methods = {
        "push, notes believed": lambda: update("push, notes believed"),
        "rsync -ac": lambda: subprocess.run(("rsync", "-ac", "-e", shell, f"{newer}/", f"root@{ADDRESS}:{target}/"), check=True),
        "push, hashing again": doubted,
    }

    def trust_again() -> None:
        reset()
        if by["push, hashing again"]:
            bench.push(old)  # writes the notes anew

    def check(name: str) -> None:
        same(newer, store / "releases" / plan.release_id if name.startswith("push") else target, [f.name for f in new_files])

    seconds = in_turn(bench, methods, trust_again, check, plan.bytes_total)
    for folder in (store, kept, target):
        shutil.rmtree(folder, ignore_errors=True)
    print(f"FIGURE share of the bytes sent for an update of 1 % of the tensors: {max(sent):.4f} (at most 0.02)", file=sys.stderr)
    assert by == {"push, hashing again": {"rehash"}, "push, notes believed": {"journal"}}
    assert max(sent) < 0.02
    good = [ratio(seconds, "rsync -ac", "push, hashing again", 1.5, "rsync -ac / push of an update, re-hashing"),
            ratio(seconds, "rsync -ac", "push, notes believed", 3.0, "rsync -ac / push of an update, notes believed")]  # fmt: skip
    assert all(good)
