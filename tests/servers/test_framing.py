"""Many commands in one script: what each said comes back whole, whatever it said."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.servers.framing import FILES, STDERR_LIMIT_BYTES, Command, Frame, Reader, script, spread, together

BOUNDARY = "6f1c" * 8
NASTY = st.sampled_from([b"\n", BOUNDARY[:-1].encode(), b"\n" + BOUNDARY[:8].encode(), b" begin 1 -\n", b" end 0 0 -\n",
                         b"\n" + b"0" * 32 + b" end 0 0 1\n", b"\n" + b"0" * 32 + b" done\n", b"\0", b"\xff\xfe"])
OUTPUT = st.lists(st.one_of(NASTY, st.binary(max_size=200)), max_size=20).map(b"".join).filter(
    lambda raw: BOUNDARY.encode() not in raw)


def stream_of(outputs: list[bytes]) -> bytes:
    """What the script prints when its commands print ``outputs``."""
    mark = BOUNDARY.encode()
    return b"".join(b"\n%s begin %d 10.25\n%s\n%s end %d 0 10.50\n" % (mark, n, raw, mark, n)
                    for n, raw in enumerate(outputs)) + b"\n%s done\n" % mark


@given(st.lists(OUTPUT, min_size=1, max_size=4), st.lists(st.integers(1, 97), min_size=1, max_size=5))
def test_any_output_comes_back_as_it_was(outputs, steps):
    commands = [Command(n, ("x",), 5, 1 << 20) for n in range(len(outputs))]
    reader, raw, at, turn = Reader(commands, BOUNDARY), stream_of(outputs), 0, 0
    while at < len(raw):
        step = steps[turn % len(steps)]
        reader.feed(raw[at : at + step])
        at, turn = at + step, turn + 1
    reader.close()
    assert reader.finished and [bytes(reader.frames[n].stdout) for n in range(len(outputs))] == outputs
    assert all(f.ended and f.exit_code == 0 and f.duration_s == 0.25 for f in reader.frames.values())


@given(st.binary(max_size=3000))
def test_no_bytes_without_the_boundary_make_a_frame(raw):
    reader = Reader([Command(0, ("x",), 5)], BOUNDARY)
    reader.feed(raw)
    reader.close()
    assert not reader.frames and not reader.finished


@given(st.lists(st.sampled_from([b"begin 0 1", b"begin 1 1", b"end 0 0 1", b"end 1 999999 x", b"end 0", b"done", b"",
                                 b"begin 7 1", b"end 0 absent 1"]), max_size=12), st.binary(max_size=40))
def test_marks_in_any_disorder_are_survived(marks, between):
    reader = Reader([Command(0, ("x",), 5, 100), Command(1, ("y",), 5, 100)], BOUNDARY)
    for mark in marks:
        reader.feed(b"\n%s %s\n%s" % (BOUNDARY.encode(), mark, between))
    reader.close()
    assert set(reader.frames) <= {0, 1} and all(len(f.stdout) <= 100 for f in reader.frames.values())


def test_more_than_the_limit_is_cut_and_said_so():
    reader = Reader([Command(0, ("x",), 5, 10)], BOUNDARY)
    reader.feed(stream_of([b"a" * 11]))
    assert reader.frames[0].truncated and bytes(reader.frames[0].stdout) == b"a" * 10


@given(OUTPUT, st.integers(1, 60))
def test_errors_are_told_apart(raw, step):
    mark, reader = BOUNDARY.encode(), Reader([Command(0, ("x",), 5), Command(1, ("y",), 5)], BOUNDARY)
    reader.feed(stream_of([b"", b""]))
    whole = b"banner\n%s begin 0\n%s\n%s begin 1\nlast" % (mark, raw, mark)
    for at in range(0, len(whole), step):
        reader.feed_errors(whole[at : at + step])
    reader.close()
    assert (bytes(reader.frames[0].stderr), bytes(reader.frames[1].stderr)) == (raw, b"last")
    assert reader.spoken == b"banner"


def test_a_noisy_error_stream_takes_nothing_from_the_next_command():
    mark, reader = BOUNDARY.encode(), Reader([Command(0, ("x",), 5), Command(1, ("y",), 5)], BOUNDARY)
    reader.feed(stream_of([b"", b""]))
    reader.feed_errors(b"\n%s begin 0\n" % mark + b"e" * 2 * STDERR_LIMIT_BYTES)
    assert reader.dropped_bytes > STDERR_LIMIT_BYTES - 400
    reader.feed_errors(b"\n%s begin 1\nquiet" % mark)
    reader.close()
    assert len(reader.frames[0].stderr) == STDERR_LIMIT_BYTES and reader.frames[1].stderr == b"quiet"


@pytest.mark.parametrize("shell", [s for s in ("dash", "bash", "busybox") if shutil.which(s)])
def test_a_program_that_hung_is_not_asked_again(shell, tmp_path):
    for name in ("hangs", "fails"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho called >>{tmp_path}/{name}.log\n" + ("exec sleep 30\n" if name == "hangs" else "exit 124\n"))
        (tmp_path / name).chmod(0o755)
    commands = [Command(0, ("hangs", "a"), 1), Command(1, ("hangs", "b"), 20), Command(2, ("sh", "-c", "hangs c"), 20, needs="hangs"),
                Command(3, ("fails",), 20), Command(4, ("fails",), 20), Command(5, ("known", "a"), 20), Command(6, ("echo", "on"), 5)]  # fmt: skip
    done = subprocess.run([shutil.which(shell), *(("sh",) if shell == "busybox" else ()), "-s"],
                          input=script(commands, BOUNDARY, hung=["other", "known"]), capture_output=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, timeout=30)  # fmt: skip
    reader = Reader(commands, BOUNDARY)
    reader.feed(done.stdout)
    reader.close()
    frames = reader.frames
    assert reader.finished and [n for n, f in frames.items() if f.hung] == [1, 2, 5] and not done.stderr.replace(b"\n", b"").strip().startswith(b"sh:")
    assert frames[0].exit_code in (124, 137, 143) and bytes(frames[6].stdout) == b"on\n"
    assert (tmp_path / "hangs.log").read_text() == "called\n" and (tmp_path / "fails.log").read_text() == "called\n" * 2


SHELLS = [s for s in ("dash", "bash", "busybox") if shutil.which(s)]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("timeout_tool", [True, False])
def test_the_script_in_a_real_shell(shell, timeout_tool, tmp_path):
    commands = [
        Command(0, ("printf", "no line end"), 5),
        Command(1, ("sh", "-c", "echo out; echo err >&2; exit 7"), 5),
        Command(2, ("no-such-tool-here", "-x"), 5),
        Command(3, ("sleep", "100"), 1),
        Command(4, ("head", "-c", "1001", "/dev/zero"), 5, 1000),
        Command(5, ("sh", "-c", "cat; echo $mark end"), 5),
        Command(6, ("sh", "-c", "head -c 40000 /dev/zero >&2"), 5),
        Command(7, ("printf", "%s|", "a b", "$HOME", "'", "*"), 5),
        reads(8, str(tmp_path / "there-is")), reads(9, "/no/such"), reads(10, "/"),
        Command(11, ("echo", "not started"), 5, needs="no-such-tool-here"),
        inline(12, "echo plain; echo unheard >&2"), inline(13, "echo heard >&2; false", needs="cat"),
        inline(14, "set -- a b; number=5 code=6; printf %s \"$1$2\""), inline(15, "$limit sleep 100; echo $?", timeout_s=1),
        Command(16, ("sh", "-c", "grep ..."), 5, files=(f"{tmp_path}/d/*/x", f"{tmp_path}/d/[0-9]*/y", f"{tmp_path}/d/none/*"))]
    (tmp_path / "there-is").write_bytes(b"text\n\n")
    for name in ("1/x", "1/y", "b/x", "b/y"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text(f"{name}:said\nno end")
    path = "/usr/bin:/bin"
    if not timeout_tool:
        for name in ("sh", "sleep", "head", "yes", "cat", "grep"):
            (tmp_path / name).symlink_to(shutil.which(name))
        path = str(tmp_path)
    done = subprocess.run([shutil.which(shell), *(("sh",) if shell == "busybox" else ()), "-s"],
                          input=script(together(commands), BOUNDARY), capture_output=True, env={"PATH": path}, timeout=30)
    reader = Reader(together(commands), BOUNDARY)
    reader.feed(done.stdout)
    reader.feed_errors(done.stderr)
    reader.close()
    frames = reader.frames
    assert reader.finished and sorted(frames) == list(range(17)) and [n for n, f in frames.items() if not f.ended] == []
    assert bytes(frames[0].stdout) == b"no line end"
    assert (bytes(frames[1].stdout), bytes(frames[1].stderr), frames[1].exit_code) == (b"out\n", b"err\n", 7)
    assert frames[2].absent and frames[2].exit_code is None
    assert frames[3].exit_code in (124, 137, 143) and (frames[3].duration_s is None or frames[3].duration_s < 10)
    assert frames[4].truncated and len(frames[4].stdout) == 1000
    assert bytes(frames[5].stdout) == b"end\n"
    assert len(frames[6].stderr) == STDERR_LIMIT_BYTES
    assert bytes(frames[7].stdout) == b"a b|$HOME|'|*|"
    assert bytes(frames[8].stdout) == b"text\n\n" and frames[8].exit_code == 0
    assert frames[9].exit_code == 127 and not frames[9].stdout and frames[10].exit_code not in (0, 127)
    assert frames[11].absent and not frames[11].stdout
    assert (bytes(frames[12].stdout), bytes(frames[12].stderr)) == (b"plain\n", b"") and bytes(frames[13].stderr) == b"heard\n" and frames[13].exit_code == 1
    assert bytes(frames[14].stdout) == b"ab" and bytes(frames[15].stdout).strip() in (b"124", b"137", b"143")
    assert bytes(frames[16].stdout).decode().replace(f"{tmp_path}/d/", "").splitlines() == [
        "1/x:1/x:said", "1/x:no end", "b/x:b/x:said", "b/x:no end", "1/y:1/y:said", "1/y:no end"]


def reads(number: int, path: str, **more) -> Command:
    return Command(number, ("cat", path), 5, files=(path,), whole=True, **more)


def inline(number: int, text: str, timeout_s: float = 5, needs: str = "") -> Command:
    return Command(number, ("sh", "-c", text), timeout_s, needs=needs, inline=True)


LINES = st.lists(st.tuples(st.sampled_from(["/a", "/b/1", "/b/x", "/c", "!absent", "!closed", ""]), st.text("ab:/\x00 é", max_size=8)), max_size=30)


@given(LINES, st.integers(0, 40))
def test_what_was_read_together_comes_apart_as_it_was(lines, limit):
    """Each command gets its own lines and no others, whatever is in them."""
    members = [reads(1, "/a", limit_bytes=limit), reads(2, "/c"), Command(3, ("sh",), 5, files=("/b/*", "/no")), Command(4, ("sh",), 5, files=("/b/[0-9]*", "/a"))]
    raw = "".join(f"{path}:{text}\n" for path, text in lines).encode()
    one, two, many, numbered = spread(Frame(FILES, bytearray(raw), exit_code=2, ended=True), members)
    text_of = {name: "".join(f"{text}\n" for path, text in lines if path == name).encode() for name in ("/a", "/c")}
    assert bytes(one.stdout) == text_of["/a"][:limit] and one.truncated == (len(text_of["/a"]) > limit) and bytes(two.stdout) == text_of["/c"]
    assert bytes(many.stdout).decode() == "".join(f"{path}:{text}\n" for path, text in lines if path.startswith("/b/"))
    assert bytes(numbered.stdout).decode() == "".join(f"{path}:{text}\n" for path, text in lines if path in ("/b/1", "/a"))
    told = [path for path, text in lines if text == "/c" and path.startswith("!")]
    assert two.exit_code == ({"!absent": 127, "!closed": 1}[told[-1]] if told else 0)


def test_what_a_start_keeps_is_not_read_again():
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    commands = [reads(0, "/proc/uptime", lasting=True), reads(1, "/proc/sys/kernel/random/boot_id"), inline(2, "echo on"),
                Command(3, ("sh",), 5, files=("/proc/sys/kernel/osrelease", "/proc/sys/kernel/hostname"), lasting=True)]  # fmt: skip
    for start, kept in (("", set()), (boot, {0, 3}), ("another-start", set())):
        done = subprocess.run(["sh", "-s"], input=script(together(commands), BOUNDARY, start), capture_output=True, timeout=30)
        reader = Reader(together(commands), BOUNDARY)
        reader.feed(done.stdout)
        reader.close()
        assert reader.finished and {n for n, f in reader.frames.items() if f.kept} == kept and sorted(reader.frames) == [0, 1, 2, 3]
        assert bytes(reader.frames[1].stdout).decode().strip() == boot and bool(reader.frames[3].stdout) is not bool(kept)


def test_a_reading_that_did_not_end_answers_for_nobody():
    commands = [reads(0, "/a"), reads(1, "/b")]
    reader = Reader(together(commands), BOUNDARY)
    reader.feed(b"\n%s begin %d 1\n/a:x\n" % (BOUNDARY.encode(), FILES))
    reader.close()
    assert list(reader.frames) == [FILES] and not reader.frames[FILES].ended
