"""Secrets in the system's keyring: only where the site allows it, and only those that a login has proved."""

from __future__ import annotations

import sys
import types
from contextlib import closing

import pytest

from console.errors import SealiftError
from console.secrets import Secret
from console.servers import book as subject
from console.servers.keyring import system_keyring
from console.servers.keys import HostKey
from console.servers.record import ServerRecord


class Backend:
    """A keyring as the package ``keyring`` gives it; ``locked`` for one that the user does not open."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def _open(self) -> dict[tuple[str, str], str]:
        if self.locked:
            raise RuntimeError("locked")
        return self.kept

    def get_password(self, service: str, name: str) -> str | None:
        return self._open().get((service, name))

    def set_password(self, service: str, name: str, text: str) -> None:
        self._open()[service, name] = text

    def delete_password(self, service: str, name: str) -> None:
        del self._open()[service, name]


@pytest.fixture
def backend(monkeypatch):
    made = Backend()
    module = types.ModuleType("keyring")
    module.get_keyring = lambda: made
    monkeypatch.setitem(sys.modules, "keyring", module)
    subject._system_keyring.cache_clear()
    yield made
    subject._system_keyring.cache_clear()


@pytest.fixture
def locked(engine, practice_server, tmp_path):
    """A server whose key file needs a passphrase; gives what asking for it would answer."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, file = Ed25519PrivateKey.generate(), tmp_path / "locked"
    file.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.BestAvailableEncryption(b"right words")))
    public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
    server = practice_server("one", authorized_key=public)
    engine.servers.add(ServerRecord("one", server.address, server.port, server.user, str(file), "key"))
    engine.servers.trust("one", HostKey(server.host_key).fingerprint)
    asked = []

    def ask(name: str, kind: str) -> Secret:
        asked.append(kind)
        return Secret("right words")

    engine.servers.credentials.ask = ask
    return asked


def test_nothing_is_kept_where_the_site_does_not_allow_it(engine, locked, backend):
    with closing(engine.servers.connect("one")):
        assert locked == ["passphrase"] and not backend.kept


def test_what_worked_is_kept_and_used_in_the_next_session(engine, locked, backend):
    engine.settings.set("servers.keyring", "yes")
    with closing(engine.servers.connect("one")):
        assert list(backend.kept.values()) == ["right words"]
    engine.servers.credentials.forget()
    with closing(engine.servers.connect("one")):
        assert locked == ["passphrase"]
    engine.servers.remove("one")
    assert not backend.kept


def test_what_is_refused_is_dropped(engine, locked, backend):
    engine.settings.set("servers.keyring", "yes")
    backend.kept["sealift", f"{engine.store.path.parent}|one|passphrase"] = "old words"
    with pytest.raises(SealiftError) as caught:
        engine.servers.connect("one")
    assert caught.value.code == "ssh.identity-passphrase" and not backend.kept
    with closing(engine.servers.connect("one")):
        assert locked == ["passphrase"] and list(backend.kept.values()) == ["right words"]


def test_a_keyring_that_stays_locked_costs_nothing(engine, locked, backend):
    engine.settings.set("servers.keyring", "yes")
    backend.locked = True
    with closing(engine.servers.connect("one")):
        assert locked == ["passphrase"]


def test_no_keyring_and_unsafe_ones_are_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert system_keyring("x") is None
    module = types.ModuleType("keyring")
    module.get_keyring = lambda: type("Keyring", (), {"__module__": "keyring.backends.fail"})()
    monkeypatch.setitem(sys.modules, "keyring", module)
    assert system_keyring("x") is None
