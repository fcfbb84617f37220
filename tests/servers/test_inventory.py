"""Inventories over real SSH: evidence kept, four kinds of answer, hung commands, many servers."""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing
from dataclasses import replace

import pytest

from console.assets import asset
from console.errors import Cancelled, SealiftError
from console.events import ServerResult
from console.facts.fact import UNREADABLE, Fact, file_fact, files_fact, lines_of
from console.i18n import Said
from console.jobs.job import Context, NullContext
from console.practice.host import HOSTS
from console.servers import crew, inventory
from console.servers import gather as gathering
from console.servers.differences import differences
from console.servers.framing import STDOUT_LIMIT_BYTES
from console.servers.gather import GRACE_S, gather
from console.servers.inventory import InventoryRecord
from console.servers.keys import HostKey
from console.servers.record import ServerRecord
from console.servers.results import FactResult, judge
from console.store import servers as table
from console.transport import ssh
from console.transport.ssh import connect


def parse(text: str) -> str:
    if "unreadable" in text:
        raise UNREADABLE(tool="x", line=1, reason="because", text=text)
    return text.strip()


def fact(name: str, *argv: str, timeout_s: float = 5, **more) -> Fact:
    return Fact(name, argv, timeout_s, parse, **more)


def answers(server, *wanted: Fact, **more) -> dict[str, FactResult]:
    with closing(connect(server.target())) as link:
        seen = gather(link, wanted, **more)
    return {f.id: judge(f, seen[f.id]) for f in wanted}


def test_four_kinds_of_answer(practice_server):
    found = answers(practice_server(), fact("a.value", "echo", "hi"), fact("a.empty", "true"),
                    fact("a.absent", "no-such-tool"), fact("a.layout", "echo", "unreadable"),
                    fact("a.fails", "sh", "-c", "echo why >&2; exit 3"), fact("a.hangs", "sleep", "60", timeout_s=1),
                    fact("a.long", "yes"), fact("a.root", "id", needs_root=True))
    states = {name: r.state for name, r in found.items()}
    assert states == {"a.value": "value", "a.empty": "empty", "a.absent": "absent", "a.layout": "unreadable",
                      "a.fails": "unreadable", "a.hangs": "unreadable", "a.long": "unreadable", "a.root": "unreadable"}
    assert found["a.value"].value == "hi" and found["a.value"].evidence["argv"] == ["echo", "hi"]
    assert "why" in found["a.fails"].reason and "because" in found["a.layout"].reason
    assert "1 s" in found["a.hangs"].reason and found["a.long"].evidence["truncated"]


def said(stdout: str, **more) -> dict:
    return {"argv": ["x"], "exit_code": 0, "stdout": stdout, "stderr": "", "duration_s": 0.0, "truncated": False, "outcome": "ran"} | more


def test_what_two_servers_say_alike_is_read_once_and_told_of_each():
    read = []
    one = Fact("a.shared", ("x",), 5, lambda text: read.append(text) or [text])
    first, second = judge(one, said("same", duration_s=1.0)), judge(one, said("same", duration_s=2.0))
    assert read == ["same"] and first.value == second.value == ["same"] and second.evidence["duration_s"] == 2.0
    # What tells them apart is never passed over: the code, the complaint, how it ended, and for how long it ran into its limit.
    answers = [judge(one, said("", **more)) for more in (
        {}, {"exit_code": 127}, {"exit_code": 3}, {"exit_code": 3, "stderr": "why"}, {"truncated": True}, {"outcome": "absent"}, {"outcome": "hung"},
        {"exit_code": 124, "duration_s": 5.0}, {"exit_code": 124, "duration_s": 0.1})]  # fmt: skip
    assert [a.state for a in answers] == ["value", "absent", "unreadable", "unreadable", "unreadable", "absent", "unreadable", "unreadable", "unreadable"]
    assert len({a.reason for a in answers}) == 7
    judge(one, said("x" * 100_000))
    judge(one, said("x" * 100_000))
    assert len(read) == 4


