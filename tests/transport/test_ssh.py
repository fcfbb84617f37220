"""The SSH transport against the practice servers and against servers that misbehave."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.errors import SealiftError
from console.practice.server import make_key
from console.secrets import Secret
from console.transport import login, ssh
from console.transport.publickey import fingerprint, key_blob
from console.transport.ssh import connect, offered_key
from console.transport.target import Login, Target


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """One try only; what takes no more log-ins has a test of its own."""
    monkeypatch.setattr(ssh, "BUSY_WAITS_S", ())


@pytest.fixture
def server(practice_server):
    return practice_server()


@pytest.fixture
def link(server):
    with closing(connect(server.target())) as made:
        yield made


def code_of(call) -> str:
    with pytest.raises(SealiftError) as caught:
        call()
    return caught.value.code


def test_run_gives_both_streams_and_the_exit_code(link):
    done = link.run(("sh", "-c", "cat; echo oops >&2; exit 3"), stdin=b"in\x00put")
    assert (done.stdout, done.stderr, done.exit_code, done.truncated) == (b"in\x00put", b"oops\n", 3, False)


def test_arguments_arrive_as_they_are(link):
    words = ("a b", "$HOME", "'", '"', "`id`", "*", "", "国\n产", "\\")
    done = link.run(("sh", "-c", 'for w; do printf "%s|" "$w"; done', "sh", *words))
    assert done.stdout.decode() == "".join(f"{w}|" for w in words)


def test_large_input_and_output_do_not_wait_for_each_other(link):
    data = bytes(range(256)) * (20 << 12)
    assert link.run(("cat",), stdin=data, max_output_bytes=32 << 20).stdout == data


def test_output_past_the_limit_is_dropped(link):
    done = link.run(("sh", "-c", "head -c 300000 /dev/zero; echo end >&2; exit 5"), max_output_bytes=1000)
    assert (len(done.stdout), done.truncated, done.exit_code) == (1000, True, 5)


def test_a_hung_command_costs_its_timeout_and_is_ended(link, server):
    done = link.run(("sleep", "1000"), timeout_s=0.2)
    assert done.timed_out and done.exit_code is None and done.duration_s < 5
    assert link.run(("echo", "on")).ok


def test_a_command_that_does_not_read_its_input_still_gives_its_answer(link):
    assert link.run(("true",), stdin=b"x" * (9 << 20)).exit_code == 0


def test_stream_reads_while_it_writes(link):
    stream = link.open(("sh", "-c", "while read -r line; do echo \"got $line\"; done; echo bye >&2; exit 7"))
    stream.write(b"one\n")
    assert stream.read(100, 5) == b"got one\n"
    stream.write(memoryview(b"two\n"))
    assert stream.read(100, 5) == b"got two\n"
    stream.close_stdin()
    assert stream.read(100, 5) == b"" and stream.wait(5) == 7 and stream.stderr_tail() == b"bye\n"


def test_read_reports_that_time_ran_out_and_can_go_on(link):
    stream = link.open(("sh", "-c", "read -r x; echo late"))
    assert code_of(lambda: stream.read(10, 0.05)) == "ssh.timeout"
    stream.write(b"\n")
    assert stream.read(10, 5) == b"late\n"


def test_stderr_tail_keeps_the_end_only(link):
    stream = link.open(("sh", "-c", "head -c 300000 /dev/zero >&2; printf END >&2"))
    assert stream.wait(10) == 0
    assert stream.stderr_tail().endswith(b"END") and len(stream.stderr_tail()) == 64 << 10


def test_a_cut_wakes_whoever_waits(server, link):
    stream, caught = link.open(("sleep", "1000")), []
    waiting = threading.Thread(target=lambda: caught.append(code_of(lambda: stream.read(10))))
    waiting.start()
    server.reboot(60)
    waiting.join(10)
    assert caught == ["ssh.connection-lost"]
    assert code_of(lambda: link.run(("true",))) == "ssh.connection-lost"


def test_close_wakes_whoever_waits(server):
    link, caught = connect(server.target()), []
    stream = link.open(("sleep", "1000"))
    waiting = threading.Thread(target=lambda: caught.append(code_of(lambda: stream.read(10))))
    waiting.start()
    link.close()
    link.close()
    waiting.join(10)
    assert caught == ["ssh.connection-lost"]


def test_a_cut_while_sending_is_an_error_that_can_be_retried(server, link):
    server.fault("cut-after=1MiB")
    stream = link.open(("sh", "-c", "cat >/dev/null"))
    with pytest.raises(SealiftError) as caught:
        for _ in range(400):
            stream.write(b"x" * (1 << 20))
    assert caught.value.code == "ssh.connection-lost" and caught.value.retryable


def test_host_key_must_be_pinned(server):
    with pytest.raises(SealiftError) as caught:
        connect(server.target(host_keys=()))
    assert caught.value.code == "ssh.host-key-unknown"
    assert caught.value.params["offered"] == fingerprint(key_blob(server.host_key))


def test_changed_host_key_stops_before_anything_is_sent(server):
    pinned = server.target()
    server.fault("host-key-changed")
    with pytest.raises(SealiftError) as caught:
        connect(pinned)
    assert caught.value.code == "ssh.host-key-changed" and not caught.value.retryable
    assert caught.value.params["offered"] == fingerprint(key_blob(server.host_key))


def test_offered_key_needs_no_login(server):
    assert offered_key(server.target(identity_file="/nowhere")) == server.host_key


def test_jump_checks_both_keys(practice_server):
    bastion, inner = practice_server("bastion"), practice_server("inner")
    with closing(connect(inner.target(), jumps=[(bastion.target(), Login())])) as link:
        assert link.run(("pwd",)).stdout.decode().strip() == str(inner.home)
    wrong = bastion.target(host_keys=(inner.host_key,))
    assert code_of(lambda: connect(inner.target(), jumps=[(wrong, Login())])) == "ssh.host-key-changed"
    assert offered_key(inner.target(), jumps=[(bastion.target(), Login())]) == inner.host_key


def test_connect_port_is_a_real_socket(link):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer():
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"echo " + peer.makefile("rb").read())

        threading.Thread(target=answer, daemon=True).start()
        with link.connect_port("127.0.0.1", port) as sock:
            sock.sendall(b"hello" * 50_000)
            sock.shutdown(socket.SHUT_WR)
            assert sock.makefile("rb").read() == b"echo " + b"hello" * 50_000
    assert code_of(lambda: link.connect_port("127.0.0.1", port)) == "ssh.forward-refused"


def test_wrong_key_and_password_are_refused_by_name(server, practice_server, tmp_path):
    make_key(tmp_path / "other")
    with pytest.raises(SealiftError) as caught:
        connect(server.target(identity_file=str(tmp_path / "other")))
    assert caught.value.code == "ssh.auth-failed"
    second = practice_server("two", password="right horse")
    by_password = second.target(auth="password", identity_file=None)
    assert code_of(lambda: connect(by_password)) == "ssh.password-needed"
    assert code_of(lambda: connect(by_password, Login(password=Secret("wrong")))) == "ssh.auth-failed"
    with closing(connect(by_password, Login(password=Secret("right horse")))) as link:
        assert link.run(("true",)).ok


def test_key_files_that_cannot_be_used_say_why(server, tmp_path):
    assert code_of(lambda: connect(server.target(identity_file=str(tmp_path / "none")))) == "ssh.identity-missing"
    (tmp_path / "junk").write_text("not a key")
    assert code_of(lambda: connect(server.target(identity_file=str(tmp_path / "junk")))) == "ssh.identity-malformed"


def test_encrypted_key_needs_the_right_passphrase(practice_server, tmp_path):
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, file = Ed25519PrivateKey.generate(), tmp_path / "locked"
    file.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH,
                                       form.BestAvailableEncryption(b"pass word")))
    public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
    target = practice_server("locked", authorized_key=public).target(identity_file=str(file))
    assert code_of(lambda: connect(target)) == "ssh.identity-locked"
    assert code_of(lambda: connect(target, Login(passphrase=Secret("wrong")))) == "ssh.identity-passphrase"
    connect(target, Login(passphrase=Secret("pass word"))).close()


def test_a_key_file_is_read_once_for_a_fleet_and_anew_when_it_changed(practice_server, tmp_path, monkeypatch):
    file, reads = tmp_path / "id", []
    public = make_key(file)
    server, real = practice_server("one", authorized_key=public), login.paramiko.PKey.from_path
    monkeypatch.setattr(login.paramiko.PKey, "from_path", staticmethod(lambda *a: (reads.append(a), real(*a))[1]))
    target = server.target(identity_file=str(file))
    for _again in range(3):
        connect(target).close()
    assert len(reads) == 1
    make_key(tmp_path / "other")
    (tmp_path / "other").replace(file)
    assert code_of(lambda: connect(target)) == "ssh.auth-failed" and len(reads) == 2
    login.forget_identities()
    assert code_of(lambda: connect(target)) == "ssh.auth-failed" and len(reads) == 3


def test_a_server_that_takes_no_more_log_ins_is_tried_again(server, monkeypatch):
    """As OpenSSH does with the eleventh that is not logged in yet: it says so, or only closes."""
    monkeypatch.setattr(ssh, "BUSY_WAITS_S", (0.0, 0.0))
    for said in (b"Exceeded MaxStartups\r\n", b""):
        turns = TurnsAway(server.target(), 2, said)
        connect(turns.target).close()
        assert turns.away == 0
        turns = TurnsAway(server.target(), 3, said)
        with pytest.raises(SealiftError) as caught:
            connect(turns.target)
        assert caught.value.code == ("ssh.too-many-logins" if said else "ssh.connection-lost") and caught.value.retryable
        assert turns.away == 0 and (not said or "MaxStartups" in caught.value.message())


class TurnsAway:
    """A door before a server that turns the first ``away`` callers away, with words or without."""

    def __init__(self, target: Target, away: int, said: bytes):
        self._listener, self._where = socket.create_server(("127.0.0.1", 0)), (target.address, target.port)
        self.target, self.away, self._said = replace(target, port=self._listener.getsockname()[1]), away, said
        threading.Thread(target=self._serve, args=(away + 1,), daemon=True).start()

    def _serve(self, callers: int) -> None:
        with self._listener:
            for _caller in range(callers):
                near = self._listener.accept()[0]
                if self.away:
                    self.away -= 1
                    near.sendall(self._said)
                    near.close()
                    continue
                far = socket.create_connection(self._where)
                threading.Thread(target=_carry, args=(far, near), daemon=True).start()
                threading.Thread(target=_carry, args=(near, far), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def _speaks(*said: bytes, then: str = "close"):
    """A listener that says something to each caller; gives a target for it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener:
            peer, _ = listener.accept()
            with peer:
                for part in said:
                    peer.sendall(part)
                if then == "hold":
                    peer.settimeout(60)
                    try:
                        while peer.recv(4096):
                            pass
                    except OSError:
                        return

    threading.Thread(target=serve, daemon=True).start()
    return Target("bad", "127.0.0.1", listener.getsockname()[1], "x", auth="password")


