"""The whole of a push: an imported release, servers over SSH, results, audit, the command line."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from console.cli.main import main
from console.engine import Engine
from console.errors import Cancelled, SealiftError
from console.jobs.job import NullContext
from console.push import lanes, service, worker
from console.servers.record import ServerRecord
from tests.push.local import PYTHON, make, noise

FILES = {"model/big.bin": noise(1, 3_000_000), "model/config.json": b"{}", "runtime/run.sh": b"#!/bin/sh\n"}
CHUNK = 256 << 10


class Shelf:
    """A release's files laid out as the library does; what they were imported from does not matter to a push."""

    def __init__(self, engine, files, chunk=CHUNK, executable=("runtime/run.sh",)):
        from console.bundles.library import Release
        from console.bundles.manifest import Component

        made = make(engine.workspace / "made", files, chunk, executable)
        for entry in made.entries:
            place = engine.library.file(entry.sha256)
            place.parent.mkdir(parents=True, exist_ok=True)
            (made.folder / entry.sha256).replace(place)
        entries = tuple(type(e)(e.path, e.size, e.sha256, e.path.split("/")[0], e.exec, e.chunks) for e in made.entries)
        parts = tuple(Component(i, "model", "1", i, "other", 0) for i in sorted({e.component for e in entries}))
        self.release = Release("ab" * 32, "cd" * 16, "Test", "main", 1, "", "", parts, entries, ())


class Facility:
    def __init__(self, tmp_path: Path, start):
        self.engine = Engine.open(tmp_path / "workspace")
        self.engine.site.init("Test", "other", "internal")
        self.release = Shelf(self.engine, FILES).release
        self._start, self.servers = start, {}

    def add(self, name: str, **options):
        server = self.servers[name] = self._start(name, **options)
        target = server.target()
        book = self.engine.servers
        book.add(ServerRecord(name, target.address, target.port, target.user, target.identity_file, "key", store="~/store"))
        book.trust(name, book.offered_key(name).fingerprint)
        return server

    def push(self, *names, ctx=None, **options):
        found = self.engine.push.run(ctx or NullContext(), options.pop("release", self.release), names, **options)
        return {s["name"]: s for s in found["servers"]}

    def released(self, name, release=None):
        folder = self.servers[name].home / "store/releases" / (release or self.release).release_id
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    def records(self, event):
        return sorted((r for r in self.engine.audit.list() if r["event"] == event), key=lambda r: r["seq"])


@pytest.fixture
def facility(tmp_path, practice_server):
    made = Facility(tmp_path, practice_server)
    yield made
    made.engine.close()


def test_the_python_that_the_inventory_found_is_not_looked_for_again(facility, monkeypatch):
    facility.add("one")
    facility.engine.inventory.refresh(NullContext(), ["one"])
    known = facility.engine.inventory.latest("one", reached=True)
    told = [{"path": "/usr/bin/python3", "version": "3.9.2", "venv": False}]
    asked = []
    monkeypatch.setattr(service, "python_of", lambda transport: asked.append(1) or PYTHON)
    for value, looks in ((told, 0), ([told[0] | {"version": "3.5.2"}], 1), ([told[0] | {"path": "/opt/shims/python3"}], 1), ([], 1)):
        asked.clear()
        monkeypatch.setitem(known.facts, "python.versions", replace(known.facts["python.versions"], state="value", value=value))
        assert facility.push("one")["one"]["outcome"] == "verified"
        assert len(asked) == looks, value


def test_a_python_that_is_gone_since_the_inventory_is_looked_for(facility, monkeypatch):
    facility.add("one")
    monkeypatch.setattr(service.PushService, "_python_told", lambda self, name: "/usr/bin/python3-that-was")
    pushed = facility.push("one")["one"]
    assert pushed["outcome"] == "verified" and pushed["receiver"] == "python"


def test_two_servers_one_without_python(facility):
    facility.add("one")
    facility.add("bare").fault("no-python3")
    found = facility.push("one", "bare")
    for name, receiver in (("one", "python"), ("bare", "shell")):
        result = found[name]
        assert (result["outcome"], result["degree"], result["receiver"], result["via"]) == ("verified", "stored", receiver, "console")
        assert result["bytes_sent"] == result["bytes_total"] == sum(map(len, FILES.values()))
        assert result["error"] is None and result["seconds"] > 0
        assert facility.released(name) == FILES
    assert {s["bytes_sent"] for s in facility.push("one", "bare").values()} == {0}


def test_what_goes_to_many_servers_is_planned_once(facility, monkeypatch):
    for name in ("one", "two"):
        facility.add(name)
    book, made, real = facility.engine.servers, [], service.manifest.plan
    book.update(replace(book.get("two"), store="~/elsewhere"))
    monkeypatch.setattr(service.manifest, "plan", lambda *given: made.append(given) or real(*given))
    assert {s["outcome"] for s in facility.push("one", "two").values()} == {"verified"} and len(made) == 1
    assert facility.released("one") == FILES and facility.released("two") == {}
    place = facility.servers["two"].home / "elsewhere/releases" / facility.release.release_id / "model/config.json"
    assert place.read_bytes() == FILES["model/config.json"]


