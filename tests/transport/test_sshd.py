"""The SSH transport against the system's own OpenSSH server, on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from console.errors import SealiftError
from console.transport.packets import CHANNEL_DATA
from console.transport.ssh import DATA_REKEY_BYTES, connect, offered_key
from console.transport.streams import BULK_BYTES
from console.transport.target import Login, Target

SSHD, KEYGEN = "/usr/sbin/sshd", shutil.which("ssh-keygen")
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path(SSHD).exists() or not KEYGEN,
    reason="needs root, /usr/sbin/sshd and ssh-keygen")

CONFIG = """Port {port}
ListenAddress {address}
HostKey {host_key}
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys
TrustedUserCAKeys {folder}/ca.pub
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
{more}
"""


def make_key(file: Path, kind: str = "ed25519", *more: str) -> str:
    subprocess.run((KEYGEN, "-q", "-t", kind, "-N", "", "-f", str(file), *more), check=True)
    return file.with_name(file.name + ".pub").read_text().strip()


def free_port(address: str) -> int:
    with socket.create_server((address, 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name, kind in (("user", "ed25519"), ("rsa", "rsa"), ("ecdsa", "ecdsa"), ("certified", "ed25519"),
                       ("ca", "ed25519"), ("host_ed25519", "ed25519"), ("host_rsa", "rsa"), ("other", "ed25519")):
        make_key(folder / name, kind)
    subprocess.run((KEYGEN, "-q", "-s", str(folder / "ca"), "-I", "test", "-n", "root", str(folder / "certified.pub")),
                   check=True)
    authorized = [(folder / f"{n}.pub").read_text() for n in ("user", "rsa", "ecdsa")]
    (folder / "authorized_keys").write_text("".join(authorized))
    return folder


@pytest.fixture(scope="module")
def sshd(keys, tmp_path_factory):
    """Starts an sshd: ``sshd(address, host_key, more)`` gives a target for it."""
    Path("/run/sshd").mkdir(exist_ok=True)
    running = []

    def start(address: str = "127.0.0.2", host_key: str = "host_ed25519", more: str = "") -> Target:
        folder, port = tmp_path_factory.mktemp("sshd"), free_port(address)
        for name in ("authorized_keys", "ca.pub"):
            shutil.copy(keys / name, folder / name)
        (folder / "config").write_text(CONFIG.format(port=port, address=address, host_key=keys / host_key,
                                                     folder=folder, more=more))
        process = subprocess.Popen((SSHD, "-D", "-e", "-f", str(folder / "config")), stderr=subprocess.PIPE)
        running.append(process)
        for line in process.stderr:
            if b"Server listening" in line:
                break
        pinned = " ".join((keys / f"{host_key}.pub").read_text().split()[:2])
        return Target(address, address, port, "root", (pinned,), "key", str(keys / "user"))

    yield start
    for process in running:
        process.terminate()
        process.stderr.close()
        process.wait()


@pytest.fixture(scope="module")
def host(sshd):
    return sshd()


def changed(target: Target, **changes) -> Target:
    from dataclasses import replace

    return replace(target, **changes)


def code_of(call) -> str:
    with pytest.raises(SealiftError) as caught:
        call()
    return caught.value.code


@pytest.mark.parametrize("key", ["user", "rsa", "ecdsa", "certified"])
def test_every_kind_of_key_and_a_certificate(host, keys, key):
    with closing(connect(changed(host, identity_file=str(keys / key)))) as link:
        done = link.run(("sh", "-c", "cat; exit 9"), stdin=b"x" * 5_000_000)
        assert done.exit_code == 9 and done.stdout == b"x" * 5_000_000
        assert link.link.remote_cipher == link.link.local_cipher == "aes128-gcm@openssh.com"


def test_data_connection_is_set_up_for_bulk(host):
    with closing(connect(host, purpose="data")) as link:
        assert link.link.packetizer.REKEY_BYTES == DATA_REKEY_BYTES
        stream, block = link.open(("sh", "-c", "wc -c")), memoryview(bytearray(1 << 20))
        for _ in range(16):
            stream.write(block)
        stream.close_stdin()
        assert stream.read(100, 10).split() == [b"16777216"] and stream.wait(5) == 0


def test_new_keys_in_the_middle_lose_nothing(sshd):
    with closing(connect(sshd(more="RekeyLimit 1M"))) as link:
        assert link.run(("wc", "-c"), stdin=bytes(24 << 20)).stdout.split() == [b"25165824"]


def test_changed_and_unpinned_host_keys(host, keys):
    other = " ".join((keys / "other.pub").read_text().split()[:2])
    assert code_of(lambda: connect(changed(host, host_keys=(other,)))) == "ssh.host-key-changed"
    assert code_of(lambda: connect(changed(host, host_keys=()))) == "ssh.host-key-unknown"


def test_the_pinned_kind_of_key_is_asked_for(sshd, keys):
    both = sshd(more=f"HostKey {keys / 'host_rsa'}")
    rsa = " ".join((keys / "host_rsa.pub").read_text().split()[:2])
    for pins in (both.host_keys, (rsa,)):
        connect(changed(both, host_keys=pins)).close()


def test_refused_key_says_what_is_accepted(host, keys):
    with pytest.raises(SealiftError) as caught:
        connect(changed(host, identity_file=str(keys / "other")))
    assert caught.value.code == "ssh.auth-failed" and "publickey" in caught.value.params["accepted"]


def test_two_hops(host, sshd):
    far, farther = sshd("127.0.0.3"), sshd("127.0.0.4")
    with closing(connect(farther, jumps=[(host, Login()), (far, Login())])) as link:
        assert link.run(("echo", "there")).stdout == b"there\n"
        with link.connect_port("127.0.0.2", host.port) as sock:
            assert sock.recv(4) == b"SSH-"


def test_bastion_that_forbids_forwarding(sshd, host):
    closed = sshd("127.0.0.5", more="AllowTcpForwarding no")
    assert code_of(lambda: connect(host, jumps=[(closed, Login())])) == "ssh.forward-refused"


def test_agent(host, keys, tmp_path, monkeypatch):
    agent = shutil.which("ssh-agent")
    if not agent:
        pytest.skip("needs ssh-agent")
    socket_path = str(tmp_path / "agent")
    process = subprocess.Popen((agent, "-D", "-a", socket_path), stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        monkeypatch.setenv("SSH_AUTH_SOCK", socket_path)
        by_agent = changed(host, auth="agent", identity_file=None)
        assert code_of(lambda: connect(by_agent)) == "ssh.no-agent-key"
        subprocess.run(("ssh-add", "-q", str(keys / "rsa")), check=True, capture_output=True)
        connect(by_agent).close()
    finally:
        process.terminate()
        process.stdout.close()
        process.wait()


def test_max_sessions_used_up(sshd):
    with closing(connect(sshd("127.0.0.6", more="MaxSessions 1"))) as link:
        first = link.open(("cat",))
        assert code_of(lambda: link.open(("cat",))) == "ssh.channel-refused"
        first.close()


def certified(folder: Path, host_key: str, *more: str) -> str:
    """A host certificate beside a copy of the host key; gives the line of sshd's configuration."""
    for name in (host_key, f"{host_key}.pub"):
        shutil.copy(folder / name, folder / f"cert_{name}")
    public = folder / f"cert_{host_key}.pub"
    subprocess.run((KEYGEN, "-q", "-s", str(folder / "ca"), "-I", "host", *more, str(public)), check=True)
    return f"HostCertificate {folder}/cert_{host_key}-cert.pub"


