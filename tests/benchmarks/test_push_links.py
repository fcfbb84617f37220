"""The push over links that are its limit: chains of servers, packed weights. Rounds in turn, ratios, destinations checked.

Run by ``make bench``. Every server has a namespace, an sshd and a link of its own. The last lines are the figures.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from console.errors import SealiftError
from console.jobs.job import NullContext
from console.push.manifest import PushPlan
from console.push.relay import Chain
from console.push.sender import Means, Outcome, send
from console.transport.ssh import connect
from console.transport.target import Target
from tests.benchmarks.test_push import planned, same, write_files
from tests.push.local import PYTHON
from tests.push.network import Network, needs_network
from tests.push.sshd import Sshd, keys_left

pytestmark = [pytest.mark.benchmark, needs_network]
ROUNDS = int(os.environ.get("SEALIFT_BENCH_ROUNDS", "3"))


@pytest.fixture
def network(request):
    root = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="sealift-links-", dir=root))
    made = Network(folder, request.param)
    try:
        yield made
        assert all(server.untouched for server in made.servers.values()) and not keys_left()
    finally:
        made.clear()
        shutil.rmtree(folder)


def push(network: Network, names: list[str], plan: PushPlan) -> dict[str, Outcome]:
    """One push to these servers, as the service does it."""
    chain = Chain(names) if len(names) > 1 else None
    outcomes: dict[str, Outcome] = {}
    if chain:
        chain.start()

    def one(name: str) -> None:
        server, outcome = network.servers[name], Outcome()
        transport = connect(Target(name, server.address, 22, "root", (server.host_key,), "key", str(server.key)), purpose="data")
        try:
            means = Means(chain=chain, record=server.record)
            send(NullContext().server(name), transport, replace(plan, relay=chain is not None), outcome, means, PYTHON)
            outcomes[name] = outcome
        finally:
            transport.close()
            if chain:
                chain.absent(name)

    _at_once(one, names)
    if chain:
        chain.stop()
    assert all(outcomes[name].done for name in names)
    return outcomes


def _at_once(one, names: list[str]) -> None:
    problems: list[BaseException] = []

    def guarded(name: str) -> None:
        try:
            one(name)
        except (SealiftError, subprocess.CalledProcessError) as problem:
            problems.append(problem)

    threads = [threading.Thread(target=guarded, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems


def options(network: Network) -> tuple[str, ...]:
    known = network.folder / "known_hosts"
    known.write_text("".join(f"{s.address} {s.host_key}\n" for s in network.servers.values()))
    return ("-F", "none", "-o", f"UserKnownHostsFile={known}", "-o", "Ciphers=aes128-gcm@openssh.com", "-o",
            f"IdentityFile={network.folder}/key", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "Compression=no")  # fmt: skip


def scp_and_check(network: Network, names: list[str], files: list[Path], sums: Path) -> None:
    """What a careful person does: copy, then check, to all at once."""
    usual = options(network)

    def one(name: str) -> None:
        server = network.servers[name]
        target = server.home / "there"
        subprocess.run(("scp", "-q", *usual, *map(str, files), f"root@{server.address}:{target}/"), check=True)
        subprocess.run(("ssh", *usual, f"root@{server.address}", f"cd {target} && sha256sum -c --quiet {sums}"), check=True)

    _at_once(one, names)


def reset(network: Network) -> None:
    for server in network.servers.values():
        shutil.rmtree(server.home / "store", ignore_errors=True)
        shutil.rmtree(server.home / "there", ignore_errors=True)
        (server.home / "there").mkdir()


def timed(network: Network, act) -> float:
    reset(network)
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def checked(server: Sshd, source: Path, plan: PushPlan, files: list[Path]) -> None:
    same(source, server.home / "store/releases" / plan.release_id, [f.name for f in files])


def made(network: Network, size: int, count: int = 2) -> tuple[list[Path], Path, PushPlan]:
    source, sums = network.folder / "source", network.folder / "sums"
    files = write_files(source, {f"shard-{n}.safetensors": size // count for n in range(count)})
    sums.write_text("".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files))
    return files, sums, planned(files, source, Path("~/store"), "received", "links")


def figure(values: list[float], floor: float, title: str, at_most: bool = False) -> bool:
    """Print the median; whether it reaches the floor, or keeps below it."""
    middle = statistics.median(values)
    bound = "at most" if at_most else "floor"
    print(f"FIGURE {title}: {middle:.2f} [{min(values):.2f} to {max(values):.2f}] ({bound} {floor})", file=sys.stderr)
    return middle <= floor if at_most else middle >= floor


@pytest.mark.parametrize("network", [4], indirect=True)
def test_four_servers_behind_one_link(network):
    """128 MiB, the console's link 200 Mbit/s, the servers' not limited."""
    files, sums, plan = made(network, 128 << 20)
    names = list(network.servers)
    network.shape("console", 200)
    chained, copied, single = [], [], []
    for turn in range(ROUNDS):
        acts = [
            lambda: chained.append(timed(network, lambda: push(network, names, plan))),
            lambda: copied.append(timed(network, lambda: scp_and_check(network, names, files, sums))),
            lambda: single.append(timed(network, lambda: push(network, names[:1], plan))),
        ]
        for number, act in enumerate(acts[:: -1 if turn % 2 else 1]):
            act()
            if number == 0 and turn == 0:
                for server in network.servers.values():
                    checked(server, files[0].parent, plan, files)
    print({"one push": single, "chain of 4": chained, "parallel scp": copied}, file=sys.stderr)
    good = [figure([a / b for a, b in zip(copied, chained, strict=True)], 2.8, "4 servers, 200 Mbit/s: parallel scp + sha256sum -c / push"),
            figure([a / b for a, b in zip(chained, single, strict=True)], 1.36, "4 servers, 200 Mbit/s: push / push to one", True)]  # fmt: skip
    assert all(good)


@pytest.mark.parametrize("network", [8], indirect=True)
def test_eight_servers_with_links_alike(network):
    """512 MiB, every link 100 Mbit/s. The peer runs once, for it takes six minutes."""
    files, sums, plan = made(network, 512 << 20, 4)
    names = list(network.servers)
    for name in ("console", *(f"s{n}" for n in range(1, 9))):
        network.shape(name, 100)
    chained, single = [], []
    for turn in range(ROUNDS):
        for many in (True, False) if turn % 2 else (False, True):
            (chained if many else single).append(timed(network, lambda many=many: push(network, names if many else names[:1], plan)))
            if many and turn == 0:
                for server in network.servers.values():
                    checked(server, files[0].parent, plan, files)
    print({"one push": single, "chain of 8": chained}, file=sys.stderr)
    good = [figure([a / b for a, b in zip(chained, single, strict=True)], 1.25, "8 servers, 100 Mbit/s each: push / push to one", True)]
    if os.environ.get("SEALIFT_BENCH_PEER", "1") == "1":
        copied = timed(network, lambda: scp_and_check(network, names, files, sums))
        good.append(figure([copied / b for b in chained], 5.5, "8 servers, 100 Mbit/s each: parallel scp + sha256sum -c / push"))
    assert all(good)


def bf16(size: int) -> bytes:
    """Numbers as a model's weights: normal, each row of 4,096 at a scale of its own. Made of 2 million distinct ones: the
    packing looks at single bytes only, so that they come again gives it nothing."""
    dice = random.Random(5)
    rows = []
    for _ in range(512):
        scale = 0.02 * dice.lognormvariate(0, 0.5)
        numbers = struct.pack("<4096f", *(dice.gauss(0, scale) for _ in range(4096)))
        row = bytearray(8192)
        row[0::2], row[1::2] = numbers[2::4], numbers[3::4]
        rows.append(bytes(row))
    return b"".join(dice.choice(rows) for _ in range(size // 8192))


@pytest.mark.parametrize("network", [1], indirect=True)
def test_bf16_weights_over_a_slow_link(network):
    """256 MiB, 200 Mbit/s."""
    source, sums = network.folder / "source", network.folder / "sums"
    source.mkdir()
    (source / "weights.safetensors").write_bytes(bf16(256 << 20))
    files = [source / "weights.safetensors"]
    sums.write_text(f"{hashlib.sha256(files[0].read_bytes()).hexdigest()}  {files[0].name}\n")
    plan = planned(files, source, Path("~/store"), "received", "bf16")
    network.shape("console", 200)
    pushed, copied, share = [], [], []

    def pushes() -> None:
        share.append(push(network, ["s1"], plan)["s1"].bytes_on_link / plan.bytes_total)

    for turn in range(ROUNDS):
        for ours in (True, False) if turn % 2 else (False, True):
            act = pushes if ours else lambda: scp_and_check(network, ["s1"], files, sums)
            (pushed if ours else copied).append(timed(network, act))
            if ours and turn == 0:
                checked(network.servers["s1"], source, plan, files)
    print({"push": pushed, "scp": copied, "share of the bytes on the link": share}, file=sys.stderr)
    assert figure([a / b for a, b in zip(copied, pushed, strict=True)], 1.35, "bf16, 200 Mbit/s: scp + sha256sum -c / push")
