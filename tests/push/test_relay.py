"""Servers that feed each other, over the system's own OpenSSH server."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from console.engine import Engine
from console.errors import SealiftError
from console.jobs.job import NullContext
from console.push import connection, lanes, leftovers, relay
from console.push.lanes import Slots, Way
from console.push.relay import Chain, Hop, Member
from console.push.sender import Means, Outcome, send
from console.transport.ssh import connect
from console.transport.target import Login, Target
from tests.push.local import PYTHON, make, noise, until
from tests.push.sshd import Sshd, keys_left, needs_sshd
from tests.push.test_service import Shelf

pytestmark = needs_sshd
CHUNK = 1 << 20
FILES = {"model/big": noise(1, 24 << 20), "model/other": noise(2, 5 << 20), "model/small": b"{}", "model/none": b""}


class Site:
    """A few servers, and pushes to all of them at once."""

    def __init__(self, folder: Path):
        self.folder, self.servers = folder, {}
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")), check=True)
        self.made = make(folder / "library", FILES, CHUNK)
        self.plan = self.made.plan("~/store")
        self.chain, self.links = None, {}

    def add(self, *names, **options):
        """Start servers."""
        for name in names:
            (self.folder / name).mkdir()
            self.servers[name] = Sshd(self.folder / name, self.folder / "key", name, **options)

    def push(self, *names, ctx=None, plan=None):
        """(outcomes, problems) by name."""
        names = names or tuple(self.servers)
        plan, self.chain = plan or self.plan, Chain(names)
        outcomes, problems = {n: Outcome() for n in names}, {}
        self.chain.start()

        def one(name):
            server = self.servers[name]
            target = Target(name, server.address, server.port, "root", (server.host_key,), "key", str(server.key))
            try:
                transport = self.links[name] = connect(target, purpose="data")
                try:
                    way = Way(target, Login(), PYTHON)
                    means = Means(chain=self.chain, record=server.record, way=way, slots=Slots(2))
                    send((ctx or NullContext()).server(name), transport, replace(plan, relay=True), outcomes[name], means, PYTHON)
                finally:
                    transport.close()
            except SealiftError as problem:
                problems[name] = problem
            finally:
                self.chain.absent(name)

        threads = [threading.Thread(target=one, args=(n,)) for n in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive(), "a push hangs"
        self.chain.stop()
        assert self.chain.problem is None, self.chain.problem
        return outcomes, problems

    def check(self, *names):
        """What they hold is right, and nothing of a hop is left."""
        servers = [self.servers[name] for name in names or tuple(self.servers)]
        assert all(server.released(self.plan.release_id) == FILES for server in servers)
        until(lambda: all(server.untouched for server in servers), "authorized_keys is as it was")
        until(lambda: not keys_left(), "no key is left")


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(relay, "WORTH_BYTES", 1 << 20)
    monkeypatch.setattr(lanes, "WORTH_BYTES", 1 << 20)
    made = Site(tmp_path)
    yield made
    for server in made.servers.values():
        server.stop()


def test_three_in_a_chain(site):
    site.add("a", "b", "c")
    outcomes, problems = site.push()
    assert not problems
    assert sorted(o.via.split(":")[0] for o in outcomes.values()) == ["console", "relay", "relay"]
    assert [h.reason for h in site.chain.hops] == ["", ""] and not site.chain.why
    assert {o.bytes_sent for o in outcomes.values()} == {site.plan.bytes_total}
    # A lane's chunks would not be passed on.
    assert {o.connections for o in outcomes.values()} == {1}
    site.check()


def test_servers_trusted_through_an_authority(site):
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(site.folder / "ca")), check=True)
    site.add("a", "b", authority=site.folder / "ca")
    outcomes, problems = site.push()
    assert not problems
    assert sorted(o.via.split(":")[0] for o in outcomes.values()) == ["console", "relay"], [h.told() for h in site.chain.hops]
    site.check()


def test_what_a_server_says_of_whom_it_reaches_is_not_believed_blindly():
    asked = ["b", "c", "d", "e", "f", "g"]
    ways = [[1.5, "10.0.0.1"], [float("nan"), "10.0.0.1"], [10**400, "10.0.0.1"], [-1, "10.0.0.1"], [1, '10.0.0.1",command="x'], [True, "::1"]]
    assert relay._reached({"ssh": True, "reach": ways}, asked) == {"b": (1.5, "10.0.0.1")}
    assert relay._reached({"ssh": True, "reach": ways[1:]}, asked) == relay._reached({"reach": ways}, asked) == {}


@pytest.mark.parametrize("reaches, reason", [({}, "none-reaches"), ({"b": (1.0, "10.0.0.1")}, "none-free")])
def test_why_a_server_is_fed_by_the_console_is_said_as_it_is(reaches, reason):
    chain, warned = Chain(["a", "b"]), []
    work = SimpleNamespace(done=False, left=1 << 30, reclaim=lambda: None)
    ctx = SimpleNamespace(warn=warned.append)
    busy, late = (Member(ctx, SimpleNamespace(name=name, host_keys=("x",)), None, work) for name in "ab")
    busy.reaches, busy.state, busy.after = reaches, "console", Hop(busy, busy)
    chain._members = {"a": busy, "b": late}
    busy.after.second = SimpleNamespace(name="c", after=None)
    chain._place(late, "none-reaches")
    assert chain.why == {"b": reason} and warned == [relay.REASONS[reason]] and late.state == "console"
    busy.end(), late.end()


def test_a_server_that_has_it_feeds_the_others(site):
    site.add("a", "b", "c")
    site.push("b")
    outcomes, problems = site.push()
    assert not problems and outcomes["b"].bytes_sent == 0
    assert {outcomes[n].via.split(":")[0] for n in "ac"} == {"relay"}
    first = next(h for h in site.chain.hops if h.first.name == "b")
    assert outcomes[first.second.name].via == "relay:b"
    site.check()


def test_one_that_lets_no_key_in_is_fed_by_the_console(site):
    site.add("a", "b")
    site.add("c", bare=True)
    outcomes, problems = site.push()
    assert not problems and outcomes["c"].via == "console"
    assert all(h.second.name == "c" for h in site.chain.hops if h.reason)
    site.check()


class Crashes(NullContext):
    """Ends something when a server's progress is half way."""

    def __init__(self, name, act):
        super().__init__()
        self.name, self.act, self.lock = name, act, threading.Lock()

    def server(self, name):
        outer = self

        class Bound(NullContext):
            def progress(self, done, total, unit, left_s=None):
                if name == outer.name() and done > total // 3:
                    with outer.lock:
                        act, outer.act = outer.act, None
                    if act is not None:
                        act()

        return Bound(root=self)


