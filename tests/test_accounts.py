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


# Sessions ------------------------------------------------------------------------------------------------------------


def later(engine, monkeypatch, seconds: float) -> None:
    real = engine.session._clock
    monkeypatch.setattr(engine.session, "_clock", lambda: real() + seconds)


@pytest.mark.parametrize(("name", "limit_s"), [("alice", 600), ("olga", 900)])
def test_an_idle_session_locks_and_only_its_password_goes_on(people, monkeypatch, name, limit_s):
    people.login(name, GOOD)
    later(people, monkeypatch, limit_s - 1)
    people.require()
    later(people, monkeypatch, 2)
    for _ in range(2):
        with pytest.raises(DeniedError) as caught:
            people.require()
        assert caught.value.code == "account.session-locked"
    people.session.touch()
    assert people.session.locked, "a sign of life does not open what is locked"
    assert [r["event"] for r in people.audit.list(limit=3)] == ["auth.refused", "auth.refused", "auth.lock"]
    with pytest.raises(DeniedError):
        people.prove(Secret("a wrong password it is"))
    people.prove(GOOD)
    people.require()
    assert people.audit.list(limit=1)[0]["event"] == "auth.unlock"


def test_a_sign_of_life_keeps_the_session(people, monkeypatch):
    for _ in range(5):
        later(people, monkeypatch, 300)
        people.session.touch()
    people.require("admin")


def test_a_lock_holds_up_nothing_that_is_under_way(people, monkeypatch):
    from console.jobs.job import JobSpec

    def work(_ctx):
        people.session.lock()
        people.require("admin")

    people.jobs.run(JobSpec("test.run", "Test", work))
    with pytest.raises(DeniedError):
        people.require("admin")


@pytest.mark.parametrize("what", ["approve", "deny", "trust", "revoke", "export"])
def test_the_password_is_asked_for_each_time(people, monkeypatch, tmp_path, what):
    from console.trust.keys import PrivateKey

    key = PrivateKey.generate("ecdsa-p256").public
    if what in ("approve", "deny"):
        people.login("olga", GOOD)
        people.approvals.request("deploy", "plan-1", "d1")
        people.login("anna", GOOD)
    act = {
        "approve": lambda: people.approvals.grant("deploy", "plan-1", "d1"),
        "deny": lambda: people.approvals.deny("deploy", "plan-1", "d1"),
        "trust": lambda: people.trust.add(key, "builder", key.fingerprint),
        "revoke": lambda: people.trust.revoke(key.keyid, "lost"),
        "export": lambda: people.audit.export(tmp_path / "drive"),
    }[what]
    later(people, monkeypatch, 121)
    with pytest.raises(DeniedError) as caught:
        act()
    assert caught.value.code == "account.password-again"
    assert people.audit.list(limit=1)[0]["reason"] == "account.password-again"
    people.prove(GOOD)
    try:
        act()
    except (DeniedError, InputError) as refused:
        assert refused.code != "account.password-again"


def test_logging_out_is_recorded_and_leaves_nobody(people):
    people.logout()
    assert people.audit.list(limit=1)[0]["event"] == "auth.logout"
    with pytest.raises(DeniedError) as caught:
        people.require()
    assert caught.value.code == "account.login-needed"


# Two people ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path):
    with Engine.open(tmp_path / "bare") as engine:
        engine.site.init("Test", "other", "internal")
        yield engine


def test_two_people_are_the_rule_as_soon_as_there_are_two(bare):
    assert not bare.approvals.required()
    bare.accounts.add("alice", ("admin",), GOOD)
    bare.login("alice", GOOD)
    bare.accounts.add("olga", ("operator",), GOOD)
    assert not bare.approvals.required()
    bare.accounts.add("anna", ("approver",), GOOD)
    assert bare.approvals.required()
    bare.site.set(policy={"two_person": False})
    assert not bare.approvals.required()


def agreed(engine, asks: str, gives: str, act):
    """``act`` by one is refused, granted by the other, and then done."""
    engine.login(asks, GOOD)
    with pytest.raises(DeniedError) as caught:
        act()
    assert caught.value.code == "approval.needed"
    (request,) = engine.approvals.open_requests()
    engine.login(gives, GOOD)
    engine.approvals.grant(request.action, request.document["object"], request.digest)
    engine.login(asks, GOOD)
    return act()


def test_trust_and_roles_need_a_second_person(people):
    from console.trust.keys import PrivateKey

    key = PrivateKey.generate("ecdsa-p256").public
    agreed(people, "alice", "anna", lambda: people.trust.add(key, "builder", key.fingerprint))
    assert [k.holder for k in people.trust.list()] == ["builder"]
    done = people.audit.list(limit=1, event="trust.key")[0]
    assert (done["outcome"], done["approvers"]) == ("success", ["anna"])
    tied = {r["event"]: r["corr"] for r in people.audit.list(event="approval.")}
    assert len(set(tied.values())) == 1, "request, grant and use belong together"
    account = agreed(people, "alice", "anna", lambda: people.accounts.set_roles("olga", ("viewer",)))
    assert account.roles == ("viewer",)
    with pytest.raises(DeniedError):
        people.accounts.set_roles("olga", ("operator",))


def test_a_new_host_key_needs_a_second_person(people, practice_server):
    from console.servers.keys import HostKey
    from console.servers.record import ServerRecord

    server = practice_server()
    mark = HostKey(" ".join(server.host_key.split()[-2:]) if server.host_key.count(" ") > 1 else server.host_key).fingerprint
    people.servers.add(ServerRecord(name="gpu", address=server.address, port=server.port, user=server.user))
    agreed(people, "alice", "anna", lambda: people.servers.trust("gpu", mark))
    assert people.servers.get("gpu").host_keys


def test_an_override_needs_two_approvers(people):
    people.accounts.add("arne", ("approver",), GOOD)
    people.login("olga", GOOD)
    people.approvals.request("override-older", "Release 1", "d9")
    people.login("anna", GOOD)
    assert people.approvals.grant("override-older", "Release 1", "d9").state == "open"
    with pytest.raises(DeniedError) as caught:
        people.approvals.grant("override-older", "Release 1", "d9")
    assert caught.value.code == "approval.own-request"
    people.login("arne", GOOD)
    assert people.approvals.grant("override-older", "Release 1", "d9").granted == ("anna", "arne")


def test_the_last_admin_keeps_the_role(people):
    with pytest.raises(InputError) as caught:
        people.accounts.set_roles("alice", ("viewer",))
    assert caught.value.code == "account.last-admin"


def test_what_was_done_without_a_yes_waits_for_nobody(bare):
    bare.approvals.request("deploy", "plan-1", "d1")
    assert bare.approvals.use("deploy", "plan-1", "d1") == ()
    assert bare.approvals.open_requests() == []
