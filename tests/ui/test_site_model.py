"""What the site screen makes of servers before anything is drawn: topology, states, filters, groups."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.accelerators.device import Device
from console.servers.inventory import InventoryRecord
from console.servers.record import ServerRecord
from console.servers.results import FactResult
from ui.models.servers import (
    KEY_CHANGED,
    SERVER_STATES,
    ServerView,
    change_tone,
    counts,
    filled,
    in_class,
    sections,
    wanted,
)
from ui.models.topology import topology_of

PIN = ("ssh-ed25519 AAAA",)


def gpus(count: int, kind=lambda a, b: "NV18", *, vendor: str = "nvidia", numa=lambda i: None, **more) -> tuple[Device, ...]:
    made = []
    for i in range(count):
        peers = {j: kind(min(i, j), max(i, j)) for j in range(count) if j != i}
        made.append(Device(vendor, i, "X", links={"kind": "?", "peers": peers} if peers else None, numa_node=numa(i),
                           **{key: value(i) for key, value in more.items()}))
    return tuple(made)


def view(name: str = "gpu-1", devices=(), *, pins=PIN, reached: bool = True, error=None, changes=(), asked: bool = True,
         known=None, facts=None, **record) -> ServerView:
    taken = InventoryRecord(name, "2026-11-24T02:00:00Z", reached, error, facts or {}, tuple(devices)) if asked else None
    return ServerView(ServerRecord(name, "10.0.0.1", host_keys=pins, **record), taken, known or (taken if reached else None), changes)


def test_a_switched_fabric_joins_each_to_each():
    devices = gpus(8, numa=lambda i: i // 4)
    facts = {"nvidia.fabric-manager": FactResult("nvidia.fabric-manager", "value", "580.1")}
    found = topology_of(devices, facts)
    assert [(node.label, node.places) for node in found.nodes] == [("0", (0, 1, 2, 3)), ("1", (4, 5, 6, 7))]
    (fabric,) = found.fabrics
    assert (fabric.kind, fabric.links, fabric.whole, fabric.switched) == ("nvlink", 18, True, True)
    assert not topology_of(devices, {}).fabrics[0].switched, "without a word of switches none are claimed"


def test_bridges_make_groups_and_a_mesh_stays_a_mesh():
    pairs = topology_of(gpus(4, lambda a, b: "NV4" if a // 2 == b // 2 else "SYS"), {})
    assert [fabric.places for fabric in pairs.fabrics] == [(0, 1), (2, 3)]
    mesh = topology_of(gpus(4, lambda a, b: "SYS" if (a, b) == (0, 3) else "NV2" if b - a == 2 else "NV1"), {})
    assert len(mesh.fabrics) == 1 and not mesh.fabrics[0].whole and mesh.fabrics[0].links == 0
    assert len(mesh.fabrics[0].pairs) == 5


def test_pcie_switches_come_from_devices_and_from_shared_ports():
    near = topology_of(gpus(4, lambda a, b: "PIX" if a // 2 == b // 2 else "NODE", numa=lambda i: 0), {})
    assert [(part.places, part.switch) for part in near.nodes[0].parts] == [((0, 1), True), ((2, 3), True)]
    assert near.told and not near.fabrics
    links = {f"GPU{i}": {"NIC0": "PIX" if i < 2 else "SYS", "NIC1": "PIX" if i >= 2 else "SYS"} for i in range(4)}
    matrix = FactResult("nvidia.topology", "value", {"topology": {"links": links}})
    shared = topology_of(gpus(4), {"nvidia.topology": matrix})
    assert [(part.places, part.ports) for part in shared.nodes[0].parts] == [((0, 1), ("NIC0",)), ((2, 3), ("NIC1",))]


def test_two_dies_of_a_card_stay_together():
    found = topology_of(gpus(4, lambda a, b: "SIO" if a // 2 == b // 2 else "HCCS_SW", vendor="ascend", card=lambda i: i // 2), {})
    assert [part.places for part in found.nodes[0].parts] == [(0, 1), (2, 3)]
    (fabric,) = found.fabrics
    assert fabric.kind == "hccs" and fabric.whole and fabric.switched


def test_cpus_near_a_device_stand_for_the_node_only_where_the_server_tells_its_nodes():
    cpus = {"NPU0": "0-3", "NPU1": "4-7"}
    matrix = FactResult("ascend.topology", "value", {"topology": {"links": {}, "cpu_affinity": cpus}})
    devices = gpus(2, lambda a, b: "HCCS", vendor="ascend")
    untold = topology_of(devices, {"ascend.topology": matrix})
    assert [(node.label, node.by_cpus) for node in untold.nodes] == [("0-3", True), ("4-7", True)]
    nodes = FactResult("cpu.numa", "value", [{"node": 0, "cpus": "0-3"}, {"node": 1, "cpus": "4-7"}])
    told = topology_of(devices, {"ascend.topology": matrix, "cpu.numa": nodes})
    assert [(node.label, node.by_cpus) for node in told.nodes] == [("0", False), ("1", False)]


KINDS = st.sampled_from(["NV1", "NV18", "PIX", "PXB", "PHB", "NODE", "SYS", "HCCS", "HCCS_SW", "SIO", "XGMI", "PCIE", "?", ""])


@given(st.integers(0, 16), st.randoms(use_true_random=False), st.lists(KINDS, min_size=1, max_size=6),
       st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=16, max_size=16))
def test_whatever_the_links_every_device_is_drawn_once(count, rng, kinds, nodes):
    table = {(a, b): rng.choice(kinds) for a in range(count) for b in range(a + 1, count)}
    found = topology_of(gpus(count, lambda a, b: table[a, b], numa=lambda i: nodes[i]), {})
    assert sorted(place for node in found.nodes for place in node.places) == list(range(count))
    for fabric in found.fabrics:
        assert all(a in fabric.places and b in fabric.places for a, b, _links in fabric.pairs)


@pytest.mark.parametrize(("made", "state"), [
    (view(pins=()), "untrusted"), (view(asked=False), "unasked"), (view(), "bare"),
    (view(reached=False, error={"code": "ssh.unreachable"}), "unreachable"),
    (view(reached=False, error={"code": KEY_CHANGED}), "keychanged"),
    (view(devices=[Device("nvidia", 0, "X", health="ok")]), "ok"),
    (view(devices=[Device("nvidia", 0, "X", health="ok"), Device("nvidia", 1, "X", health="warning")]), "warning"),
    (view(devices=[Device("nvidia", 0, "X", health="warning"), Device("nvidia", 1, "X", health="fail")]), "fail"),
    (ServerView(ServerRecord("a", "b", host_keys=PIN), read=False), "reading")])
def test_the_state_of_a_server(made, state):
    assert made.state == state and state in SERVER_STATES


def test_a_server_that_is_away_keeps_the_devices_that_were_known():
    before = view(devices=gpus(2)).known
    away = view(reached=False, error={"code": "ssh.unreachable"}, known=before)
    assert away.state == "unreachable" and away.outdated and len(away.devices) == 2


def test_the_filter_takes_words_and_names_what_they_are_in():
    one = view("gpu-7", gpus(2), group="hall 2", labels=("spare", "new"))
    for text in ("GPU-7", "hall spare", "group:hall", "label:new", "device:x", "state:unknown", "address:10.0", "", 'group:"hall 2"', '"hall 2" spare', 'group:"hall'):
        assert wanted(one, text), text
    for text in ("gpu-8", "group:spare", "label:hall", "state:ok", "hall nothing", 'group:"hall 3"', '"2 hall"'):
        assert not wanted(one, text), text


def test_states_may_be_named_as_on_the_command_line():
    waiting = view("w", asked=False)
    assert waiting.state == "unasked" and all(wanted(waiting, text) for text in ("state:unasked", "state:never-asked"))
    assert not wanted(waiting, "state:key-changed")


def test_counts_and_classes_agree():
    changed = view("c", gpus(1), changes=(SimpleNamespace(kind="device-gone"),))
    views = [view("a", pins=()), view("b", gpus(1)), changed]
    found = counts(views)
    assert found == {"untrusted": 1, "unknown": 2, "changed": 1}
    for name, count in found.items():
        assert sum(in_class(one, name) for one in views) == count
    assert all(in_class(one, "") for one in views)


def test_servers_are_put_together_and_none_is_lost():
    say = lambda text, **_params: text  # noqa: E731 - the text itself
    views = [view("a", group="z"), view("b"), view("c", group="Y", labels=("l",)), view("d", gpus(3), group="z")]
    for by in ("", "group", "label", "state", "device"):
        found = sections(views, by, say)
        assert sorted(one.name for section in found for one in section.views) == ["a", "b", "c", "d"], by
    assert [section.title for section in sections(views, "group", say)] == ["Y", "z", "Without a group"]


@pytest.mark.parametrize(("used", "total", "part"), [(0, 10, 0.0), (5, 10, 0.5), (20, 10, 1.0), (None, 10, None), (5, None, None),
                                                     (0, 0, None)])
def test_a_gauge_is_between_empty_and_full_or_says_nothing(used, total, part):
    assert filled(Device("nvidia", 0, "X", memory_used_bytes=used, memory_total_bytes=total)) == part


def test_what_goes_away_is_never_plain_news():
    assert change_tone("device-gone") == "fail" and change_tone("network-links-gone") == "warn" and change_tone("device-new") == "info"