def test_each_server_has_its_own_result(facility):
    facility.add("good")
    facility.add("gone").stop()
    facility.add("changed").fault("host-key-changed")
    facility.add("full").fault("disk-full=1MiB")
    found = facility.push("good", "gone", "changed", "full")
    assert {n: (s["outcome"], (s["error"] or {}).get("code")) for n, s in found.items()} == {
        "good": ("verified", None),
        "gone": ("unreachable", "ssh.refused"),
        "changed": ("refused", "ssh.host-key-changed"),
        "full": ("failed", "push.disk-full"),
    }
    facility.servers["full"].fault("none")
    again = facility.push("full")["full"]
    assert again["outcome"] == "verified" and again["bytes_resumed"] > 0
    assert facility.released("full") == FILES


def test_a_cut_is_mended_within_the_run(facility):
    server = facility.add("one")
    server.fault("cut-after=1MiB")
    result = facility.push("one")["one"]
    assert result["outcome"] == "verified" and facility.released("one") == FILES
    assert server.connections_seen >= 3
    # Its own bytes, found again after the cut, are neither reused nor resumed.
    assert result["bytes_resumed"] == result["bytes_reused"] == 0
    assert result["bytes_total"] < result["bytes_sent"] <= 2 * result["bytes_total"]


def test_the_audit_tells_before_and_after(facility):
    facility.add("one")
    facility.push("one", degree="media")
    (start,), (end,) = facility.records("push.start"), facility.records("push.end")
    assert start["detail"]["servers"] == ["one"] and start["detail"]["degree"] == "media"
    assert end["outcome"] == "success" and end["detail"]["servers"]["one"]["outcome"] == "verified"
    assert end["detail"]["servers"]["one"]["degree"] == "media" and end["corr"] == start["corr"]
    facility.servers["one"].stop()
    facility.push("one")
    assert facility.records("push.end")[-1]["outcome"] == "failure"


def test_a_cancel_ends_it_and_the_next_push_goes_on(facility):
    facility.add("one").fault("slow=4MiB")
    ctx = NullContext()

    class Watch(NullContext):
        def server(self, name):
            watch = self

            class Bound(NullContext):
                def __init__(self):
                    super().__init__(root=watch)

                def progress(self, done, total, unit, left_s=None):
                    if done > total // 3:
                        watch.cancel()
                    super().progress(done, total, unit)

            return Bound()

    ctx = Watch()
    with pytest.raises(Cancelled):
        facility.push("one", ctx=ctx)
    assert facility.records("push.end")[-1]["reason"] == "cancelled"
    assert facility.released("one") == {}
    facility.servers["one"].fault("none")
    result = facility.push("one")["one"]
    assert result["outcome"] == "verified" and result["bytes_resumed"] > 0


def test_only_named_components_go(facility):
    facility.add("one")
    assert facility.push("one", components=["runtime"])["one"]["bytes_total"] == len(FILES["runtime/run.sh"])
    assert set(facility.released("one")) == {"runtime/run.sh"}
    with pytest.raises(SealiftError) as caught:
        facility.push("one", components=["nonsense"])
    assert caught.value.code == "push.no-component"


@pytest.mark.parametrize("options, code", [({"degree": "perfect"}, "push.bad-degree"), ({"connections": 9}, "push.bad-connections")])
def test_what_cannot_be_is_said_at_once(facility, options, code):
    facility.add("one")
    with pytest.raises(SealiftError) as caught:
        facility.push("one", **options)
    assert caught.value.code == code and not facility.records("push.start")


def test_the_least_degree_is_the_sites(facility):
    facility.engine.settings.set("push.degree", "media")
    facility.add("one")
    assert facility.push("one")["one"]["degree"] == "media"


def test_workers_share_a_big_file(facility, monkeypatch):
    """Two more processes beside the first connection, each over SSH with its own lane."""
    monkeypatch.setattr(lanes, "WORTH_BYTES", 1 << 20)
    monkeypatch.setattr(lanes, "WINDOW_S", 0.0)
    facility.engine.push._slots = lanes.Slots(2)
    server = facility.add("one")
    release = Shelf(facility.engine, {"model/big": noise(3, 48 << 20), "model/small": b"s"}, 4 << 20).release
    server.fault("slow=30MiB")
    result = facility.push("one", release=release, connections=3)["one"]
    assert result["outcome"] == "verified" and 2 <= result["connections"] <= 3
    assert facility.released("one", release)["model/big"] == noise(3, 48 << 20)
    assert result["bytes_sent"] == result["bytes_total"]
    assert facility.engine.push._slots.take() and facility.engine.push._slots.take()


