"""One contract, kept by both receivers."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from console.errors import Cancelled, SealiftError
from console.jobs.job import NullContext
from console.push import connection, control
from console.push.connection import receiver_command, receiver_source
from console.push.sender import Means, Outcome, send
from console.push.sh_receiver import SCRIPT
from tests.push.local import PYTHON, make, noise, until

FILES = {"model/one.bin": noise(1, 1_000_000), "model/two.bin": noise(2, 300_000), "model/small.json": b"{}",
         "model/sub folder/empty": b"", "bin/run.sh": b"#!/bin/sh\n", "model/same.bin": noise(1, 1_000_000)}  # fmt: skip
CHUNK = 64 << 10


@pytest.fixture
def made(tmp_path):
    return make(tmp_path / "library", FILES, CHUNK, executable=("bin/run.sh",))


def released(home, plan):
    """The files below the release's folder; None where there is none."""
    folder = home / "store/releases" / plan.release_id
    if not folder.exists():
        return None
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def parts(home):
    return [p for p in (home / "store/staging").rglob("*") if p.is_file()]


def test_a_release_arrives_whole(push, made, home):
    plan = made.plan("~/store")
    outcome = push(plan)
    assert outcome.done and outcome.bytes_sent == plan.bytes_total and outcome.degree == "stored"
    assert released(home, plan) == FILES
    folder = home / "store/releases" / plan.release_id
    assert stat.S_IMODE((folder / "bin/run.sh").stat().st_mode) == 0o555
    assert stat.S_IMODE((folder / "model/two.bin").stat().st_mode) == 0o444
    assert (folder / "model/one.bin").samefile(folder / "model/same.bin")
    assert not parts(home)


def test_it_says_what_it_is_doing(push, made):
    class Listens(NullContext):
        phases = []

        def phase(self, name):
            self.phases.append(name)

    push(made.plan("~/store"), None, ctx := Listens())
    assert ctx.phases == [control.LOOK, control.PUSH, control.FINISH]


def test_the_second_push_sends_nothing(push, made, home):
    plan = made.plan("~/store")
    push(plan)
    outcome = push(plan)
    assert outcome.done and outcome.bytes_sent == 0 and outcome.bytes_reused == plan.bytes_total
    assert released(home, plan) == FILES


def test_files_of_another_release_are_reused(push, made, home, tmp_path):
    push(made.plan("~/store"))
    newer = make(tmp_path / "library", FILES | {"model/three.bin": noise(3, 5000)}, CHUNK)
    plan = newer.plan("~/store", name="b")
    outcome = push(plan)
    assert outcome.bytes_sent == 5000 and outcome.bytes_reused == plan.bytes_total - 5000
    assert released(home, plan)["model/one.bin"] == FILES["model/one.bin"]


def test_components_that_come_later_join_the_release(push, made, home):
    first = make(made.folder, {"model/one.bin": FILES["model/one.bin"]}, CHUNK).plan("~/store")
    push(first)
    inode = (home / "store/releases" / first.release_id).stat().st_ino
    plan = make(made.folder, {"bin/run.sh": FILES["bin/run.sh"]}, CHUNK).plan("~/store")
    push(plan)
    assert released(home, plan) == {k: FILES[k] for k in ("model/one.bin", "bin/run.sh")}
    # Never taken away, not even for a moment: what serves from it keeps its folder.
    assert (home / "store/releases" / first.release_id).stat().st_ino == inode


def test_what_is_there_already_gets_the_rights_that_the_release_needs(push, made, home):
    plan = made.plan("~/store")
    push(plan)
    folder = home / "store/releases"
    # The crash came between the bytes and the rights; and a file that is data in one release is a program in another.
    (folder / plan.release_id / "model/two.bin").chmod(0o600)
    other = make(made.folder, {"bin/small": FILES["model/small.json"], "model/one.bin": FILES["model/one.bin"]}, CHUNK, executable=("bin/small",))
    newer = other.plan("~/store", name="b")
    for one in (plan, newer):
        assert push(one).bytes_sent == 0
    modes = {name: stat.S_IMODE((folder / newer.release_id / name).stat().st_mode) for name in ("bin/small", "model/one.bin")}
    assert modes == {"bin/small": 0o555, "model/one.bin": 0o444}
    assert stat.S_IMODE((folder / plan.release_id / "model/two.bin").stat().st_mode) == 0o444


@pytest.fixture
def through_the_cache(kind, python, tmp_path_factory, monkeypatch):
    """The environment of a server whose files can only be read through its cache, as of disks of memory on older systems."""
    if kind == "busybox":
        pytest.skip("its shell has a dd of its own")
    if python:
        told = connection.receiver_source().replace(b"os.readv(direct, [buffer])", b"os.read(-1, 1)").replace(b"_FADV_DONTNEED", b"_FADV_NORMAL")
        monkeypatch.setattr(connection, "receiver_source", lambda: told)
        return {}
    tools = tmp_path_factory.mktemp("tools")
    (tools / "dd").write_text(f"#!/bin/sh\ncase \"$*\" in *iflag=direct*|*nocache*) exit 1 ;; esac\nexec {shutil.which('dd')} \"$@\"\n")
    (tools / "dd").chmod(0o755)
    return {"PATH": f"{tools}:{os.environ['PATH']}"}


