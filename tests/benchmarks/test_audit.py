"""The audit log at size: the verifier that travels with an export, appending, and the start of a console.

The verifier is compared in the same run with the least that any check must do to the same records: read them as JSON, write
them again, and hash them. Run by ``make bench``; ``SEALIFT_BENCH_RECORDS`` (200000) sets the size.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from console.assets import asset
from console.engine import Engine
from console.trust import merkle
from console.trust.canonical import encode

pytestmark = pytest.mark.benchmark
RECORDS = int(os.environ.get("SEALIFT_BENCH_RECORDS", "200000"))
LEAST_OF_PLAIN = 1.2
"""The verifier, with its chain, tree and counts, is at least this many times as fast as the plain reading."""
MOST_BYTES_EACH = 300
"""The goal is 300 MB of memory at a million records."""
MOST_START_S, MOST_APPEND_P99_S = 0.5, 0.020
ROUNDS = 3


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A workspace whose log holds many records of the usual kinds."""
    folder = tmp_path_factory.mktemp("audit-bench")
    with Engine.open(folder / "w") as engine:
        engine.site.init("Bench", "other", "internal")
        log = engine.audit
        base = log.list(limit=1)[0]
        kinds = [("push.start", {"servers": ["gpu-1", "gpu-2"], "stage": "start"}), ("auth.login", {}),
                 ("deploy.step", {"deployment": "smoke-1", "outcome": "serving", "restored": None, "error": None})]
        log._db.execute("BEGIN")
        for number in range(RECORDS):
            event, detail = kinds[number % len(kinds)]
            raw = encode(base | {"seq": log._edge.size + 1, "prev": log._prev, "event": event, "detail": detail, "corr": f"{number:016x}"})
            leaf = merkle.leaf_hash(raw)
            log._db.execute("INSERT INTO audit VALUES (?, ?, ?)", (log._edge.size + 1, raw, leaf))
            log._edge.add(leaf)
            log._prev = leaf.hex()
        log._db.execute("COMMIT")
        log.export(folder / "drive")
    return folder


def verifier() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_audit_bench", asset("audit/verify_audit.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plain(path: Path) -> float:
    began = time.perf_counter()
    with open(path, "rb") as source:
        for line in source:
            value = json.loads(line)
            json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            hashlib.sha256(line).digest()
    return time.perf_counter() - began


def test_the_verifier_keeps_up(workspace, capsys):
    (folder,) = (workspace / "drive/AUDIT").glob("*/*")
    records, key = folder / "records.jsonl", json.loads((folder / "keys.json").read_text())["keys"][0]["verifier_key"]
    module, taken, least = verifier(), [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        found = module.verify(str(folder), key)
        taken.append(time.perf_counter() - began)
        assert found["verdict"] == "verified"
        least.append(plain(records))
    ratio = min(least) / min(taken)
    with capsys.disabled():
        print(f"\naudit verifier: {found['records'] / min(taken):,.0f} records/s, {ratio:.2f} times the plain reading; best of {ROUNDS}")
    assert ratio >= LEAST_OF_PLAIN


MEASURED = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_the_verifier_needs_little_memory(workspace, capsys):
    (folder,) = (workspace / "drive/AUDIT").glob("*/*")
    words = [sys.executable, "-I", "-c", MEASURED, str(folder / "verify_audit.py"), str(folder)]
    used = int(subprocess.run(words, capture_output=True, text=True, check=True).stderr) << 10
    with capsys.disabled():
        print(f"\naudit verifier: at most {used / 2**20:.0f} MiB for {RECORDS:,} records")
    assert used <= max(64 << 20, MOST_BYTES_EACH * RECORDS)


def synced(path: Path) -> float:
    """Seconds for the least that makes a record safe: to write 4 KiB and flush them."""
    began = time.perf_counter()
    with open(path, "ab") as out:
        out.write(bytes(4096))
        out.flush()
        os.fsync(out.fileno())
    return time.perf_counter() - began


def test_a_console_starts_and_appends_as_fast_over_a_long_log(workspace, capsys):
    began = time.perf_counter()
    with Engine.open(workspace / "w") as engine:
        size = engine.audit.size
        started, times, least = time.perf_counter() - began, [], []
        for _ in range(300):
            began = time.perf_counter()
            engine.audit.append("bench.event")
            times.append(time.perf_counter() - began)
            least.append(synced(workspace / "plain"))
    times.sort()
    least.sort()
    with capsys.disabled():
        print(f"\naudit log of {size:,}: opened in {started * 1000:.0f} ms, append median {times[150] * 1000:.2f} ms, "
              f"p99 {times[296] * 1000:.2f} ms; a plain flushed write {least[150] * 1000:.2f} and {least[296] * 1000:.2f} ms")
    assert started < MOST_START_S
    assert times[296] < max(MOST_APPEND_P99_S, 3 * least[296])