def test_a_worker_that_dies_is_missed_by_nobody(facility, monkeypatch):
    monkeypatch.setattr(lanes, "WORTH_BYTES", 1 << 20)
    facility.engine.push._slots = lanes.Slots(1)
    started, real = [], worker.start
    monkeypatch.setattr(worker, "start", lambda *given: started.append(real(*given)) or started[-1])
    release = Shelf(facility.engine, {"model/big": noise(3, 24 << 20)}, 1 << 20).release
    facility.add("one").fault("slow=16MiB")

    class Kills(NullContext):
        def server(self, name):
            return self

        def progress(self, done, total, unit, left_s=None):
            if done > total // 2 and started:
                started[0].kill()

    result = facility.push("one", release=release, connections=2, ctx=Kills())["one"]
    assert started and result["outcome"] == "verified"
    assert facility.released("one", release)["model/big"] == noise(3, 24 << 20)


def test_the_limit_holds_over_all_servers(facility):
    facility.add("one")
    result = facility.push("one", limit_bytes_per_s=4_000_000)["one"]
    assert result["outcome"] == "verified" and result["seconds"] > 0.6


@pytest.mark.parametrize("bare", [False, True])
def test_at_rest_damage_is_found_and_repaired(facility, bare):
    server = facility.add("one")
    if bare:
        server.fault("no-python3")
    facility.push("one")
    verify = facility.engine.push.verify
    (whole,) = verify(NullContext(), facility.release, ["one"])["servers"]
    assert whole["verdict"] == "verified" and whole["degree"] == "media"
    assert facility.records("push.verify")[-1]["detail"]["servers"] == {"one": {"verdict": "verified", "degree": "media", "findings": 0}}
    place = server.home / "store/releases" / facility.release.release_id / "model/big.bin"
    stat = place.stat()
    place.chmod(0o600)
    with open(place, "r+b") as file:
        file.seek(CHUNK)
        file.write(b"x")
    place.chmod(0o444)
    os.utime(place, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (found,) = verify(NullContext(), facility.release, ["one"])["servers"]
    assert found["verdict"] == "failed" and found["findings"] == [
        {"code": "digest", "path": "model/big.bin", "message": "the file is not the one that was signed"}]  # fmt: skip
    assert facility.push("one")["one"]["bytes_sent"] == CHUNK
    assert verify(NullContext(), facility.release, ["one"])["servers"][0]["verdict"] == "verified"
    (server.home / "store/releases" / facility.release.release_id / "runtime/run.sh").unlink()
    (found,) = verify(NullContext(), facility.release, ["one"])["servers"]
    assert [f["code"] for f in found["findings"]] == ["missing"]
    assert verify(NullContext(), facility.release, ["one"], ["model"])["servers"][0]["verdict"] == "verified"


def test_the_command(facility, capsys, monkeypatch):
    facility.add("one")
    facility.add("gone").stop()
    monkeypatch.setattr("console.bundles.library.Library.get", lambda self, name: facility.release)
    workspace = str(facility.engine.workspace)
    facility.engine.close()

    def run(*words):
        code = main(["--workspace", workspace, "--json", "push", "Test", *words])
        return code, json.loads(capsys.readouterr().out)

    code, document = run("--to", "one", "--degree", "received", "--limit", "100MB")
    assert code == 0
    wanted = {"name", "outcome", "degree", "bytes_total", "bytes_sent", "bytes_reused", "bytes_resumed", "seconds", "via", "error"}
    assert wanted <= set(document["servers"][0])
    assert run("--to", "one", "gone")[0] == 3
    assert run("--to", "one", "--verify-only")[0] == 0
    assert run("--to", "one", "--limit", "fast")[1]["error"]["code"] == "push.bad-limit"
    facility.servers["one"].fault("host-key-changed")
    assert run("--to", "one")[0] == 1
    assert main(["--workspace", workspace, "--lang", "zh_CN", "push", "Test", "--to", "one", "gone"]) == 1
    assert "ssh.host-key-changed" in capsys.readouterr().out


def test_no_secret_reaches_a_workers_command_line():
    from console.secrets import Secret
    from console.transport.target import Login, Target

    process = worker.start(Target("x", "127.0.0.1", 1), Login(Secret("hunter2")), "python3", "~/s", b"")
    try:
        assert "hunter2" not in " ".join(process.args)
        assert "ssh." in json.loads(process.stdout.readline())["error"]
        assert process.wait(20) == 1
    finally:
        process.kill()
        process.stdin.close()
        process.stdout.close()


def test_workers_go_through_the_jump_host(facility, monkeypatch):
    monkeypatch.setattr(lanes, "WORTH_BYTES", 1 << 20)
    facility.engine.push._slots = lanes.Slots(1)
    gate, server = facility.add("gate"), facility.add("inner")
    book = facility.engine.servers
    book.update(replace(book.get("inner"), jump=("gate",)))
    release = Shelf(facility.engine, {"model/big": noise(3, 48 << 20)}, 4 << 20).release
    server.fault("slow=30MiB")
    before = gate.connections_seen
    result = facility.push("inner", release=release, connections=2)["inner"]
    assert (result["outcome"], result["connections"]) == ("verified", 2)
    assert gate.connections_seen == before + 2
    assert facility.released("inner", release)["model/big"] == noise(3, 48 << 20)
