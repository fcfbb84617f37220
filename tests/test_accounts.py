"""Accounts, roles, passwords and two-person approvals."""

from __future__ import annotations

import pytest

from console.engine import Engine
from console.errors import DeniedError, InputError
from console.secrets import Secret
from console.site import accounts
from console.site.accounts import hash_password, verify_password

GOOD = Secret("seven grey herons wade")


@pytest.fixture(autouse=True)
def cheap_scrypt(monkeypatch):
    """The real work factor costs half a second a login; its string form is tested by itself below."""
    monkeypatch.setattr(accounts, "SCRYPT_LOG_N", 10)
    monkeypatch.setattr(accounts, "hash_password", lambda p, log_n=10, salt=None: hash_password(p, log_n, salt))


@pytest.fixture
def engine(tmp_path):
    with Engine.open(tmp_path / "w") as engine:
        engine.site.init("Test", "other", "internal", two_person=True)
        yield engine


def test_the_stored_string_is_scrypt_with_the_agreed_work(monkeypatch):
    monkeypatch.undo()
    phc = hash_password(GOOD)
    assert phc.startswith("$scrypt$ln=17,r=8,p=1$")
    assert verify_password(GOOD, phc)
    assert not verify_password(Secret("seven grey herons wadE"), phc)


@pytest.mark.parametrize("text", ["short", "aaaaaaaaaaaaaaaaaaa", "passwordpassword", "0123456789012345678", "adminadminadmin1"])
def test_weak_passwords_are_refused(engine, text):
    with pytest.raises(InputError) as caught:
        engine.accounts.add("alice", ("admin",), Secret(text))
    assert caught.value.code == "account.weak-password"
    assert text not in str(caught.value.as_dict())


@pytest.mark.parametrize("roles", [(), ("admin", "auditor"), ("admin", "operator", "auditor"), ("king",), ("operator",)])
def test_roles_that_do_not_go_together(engine, roles):
    with pytest.raises(InputError) as caught:
        engine.accounts.add("alice", roles, GOOD)
    assert caught.value.code == "account.bad-roles"


def test_with_accounts_nobody_acts_without_logging_in(engine):
    engine.require("operator")
    engine.accounts.add("alice", ("admin",), GOOD)
    with pytest.raises(DeniedError) as caught:
        engine.require("admin")
    assert caught.value.code == "account.login-needed"
    engine.login("alice", GOOD)
    engine.require("admin")
    with pytest.raises(DeniedError) as caught:
        engine.require("operator")
    assert caught.value.code == "account.not-permitted"
    assert engine.audit.list(limit=1)[0]["event"] == "auth.refused"


def test_five_failures_lock_even_the_right_password_out(engine):
    engine.accounts.add("alice", ("admin",), GOOD)
    for _ in range(5):
        with pytest.raises(DeniedError) as caught:
            engine.login("alice", Secret("a wrong password it is"))
        assert caught.value.code == "account.login-refused"
    with pytest.raises(DeniedError) as caught:
        engine.login("alice", GOOD)
    assert caught.value.code == "account.locked"


def test_an_unknown_name_is_refused_in_the_same_words(engine):
    engine.accounts.add("alice", ("admin",), GOOD)
    with pytest.raises(DeniedError) as caught:
        engine.login("mallory", GOOD)
    assert caught.value.code == "account.login-refused"


def test_the_last_admin_stays(engine):
    engine.accounts.add("alice", ("admin",), GOOD)
    engine.login("alice", GOOD)
    with pytest.raises(InputError) as caught:
        engine.accounts.disable("alice")
    assert caught.value.code == "account.last-admin"


@pytest.fixture
def people(engine):
    engine.accounts.add("alice", ("admin",), GOOD)
    engine.login("alice", GOOD)
    for name, role in (("olga", "operator"), ("anna", "approver"), ("both", "operator,approver")):
        engine.accounts.add(name, tuple(role.split(",")), GOOD)
    return engine


def test_a_yes_counts_once_and_for_exactly_what_was_asked(people):
    people.login("olga", GOOD)
    people.approvals.request("deploy", "plan-1", "d1")
    with pytest.raises(DeniedError) as caught:
        people.approvals.use("deploy", "plan-1", "d1")
    assert caught.value.code == "approval.needed"
    people.login("anna", GOOD)
    people.approvals.grant("deploy", "plan-1", "d1")
    people.login("olga", GOOD)
    with pytest.raises(DeniedError):
        people.approvals.use("deploy", "plan-1", "another digest")
    assert people.approvals.use("deploy", "plan-1", "d1") == ("anna",)
    with pytest.raises(DeniedError):
        people.approvals.use("deploy", "plan-1", "d1")


def test_nobody_approves_their_own_request(people):
    people.login("both", GOOD)
    people.approvals.request("deploy", "plan-1", "d1")
    with pytest.raises(DeniedError) as caught:
        people.approvals.grant("deploy", "plan-1", "d1")
    assert caught.value.code == "approval.own-request"


def test_a_secret_never_shows_itself():
    import pickle

    for text in (str(GOOD), repr(GOOD), f"{GOOD}", f"{GOOD!r:>40}", str([GOOD]), str({"p": GOOD})):
        assert "heron" not in text
    with pytest.raises(TypeError):
        pickle.dumps(GOOD)
