"""Bundles against their peer: what plain ``hashlib`` threads reach on the same files in the page cache, and how much memory it takes.

Run by ``make bench``; the last lines are the figures. ``SEALIFT_BENCH_SPARSE_BYTES`` sets the size of the one sparse file (2 GB;
200 GB takes some minutes of one core), ``SEALIFT_BENCH_FILES`` the number of small files (100,000).
"""

from __future__ import annotations

import hashlib
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from console.bundles.build import build
from console.bundles.verify import verify
from console.jobs.job import NullContext
from console.trust.keys import PrivateKey

pytestmark = pytest.mark.benchmark
ROUNDS = int(os.environ.get("SEALIFT_BENCH_ROUNDS", "7"))
LARGE_BYTES = 768 << 20
FILES = int(os.environ.get("SEALIFT_BENCH_FILES", "100000"))
SPARSE_BYTES = int(os.environ.get("SEALIFT_BENCH_SPARSE_BYTES", str(2 * 10**9)))
MEMORY_LIMIT_BYTES = 300 * 10**6

KEY = PrivateKey.generate("ecdsa-p256")
MEASURED = """
import resource, sys
from pathlib import Path
from console.bundles.build import build
from console.bundles.verify import verify
from console.jobs.job import NullContext
from console.trust.keys import load_private
what, place, key, spec = sys.argv[1], Path(sys.argv[2]), load_private(Path(sys.argv[3])), Path(sys.argv[4])
if what == "build":
    build(NullContext(), spec, place, [key])
else:
    told = verify(NullContext(), [place], {key.public.keyid: (key.public, "builder")})
    assert told["verdict"] == "verified", told["findings"][:3]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)
"""


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def plain(files: list[Path]) -> None:
    """Hash the files as fast as the standard library can with a thread a core."""
    def one(path: Path) -> str:
        with open(path, "rb", buffering=0) as source:
            return hashlib.file_digest(source, "sha256").hexdigest()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        assert all(digest == path.name for digest, path in zip(pool.map(one, files), files, strict=True))


def docs(folder: Path) -> Path:
    """A description of what lies in ``folder/docs``."""
    (folder / "bundle.yaml").write_text("{title: Large, channel: large, components: [{id: docs, type: docs}]}")
    return folder / "bundle.yaml"


def test_verification_is_as_fast_as_hashing(tmp_path):
    """At least 90 % of plain hashing, by the median of rounds in turn; the order changes every round."""
    (tmp_path / "docs").mkdir()
    dice = random.Random(1)
    for number in range(4):
        (tmp_path / "docs" / f"{number}.txt").write_bytes(b"text " + dice.randbytes(LARGE_BYTES // 4))
    place = tmp_path / "drive"
    build(NullContext(), docs(tmp_path), place, [KEY])
    objects = sorted(place.glob("BUNDLES/*/objects/*/*"))
    trusted = {KEY.public.keyid: (KEY.public, "builder")}

    def ours() -> None:
        assert verify(NullContext(), [place], trusted)["verdict"] == "verified"

    plain(objects)
    ratios, speeds = [], []
    for number in range(ROUNDS):
        if number % 2:
            peer, own = timed(lambda: plain(objects)), timed(ours)
        else:
            own, peer = timed(ours), timed(lambda: plain(objects))
        ratios.append(peer / own)
        speeds.append(LARGE_BYTES / own / 2**30)
    ratio = statistics.median(ratios)
    print(f"\nbundle verify: {ratio:.3f} of hashlib threads ({statistics.median(speeds):.2f} GiB/s, rounds {min(ratios):.3f} to {max(ratios):.3f})")
    assert ratio >= 0.9


def measured(what: str, place: Path, key: Path, spec: Path) -> tuple[int, float]:
    """(peak bytes of memory, seconds) of one action in a process of its own."""
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", MEASURED, what, str(place), str(key), str(spec)], capture_output=True, text=True, check=False,
                          cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[-1]), time.perf_counter() - begun


@pytest.mark.parametrize("kind", ["many", "sparse"])
def test_memory_stays_small(tmp_path, kind):
    (tmp_path / "docs").mkdir()
    if kind == "many":
        for number in range(FILES):
            folder = tmp_path / "docs" / f"{number // 1000:03}"
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.txt").write_bytes(b"%d\n" % number)
    else:
        with open(tmp_path / "docs" / "zeros.txt", "wb") as out:
            out.truncate(SPARSE_BYTES)
    key = tmp_path / "key.pem"
    KEY.save(key)
    for what in ("build", "verify"):
        peak, seconds = measured(what, tmp_path / "drive", key, docs(tmp_path))
        print(f"\nbundle {what}, {kind}: {peak / 1e6:.0f} MB at most, {seconds:.1f} s")
        assert peak < MEMORY_LIMIT_BYTES