def test_what_outlives_even_timeout_costs_only_its_own_answer(practice_server, monkeypatch):
    monkeypatch.setattr(gathering, "GRACE_S", 0.5)
    server = practice_server()
    (server.tools / "timeout").write_text("#!/bin/sh\nshift 3\nexec \"$@\"\n")  # as for a process that no signal reaches
    (server.tools / "timeout").chmod(0o755)
    stubborn = fact("b.stubborn", "sleep", "30", timeout_s=1)
    started = time.monotonic()
    found = answers(server, fact("a.before", "echo", "1"), stubborn, fact("c.after", "echo", "2"))
    assert time.monotonic() - started < 8 < GRACE_S + 30
    assert found["a.before"].value == "1" and found["c.after"].value == "2"
    assert found["b.stubborn"].state == "unreadable" and "1 s" in found["b.stubborn"].reason


def test_a_file_that_hangs_costs_only_its_own_answer(practice_server, monkeypatch):
    """All files are read together; when that does not come to its end, each by itself."""
    monkeypatch.setattr(gathering, "GRACE_S", 0.5)
    server = practice_server()
    for name in ("one", "stuck", "two"):
        (server.home / name).write_text(f"{name}\n")
    (server.tools / "grep").write_text("#!/bin/sh\ncase \"$*\" in *stuck*) exec sleep 30;; *) exec /usr/bin/grep \"$@\";; esac\n")
    (server.tools / "grep").chmod(0o755)
    wanted = [replace(file_fact(f"a.{name}", f"{server.home}/{name}", parse), timeout_s=1) for name in ("one", "stuck", "two")]
    started = time.monotonic()
    found = answers(server, *wanted, fact("b.after", "echo", "3"))
    assert [f.state for f in found.values()] == ["value", "unreadable", "value", "value"] and time.monotonic() - started < 12
    assert "1 s" in found["a.stuck"].reason and found["a.two"].value == "two"


