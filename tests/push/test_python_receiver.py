"""What only the Python receiver does: journals, notes, degrees, several connections; and receivers that lie."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.errors import SealiftError
from console.jobs.job import NullContext
from console.push.connection import BOOTSTRAP, Connection, receiver_command, receiver_source
from console.push.remote import disk, receiver
from console.push.remote import wire as words
from console.push.sender import Means, Outcome, send
from tests.push.conftest import ABSENT
from tests.push.local import PYTHON, LocalTransport, make, noise, until

CHUNK = 64 << 10
FILES = {"a": noise(1, 640_000), "b": noise(2, 640_000), "c": b"c"}


@pytest.fixture(params=["python", pytest.param("python3.6", marks=pytest.mark.skipif(ABSENT["python3.6"], reason="no python3.6 here"))])
def kind(request):
    return request.param


@pytest.fixture
def made(tmp_path):
    return make(tmp_path / "library", FILES, CHUNK)


@pytest.fixture
def broken_off(push, link, made):
    """A plan whose push was cut in the second file."""
    plan, transport = made.plan("~/store"), link()
    transport.cut_after = 1_000_000
    with pytest.raises(SealiftError):
        push(plan, transport)
    return plan


def test_it_is_written_for_python_3_6():
    sent: dict = {}
    exec(receiver_source().decode().split("\n", 1)[0], sent)  # noqa: S102 - our own text: the modules by name
    source = "\n".join(sent["SOURCES"].values())
    ast.parse(source, feature_version=(3, 6))
    ast.parse(receiver_source(), feature_version=(3, 6))
    newer = r"os\.preadv|os\.pwritev|os\.splice|removeprefix|removesuffix|capture_output|time\.time_ns|fromisoformat|missing_ok|dataclass|contextvars|from __future__"
    assert not re.findall(newer, source)
    known = {"array", "errno", "fcntl", "hashlib", "json", "mmap", "os", "select", "signal", "struct", "sys", "time", "zlib", "ctypes"}
    known |= {"itertools", "bisect", "collections", "concurrent.futures", "queue", "shlex", "shutil", "socket", "subprocess"}
    used = {a.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import) for a in n.names}
    assert used <= known
    assert {n.module for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)} <= {"console.push.remote", *sent["SOURCES"]}


def test_an_untouched_part_is_believed_by_its_journal(push, broken_off):
    outcome = push(broken_off)
    assert outcome.resumed_by == "journal" and outcome.bytes_resumed > 0


def test_a_part_touched_since_is_hashed(push, broken_off, home):
    part = next((home / "store/staging").rglob("*.part"))
    os.utime(part)
    assert push(broken_off).resumed_by == "rehash"


def test_a_torn_journal_line_costs_a_hashing_and_no_more(push, broken_off, home):
    journal = next((home / "store/staging").rglob("*.journal"))
    journal.write_bytes(journal.read_bytes() + b'{"chunks": [0, 1, 2')
    outcome = push(broken_off)
    assert outcome.done and outcome.bytes_resumed > 0


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"[]", b'{"chunks": "x"}', b'{"chunks": [999999], "stat": [], "degree": "media", "push": "x"}', b"null"]
)
def test_a_journal_of_nonsense_is_no_harm(push, broken_off, home, line):
    next((home / "store/staging").rglob("*.journal")).write_bytes(line + b"\n")
    assert push(broken_off).done


def test_a_note_of_a_lesser_degree_is_not_enough(push, made, home):
    assert push(made.plan("~/store", degree="received")).degree == "received"
    notes = [json.loads(p.read_bytes()) for p in (home / "store/objects").rglob("*.chunks")]
    assert {n["degree"] for n in notes} == {"received"}
    outcome = push(made.plan("~/store", degree="stored"))
    assert outcome.bytes_reused == made.plan("~/store").bytes_total
    assert {json.loads(p.read_bytes())["degree"] for p in (home / "store/objects").rglob("*.chunks")} == {"stored"}


def test_notes_stay_good_over_new_links(push, made, home):
    push(made.plan("~/store"))
    push(made.plan("~/store", name="b"))
    for note in (home / "store/objects").rglob("*.chunks"):
        assert json.loads(note.read_bytes())["stat"] == disk.stamp(os.stat(str(note)[:-7]))


def test_chunks_of_an_older_version_are_copied_on_the_server(push, made, home):
    push(made.plan("~/store"))
    data = bytearray(FILES["a"])
    data[5 * CHUNK] ^= 255
    newer = make(made.folder, {"a": bytes(data), "shorter": FILES["b"][: 3 * CHUNK]}, CHUNK).plan("~/store", name="b")
    outcome = push(newer)
    assert outcome.bytes_sent == CHUNK
    assert (home / "store/releases" / newer.release_id / "a").read_bytes() == bytes(data)


def test_parts_of_another_release_are_adopted(push, broken_off, made):
    outcome = push(made.plan("~/store", name="b"))
    assert outcome.bytes_resumed > 0


def test_files_past_the_number_that_may_be_open(push, home, tmp_path):
    plan = make(tmp_path / "many", {f"d{n % 7}/f{n}": b"%d" % n for n in range(600)}).plan("~/store")
    assert push(plan).done
    assert len([p for p in (home / "store/releases" / plan.release_id).rglob("f*") if p.is_file()]) == 600


def test_a_file_that_the_medium_gives_back_wrong_is_sent_again(made, home, tmp_path):
    """The disk swallows a write: simulated where the receiver reads past the cache, as no disk here does that on demand."""
    plan = made.plan(str(home / "store"), degree="media")
    message, wrong = plan.message("0" * 32, "lead")[4:], []
    real = receiver.medium_digests

    def once_wrong(path, lengths, buffer):
        for number, digest in enumerate(real(path, lengths, buffer)):
            if number == 1 and not wrong:
                wrong.append(path)
                digest = b"\0" * 32
            yield digest

    wire = _Wire([b"C" + struct.pack(">III", n, i, plan.length(n, i)) + _bytes(plan, n, i) for n, i in _keys(plan)] + [b"E"])
    receiver.medium_digests = once_wrong
    try:
        one = receiver.Receiver(wire, words.Plan(zlib.decompress(message)))
        wire.on_again = lambda: (
            [b"C" + struct.pack(">III", n, i, plan.length(n, i)) + _bytes(plan, n, i) for n, i in _keys(plan)[:16]] + [b"E"]
        )
        one.run()
    finally:
        receiver.medium_digests = real
    assert wrong and any("again" in said for said in wire.said)
    assert wire.said[-1] == {"done": True, "degree": "media"}


class Disk:
    """Watches what the receiver does to files and folders, and what of it a power cut would take away.

    Attributes:
        unsafe: paths whose content, rights or entries were changed and not flushed since.
        early: journals that spoke of data before it was flushed.
    """

    def __init__(self, monkeypatch):
        self.unsafe, self.early, self._paths = set(), [], {}
        for name, act in {
            "pwrite": lambda handle, *_: self._file(handle),
            "write": lambda handle, *_: self._file(handle),
            "ftruncate": lambda handle, *_: self._file(handle),
            "fchmod": lambda handle, *_: self._file(handle),
            "fsync": lambda handle: self.unsafe.discard(self._path(handle)),
            "mkdir": lambda path, *_: self.unsafe.add(os.path.dirname(path)),
            "link": lambda _, path: self.unsafe.add(os.path.dirname(path)),
            "rename": self._moved,
        }.items():
            monkeypatch.setattr(os, name, self._after(getattr(os, name), act))
        for module in (receiver, disk):
            monkeypatch.setattr(module, "sync_file_system", self._after(disk.sync_file_system, lambda handle: self.unsafe.clear()))
        monkeypatch.setattr(os, "copy_file_range", None)

    def _after(self, real, act):
        def called(*given, **named):
            found = real(*given, **named)
            act(*given)
            return found

        return called

    def _path(self, handle):
        return os.readlink(f"/proc/self/fd/{handle}")

    def _file(self, handle):
        path = self._path(handle)
        if path.endswith(".journal"):
            self.early += [path] if path[:-8] + ".part" in self.unsafe else []
        self.unsafe.add(path)

    def _moved(self, old, new):
        if old in self.unsafe:
            self.unsafe = {new if path == old else path for path in self.unsafe}
        self.unsafe.add(os.path.dirname(new))
        self.unsafe = {new + path[len(old) :] if path.startswith(old + "/") else path for path in self.unsafe}

    def lost(self, store):
        """What would be lost, but for what may be: the locks, and notes, without which a file is hashed again."""
        here = [path for path in self.unsafe if path.startswith(str(store)) and os.path.exists(path)]
        return {path for path in here if ".chunks" not in path and not path.endswith(("/lock", "/lock.lanes"))}


@pytest.mark.parametrize("few", [0, 1000], ids=["all at once", "one by one"])
@pytest.mark.parametrize("degree", words.RANK)
@pytest.mark.parametrize("deep", [False, True])
def test_what_is_said_to_be_done_survives_a_power_cut(home, tmp_path, monkeypatch, degree, deep, few):
    for module in (receiver, disk):
        monkeypatch.setattr(module, "FEW", few)
    monkeypatch.setattr(receiver, "SYNC_BYTES", 128 << 10)
    monkeypatch.setattr(receiver, "NOTE_BYTES", 1 << 40)
    files = FILES | {"deep/er/and/deeper": b"x", "deep/b": FILES["b"][:70_000]}
    older = make(tmp_path / "lib", {"a": FILES["a"], "c": b"c"}, CHUNK).plan(str(home / "store"), degree, "b" if deep else "a")
    plan = make(tmp_path / "lib", files, CHUNK, executable=("c",)).plan(str(home / "store"), degree)
    watched = Disk(monkeypatch)
    for one in (older, plan):
        frames = [b"C" + struct.pack(">III", n, i, one.length(n, i)) + _bytes(one, n, i) for n, i in _keys(one)]
        wire = _Wire([*frames, b"E"])
        side = receiver.Receiver(wire, words.Plan(zlib.decompress(one.message("0" * 32, "lead")[4:])))
        side.run()
        os.close(side.lock)
        assert wire.said[-1] == {"done": True, "degree": degree}
        assert not watched.lost(home / "store") and not watched.early
    assert (home / "store/releases" / plan.release_id / "deep/er/and/deeper").read_bytes() == b"x"


def test_a_power_cut_takes_two_chunks_at_most(home, tmp_path, monkeypatch):
    monkeypatch.setattr(receiver, "SYNC_BYTES", 2 * CHUNK)
    sizes = {f"f{n}": 1000 + n * 20_000 for n in range(12)} | {"big": 5 * CHUNK + 1, "other": 3 * CHUNK - 1}
    plan = make(tmp_path / "lib", {name: noise(len(name) + size, size) for name, size in sizes.items()}, CHUNK).plan(str(home / "store"))
    wire, at_risk = _Wire([b"C" + struct.pack(">III", n, i, plan.length(n, i)) + _bytes(plan, n, i) for n, i in _keys(plan)] + [b"E"]), []

    def say(**told):
        wire.said.append(told)
        told = [tuple(t["ok"]) for t in wire.said if "ok" in t]
        lines = [json.loads(line) for j in (home / "store/staging").rglob("*.journal") for line in j.read_text().splitlines()]
        there = sum(min(CHUNK, line["stat"][2] - CHUNK * index) for line in lines for index in line["chunks"])
        there += sum(p.stat().st_size for p in (home / "store/objects").rglob("*") if len(p.name) == 64)
        at_risk.append(sum(plan.length(*key) for key in told) - there)

    wire.say = say
    side = receiver.Receiver(wire, words.Plan(zlib.decompress(plan.message("0" * 32, "lead")[4:])))
    side.run()
    os.close(side.lock)
    assert wire.said[-1] == {"done": True, "degree": "stored"} and 0 < max(at_risk) <= 2 * CHUNK


def _keys(plan):
    return [plan.key(every) for every in range(plan.first[-1])]


def _bytes(plan, number, index):
    source = plan.sources[number]
    return Path(source.place).read_bytes()[source.offsets[index] : source.offsets[index] + plan.length(number, index)]


class _Wire:
    """The receiver's wire without a channel."""

    idle_s = 0

    def __init__(self, frames):
        self.data, self.said, self.scratch = bytearray(b"".join(frames)), [], memoryview(words.mmap.mmap(-1, words.BLOCK))

    def take(self, count):
        if not self.data:
            self.data += b"".join(self.on_again())
        data = bytes(self.data[:count])
        del self.data[:count]
        return data

    def views(self, count):
        yield memoryview(self.take(count))

    def say(self, **told):
        self.said.append(told)

    def flush(self):
        pass

    live = flush