def test_what_cannot_be_read_from_the_medium_is_not_called_so(push, link, made, home, through_the_cache):
    push(made.plan("~/store", degree="stored"), link(environment=through_the_cache))
    for emptied in (False, True):
        if emptied:
            shutil.rmtree(home / "store")
        with pytest.raises(SealiftError) as caught:
            push(made.plan("~/store", degree="media"), link(environment=through_the_cache))
        assert caught.value.code == "push.no-medium" and not push.last.done


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_anywhere_is_resumed(push, link, made, home, seed):
    plan = made.plan("~/store", degree=random.Random(seed).choice(["received", "stored", "media"]))
    transport = link()
    transport.cut_after = random.Random(seed).randrange(60_000, plan.bytes_total)
    with pytest.raises(SealiftError) as caught:
        push(plan, transport)
    assert caught.value.retryable
    assert released(home, plan) is None
    first = push.last.bytes_sent
    outcome = push(plan)
    assert outcome.done and released(home, plan) == FILES
    # What was under way when it was cut is one chunk and what the pipe held.
    assert first + outcome.bytes_sent <= plan.bytes_total + 4 * CHUNK + (64 << 10)
    assert outcome.bytes_sent + outcome.bytes_reused + outcome.bytes_resumed == plan.bytes_total


def test_cuts_again_and_again_come_to_an_end(push, link, made, home):
    plan, dice = made.plan("~/store"), random.Random(7)
    for _ in range(40):
        transport = link()
        transport.cut_after = dice.randrange(90_000, 400_000)
        try:
            push(plan, transport)
            break
        except SealiftError:
            assert released(home, plan) is None
    assert released(home, plan) == FILES


def test_a_killed_receiver_is_resumed(push, link, made, home):
    plan, transport = made.plan("~/store"), link()

    class KillsMidway(NullContext):
        def progress(self, done, total, unit, left_s=None):
            if done > total // 2:
                transport.kill()

        def server(self, name):
            return self

    with pytest.raises(SealiftError):
        push(plan, transport, KillsMidway())
    assert released(home, plan) is None
    outcome = push(plan)
    assert released(home, plan) == FILES
    assert outcome.bytes_resumed + outcome.bytes_reused > 0


def test_a_flipped_bit_in_flight_is_sent_again(push, link, made, home):
    plan, transport = made.plan("~/store"), link()
    transport.flip_at = 150_000
    outcome = push(plan, transport)
    assert released(home, plan) == FILES
    assert outcome.bytes_sent == plan.bytes_total + CHUNK


def test_a_flipped_bit_in_a_part_is_found(push, link, made, home):
    plan, transport = made.plan("~/store"), link()
    transport.cut_after = 700_000
    with pytest.raises(SealiftError):
        push(plan, transport)
    part = max((p for p in parts(home) if p.name.endswith(".part")), key=lambda p: p.stat().st_size)
    with open(part, "r+b") as file:
        file.seek(CHUNK + 5)
        byte = file.read(1)
        file.seek(CHUNK + 5)
        file.write(bytes([byte[0] ^ 1]))
    outcome = push(plan)
    assert released(home, plan) == FILES
    assert outcome.resumed_by == "rehash" and outcome.bytes_resumed > 0


def test_damage_in_the_store_is_repaired_chunk_by_chunk_and_not_in_place(push, made, home):
    plan = made.plan("~/store")
    push(plan)
    other = make(made.folder, {"x/one.bin": FILES["model/one.bin"]}, CHUNK).plan("~/store", name="b")
    push(other)
    live = home / "store/releases" / plan.release_id / "model/one.bin"
    live.chmod(0o600)
    with open(live, "r+b") as file:
        file.seek(3 * CHUNK + 9)
        file.write(b"rotten")
        held = os.dup(file.fileno())
    rotten = os.pread(held, len(FILES["model/one.bin"]), 0)
    outcome = push(plan)
    assert outcome.bytes_sent == CHUNK
    assert released(home, plan) == FILES
    # Who reads the damaged file keeps what it opened; it is not rewritten below it.
    assert os.pread(held, len(rotten), 0) == rotten
    os.close(held)


def test_a_damaged_library_is_named_and_nothing_goes_live(push, made, home):
    plan = made.plan("~/store")
    source = next(s for s in plan.sources if s.entry.path == "model/two.bin")
    data = bytearray(Path(source.place).read_bytes())
    data[100] ^= 1
    Path(source.place).write_bytes(data)
    with pytest.raises(SealiftError) as caught:
        push(plan)
    assert caught.value.code == "push.source-damaged"
    assert released(home, plan) is None


def test_a_full_disk_is_named_and_the_next_push_goes_on(push, link, made, home):
    plan, transport = made.plan("~/store"), link()
    transport.prefix = ("sh", "-c", 'trap "" XFSZ; ulimit -f 800; exec "$@"', "sh")
    with pytest.raises(SealiftError) as caught:
        push(plan, transport)
    assert caught.value.code == "push.disk-full" and caught.value.params["need_bytes"] > 0
    assert released(home, plan) is None
    outcome = push(plan)
    assert released(home, plan) == FILES
    assert outcome.bytes_resumed + outcome.bytes_reused > 0


