"""Secrets while they are wrong, missing, declined or asked for by many at once."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace

import pytest

from console.errors import SealiftError
from console.secrets import Secret
from console.servers.credentials import Credentials
from console.servers.keys import HostKey
from console.servers.record import ServerRecord


@pytest.fixture
def gates(engine, practice_server):
    """A server behind a bastion, both by password; gives what was asked, and answers ``right`` to everything."""
    for name, jump in (("gate", ()), ("inner", ("gate",))):
        server = practice_server(name, password=f"{name} password")
        engine.servers.add(ServerRecord(name, server.address, server.port, server.user, auth="password", jump=jump))
        engine.servers.credentials.set("password", Secret("gate password"), "gate")
        engine.servers.trust(name, HostKey(server.host_key).fingerprint)
    engine.servers.credentials.forget()
    asked: list[str] = []

    def ask(name: str, _kind: str) -> Secret:
        asked.append(name)
        return Secret(f"{name} password")

    engine.servers.credentials.ask = ask
    return asked


def test_every_secret_on_the_way_is_asked_for(engine, gates):
    with closing(engine.servers.connect("inner")) as link:
        assert link.run(("true",)).ok
    assert gates == ["gate", "inner"]
    engine.servers.credentials.forget()
    assert engine.servers.offered_key("inner").line == engine.servers.get("inner").host_keys[0] and gates[2:] == ["gate"]


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_wrong_password_is_asked_for_again(engine, gates, everywhere):
    credentials = engine.servers.credentials
    credentials.set("password", Secret("wrong"), *(() if everywhere else ("gate",)))
    with pytest.raises(SealiftError) as caught:
        engine.servers.connect("gate")
    assert caught.value.code == "ssh.auth-failed" and gates == []
    engine.servers.connect("gate").close()
    assert gates == ["gate"]
    assert (credentials.get("password", "inner") is not None) is everywhere  # for the others it may be right


def test_a_wrong_sudo_password_is_asked_for_again(engine, practice_server):
    server = practice_server()
    (server.tools / "sudo").write_text(
        '#!/bin/sh\nfor w; do case $w in "["*) p=$w;; esac; done\nprintf %s "$p" >&2; read -r x\n'
        'while [ "$1" != -- ]; do shift; done; shift; [ "$x" = right ] && exec "$@"; printf %s "$p" >&2; read -r x\n')  # fmt: skip
    (server.tools / "sudo").chmod(0o755)
    target, credentials = server.target(), engine.servers.credentials
    engine.servers.add(ServerRecord("one", target.address, target.port, target.user, target.identity_file, "key", "password"))
    engine.servers.trust("one", HostKey(server.host_key).fingerprint)
    credentials.set("sudo_password", Secret("wrong"))
    credentials.ask = lambda _name, _kind: Secret("right")
    with closing(engine.servers.connect("one")) as link:
        with pytest.raises(SealiftError) as caught:
            link.run(("true",), sudo=True)
        assert caught.value.code == "ssh.sudo-refused"
        assert link.run(("echo", "root"), sudo=True).stdout == b"root\n"


def test_many_that_need_the_same_secret_ask_once():
    credentials, asked, together = Credentials(), [], threading.Barrier(5)

    def ask(name: str, kind: str) -> Secret:
        asked.append(name)
        return Secret("x")

    credentials.ask = ask
    got = at_once(5, lambda: (together.wait(10), credentials.needed("password", "gate"))[1])
    assert len(got) == 5 and None not in got and asked == ["gate"]


def test_a_declined_question_is_not_put_to_those_that_waited_for_it():
    credentials, asked, waiting = Credentials(), [], threading.Semaphore(0)

    def ask(name: str, kind: str) -> None:
        asked.append(name)
        for _look in range(6):  # five look first, and who asks looks again
            assert waiting.acquire(timeout=10)

    def looked(kind: str, server: str) -> None:
        waiting.release()

    credentials.ask, credentials.get = ask, looked
    numbers = iter(range(5))
    assert at_once(5, lambda: credentials.needed("password", f"s{next(numbers)}")) == [None] * 5
    assert len(asked) == 1
    assert credentials.needed("password", "later") is None and len(asked) == 2


def at_once(count: int, call) -> list:
    got: list = []
    threads = [threading.Thread(target=lambda: got.append(call())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return got


def test_what_an_entry_needs_is_asked_of_the_right_server(engine, gates):
    engine.servers.update(replace(engine.servers.get("inner"), group="g"))
    engine.servers.connect("inner").close()
    engine.servers.connect("inner").close()
    assert gates == ["gate", "inner"]
