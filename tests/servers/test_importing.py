"""Servers from CSV and OpenSSH client configurations."""

from __future__ import annotations

import getpass
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.errors import InputError
from console.servers.importing import parse_csv, read_text
from console.servers.record import ServerRecord
from console.servers.sshconfig import parse_ssh_config


def test_a_table_with_good_and_bad_lines():
    found = parse_csv("""name,address,port,user,identity,jump,labels,group
gpu-01,10.0.0.1,22,ops,~/.ssh/id,bastion,"a;b",rack 1

gpu-02,10.0.0.2,70000,ops,,,,
gpu-03,10.0.0.3,x,ops,,,,
gpu 04,10.0.0.4,,,,,,
gpu-01,10.0.0.5,,,,,,
gpu-06,10.0.0.6,,,,,,,,x
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


FORMS = {
    "semicolons": "name;address;labels\ngpu-1;10.0.0.1;a b\n\ngpu-2;bad address;\n", "tabs": "name\taddress\tlabels\ngpu-1\t10.0.0.1\ta b\n\ngpu-2\tbad address\n",
    "named": "sep=;\nname;address;labels\ngpu-1;10.0.0.1;a b\ngpu-2;bad address;\n", "remarks": "# the site\n\nName,Address,Labels,,\ngpu-1,10.0.0.1,\"a;b\",,\ngpu-2,bad address,\n",
    "old line ends": "name,address,labels\rgpu-1,10.0.0.1,a b\r\rgpu-2,bad address,\r"}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_tables_of_every_spreadsheet(form):
    found = parse_csv(FORMS[form], "me")
    assert found.records == [ServerRecord("gpu-1", "10.0.0.1", user="me", labels=("a", "b"))]
    [problem] = found.problems
    assert problem.line == {"remarks": 5}.get(form, 4) and "bad address" in problem.text
    assert problem.text.into("zh_CN") != problem.text


def test_a_problem_names_the_line_where_its_row_begins():
    found = parse_csv('name,address,group\ngpu-1,10.0.0.1,"two\nlines"\ngpu-2,10.0.0.2,"open\ngpu-3,10.0.0.3,\n', "me")
    assert [p.line for p in found.problems] == [2, 4] and "CSV" in found.problems[1].text


def test_what_a_formula_or_a_tag_would_do_stays_text():
    found = parse_csv("name,address,group\n=cmd|calc,10.0.0.1,\n<b>x</b>,10.0.0.2,\ngpu-1,=HYPERLINK(1),\ngpu-2,10.0.0.3,=1+1\n", "me")
    assert [r.name for r in found.records] == ["gpu-2"] and [p.line for p in found.problems] == [2, 3, 4]


@pytest.mark.parametrize(("raw", "line"), [(b"name,address\ngpu-1,10.0.0.1\n\xb5\xda1\xbb\xfa\xb7\xbf\n", 3), (b"\xff\xfe\x00", 1), (b"\x89PNG", 1)])
def test_what_is_no_text_is_named_with_its_line(tmp_path, raw, line):
    (tmp_path / "site.csv").write_bytes(raw)
    with pytest.raises(InputError) as caught:
        read_text(tmp_path / "site.csv")
    assert caught.value.code == "server.import-not-text" and caught.value.params["line"] == line


@pytest.mark.parametrize("form", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_with_and_without_a_mark_at_its_beginning(tmp_path, form):
    (tmp_path / "site.csv").write_bytes("name,address,group\r\ngpu-1,10.0.0.1,一号机房\r\n".encode(form))
    assert parse_csv(read_text(tmp_path / "site.csv"), "me").records[0].group == "一号机房"


@pytest.mark.parametrize("text", ["", "host,address\n", "name\n", "name,address,name\n", "sep=;\n"])
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
    words = {p.line: p.text for p in found.problems}
    assert [n for n, text in words.items() if "Match" in text] == [17] and "Include" in words[19] and "far: " in words[8] and "quotation" in words[20]


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
    assert [(p.line, p.text) for p in found.problems] == [(7, "Match exec touch never is not followed")]


def test_files_that_include_themselves_end(tmp_path):
    (tmp_path / "config").write_text("Include config\nHost gpu\n", encoding="utf-8")
    found = parse_ssh_config((tmp_path / "config").read_text(encoding="utf-8"), "me", tmp_path)
    assert [r.name for r in found.records] == ["gpu"] and any("nested too deep" in p.text for p in found.problems)


def test_commands_on_the_way_are_never_run(tmp_path):
    found = parse_ssh_config(f"""
Host plain
    ProxyCommand ssh -q -W %h:%p -p 2022 admin@gate
Host old
    ProxyCommand /usr/bin/ssh gate -W %h:%p
Host listed
    ProxyJump gate
    ProxyCommand touch {tmp_path}/never
Host none
    ProxyCommand none
    ProxyJump gate
Host danger
    ProxyCommand touch {tmp_path}/never
Host danger2
    ProxyCommand ssh -o ProxyCommand=x -W %h:%p gate
Host danger3
    ProxyCommand ssh gate nc %h %p; touch never
""", "me")
    by_name = {r.name: r for r in found.records}
    assert {n: r.jump for n, r in by_name.items() if r.jump} == {"plain": ("gate",), "old": ("gate-me-22",), "listed": ("gate-me-22",)}
    assert (by_name["gate"].user, by_name["gate"].port) == ("admin", 2022) and (by_name["gate-me-22"].address, by_name["gate-me-22"].port) == ("gate", 22)
    assert by_name["none"].jump == () and not any(name.startswith("danger") for name in by_name)
    assert [p.line for p in found.problems] == [12, 14, 16] and all("ProxyCommand" in p.text for p in found.problems)
    assert not list(tmp_path.iterdir())


def test_jump_hosts_with_entries_of_their_own():
    """Another account or port than the entry's makes another entry, not a wrong one."""
    found = parse_ssh_config("""
Host gate
    HostName 10.0.0.1
    User ops
Host a
    ProxyJump gate
Host b
    ProxyJump ops@gate:22,[fd00::1]:2022
Host c
    ProxyJump admin@gate
""", "me")
    by_name = {r.name: r for r in found.records}
    assert not found.problems
    assert (by_name["a"].jump, by_name["b"].jump, by_name["c"].jump) == (("gate",), ("gate", "jump-fd00-1"), ("gate-admin-22",))
    assert (by_name["gate"].address, by_name["gate"].user) == ("10.0.0.1", "ops")
    assert (by_name["gate-admin-22"].address, by_name["gate-admin-22"].user) == ("10.0.0.1", "admin")
    assert (by_name["jump-fd00-1"].address, by_name["jump-fd00-1"].port) == ("fd00::1", 2022)


def test_key_files_as_ssh_finds_them(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYS", str(tmp_path))
    (tmp_path / "second").write_text("", encoding="utf-8")
    found = parse_ssh_config(r"""
Host a
    IdentityFile ${KEYS}/first
    IdentityFile ${KEYS}/second
Host b
    IdentityFile ${NO_SUCH_VARIABLE_HERE}/x
Host c
    IdentityFile C:\keys\gpu#1  # the new one
Host d
    IdentityFile none
Host *
    IdentityFile "~/.ssh/with "quotes""
""", "me")
    files = {r.name: r.identity_file for r in found.records}
    assert files == {"a": f"{tmp_path}/second", "c": r"C:\keys\gpu#1", "d": None}
    assert [(p.line, "NO_SUCH_VARIABLE_HERE" in p.text) for p in found.problems] == [(5, True)]


def test_problems_of_included_files_name_them(tmp_path):
    (tmp_path / "more").write_text("Host x\nPort abc\nHost y\n  ProxyCommand run this\n", encoding="utf-8")
    found = parse_ssh_config("Include more\n", "me", tmp_path)
    assert [p.text.split(":")[0] for p in found.problems] == [f"{tmp_path}/more, line 1", f"{tmp_path}/more, line 3"]
    assert all(p.text.into("zh_CN") != p.text for p in found.problems)


@pytest.mark.skipif(not shutil.which("ssh"), reason="needs ssh")
@settings(max_examples=25, deadline=None)
@given(lines=st.lists(st.sampled_from([
    "Host gpu-01", "Host gpu-*", "Host * !gpu-01", "Match all", "Match host 10.0.0.1", "Match originalhost gpu-01", "Match user ops",
    "Match !user ops", "User ops", "User lab", "Port 2201", "Port 2202", "HostName 10.0.0.1", "HostName %h.lab", "IdentityFile /k/a", 'IdentityFile="/k/b c\\" d"', "IdentityFile /k/c\\d#e # f", "ProxyJump ops@gate:2022",
    "ProxyJump none", "ProxyCommand none"]),
    max_size=14))  # fmt: skip
def test_the_same_as_ssh_itself_says(lines, tmp_path_factory):
    text = "\n".join([*lines, "Host gpu-01", ""])
    file = tmp_path_factory.mktemp("c") / "config"
    file.write_text(text, encoding="utf-8")
    said = subprocess.run(("ssh", "-G", "-F", str(file), "gpu-01"), capture_output=True, text=True, check=True).stdout
    wanted = dict(line.split(" ", 1) for line in reversed(said.splitlines()) if " " in line)
    one = next(r for r in parse_ssh_config(text, wanted["user"] if "User" not in text else getpass.getuser()).records if r.name == "gpu-01")
    assert (one.address, str(one.port), one.user) == (wanted["hostname"], wanted["port"], wanted["user"]), text
    first = next((line.split(" ", 1)[1] for line in said.splitlines() if line.startswith("identityfile ")), None)
    assert one.identity_file == (first if "IdentityFile" in said or first.startswith("/k") else None), text
    assert bool(one.jump) == ("proxyjump" in wanted and wanted["proxyjump"] != "none"), text


def test_what_only_the_book_refuses_is_told_with_its_line(engine):
    found = parse_csv("name,address,jump\ngood,10.0.0.1,\n\nbehind,10.0.0.2,nobody\n")
    added, refused = engine.servers.add_all(found.records)
    told = [found.not_taken(name, problem) for name, problem in refused]
    assert [r.name for r in added] == ["good"] and [(p.line, "nobody" in p.text) for p in told] == [(4, True)]
    assert told[0].text.into("zh_CN") != told[0].text
