"""Servers from CSV and OpenSSH client configurations."""

from __future__ import annotations

import pytest
from hypothesis import given
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