GOOD = ("-h", "-n", "127.0.0.2,gpu-01")
REFUSED = [
    (("-n", "127.0.0.2"), "for users"), (("-h", "-n", "gpu-09"), "gpu-09"), (("-h",), "no host by name"),
    ((*GOOD, "-V", "20200101:20210101"), "expired"), ((*GOOD, "-V", "20990101:20990102"), "not valid yet")]


@pytest.mark.parametrize("host_key", ["host_ed25519", "host_rsa"])
def test_a_host_certificate_is_believed(sshd, keys, host_key):
    target = sshd(host_key=host_key, more=certified(keys, host_key, *GOOD))
    authority = "@cert-authority " + " ".join((keys / "ca.pub").read_text().split()[:2])
    with closing(connect(replace(target, host_keys=(authority,)))) as link:
        assert link.run(["true"]).ok
    with closing(connect(target)) as link:  # the pinned key itself goes before
        assert link.run(["true"]).ok
    assert offered_key(replace(target, host_keys=(authority,))) == target.host_keys[0]


def test_a_host_certificate_may_name_hosts_by_a_pattern(sshd, keys):
    authority = "@cert-authority " + " ".join((keys / "ca.pub").read_text().split()[:2])
    target = sshd(more=certified(keys, "host_ed25519", "-h", "-n", "*.lab,127.0.?.2"))
    connect(replace(target, host_keys=(authority,))).close()
    other = sshd(more=certified(keys, "host_ed25519", "-h", "-n", "*.lab,127.0.?.3,[1]27.0.0.2"))
    assert code_of(lambda: connect(replace(other, host_keys=(authority,)))) == "ssh.host-certificate"