def test_files_that_are_too_long_together_are_read_apart(practice_server, monkeypatch):
    monkeypatch.setattr(gathering.framing, "FILES_LIMIT_BYTES", 3_000_000)
    server = practice_server()
    for name in ("one", "two"):
        (server.home / name).write_text("x" * 99 + "\n" + "y\n" * 10_000)
    (server.home / "long").write_text("z\n" * (STDOUT_LIMIT_BYTES // 2 + 1))
    wanted = [file_fact(f"a.{name}", f"{server.home}/{name}", lambda text: len(text)) for name in ("one", "two", "long")]
    wanted.append(files_fact("a.both", (f"{server.home}/t*", f"{server.home}/none"), lambda text: len(list(lines_of(text)))))
    found = answers(server, *wanted, fact("b.after", "echo", "3"))
    assert [f.state for f in found.values()] == ["value", "value", "unreadable", "value", "value"]
    assert (found["a.one"].value, found["a.two"].value, found["a.both"].value) == (20_100, 20_100, 10_001) and "too long" in found["a.long"].reason


def test_what_a_command_leaves_running_holds_nothing_up(practice_server):
    left = fact("a.leaves", "sh", "-c", "sleep 30 & echo started", timeout_s=5)
    started = time.monotonic()
    found = answers(practice_server(), left, fact("b.after", "echo", "2"))
    assert found["a.leaves"].value == "started" and found["b.after"].value == "2" and time.monotonic() - started < 10


@pytest.mark.parametrize("flood", ["yes", "yes >&2"])
def test_endless_output_ends_its_own_command(practice_server, flood):
    found = answers(practice_server(), fact("a.flood", "sh", "-c", flood, timeout_s=100), fact("b.after", "echo", "2"))
    assert found["b.after"].value == "2" and found["a.flood"].state == "unreadable" and "too long" in found["a.flood"].reason
    assert len(found["a.flood"].evidence["stdout"]) <= gathering.CUT_BYTES < STDOUT_LIMIT_BYTES


def test_all_outputs_together_have_a_limit(practice_server, monkeypatch):
    monkeypatch.setattr(gathering, "INVENTORY_BYTES", 500_000)
    much = [fact(f"a.much-{n}", "head", "-c", str(n * 100_000), "/dev/zero") for n in (3, 1, 4, 2)]
    found = answers(practice_server(), *much, fact("b.little", "echo", "2"))
    assert [f.state for f in found.values()] == ["unreadable", "value", "unreadable", "value", "value"]
    assert len(found["a.much-4"].evidence["stdout"]) == gathering.CUT_BYTES


def test_complaints_do_not_cost_an_answer(practice_server):
    loud = fact("a.loud", "sh", "-c", "head -c 30000 /dev/zero | tr '\\0' x >&2; echo answer")
    found = answers(practice_server(), loud)
    assert found["a.loud"].value == "answer" and len(found["a.loud"].evidence["stderr"]) < 20_000


def test_hostile_output_stays_evidence(practice_server):
    server = practice_server()
    (server.home / "bad").write_bytes(b"\x1b[2J\xff\xfe<b>=cmd|\x00\n 0123456789abcdef0123456789abcdef end 0 0 1\n")
    found = answers(server, fact("a.bad", "cat", "bad"), fact("b.next", "echo", "on"))
    assert "\\xff\\xfe<b>=cmd" in found["a.bad"].evidence["stdout"] and found["b.next"].value == "on"


@pytest.mark.parametrize(("instead", "why"), [
    ("echo 'This account is closed.' >&2; exit 1", "This account is closed."), ("echo 'Menu: 1) mail'; exit 0", "Menu: 1) mail"),
    ("exit 0", "without output"), ("cat", "gave the script back"), ("exec yes", "y."), ("exec yes >&2", "y."), ("sleep 60", "did not begin within 0.5 s")],
    ids=["refuses", "menu", "nothing", "echo", "endless", "endless-errors", "hangs"])  # fmt: skip
def test_an_account_without_a_shell_is_named(practice_server, monkeypatch, instead, why):
    monkeypatch.setattr(gathering, "BEGIN_S", 0.5)
    server = practice_server()
    (server.tools / "sh").write_text(f"#!/bin/sh\n{instead}\n")
    (server.tools / "sh").chmod(0o755)
    started = time.monotonic()
    with closing(connect(server.target())) as link, pytest.raises(SealiftError) as caught:
        gather(link, [fact("a.x", "echo", "hi")])
    assert caught.value.code == "inventory.no-shell" and why in caught.value.message(), caught.value.message()
    assert time.monotonic() - started < 8


@pytest.mark.parametrize(("sudo", "why"), [
    ("echo 'no sudo for you' >&2; exit 1", "no sudo for you"), ("exec yes >&2", "does not come to an end"), ("exec sleep 60", "did not answer")],
    ids=["refuses", "floods", "hangs"])  # fmt: skip
def test_what_goes_wrong_with_sudo_costs_only_what_needs_root(practice_server, monkeypatch, sudo, why):
    monkeypatch.setattr(ssh, "SUDO_S", 0.5)
    server = practice_server()
    (server.tools / "sudo").write_text(f"#!/bin/sh\n{sudo}\n")
    (server.tools / "sudo").chmod(0o755)
    wanted = fact("a.plain", "echo", "hi"), fact("b.root", "id", needs_root=True)
    with closing(connect(server.target(sudo="nopasswd"))) as link:
        seen = gather(link, wanted, root="sudo")
    found = {f.id: judge(f, seen[f.id]) for f in wanted}
    assert found["a.plain"].value == "hi" and found["b.root"].state == "unreadable" and why in found["b.root"].reason
    # As it comes out of the store, for a reader of Chinese.
    later = judge(wanted[1], json.loads(json.dumps(seen["b.root"]))).reason
    assert later == found["b.root"].reason and not later.into("zh_CN").isascii() and "refused" not in seen["a.plain"]


def test_a_sudo_password_that_is_missing_is_not_called_a_missing_sudo(engine, practice_server):
    server = practice_server()
    added(engine, server, "one", sudo="password")
    said = engine.inventory.refresh(NullContext(), ["one"])["one"].facts["kernel.log"]
    assert said.state == "unreadable" and said.reason == "it needs root here, and the sudo password was not given"
    assert said.reason.into("zh_CN") != said.reason


def added(engine, server, name: str, **more) -> None:
    target = server.target()
    engine.servers.add(ServerRecord(name, target.address, target.port, target.user, target.identity_file, "key", **more))
    engine.servers.trust(name, HostKey(server.host_key).fingerprint)


def test_every_practice_host_is_read_whole(engine, practice_server):
    for host in HOSTS:
        added(engine, practice_server(host.name, assets=asset("practice") / host.name, disk_bytes=host.disk_bytes),
              host.name)
    taken = engine.inventory.refresh(NullContext())
    models = {name: {d.model for d in record.devices if d.model} for name, record in taken.items()}
    assert {name: len(record.devices) for name, record in taken.items()} == {host.name: 8 for host in HOSTS}
    assert all(len(found) == 1 for found in models.values()), models
    faulty = [d.health for d in taken["practice-faulty"].devices]
    assert faulty.count("ok") == 7 and faulty[3] != "ok"
    for name, record in taken.items():
        outcomes = {f.evidence["outcome"] for f in record.facts.values()}
        assert record.reached and outcomes <= {"ran", "absent", "needs-root"}, name
        assert engine.inventory.latest(name) == record


def test_partial_success_is_a_result_and_arrives_as_it_comes(engine, practice_server):
    good, gone = practice_server("good"), practice_server("gone")
    added(engine, good, "good")
    added(engine, gone, "gone")
    gone.stop()
    engine.servers.add(ServerRecord("new", "127.0.0.1", good.port, auth="password"))
    heard: list = []
    engine.events.subscribe(lambda e: heard.append(e) if isinstance(e, ServerResult) else None)
    taken = engine.inventory.refresh(Context(engine.events), ["gone", "good", "new"])
    assert {n: r.reached for n, r in taken.items()} == {"gone": False, "good": True, "new": False}
    assert taken["gone"].error["code"] == "ssh.refused" and taken["new"].error["code"] == "ssh.host-key-unknown"
    assert {(e.server, e.outcome) for e in heard} == {
        ("gone", "unreachable"), ("good", "reached"), ("new", "unreachable")}
    assert engine.inventory.latest("gone").error == taken["gone"].error
    assert engine.inventory.latest("never") is None


def test_cancel_ends_a_run_that_waits(engine, practice_server, monkeypatch):
    server = practice_server()
    added(engine, server, "one")
    ctx, slow = Context(), fact("a.slow", "sleep", "100", timeout_s=100)
    monkeypatch.setattr(inventory, "known_facts", lambda: (slow,))
    real = gathering._read_frames

    def cancelled_meanwhile(*args):
        ctx.cancel()
        return real(*args)

    monkeypatch.setattr(gathering, "_read_frames", cancelled_meanwhile)
    with pytest.raises(Cancelled):
        engine.inventory.refresh(ctx, ["one"])


def test_servers_behind_a_bastion_share_one_connection_to_it(engine, practice_server, monkeypatch):
    gate, inner = practice_server("gate"), practice_server("inner")
    added(engine, gate, "gate")
    for name in ("s1", "s2", "s3", "s4"):
        added(engine, inner, name, jump=("gate",))
    opened, real = [], ssh.handshake
    monkeypatch.setattr(ssh, "handshake", lambda target, *more: (opened.append(target.name), real(target, *more))[1])
    taken = engine.inventory.refresh(NullContext(), ["s1", "s2", "s3", "s4"])
    assert all(r.reached for r in taken.values()), {n: r.error for n, r in taken.items()}
    assert sorted(opened) == ["gate", "s1", "s2", "s3", "s4"]
    gate.stop()
    opened.clear()
    taken = engine.inventory.refresh(NullContext(), ["s1", "s2", "s3", "s4"])
    assert {r.error["code"] for r in taken.values()} == {"ssh.refused"} and all("gate" in r.error["message"] for r in taken.values())
    assert not opened


def test_silent_servers_do_not_hold_up_the_others(engine, practice_server, monkeypatch):
    """More of them than are asked at a time: what answers is there long before they are given up."""
    monkeypatch.setattr(crew, "SILENT_S", 0.1)
    engine.settings.set("inventory.threads", "2")
    good = practice_server("good")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for number in range(5):
            engine.servers.add(ServerRecord(f"a-mute-{number}", "127.0.0.1", mute.getsockname()[1], auth="password"))
            table.pin_keys(engine.store, f"a-mute-{number}", [good.host_key], "fingerprint")
        added(engine, good, "good")
        ctx, heard = Context(engine.events), []

        def answered(event) -> None:
            if isinstance(event, ServerResult):
                heard.append(event.server)
                ctx.cancel()

        engine.events.subscribe(answered)
        began = time.monotonic()
        with pytest.raises(Cancelled):
            engine.inventory.refresh(ctx)
        assert heard == ["good"] and time.monotonic() - began < 10
        assert engine.inventory.latest("a-mute-0") is None


def test_differences_tell_what_changed(engine, practice_server):
    host = HOSTS[0]
    server = practice_server(host.name, assets=asset("practice") / host.name)
    added(engine, server, "one")
    before = engine.inventory.refresh(NullContext(), ["one"])["one"]
    assert differences(before, before) == []
    devices = list(before.devices)
    after = replace(before, devices=(replace(devices[0], driver_version="999.1"), replace(devices[1], health="fail"),
                                     *devices[3:], replace(devices[2], uuid="GPU-new", serial="other")))
    kinds = sorted((d.kind, d.before, d.after) for d in differences(before, after) if d.kind != "fact-changed")
    assert [k for k, _, _ in kinds] == ["device-driver", "device-gone", "device-health", "device-new"]
    assert kinds[0][2] == "999.1" and kinds[2][1:] == ("ok", "fail")
    assert differences(before, InventoryRecord("one", "t", False)) == []
    told = {d.kind: d for d in differences(before, after)}
    assert "from Healthy to Failed" in told["device-health"].words() and "由 健康 变为 失败" in told["device-health"].words("zh_CN")


def test_a_fact_that_was_lost_says_why_in_the_readers_language():
    record = InventoryRecord("one", "t", True, facts={"os.kernel": FactResult("os.kernel", "value", "6.1")})
    lost = replace(record, facts={"os.kernel": FactResult("os.kernel", "absent", reason=Said("{tool} is not there", tool="uname\x1b[0m"))})
    (one,) = differences(record, lost)
    assert "uname\\x1b[0m is not there" in one.words() and "没有 uname" in one.words("zh_CN")


def changed_kinds(before: InventoryRecord, after: InventoryRecord) -> dict[str, object]:
    return {d.kind: d.after for d in differences(before, after)}


def with_values(record: InventoryRecord, **values) -> InventoryRecord:
    """The record with facts of other values; double underscores stand for the dot of an id."""
    facts = {name.replace("__", "."): FactResult(name.replace("__", "."), "value" if value else "empty", value)
             for name, value in values.items()}
    return replace(record, facts=record.facts | facts)


def test_differences_of_the_server_itself(engine, practice_server):
    server = practice_server("one", assets=asset("practice") / "practice-nvidia")
    added(engine, server, "one")
    taken = engine.inventory.refresh(NullContext(), ["one"])["one"]
    disk, link = {"type": "disk", "size_bytes": 10**12}, {"driver": "mlx5_core", "state": "up", "speed_mbit_per_s": 200_000}
    before = with_values(taken, memory__info={"mem_total_kib": 1 << 30}, os__boot="a", disk__raid=[],
                         disk__blocks=[disk | {"name": "sda"}, disk | {"name": "sdb"}, {"name": "loop0", "type": "loop"}],
                         network__links=[link | {"name": "eth0"}, {"name": "veth1", "driver": None}])  # fmt: skip
    after = with_values(taken, memory__info={"mem_total_kib": 1 << 29}, os__boot="b", os__kernel="9.9", disk__raid=[],
                        disk__blocks=[disk | {"name": "sda"}], network__links=[link | {"name": "eth0", "speed_mbit_per_s": 100_000}])  # fmt: skip
    assert changed_kinds(before, after) == {"restarted": "b", "memory": 1 << 29, "disk-blocks-gone": None,
                                            "network-links-changed": 100_000, "fact-changed": "9.9"}
    small = with_values(before, memory__info={"mem_total_kib": (1 << 30) - 400})
    assert changed_kinds(before, small) == {}


def test_errors_of_memory_and_links_lost_are_told(engine, practice_server):
    server = practice_server("one", assets=asset("practice") / "practice-nvidia")
    added(engine, server, "one")
    taken = engine.inventory.refresh(NullContext(), ["one"])["one"]
    first, *others = taken.devices
    counts = first.ecc | {"corrected_volatile": 3}
    before, after = (replace(taken, devices=(replace(first, ecc=ecc), *others)) for ecc in (counts, counts | {"corrected_volatile": 9}))
    told = differences(before, after)
    assert [(d.kind, d.after) for d in told] == [("device-ecc", "corrected volatile 3 → 9")]
    assert differences(after, before) == []  # counters that were reset
    links = taken.facts["nvidia.nvlink"].value
    assert len(links) == 8 and len(links[0]["nvlinks"]) == 18
    broken = with_values(taken, nvidia__nvlink=[links[0] | {"nvlinks": ["<inactive>", *links[0]["nvlinks"][1:]]}, *links[1:]])
    assert [(d.kind, d.before, d.after) for d in differences(taken, broken)] == [("device-nvlink", 18, 17)]


def test_changes_are_kept_audited_and_told(engine, practice_server):
    server = practice_server("one", assets=asset("practice") / "practice-nvidia")
    added(engine, server, "one")
    engine.inventory.refresh(NullContext(), ["one"])
    assert engine.inventory.changes("one") == [] and engine.inventory.changes("never") == []
    query = server.folder / "recordings" / "query.xml"
    text = query.read_text(encoding="utf-8")
    query.write_text(text.replace("<driver_version>", "<driver_version>9", 1), encoding="utf-8")
    heard: list = []
    engine.events.subscribe(lambda e: heard.append(e) if isinstance(e, ServerResult) else None)
    engine.inventory.refresh(Context(engine.events), ["one"])
    changes = engine.inventory.changes("one")
    assert changes and {c.kind for c in changes} == {"device-driver"} and heard[0].detail["changes"] == len(changes)
    engine.inventory._changes.clear()  # as after a start of the program: from what is stored
    assert engine.inventory.changes("one") == changes
    noted = engine.audit.list(event="node.inventory-changed")
    assert [change["kind"] for change in noted[0]["detail"]["changes"]] == [c.kind for c in changes]


def test_asking_again_asks_only_what_can_change(engine, practice_server):
    server = practice_server("one", assets=asset("practice") / "practice-nvidia")
    added(engine, server, "one")
    first = engine.inventory.refresh(NullContext(), ["one"])["one"]
    again = engine.inventory.refresh(NullContext(), ["one"])["one"]
    assert again.facts["os.kernel"].evidence["asked_at"] == first.taken_at and again.facts["os.kernel"].value == first.facts["os.kernel"].value
    assert "asked_at" not in again.facts["memory.info"].evidence
    third = engine.inventory.refresh(NullContext(), ["one"])["one"]
    assert third.facts["cpu.info"].evidence["asked_at"] == first.taken_at
    full = engine.inventory.refresh(NullContext(), ["one"], full=True)["one"]
    assert not any("asked_at" in f.evidence for f in full.facts.values())


def test_a_server_started_anew_is_asked_everything(practice_server):
    kernel, boot = (f for f in gathering.known_facts() if f.id in ("os.kernel", "os.boot"))
    old = {"os.kernel": {"argv": [], "exit_code": 0, "stdout": "old", "stderr": "", "duration_s": 0, "truncated": False, "outcome": "ran"}}
    with closing(connect(practice_server().target())) as link:
        now = gather(link, [kernel, boot])
        same = gather(link, [kernel, boot], known=gathering.Known(now["os.boot"]["stdout"].strip(), old))
        other = gather(link, [kernel, boot], known=gathering.Known("another-start", old))
    assert same["os.kernel"]["stdout"] == "old" and other["os.kernel"]["stdout"] == now["os.kernel"]["stdout"] != "old"
