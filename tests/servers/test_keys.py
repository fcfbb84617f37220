"""Fingerprints and known_hosts files."""

from __future__ import annotations

import base64
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.errors import InputError
from console.practice.server import make_key
from console.servers.keys import HostKey, checked_fingerprint, parse_authorities, parse_known_hosts


def test_known_hosts_names_ports_patterns_and_marks(tmp_path):
    a, b, c, d = (make_key(tmp_path / n) for n in "abcd")
    known = parse_known_hosts(f"""# remark
host1,10.0.0.1 {a} comment
[host2]:2222 {b}
*.lab,!bad.lab {c}
@cert-authority *.x {a}
@revoked host1 {d}
host3,host1 {d}
@other host1 {b}
broken line
host9 ssh-ed25519 AAAA
""")
    assert known.keys_for("host1", 22) == known.keys_for("10.0.0.1", 22) == [a]
    assert known.keys_for("HOST2", 2222) == [b] and known.keys_for("host2", 22) == []
    assert known.keys_for("gpu.lab", 22) == [c] and known.keys_for("bad.lab", 22) == []
    assert [line for line, _ in known.skipped] == [6, 8, 9, 10]
    assert known.keys_for("host3", 22) == []  # revoked, whatever its other line says
    assert known.authorities_for("gpu.x", 22) == known.authorities_for("gpu.x", 2222) == [f"@cert-authority {a}"]
    assert known.authorities_for("gpu.y", 22) == [] == known.keys_for("gpu.x", 22)
    mark = HostKey(f"@cert-authority {a}")
    assert mark.authority and (mark.type, mark.fingerprint) == (HostKey(a).type, HostKey(a).fingerprint)
    assert parse_authorities("\n".join(known.authority_lines)).authorities == known.authorities


def test_keys_that_no_server_here_can_show_are_not_pinned():
    """They would make the key that it does show look like a changed one."""
    def line(kind: str) -> str:
        return f"{kind} " + base64.b64encode(len(kind).to_bytes(4, "big") + kind.encode() + b"\0\0\0\1x").decode()

    known = parse_known_hosts("".join(f"host {line(kind)}\n" for kind in ("ssh-dss", "sk-ssh-ed25519@openssh.com", "ssh-rsa")))
    assert known.keys_for("host", 22) == [line("ssh-rsa")] and [n for n, _ in known.skipped] == [1, 2]
    assert "ssh-dss" in known.skipped[0][1]


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs ssh-keygen")
def test_as_openssh_hashes_and_prints(tmp_path):
    line = make_key(tmp_path / "k")
    file = tmp_path / "known_hosts"
    file.write_text(f"gpu-01 {line}\n[gpu-02]:2200 {line}\n")
    subprocess.run(("ssh-keygen", "-q", "-H", "-f", str(file)), check=True, capture_output=True)
    known = parse_known_hosts(file.read_text())
    assert "gpu-01" not in file.read_text()
    assert known.keys_for("gpu-01", 22) == known.keys_for("gpu-02", 2200) == [line] and not known.keys_for("gpu-02", 22)
    printed = subprocess.run(("ssh-keygen", "-l", "-f", str(tmp_path / "k.pub")), check=True, capture_output=True)
    assert HostKey(line).fingerprint == printed.stdout.decode().split()[1] == checked_fingerprint(
        " " + HostKey(line).fingerprint + "=\n")


@pytest.mark.parametrize("text", ["", "SHA256:", "MD5:aa:bb", "SHA256:" + "a" * 42, "SHA256:" + "a" * 44, "a" * 43])
def test_what_is_no_fingerprint(text):
    with pytest.raises(InputError):
        checked_fingerprint(text)


@given(st.text(max_size=300))
def test_no_file_is_a_surprise(text):
    parse_known_hosts(text).keys_for("host", 22)
