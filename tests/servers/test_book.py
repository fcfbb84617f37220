"""The book of servers, with real SSH behind it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from console.engine import Engine
from console.errors import SealiftError
from console.practice.server import make_key
from console.secrets import Secret
from console.servers.keys import HostKey, parse_known_hosts
from console.servers.record import ServerRecord


def record_of(server, name: str = "one", **changes) -> ServerRecord:
    target = server.target()
    return ServerRecord(name, target.address, target.port, target.user, target.identity_file, "key", **changes)


def code_of(call) -> str:
    with pytest.raises(SealiftError) as caught:
        call()
    return caught.value.code


def fingerprint_of(server) -> str:
    return HostKey(server.host_key).fingerprint


def test_add_compare_trust_connect(engine, practice_server):
    server, book = practice_server(), engine.servers
    book.add(record_of(server))
    assert code_of(lambda: book.connect("one")) == "ssh.host-key-unknown"
    assert book.offered_key("one").line == server.host_key
    wrong = "SHA256:" + "A" * 43
    assert code_of(lambda: book.trust("one", wrong)) == "server.fingerprint-mismatch"
    assert book.get("one").host_keys == ()
    book.trust("one", fingerprint_of(server))
    with closing(book.connect("one")) as link:
        assert link.run(("echo", "hi")).stdout == b"hi\n"
    server.fault("host-key-changed")
    assert code_of(lambda: book.connect("one")) == "ssh.host-key-changed"


def test_every_change_is_in_the_audit_log(engine, practice_server):
    server, book = practice_server(), engine.servers
    book.add(record_of(server))
    book.trust("one", fingerprint_of(server))
    with pytest.raises(SealiftError):
        book.trust("one", "SHA256:" + "A" * 43)
    book.remove("one")
    verdict = engine.audit.verify()
    assert verdict["verdict"] == "verified"


def test_the_book_survives_a_restart(tmp_path, practice_server):
    server = practice_server()
    with Engine.open(tmp_path / "w") as first:
        first.servers.add(record_of(server, labels=("a", "b"), group="g"))
        first.servers.trust("one", fingerprint_of(server))
        first.servers.credentials.set("password", Secret("never stored"))
        before = first.servers.get("one")
    with Engine.open(tmp_path / "w") as second:
        assert second.servers.get("one") == before and before.host_keys == (server.host_key,)
        assert second.servers.credentials.get("password", "one") is None
    assert b"never stored" not in b"".join(f.read_bytes() for f in (tmp_path / "w").rglob("*") if f.is_file())


def test_refusals(engine):
    book = engine.servers
    good = ServerRecord("one", "10.0.0.1")
    book.add(good)
    assert code_of(lambda: book.add(good)) == "server.exists"
    assert code_of(lambda: book.get("two")) == "server.unknown"
    for bad in (replace(good, name="-x"), replace(good, name="a b"), replace(good, name="two", address="-oX"),
                replace(good, name="two", port=0), replace(good, name="two", auth="key"),
                replace(good, name="two", store="~/../x"), replace(good, name="two", jump=("two",))):
        assert code_of(lambda bad=bad: book.add(bad)) == "server.invalid-field"
    assert code_of(lambda: book.add(replace(good, name="two", jump=("nobody",)))) == "server.unknown"


def test_jump_hosts(engine, practice_server):
    gate, inner = practice_server("gate"), practice_server("inner")
    added, refused = engine.servers.add_all([
        record_of(inner, "inner", jump=("gate",)), record_of(gate, "gate"),
        ServerRecord("lost", "10.0.0.1", jump=("nobody",))])
    assert [r.name for r in added] == ["gate", "inner"] and [name for name, _ in refused] == ["lost"]
    engine.servers.trust("gate", fingerprint_of(gate))
    engine.servers.trust("inner", fingerprint_of(inner))
    with closing(engine.servers.connect("inner")) as link:
        assert link.run(("pwd",)).stdout.decode().strip() == str(inner.home)
    assert code_of(lambda: engine.servers.remove("gate")) == "server.is-jump-host"
    looped = replace(engine.servers.get("gate"), jump=("inner",))
    assert code_of(lambda: engine.servers.update(looped)) == "server.jump-loop"


def test_a_missing_passphrase_is_asked_for(engine, practice_server, tmp_path):
    server, asked = practice_server(password="right"), []
    engine.servers.add(replace(record_of(server), auth="password", identity_file=None))
    engine.servers.trust("one", fingerprint_of(server))
    assert code_of(lambda: engine.servers.connect("one")) == "ssh.password-needed"

    def ask(name, kind):
        asked.append((name, kind))
        return Secret("right")

    engine.servers.credentials.ask = ask
    engine.servers.connect("one").close()
    engine.servers.connect("one").close()
    assert asked == [("one", "password")]


def test_known_hosts_pins_only_what_has_no_pin(engine, practice_server, tmp_path):
    server, other = practice_server(), make_key(tmp_path / "k")
    engine.servers.add(record_of(server))
    known = parse_known_hosts(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    assert list(engine.servers.trust_known_hosts(known)) == ["one"]
    engine.servers.connect("one").close()
    assert engine.servers.trust_known_hosts(parse_known_hosts(f"[127.0.0.1]:{server.port} {other}\n")) == {}
    assert engine.servers.get("one").host_keys == (server.host_key,)


def test_a_revoked_key_is_trusted_no_more(engine, practice_server, tmp_path):
    server, authority = practice_server(), make_key(tmp_path / "ca")
    engine.servers.add(record_of(server))
    engine.servers.trust("one", fingerprint_of(server))
    engine.servers.trust_authorities(parse_known_hosts(f"@cert-authority *.lab {authority}\n"))
    engine.servers.add(ServerRecord("by-authority", "gpu.lab"))
    dropped = engine.servers.distrust_revoked(parse_known_hosts(f"@revoked * {server.host_key}\n@revoked * {authority}\n"))
    assert dropped == {"one": [fingerprint_of(server)], "": [HostKey(authority).fingerprint]}
    assert [r.host_keys for r in engine.servers.list()] == [(), ()]
    assert code_of(lambda: engine.servers.connect("one")) == "ssh.host-key-unknown"
    assert engine.servers.distrust_revoked(parse_known_hosts(f"@revoked * {server.host_key}\n")) == {}
    assert engine.audit.verify()["verdict"] == "verified"


def test_groups_select(engine):
    for n in range(3):
        engine.servers.add(ServerRecord(f"s{n}", "10.0.0.1", group="g" if n else ""))
    assert [r.name for r in engine.servers.select(["@g", "s0", "s1"])] == ["s1", "s2", "s0"]
    assert len(engine.servers.select([])) == 3
    assert code_of(lambda: engine.servers.select(["@none"])) == "server.unknown"


def test_an_authority_of_the_site_vouches_for_servers_without_pins(engine, practice_server, tmp_path):
    key, other = make_key(tmp_path / "ca"), make_key(tmp_path / "pinned")
    engine.servers.add(ServerRecord("early", "gpu-01.lab"))
    known = parse_known_hosts(f"@cert-authority *.lab {key}\ngpu-03.lab {other}\n")
    engine.servers.add(ServerRecord("pinned", "gpu-03.lab"))
    assert engine.servers.trust_known_hosts(known) == {"pinned": [HostKey(other).fingerprint]}
    assert engine.servers.trust_authorities(known) == [HostKey(key).fingerprint]
    assert engine.servers.trust_authorities(known) == []
    engine.servers.add(ServerRecord("late", "gpu-02.lab", 2222))
    engine.servers.add(ServerRecord("elsewhere", "10.0.0.1"))
    trusted = {r.name: r.host_keys for r in engine.servers.list()}
    authority = f"@cert-authority {key}"
    assert trusted == {"early": (authority,), "late": (authority,), "pinned": (other,), "elsewhere": ()}
    noted = [r["detail"] for r in engine.audit.list(event="node.hostkey") if r["object"]["kind"] == "site"]
    assert [d["hosts"] for d in noted if "hosts" in d] == [["*.lab"]]


def test_a_route_opens_several_connections_through_bastions(engine, practice_server):
    servers = {name: practice_server(name) for name in ("gate", "inner", "far")}
    for name, jump in (("gate", ()), ("inner", ("gate",)), ("far", ("inner",))):
        target = servers[name].target()
        engine.servers.add(ServerRecord(name, target.address, target.port, target.user, target.identity_file, "key", jump=jump))
        engine.servers.trust(name, HostKey(servers[name].host_key).fingerprint)
    route = engine.servers.route("far")
    assert [hop.name for hop, _ in route.jumps] == ["gate", "inner"] and route.target.name == "far"
    with closing(route.connect(purpose="data")) as one, closing(route.connect()) as two:
        assert one.run(["echo", "1"]).stdout == b"1\n" and two.run(["echo", "2"]).stdout == b"2\n"