# Several connections --------------------------------------------------------------------------------------------------


class Talk:
    """One connection, driven by hand."""

    def __init__(self, transport, plan, role, push="1" * 32):
        self.plan, self.said, self.problems = plan, [], []
        self.stream = transport.open(receiver_command(PYTHON))
        self.connection = Connection(self.stream, "here", plan.store)
        self.first = self.connection.start(plan.message(push, role))
        self.connection.listen(self._heard, self.problems.append)

    def _heard(self, answer):
        self.said.append(answer)
        return "done" in answer or "synced" in answer

    def chunk(self, number, index):
        data = memoryview(_bytes(self.plan, number, index))
        self.connection.chunk(number, index, len(data), [data])

    def heard(self, **told):
        until(lambda: told in self.said or self.problems, f"{told}")
        assert told in self.said, self.problems


@pytest.fixture
def big(tmp_path):
    return make(tmp_path / "big", {"big": noise(5, 10 << 20), "small": b"s"}, 1 << 20).plan("~/store")


def test_lanes_write_and_the_lead_finishes(link, big, home):
    transport = link()
    lead, lane = Talk(transport, big, "lead"), None
    lead.connection.tell(b"L")
    lane = Talk(transport, big, "lane")
    assert lane.first == {"joined": True}
    for index in range(10):
        (lane if index % 3 else lead).chunk(0, index)
    lead.chunk(1, 0)
    lane.heard(ok=[0, 8])
    lane.connection.tell(b"E")
    lane.heard(synced=True)
    lead.connection.tell(b"E")
    lead.heard(done=True, degree="stored")
    assert (home / "store/releases" / big.release_id / "big").read_bytes() == noise(5, 10 << 20)


