"""Servers whose file system lets files share blocks: what lies alike in an older release takes neither time nor room."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.errors import SealiftError
from console.push.remote import disk
from tests.push.local import PYTHON, make, noise

CHUNK = 4 << 20
BIG = noise(1, 48 << 20)
TOOLS = {"xfs": ("mkfs.xfs", "-q", "-m", "reflink=1"), "btrfs": ("mkfs.btrfs", "-q", "-M")}


@pytest.fixture
def python():
    return PYTHON


@pytest.fixture(params=[pytest.param(k, marks=pytest.mark.skipif(os.geteuid() != 0 or not shutil.which(t[0]), reason=f"no {t[0]} here"))
                        for k, t in TOOLS.items()])  # fmt: skip
def home(request, tmp_path):
    """The server's home on such a file system."""
    image, place = tmp_path / "image", tmp_path / "server"
    with image.open("wb") as file:
        file.truncate(320 << 20)
    place.mkdir()
    subprocess.run((*TOOLS[request.param], str(image)), check=True, capture_output=True)
    if subprocess.run(("mount", "-o", "loop", str(image), str(place)), capture_output=True).returncode:
        pytest.skip(f"this kernel does not mount {request.param}")
    yield place
    subprocess.run(("umount", "-l", str(place)), check=True)


def free(home) -> int:
    subprocess.run(("sync", "-f", str(home)), check=True)
    return shutil.disk_usage(home).free


def crowd(home, left: int) -> None:
    """Let so much room be left."""
    with (home / "other").open("wb") as file:
        while (more := free(home) - left) > 1 << 20:
            file.write(os.urandom(min(more, 64 << 20)))
            file.flush()


def test_an_update_takes_room_for_what_changed_only(push, home, tmp_path):
    # Chunks begin where tensors do, which is not where blocks do.
    push(make(tmp_path / "library", {"model/big": BIG}, CHUNK, head=1000).plan("~/store"))
    before, fresh = free(home), noise(2, 1000) + BIG[1000:]
    outcome = push(make(tmp_path / "next", {"model/big": fresh}, CHUNK, head=1000).plan("~/store", name="next"))
    assert outcome.bytes_sent == 1000 and outcome.bytes_reused == len(BIG) - 1000
    assert before - free(home) < 2 * CHUNK
    assert next((home / "store/releases").glob("*/model/big")).stat().st_size == len(BIG)


def test_an_update_that_only_fits_by_sharing_goes_through(push, home, tmp_path):
    push(make(tmp_path / "library", {"model/big": BIG}, CHUNK).plan("~/store"))
    crowd(home, 24 << 20)
    fresh = noise(2, 12345) + BIG[12345:]
    plan = make(tmp_path / "next", {"model/big": fresh}, CHUNK).plan("~/store", name="next")
    outcome = push(plan)
    assert outcome.done and outcome.bytes_sent == CHUNK
    assert (home / "store/releases" / plan.release_id / "model/big").read_bytes() == fresh


def test_an_update_that_lies_elsewhere_and_does_not_fit_is_refused_before_anything_is_copied(push, home, tmp_path):
    push(make(tmp_path / "library", {"model/big": BIG}, CHUNK).plan("~/store"))
    crowd(home, 24 << 20)
    before = free(home)
    # The same chunks behind a head that is not as long as blocks are.
    made = make(tmp_path / "next", {"model/big": noise(2, 1000) + BIG}, CHUNK, head=1000)
    with pytest.raises(SealiftError) as caught:
        push(made.plan("~/store", name="next"))
    assert caught.value.code == "push.disk-full" and push.last.bytes_sent == 0
    assert before - free(home) < 1 << 20


@given(st.integers(0, 1 << 20), st.integers(0, 1 << 20), st.integers(0, 1 << 20))
def test_only_whole_blocks_that_lie_alike_are_shared(source, target, length):
    head, middle = disk.shared_part(source, target, length)
    if middle:
        assert 0 <= head < disk.ALIGN and head + middle <= length
        assert not any(number % disk.ALIGN for number in (source + head, target + head, middle))


def test_where_nothing_can_be_shared_the_bytes_are_copied(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(BIG[: 1 << 20])
    two.write_bytes(b"")
    with one.open("rb") as source, two.open("r+b") as target:
        disk.copy_range(source.fileno(), 7, target.fileno(), 7 + disk.ALIGN, 900_000, memoryview(bytearray(disk.BLOCK)))
    assert two.read_bytes()[7 + disk.ALIGN :] == BIG[7:900_007]
    assert not list(tmp_path.glob(".share*")) or disk.can_share(tmp_path)