def test_too_little_space_is_said_before_the_first_byte(push, made, home):
    plan = made.plan("~/store")
    free = shutil.disk_usage(home).free
    one = plan.sources[0]
    count = free // (1 << 31) + 2
    chunks = tuple((f"{n:064x}", 1 << 31) for n in range(count))
    huge = type(one)(type(one.entry)("huge", count << 31, "f" * 64, "model", False, chunks), one.place)
    plan = type(plan)(plan.release_id, plan.store, plan.degree, (huge,), (("huge", "f" * 64),), frozenset(), 5)
    with pytest.raises(SealiftError) as caught:
        push(plan)
    assert caught.value.code == "push.disk-full" and push.last.bytes_sent == 0
    assert caught.value.params["short_bytes"] > 0


def test_a_link_in_the_store_is_not_followed(push, made, home, tmp_path):
    (home / "store").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (home / "store/objects").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SealiftError) as caught:
        push(made.plan("~/store"))
    assert caught.value.code == "push.unsafe-store"
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_link_inside_a_release_is_not_followed(push, made, home, tmp_path):
    plan = made.plan("~/store")
    folder = home / "store/releases" / plan.release_id
    folder.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (folder / "model").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SealiftError) as caught:
        push(plan)
    assert caught.value.code == "push.unsafe-store"
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_way_to_the_store_may_hold_links(push, made, home, tmp_path):
    (tmp_path / "bigdisk").mkdir()
    (home / "data").symlink_to(tmp_path / "bigdisk")
    plan = made.plan("~/data/store")
    assert push(plan).done
    assert (tmp_path / "bigdisk/store/releases" / plan.release_id / "model/two.bin").read_bytes() == FILES["model/two.bin"]


@pytest.fixture
def plain(link, home, python):
    """A transport to an account that has no more rights than others."""
    transport = link()
    if os.geteuid() == 0:
        transport.prefix = (shutil.which("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups")
        os.chown(home, 65534, 65534)
        if python and subprocess.run((*transport.prefix, python, "-c", ""), capture_output=True).returncode:
            pytest.skip("only root may start this interpreter")
        for folder in list(home.parents)[:-2]:
            folder.chmod(folder.stat().st_mode | 0o011)
    return transport


def test_a_part_that_may_not_be_written_any_more_is_gone_on_with(push, plain, made, home):
    """The crash came after the rights were taken away and before the file was moved to its place."""
    plan = made.plan("~/store")
    plain.cut_after = 700_000
    with pytest.raises(SealiftError):
        push(plan, plain)
    parts = list((home / "store/staging").rglob("*.part"))
    for part in parts:
        part.chmod(0o444)
    plain.cut_after = None
    assert parts and push(plan, plain).bytes_resumed > 0
    assert released(home, plan) == FILES


def test_no_rights_are_named(push, plain, made, home):
    home.chmod(0o500)
    transport = plain
    with pytest.raises(SealiftError) as caught:
        push(made.plan("~/store"), transport)
    assert caught.value.code == "push.no-rights"


def test_two_pushes_never_share_a_store(push, link, made, home, python):
    holder, plan = link(), made.plan("~/store", patience_s=1)
    if python:
        stream, ready = holder.open(receiver_command(python)), b'{"have"'
        stream.write(receiver_source() + plan.message("0" * 32, "lead"))
    else:
        stream, ready = holder.open(("sh", "-c", SCRIPT, "receiver", "~/store", "f" * 64, "stored", "0" * 32, "1")), b"ready\n"
    assert stream.read(4096).startswith(ready)
    with pytest.raises(SealiftError) as caught:
        push(plan)
    assert caught.value.code == "push.store-busy" and caught.value.retryable
    holder.close()
    assert push(plan).done


def test_a_cancel_leaves_what_was_verified(push, link, made, home):
    plan = made.plan("~/store")

    class CancelsMidway(NullContext):
        def progress(self, done, total, unit, left_s=None):
            if done > total // 2 and not self.cancelled:
                threading.Thread(target=self.cancel).start()
                until(lambda: self.cancelled, "the cancel")
            super().progress(done, total, unit)

    with pytest.raises(Cancelled):
        push(plan, None, CancelsMidway())
    assert released(home, plan) is None
    outcome = push(plan)
    assert released(home, plan) == FILES and outcome.bytes_resumed + outcome.bytes_reused > 0


def test_either_receiver_goes_on_where_the_other_ended(link, made, home, python):
    plan, transport = made.plan("~/store"), link()
    transport.cut_after = 800_000
    one, other = (python, None) if python else (None, PYTHON)
    with pytest.raises(SealiftError):
        send(NullContext(), transport, plan, Outcome(), Means(), one)
    transport.close()
    outcome = Outcome()
    send(NullContext(), link(), plan, outcome, Means(), other)
    assert released(home, plan) == FILES
    assert outcome.bytes_resumed + outcome.bytes_reused > 0