@pytest.mark.parametrize(("target", "expected"), [
    (lambda: _speaks(), "ssh.connection-lost"),
    (lambda: _speaks(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "ssh.not-ssh"),
    (lambda: _speaks(b"A" * 200_000), "ssh.not-ssh"),
    (lambda: _speaks(b"junk\r\n" * 20_000), "ssh.not-ssh"),
    (lambda: _speaks(b"\xff\xfe\r\n"), "ssh.not-ssh"),
    (lambda: _speaks(b"SSH-2.0-x\r\n"), "ssh.connection-lost"),
    (lambda: _speaks(b"SSH-2.0-x\r\n", b"\xff" * 64, then="hold"), "ssh.protocol-error"),
    (lambda: _speaks(b"SSH-2.0-x\r\n", b"\0\0\0\x0c\x04" + b"\x63" * 20, then="hold"), "ssh.protocol-error"),
    (lambda: _speaks(b"SSH-1.5-old\r\n", then="hold"), "ssh.no-common-algorithm"),
    (lambda: _speaks(then="hold"), "ssh.timeout"),
    (lambda: _speaks(b"SSH-2.0-x\r\n", then="hold"), "ssh.timeout"),
], ids=["closes", "http", "endless-line", "endless-lines", "not-text", "closes-after-greeting", "huge-packet",
        "bad-packet", "ssh1", "mute", "mute-after-greeting"])
def test_hostile_servers_end_in_a_named_error(target, expected):
    started = time.monotonic()
    assert code_of(lambda: connect(target(), timeout_s=1)) == expected
    assert time.monotonic() - started < 8


class Between:
    """A hop between a client and a server, for a link that breaks: passes ``most`` bytes of the server's, then ends the
    connection, or with ``hold`` says nothing more and keeps it open; ``hold_now`` does so at once."""

    def __init__(self, target: Target, most: int = 1 << 40, hold: bool = False):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._where, self._most, self._hold = (target.address, target.port), most, hold
        self.target = replace(target, port=self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def hold_now(self) -> None:
        self._most, self._hold = 0, True

    def _serve(self) -> None:
        with self._listener:
            near = self._listener.accept()[0]
        far = socket.create_connection(self._where)
        threading.Thread(target=self._back, args=(far, near), daemon=True).start()
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                if self._most > 0:
                    far.sendall(data)
        far.close()

    def _back(self, far: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                near.sendall(data[: max(0, self._most)])
                self._most -= len(data)
                if self._most <= 0 and not self._hold:
                    break
        if not self._hold:
            with contextlib.suppress(OSError):
                near.shutdown(socket.SHUT_RDWR)
            near.close()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(most=st.integers(1, 4200))
def test_a_host_that_closes_at_any_stage_ends_in_a_named_error(server, most):
    between = Between(server.target(), most)
    try:
        with closing(connect(between.target, timeout_s=5)) as link:
            link.run(("true",), timeout_s=5)
    except SealiftError as problem:
        assert problem.code in ("ssh.connection-lost", "ssh.not-ssh", "ssh.auth-failed", "ssh.channel-refused"), problem.code
        assert problem.exit_code == 3 and problem.remedy()


def test_a_peer_that_falls_silent_is_given_up(server, monkeypatch):
    """As behind a bastion, where the network on this side stays whole."""
    monkeypatch.setattr(ssh, "KEEPALIVE_S", 0.1)
    monkeypatch.setattr(ssh, "DEAD_LINK_S", 0.5)
    between = Between(server.target())
    with closing(connect(between.target)) as link:
        between.hold_now()
        started = time.monotonic()
        assert code_of(lambda: link.run(("true",), timeout_s=20)) == "ssh.connection-lost"
        assert time.monotonic() - started < 10


def test_an_idle_peer_that_answers_is_kept(server, monkeypatch):
    monkeypatch.setattr(ssh, "KEEPALIVE_S", 0.05)
    monkeypatch.setattr(ssh, "DEAD_LINK_S", 0.4)
    with closing(connect(server.target())) as link:
        assert link.run(("sleep", "1.2")).ok and link.run(("true",)).ok


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert code_of(lambda: connect(Target("x", "127.0.0.1", port))) == "ssh.refused"
    assert code_of(lambda: connect(Target("x", "no-such-host.invalid", 22), timeout_s=5)) == "ssh.unreachable"


def test_many_connections_leave_no_thread_behind(server):
    before = {t.ident for t in threading.enumerate()}
    for _ in range(5):
        with closing(connect(server.target())) as link:
            link.run(("true",))
    deadline = time.monotonic() + 5
    left = True
    while left and time.monotonic() < deadline:
        left = [t for t in threading.enumerate() if t.ident not in before and t.is_alive()]
        for thread in left:
            thread.join(0.2)
    assert not left