def second(site):
    """The name of the server that the first feeds."""
    hops = site.chain.hops if site.chain else []
    return hops[0].second.name if hops else None


def test_a_server_that_dies_in_the_middle_is_left_out(site):
    site.add("a", "b", "c", "d")
    dead = []

    def kill():
        dead.append(second(site))
        site.servers[dead[0]].crash()

    outcomes, problems = site.push(ctx=Crashes(lambda: second(site), kill))
    assert dead and set(problems) == set(dead), (dead, problems, [h.told() for h in site.chain.hops])
    site.check(*set(site.servers) - set(dead))
    site.servers[dead[0]].start()
    outcomes, problems = site.push()
    assert not problems and outcomes[dead[0]].done
    site.check()


def test_a_hop_that_breaks_is_made_anew(site):
    site.add("a", "b", "c")
    killed = []

    def kill():
        hop = site.chain.hops[0]
        for pid in [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]:
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0] == b"ssh" and str(hop.second.record.port).encode() in words:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    outcomes, problems = site.push(ctx=Crashes(lambda: second(site), kill))
    assert killed and not problems
    assert any(h.reason in ("broke", "left") for h in site.chain.hops), [h.told() for h in site.chain.hops]
    again = max(o.bytes_sent for o in outcomes.values()) - site.plan.bytes_total
    assert again <= 8 * CHUNK
    site.check()


def test_a_server_that_passes_on_wrong_bytes_is_found_out(site, monkeypatch):
    site.add("a", "b", "c")
    honest = connection.receiver_source()
    lies = honest.replace(b"after.at += len(block)", b"block = bytes(1) + block[1:]; after.at += len(block)")
    assert lies != honest
    monkeypatch.setattr(connection, "receiver_source", lambda: lies)
    outcomes, problems = site.push()
    assert not problems
    assert {h.reason for h in site.chain.hops} == {"wrong-bytes"} and set(site.chain.why.values()) == {"wrong-bytes"}
    assert {o.via for o in outcomes.values()} == {"console"}
    site.check()


def test_nothing_outlives_a_crash_of_everything(site):
    site.add("a", "b")
    left = site.servers["b"].people
    left.write_text(left.read_text() + 'restrict,command="exec x" ssh-ed25519 AAAA sealift-relay-' + "0" * 32 + "\n")
    folder = Path("/dev/shm/sealift-relay-" + "0" * 32)
    folder.mkdir(mode=0o700)
    (folder / "key").write_text("x")
    outcomes, problems = site.push("b")
    assert not problems
    site.check("b")