@pytest.mark.parametrize(("options", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_a_host_certificate_that_does_not_hold_is_refused(sshd, keys, options, reason):
    target = sshd(more=certified(keys, "host_ed25519", *options))
    authority = "@cert-authority " + " ".join((keys / "ca.pub").read_text().split()[:2])
    with pytest.raises(SealiftError) as caught:
        connect(replace(target, host_keys=(authority,)))
    assert caught.value.code == "ssh.host-certificate" and reason in caught.value.message()


def test_another_authority_vouches_for_nothing(sshd, keys):
    target = sshd(more=certified(keys, "host_ed25519", *GOOD))
    other = "@cert-authority " + " ".join((keys / "other.pub").read_text().split()[:2])
    with pytest.raises(SealiftError) as caught:
        connect(replace(target, host_keys=(other,)))
    assert caught.value.code == "ssh.host-certificate" and "not trusted here" in caught.value.message()
    with pytest.raises(SealiftError) as caught:  # no certificate at all
        connect(replace(sshd(), host_keys=(other,)))
    assert caught.value.code == "ssh.host-key-unknown"


LATE = {
    "a few bytes": lambda stream: stream.write(b"late"),
    "bulk": lambda stream: stream.write(bytes(BULK_BYTES)),
    "the end of the input": lambda stream: stream.close_stdin(),
    "a signal": lambda stream: stream.signal("TERM"),
}


@pytest.mark.parametrize("say", LATE.values(), ids=LATE)
@pytest.mark.parametrize("ends", ["by us", "by the server"])
def test_what_a_thread_still_had_to_say_on_a_closed_channel_does_not_cost_the_connection(host, monkeypatch, say, ends):
    """sshd ends the whole connection, with all that runs over it, when anything comes for a channel that it has forgotten."""
    sends, ready, go = paramiko.Transport._send_user_message, threading.Event(), threading.Event()

    def held_up(link, message):
        if threading.current_thread().name == "late":
            ready.set()
            assert go.wait(30)
        sends(link, message)

    def speak():
        with contextlib.suppress(SealiftError):
            say(stream)

    with closing(connect(host)) as link:
        stream = link.open(("sh", "-c", "read line; exit 3"))
        monkeypatch.setattr(paramiko.Transport, "_send_user_message", held_up)
        late = threading.Thread(target=speak, name="late")
        late.start()
        assert ready.wait(30)
        if ends == "by us":
            stream.close()
        else:
            sends(link.link, line_for(stream.channel))
            assert stream.wait(30) == 3
        # The server has answered the close when it has forgotten the channel; the number is then given to the next.
        assert link.run(("echo", "between")).stdout == b"between\n"
        follower = link.open(("cat",))
        go.set()
        late.join(30)
        follower.write(b"mine")
        follower.close_stdin()
        assert follower.read(99) == b"mine" and follower.read(99) == b"" and follower.wait(30) == 0
        assert link.run(("echo", "alive")).stdout == b"alive\n"


def line_for(channel: paramiko.Channel) -> paramiko.Message:
    message = paramiko.Message()
    message.add_byte(bytes([CHANNEL_DATA]))
    message.add_int(channel.remote_chanid)
    message.add_string(b"line\n")
    return message
