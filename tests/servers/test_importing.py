"""Servers from CSV and OpenSSH client configurations."""

from __future__ import annotations

import getpass
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.errors import InputError
from console.servers.importing import parse_csv, parse_ssh_config
from console.servers.record import ServerRecord


def test_a_table_with_good_and_bad_lines():
    found = parse_csv("""name,address,port,user,identity,jump,labels,group
gpu-01,10.0.0.1,22,ops,~/.ssh/id,bastion,"a;b",rack 1

gpu-02,10.0.0.2,70000,ops,,,,
gpu-03,10.0.0.3,x,ops,,,,
gpu 04,10.0.0.4,,,,,,
gpu-01,10.0.0.5,,,,,,
gpu-06,10.0.0.6,,,,,,,,
gpu-07,-oProxyCommand=x,,,,,,
# a remark
gpu-08,10.0.0.8
""", "me")
    assert found.records == [
        ServerRecord("gpu-01", "10.0.0.1", 22, "ops", "~/.ssh/id", "key", jump=("bastion",), labels=("a", "b"),
                     group="rack 1"),
        ServerRecord("gpu-08", "10.0.0.8", user="me")]
    assert [p.line for p in found.problems] == [4, 5, 6, 7, 8, 9]
    assert "70000" in found.problems[0].text and "gpu-01" in found.problems[3].text


@pytest.mark.parametrize("text", ["", "host,address\n", "name\n", "name,address,name\n", "name;address\n"])
def test_a_table_needs_its_header(text):
    with pytest.raises(InputError) as caught:
        parse_csv(text)
    assert caught.value.code == "server.csv-header"


@given(st.text(max_size=400))
def test_no_table_is_a_surprise(text):
    found = parse_csv("name,address\n" + text, "me")
    assert all(r.name and r.address for r in found.records)


CONFIG = """
# site
Host *.lab !secret.lab
    User ops
    IdentityFile ~/.ssh/%r-%h
Host gpu-01.lab gpu-02.lab secret.lab
    Port 2222
Host far
    HostName 10.9.%q.1
Host far2
    HostName=10.9.0.2
    ProxyJump admin@gate:2022,gpu-01.lab
    "IdentityFile" "/keys/with space"
Host *
    User fallback
    ProxyJump none
Match host x exec "touch /tmp/never"
    User nobody
Include other
Host "unclosed
"""


def test_an_openssh_config():
    found = parse_ssh_config(CONFIG, "me")
    by_name = {r.name: r for r in found.records}
    assert list(by_name) == ["gpu-01.lab", "gpu-02.lab", "secret.lab", "far2", "gate"]
    one = by_name["gpu-01.lab"]
    assert (one.port, one.user, one.identity_file, one.auth) == (2222, "ops", "~/.ssh/ops-gpu-01.lab", "key")
    assert (by_name["secret.lab"].user, by_name["secret.lab"].identity_file) == ("fallback", None)
    far2 = by_name["far2"]
    assert (far2.address, far2.jump, far2.identity_file) == ("10.9.0.2", ("gate", "gpu-01.lab"), "/keys/with space")
    assert (by_name["gate"].user, by_name["gate"].port) == ("admin", 2022)
    words = "\n".join(p.text for p in found.problems)
    assert "Match" in words and "Include" in words and "far: " in words and "quotation" in words


@given(st.text(alphabet="Host gate\n\t=*?!%h\"'@:,user ProxyJump Port 22", max_size=300))
def test_no_config_is_a_surprise(text):
    parse_ssh_config(text, "me")


def test_included_files_and_conditions(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "10-lab").write_text("Host gpu-01\n  HostName 10.0.0.1\n  User lab\n", encoding="utf-8")
    (tmp_path / "conf.d" / "20-site").write_text("Host gpu-02\n  HostName 10.0.0.2\nMatch host 10.0.0.2\n  Port 2202\n", encoding="utf-8")
    (tmp_path / "inner").write_text("Port 2299\nHost gpu-01 gpu-09\n  IdentityFile ~/.ssh/inner\n", encoding="utf-8")
    found = parse_ssh_config("""
Include conf.d/*
Match originalhost gpu-* !user lab
    User ops
Match user lab
    Port 2201
Match exec "touch never"
    User nobody
Host gpu-01
    Include inner
Host gpu-03
    Port 2203
Match all
    User last
""", "me", tmp_path)
    by_name = {r.name: r for r in found.records}
    assert {n: (r.address, r.port, r.user) for n, r in by_name.items()} == {
        "gpu-01": ("10.0.0.1", 2201, "lab"), "gpu-02": ("10.0.0.2", 2202, "ops"), "gpu-03": ("gpu-03", 2203, "ops"),
        "gpu-09": ("gpu-09", 22, "ops")}
    assert by_name["gpu-01"].identity_file == "~/.ssh/inner" and by_name["gpu-09"].identity_file is None
    assert [p.text for p in found.problems] == ["Match exec touch never is not followed"]


def test_files_that_include_themselves_end(tmp_path):
    (tmp_path / "config").write_text("Include config\nHost gpu\n", encoding="utf-8")
    found = parse_ssh_config((tmp_path / "config").read_text(encoding="utf-8"), "me", tmp_path)
    assert [r.name for r in found.records] == ["gpu"] and any("nested too deep" in p.text for p in found.problems)


@pytest.mark.skipif(not shutil.which("ssh"), reason="needs ssh")
@settings(max_examples=25, deadline=None)
@given(lines=st.lists(st.sampled_from([
    "Host gpu-01", "Host gpu-*", "Host * !gpu-01", "Match all", "Match host 10.0.0.1", "Match originalhost gpu-01", "Match user ops",
    "Match !user ops", "User ops", "User lab", "Port 2201", "Port 2202", "HostName 10.0.0.1", "HostName %h.lab", "IdentityFile /k/a"]),
    max_size=14))  # fmt: skip
def test_the_same_as_ssh_itself_says(lines, tmp_path_factory):
    text = "\n".join([*lines, "Host gpu-01", ""])
    file = tmp_path_factory.mktemp("c") / "config"
    file.write_text(text, encoding="utf-8")
    said = subprocess.run(("ssh", "-G", "-F", str(file), "gpu-01"), capture_output=True, text=True, check=True).stdout
    wanted = dict(line.split(" ", 1) for line in reversed(said.splitlines()) if " " in line)
    one = next(r for r in parse_ssh_config(text, wanted["user"] if "User" not in text else getpass.getuser()).records if r.name == "gpu-01")
    assert (one.address, str(one.port), one.user) == (wanted["hostname"], wanted["port"], wanted["user"]), text