@pytest.fixture
def facility(site, tmp_path):
    """The engine, with the servers in its book."""
    site.add("a", "b")
    engine = Engine.open(tmp_path / "workspace")
    engine.site.init("Test", "other", "internal")
    for server in site.servers.values():
        engine.servers.add(replace(server.record, host_keys=()))
        engine.servers.trust(server.name, engine.servers.offered_key(server.name).fingerprint)
    yield engine
    engine.close()


def test_the_result_and_the_audit_log_say_who_fed_whom(site, facility):
    release = Shelf(facility, FILES, CHUNK, ()).release
    done = facility.push.run(NullContext(), release, ["a", "b"])["servers"]
    assert [s["outcome"] for s in done] == ["verified", "verified"]
    first, second = sorted(done, key=lambda s: s["via"])
    assert (first["via"], second["via"]) == ("console", f"relay:{first['name']}") and second["fed_directly_because"] is None
    end = next(r for r in facility.audit.list() if r["event"] == "push.end")
    assert end["detail"]["relay"] == [{"from": first["name"], "to": second["name"], "reason": "", "said": ""}]
    assert end["detail"]["servers"][second["name"]]["via"] == second["via"]
    until(lambda: all(s.untouched for s in site.servers.values()) and not keys_left(), "nothing is left")


def leave(server):
    """What a server that lost power in the middle of a hop comes back with."""
    server.people.write_text(server.people.read_text() + 'restrict,command="exec x" ssh-ed25519 AAAA sealift-relay-' + "0" * 32 + "\n")


def test_a_push_that_ends_well_leaves_nothing_to_look_after(site, facility):
    noted = []
    facility.push.leftovers.expect, before = lambda names: (noted.extend(names), before(names)), facility.push.leftovers.expect
    facility.push.run(NullContext(), Shelf(facility, FILES, CHUNK, ()).release, ["a", "b"])
    assert sorted(noted) == ["a", "b"] and facility.push.leftovers.where() == []
    assert facility.tidy_job("Tidy") is None


def test_what_a_server_that_lost_power_has_left_goes_as_soon_as_anything_connects(site, facility):
    release = Shelf(facility, FILES, CHUNK, ()).release
    b = site.servers["b"]
    facility.push.run(Crashes(lambda: "b", b.crash), release, ["a", "b"])
    assert facility.push.leftovers.where() == ["b"]
    leave(b)
    b.start()
    facility.servers.connect("a").close()
    assert not b.untouched and facility.push.leftovers.where() == ["b"]
    facility.inventory.refresh(NullContext(), ["b"])
    assert b.untouched and facility.push.leftovers.where() == []
    assert next(r for r in facility.audit.list() if r["event"] == "push.keys-removed")["object"]["id"] == "b"


def test_a_session_begins_with_taking_away_what_is_left(site, facility):
    a, b = site.servers.values()
    facility.push.leftovers.expect(["a", "b"])
    assert facility.tidy_job("Tidy") is None, "a push is under way"
    facility.push.leftovers.settle(["a", "b"], ["a"])
    leave(a)
    leave(b)
    facility.jobs.run(facility.tidy_job("Tidy"))
    assert b.untouched and facility.tidy_job("Tidy") is None
    assert not a.untouched, "its receiver had ended by itself, so that this is not of us"


def test_what_cannot_be_reached_or_lies_stays_noted(site, facility, monkeypatch):
    b = site.servers["b"]
    facility.push.leftovers.expect(["b"])
    facility.push.leftovers.settle(["b"], [])
    for said in ("", "[]", "[" * 9999, '{"removed": -1, "held": 0}', '{"removed": true, "held": 0}', '{"removed": 1, "held": 1}'):
        monkeypatch.setattr(leftovers, "SWEEP", f"print({said!r})")
        facility.push.tidy()
        assert facility.push.leftovers.where() == ["b"]
    monkeypatch.undo()
    b.crash()
    facility.push.tidy()
    assert facility.push.leftovers.where() == ["b"]
    facility.servers.remove("b")
    assert facility.push.leftovers.where() == []


@pytest.mark.parametrize("forbid", ["policy", "setting", "option"])
def test_it_is_not_done_where_it_is_not_allowed(site, facility, forbid):
    release, options = Shelf(facility, FILES, CHUNK, ()).release, {}
    if forbid == "policy":
        facility.site.set(policy={"relay": False})
    elif forbid == "setting":
        facility.settings.set("push.relay", "off")
    else:
        options["relay"] = "off"
    done = facility.push.run(NullContext(), release, ["a", "b"], **options)["servers"]
    assert [(s["outcome"], s["via"]) for s in done] == [("verified", "console")] * 2
    start = next(r for r in facility.audit.list() if r["event"] == "push.start")
    assert start["detail"]["relay"] is False