def test_what_a_killed_lane_had_not_flushed_is_asked_for_again(link, big, home):
    transport, other = link(), link()
    lead = Talk(transport, big, "lead")
    lead.connection.tell(b"L")
    lane = Talk(other, big, "lane")
    for index in range(5):
        lane.chunk(0, index)
    lane.heard(ok=[0, 4])
    other.kill()
    for index in range(5, 10):
        lead.chunk(0, index)
    lead.chunk(1, 0)
    lead.connection.tell(b"E")
    until(lambda: any("again" in a for a in lead.said), "what is missing")
    assert next(a["again"] for a in lead.said if "again" in a) == [[5, 10]]
    for index in range(5):
        lead.chunk(0, index)
    lead.connection.tell(b"E")
    lead.heard(done=True, degree="stored")


def test_a_lane_of_another_push_is_not_let_in(link, big):
    lead = Talk(link(), big, "lead")
    with pytest.raises(SealiftError) as caught:
        Talk(link(), big, "lane", push="2" * 32)
    assert caught.value.code == "push.store-busy"
    lead.connection.close()


def test_a_lane_without_a_lead_is_not_let_in(push, link, made, big):
    push(made.plan("~/store"))
    with pytest.raises(SealiftError) as caught:
        Talk(link(), big, "lane")
    assert caught.value.code == "push.store-busy"


def test_a_receiver_left_by_a_broken_connection_of_the_same_push_makes_way(link, big):
    left = Talk(link(), big, "lead")
    left.chunk(1, 0)
    left.heard(ok=[1, 0])
    again = Talk(link(), big, "lead")
    assert again.first["have"] == [[10, 10]]
    left.stream.process.wait(10)
    again.connection.close()


def test_a_receiver_that_hears_nothing_ends_by_itself(link, big, monkeypatch):
    monkeypatch.setattr("console.push.manifest.IDLE_S", 0.2)
    stream = link().open(receiver_command(PYTHON))
    stream.write(receiver_source() + big.message("3" * 32, "lead"))
    assert stream.process.wait(10) == 1


# Receivers that lie ---------------------------------------------------------------------------------------------------

HELLO = b'{"have": [], "reused": 0, "resumed": 0, "how": "none", "by": "none"}\n'
LIES = {
    "not JSON": b"hello\n",
    "no object": b"[1]\n",
    "has more than there is": b'{"have": [[0, 99]], "reused": 0, "resumed": 0, "how": "none", "by": "none"}\n',
    "ranges backwards": b'{"have": [[1, 0]], "reused": 0, "resumed": 0, "how": "none", "by": "none"}\n',
    "reused more than all": b'{"have": [], "reused": 1000000000, "resumed": 0, "how": "none", "by": "none"}\n',
    "done at once": HELLO + b'{"done": true, "degree": "stored"}\n',
    "chunks that were not sent": HELLO + b'{"ok": [0, 9]}\n' * 30,
    "no such file": HELLO + b'{"ok": [77, 0]}\n',
    "booleans": HELLO + b'{"ok": [false, true]}\n',
    "strange ok": HELLO + b'{"ok": {"x": 1}}\n',
    "an error of its own making": b'{"error": ["x"], "reason": {"a": 1}}\n',
    "nothing": b"",
    "deep": b"[" * 100_000 + b"\n",
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_receiver_is_never_verified(home, made, lie):
    class Liar(LocalTransport):
        def open(self, argv, *, sudo=False):
            return super().open((PYTHON, "-c", f"import sys,os; os.write(1, {LIES[lie]!r}); sys.stdin.buffer.read()"))

    transport, outcome = Liar(home), Outcome()
    try:
        with pytest.raises(SealiftError) as caught:
            closing = threading.Timer(1, transport.kill)
            closing.start()
            send(NullContext(), transport, made.plan("~/store"), outcome, Means(), PYTHON)
    finally:
        closing.cancel()
        transport.close()
    assert not outcome.done and caught.value.code in ("push.receiver-failed", "ssh.connection-lost")


TAKES = "import os, threading, time; threading.Thread(target=lambda: [0 for _ in iter(lambda: os.read(0, 1 << 20), b'')], daemon=True).start()\n"
LIVES = "while True: os.write(1, b'{\"alive\": true}\\n'); time.sleep(0.01)"
NEVER_ENDING = {
    "looks": TAKES + LIVES,
    "takes all and says nothing of it": TAKES + f"os.write(1, {HELLO!r})\n" + LIVES,
    "takes nothing": f"import os, time; os.write(1, {HELLO!r})\n" + LIVES,
    "a flood": TAKES + f"os.write(1, {HELLO!r})\n" + "while True: os.write(1, b'{\"settling\": 1}\\n' * 1000)",
}


@pytest.fixture
def hasty(monkeypatch):
    """The console's patience is short."""
    for name in ("connection.STUCK_S", "sender.STUCK_S", "connection.LOOKING_S"):
        monkeypatch.setattr(f"console.push.{name}", 0.3)
    monkeypatch.setattr("console.push.connection.SLOWEST_BYTES_PER_S", 1e9)


@pytest.mark.parametrize("lie", NEVER_ENDING)
def test_a_receiver_that_lives_and_does_not_get_on_is_given_up(home, made, hasty, lie):
    class Liar(LocalTransport):
        def open(self, argv, *, sudo=False):
            return super().open((PYTHON, "-c", NEVER_ENDING[lie]))

    transport, outcome = Liar(home), Outcome()
    try:
        with pytest.raises(SealiftError) as caught:
            send(NullContext(), transport, made.plan("~/store"), outcome, Means(), PYTHON)
    finally:
        transport.kill()
        transport.close()
    assert not outcome.done
    assert caught.value.code == "ssh.timeout" if lie == "takes nothing" else "does not get on" in caught.value.message()


def test_a_receiver_that_never_comes_to_an_end_is_given_up(push, made, hasty, monkeypatch):
    honest = receiver_source()
    lying = honest.replace(b"self.wire.say(done=True, degree=self.degree)", b"for _ in range(200): time.sleep(0.01); self.wire.said_at = 0; self.wire.live()")
    assert lying != honest
    monkeypatch.setattr("console.push.connection.receiver_source", lambda: lying)
    with pytest.raises(SealiftError, match="does not get on"):
        push(made.plan("~/store"))
    assert not push.last.done


def test_the_bootstrap_takes_no_byte_too_many():
    code = b"import sys,os; os.write(1, os.read(0, 100))"
    run = subprocess.run([sys.executable, "-S", "-E", "-c", BOOTSTRAP, str(len(code))], input=code + b"the rest", capture_output=True)
    assert run.stdout == b"the rest"


# Bad plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "", "a/./b", "a\0b"])
def test_a_path_that_leaves_the_release_is_refused_by_the_server_too(push, made, path):
    plan = made.plan("~/store")
    plan = type(plan)(plan.release_id, plan.store, plan.degree, plan.sources, ((path, plan.links[0][1]),), frozenset(), 1)
    with pytest.raises(SealiftError, match="bad-plan"):
        push(plan)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_a_plan_of_noise_is_refused_in_words(raw):
    with pytest.raises((words.Failed, ValueError, KeyError, TypeError, struct.error, OverflowError)):
        words.Plan(raw)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_spoiled_plan_is_refused_or_still_safe(tmp_path_factory, data):
    plan = make(tmp_path_factory.getbasetemp() / "spoil", {"a/b": b"12345", "c": b""}, 2).plan("~/store")
    raw = bytearray(zlib.decompress(plan.message("0" * 32, "lead")[4:]))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = words.Plan(bytes(raw))
    except (words.Failed, ValueError, KeyError, TypeError, struct.error, OverflowError):
        return
    assert all(words.safe(path) for path, _ in read.links())


@given(st.sets(st.integers(0, 60)))
def test_ranges_say_which_flags_are_set(numbers):
    flags = bytearray(61)
    for number in numbers:
        flags[number] = 1
    assert {n for low, high in words.ranges(flags) for n in range(low, high + 1)} == numbers


def test_reading_from_the_medium_gives_the_same_digests(tmp_path):
    data = noise(9, 3_333_333)
    (tmp_path / "f").write_bytes(data)
    lengths, at, expected = [1_000_000, 1, 2_000_000, 333_332], 0, []
    for length in lengths:
        expected.append(hashlib.sha256(data[at : at + length]).digest())
        at += length
    buffer = memoryview(words.mmap.mmap(-1, words.BLOCK))
    assert list(receiver.medium_digests(str(tmp_path / "f"), lengths, buffer)) == expected
    assert list(receiver.medium_digests(str(tmp_path / "f"), [5_000_000], buffer)) == [b""]


def test_memory_stays_small_for_many_files(link, home, tmp_path):
    plan = make(tmp_path / "lib", {"x": b"x"}).plan("~/store")
    source = plan.sources[0]
    entries = [type(source.entry)(f"model/part-{n:06}.bin", 1, f"{n:064x}", "model", False, ((f"{n:064x}", 1),)) for n in range(100_000)]
    plan = type(plan)(plan.release_id, plan.store, plan.degree, tuple(type(source)(e, Path("x")) for e in entries),
                      tuple((e.path, e.sha256) for e in entries), frozenset(), 5)  # fmt: skip
    stream = link().open(receiver_command(PYTHON))
    stream.write(receiver_source() + plan.message("4" * 32, "lead"))
    assert json.loads(stream.read(4096))["have"] == []
    status = Path(f"/proc/{stream.process.pid}/status").read_text()
    peak_kib = int(re.search(r"VmHWM:\s+(\d+)", status)[1])
    os.kill(stream.process.pid, signal.SIGTERM)
    print(peak_kib)
    assert peak_kib < 64 << 10
