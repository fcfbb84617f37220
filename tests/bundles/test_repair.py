"""Repair data: what was lost or damaged comes back byte for byte, or is refused by the name of its volume."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from bundle_samples import content, weights
from hypothesis import example, given
from hypothesis import strategies as st

from console.bundles import layout, manifest, parity, volumes
from console.bundles.build import build, preview
from console.bundles.verify import verify
from console.errors import InputError, SealiftError, VerdictError, WorldError
from console.jobs.job import NullContext
from console.trust.keys import PrivateKey

CTX = NullContext()
KEY = PrivateKey.generate("ecdsa-p256")
TRUSTED = {KEY.public.keyid: (KEY.public, "builder")}


@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=8), st.data())
def test_any_one_of_a_group_comes_back(parts, data):
    size = max(map(len, parts))
    made = parity.xor(parts, size)
    lost = data.draw(st.integers(0, len(parts) - 1))
    back = parity.xor([made, *(p for n, p in enumerate(parts) if n != lost)], size)
    assert back[: len(parts[lost])] == parts[lost] and not any(back[len(parts[lost]) :])


@given(st.lists(st.lists(st.integers(1, 900), max_size=12), min_size=1, max_size=5), st.integers(2, 6))
def test_groups_hold_every_object_once_and_never_two_of_one_volume(sizes, count):
    placed = [[(f"{v}-{n}", size) for n, size in enumerate(volume)] for v, volume in enumerate(sizes)]
    everything = sorted(name for volume in placed for name, _ in volume)
    groups = parity.across(placed)
    assert sorted(name for g in groups for name in g) == everything
    assert all(len({name.split("-")[0] for name in g}) == len(g) for g in groups)
    flat = [item for volume in placed for item in volume]
    assert sorted(name for g in parity.every(flat, count) for name in g) == everything
    assert all(len(g) <= count for g in parity.every(flat, count))


def source(folder: Path) -> Path:
    """A sample with enough packages to fill three volumes."""
    spec = content(folder)
    for number in range(14):
        (folder / "packages" / f"part{number}.run").write_bytes(b"#!/bin/sh\n" + weights(number, 1 << 18))
    return spec


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle over several volumes, the last one of repair data; not to be changed."""
    folder = tmp_path_factory.mktemp("parity")
    built = build(CTX, source(folder / "source"), folder / "out", [KEY], 1_250_000, parity="volume")
    return built, sorted((folder / "out").iterdir()), folder / "source"


@pytest.fixture
def drives(made, tmp_path: Path) -> list[Path]:
    """A copy of its volumes, to be spoiled."""
    return [Path(shutil.copytree(drive, tmp_path / "drives" / drive.name)) for drive in made[1]]


def objects(drive: Path) -> list[Path]:
    return sorted(drive.rglob(f"{layout.OBJECTS}/*/*"), key=lambda p: (-p.stat().st_size, p.name))


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def same_as_source(engine, release, folder: Path) -> None:
    """Every file of the packages, byte for byte."""
    for file in (folder / "packages").iterdir():
        assert engine.library.open_file(release, f"packages/{file.name}").read_bytes() == file.read_bytes()
    assert engine.library.verify(CTX, release) == []


def test_repair_data_is_a_volume_of_its_own_and_verified(made):
    built, drives, _ = made
    told = verify(CTX, drives, TRUSTED)
    assert told["verdict"] == "verified", told["findings"]
    assert told["parity"]["objects"] and built.parity_bytes == told["parity"]["bytes"]
    largest = max(sum(p.stat().st_size for p in objects(drive)) for drive in drives[:-1])
    assert built.parity_bytes <= 1.2 * largest


@pytest.mark.parametrize("lost", [0, 1, -1])
def test_any_one_volume_may_be_lost(drives, lost, made, open_site):
    drives.pop(lost)
    engine = open_site(KEY)
    imported = engine.library.import_(CTX, drives)
    same_as_source(engine, imported.release, made[2])
    assert bool(imported.receipt["bytes_rebuilt"]) == (lost != -1)


def test_damage_on_every_volume_is_made_up_for_when_no_group_has_two(drives, made, open_site):
    index = manifest.read_index(next(drives[0].rglob(layout.INDEX)).read_bytes())
    place = {p.name: n for n, drive in enumerate(drives) for p in objects(drive)}
    spoiled: set[int] = set()
    for group in index.parity:
        for digest in group.of:
            if place[digest] not in spoiled:
                spoiled.add(place[digest])
                flip(next(drives[place[digest]].rglob(digest)))
                break
    assert len(spoiled) >= len(drives) - 1
    told = verify(CTX, drives, TRUSTED)
    assert told["verdict"] == "failed" and told["repairable"], told["findings"]
    engine = open_site(KEY)
    same_as_source(engine, engine.library.import_(CTX, drives).release, made[2])


def test_one_drive_at_a_time_with_a_damaged_one(drives, made, open_site):
    flip(objects(drives[1])[0])
    engine = open_site(KEY)
    for number, drive in enumerate(drives[:-1], 1):
        with pytest.raises(WorldError) as caught:
            engine.library.import_(CTX, [drive])
        left = [str(n) for n in range(number + 1, len(drives) + 1)]
        assert caught.value.code == "bundle.volume-missing" and caught.value.params["volumes"] == ", ".join(left)
    imported = engine.library.import_(CTX, [drives[-1]])
    same_as_source(engine, imported.release, made[2])


def test_the_last_drive_is_not_even_needed(drives, made, open_site):
    engine = open_site(KEY)
    for drive in [drives[-1], *drives[: -2 or None][:-1]]:
        with pytest.raises(WorldError):
            engine.library.import_(CTX, [drive])
    imported = engine.library.import_(CTX, [drives[-3]])
    same_as_source(engine, imported.release, made[2])
    assert not list((engine.library.root / "staging").iterdir())


def test_two_of_one_group_damaged_are_refused_by_the_volume_and_mended_by_a_new_copy(drives, made, open_site):
    index = manifest.read_index(next(drives[0].rglob(layout.INDEX)).read_bytes())
    group = next(g for g in index.parity if len(g.of) > 1)
    bad = sorted(n for n, drive in enumerate(drives) for digest in group.of[:2] if any(flip(p) is None for p in drive.rglob(digest)))
    assert not verify(CTX, drives, TRUSTED)["repairable"]
    engine = open_site(KEY)
    with pytest.raises(WorldError) as caught:
        engine.library.import_(CTX, drives)
    assert caught.value.code == "bundle.volume-damaged"
    assert caught.value.params["volumes"] == ", ".join(str(n + 1) for n in bad)
    assert engine.library.list() == []
    imported = engine.library.import_(CTX, [made[1][bad[0]], *(d for n, d in enumerate(drives) if n != bad[0])])
    same_as_source(engine, imported.release, made[2])


def test_without_repair_data_a_damaged_volume_is_refused_and_named(tmp_path, open_site):
    build(CTX, source(tmp_path / "source"), tmp_path / "out", [KEY], 1_250_000)
    drives = sorted((tmp_path / "out").iterdir())
    flip(objects(drives[1])[0])
    told = verify(CTX, drives, TRUSTED)
    assert told["verdict"] == "failed" and not told["repairable"] and "(volume 2)" in told["findings"][0]["message"]
    engine = open_site(KEY)
    with pytest.raises(VerdictError) as caught:
        engine.library.import_(CTX, drives)
    assert caught.value.params["finding"] == "object-digest"
    assert not (engine.library.root / "files").exists()


def test_one_object_to_every_four_on_one_drive(tmp_path, open_site):
    built = build(CTX, source(tmp_path / "source"), tmp_path / "drive", [KEY], parity="4")
    index = manifest.read_index((built.folders[0] / layout.INDEX).read_bytes())
    assert all(len(g.of) <= 4 for g in index.parity)
    flip(objects(tmp_path / "drive")[0])
    objects(tmp_path / "drive")[-1].unlink()
    assert verify(CTX, [tmp_path / "drive"], TRUSTED)["repairable"]
    engine = open_site(KEY)
    same_as_source(engine, engine.library.import_(CTX, [tmp_path / "drive"]).release, tmp_path / "source")


@pytest.mark.parametrize("change", [
    lambda i: i["parity"][0]["of"].append("0" * 64),
    lambda i: i["parity"][0]["of"].append(i["parity"][1]["of"][0]),
    lambda i: i["parity"][0]["of"].append(i["parity"][0]["of"][0]),
    lambda i: i["parity"][0].update(of=[]),
    lambda i: i["parity"][0]["object"].__setitem__(1, 1 << 40),
    lambda i: i["parity"][0]["object"].__setitem__(1, True),
    lambda i: i["parity"][0]["object"].__setitem__(0, "../../x"),
    lambda i: i["parity"][0].update(more=1),
    lambda i: i.update(parity=[]),
    lambda i: i.update(parity={}),
])
def test_lying_repair_data_is_refused(made, change):
    import json

    from console.trust.canonical import encode

    index = json.loads((made[0].folders[0] / layout.INDEX).read_bytes())
    change(index)
    with pytest.raises(SealiftError) as caught:
        manifest.read_index(encode(index))
    assert caught.value.code == "bundle.index"


def test_repair_data_that_lies_rebuilds_nothing(drives, made, open_site):
    """The objects of repair data are named by their digest, and what comes of them must have the digest that was signed."""
    victim = objects(drives[0])[0]
    victim.unlink()
    for path in objects(drives[-1]):
        path.write_bytes(hashlib.sha256(path.name.encode()).digest() * (path.stat().st_size // 32 + 1))
    engine = open_site(KEY)
    with pytest.raises(VerdictError) as caught:
        engine.library.import_(CTX, drives)
    assert caught.value.code == "bundle.refused" and engine.library.list() == []


@pytest.mark.parametrize("value", ["all", 0, 1, 65, "1e3", True, [2]])
def test_unknown_repair_data_is_refused(value):
    with pytest.raises(InputError):
        volumes.read_parity(value)


def test_the_cost_is_told_before(made, tmp_path):
    built, drives, folder = made
    told = preview(folder / "bundle.yaml", tmp_path / "out", 1_250_000, parity="volume")
    # Without hashing, the length of the index is a guess, and a few bytes may go over onto one more drive.
    assert len(drives) <= len(told.volumes) <= len(drives) + 1 and told.volumes[-1][2]
    assert 0.9 < told.parity_bytes / built.parity_bytes < 1.1
    assert not (tmp_path / "out").exists()


# Drives at hand ------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 50_000), min_size=1, max_size=60), st.integers(60_000, 200_000), st.sampled_from([None, "volume", 3]))
@example([45_057], 60_000, "volume")  # fits into the whole volume, and not into the part of it that is tried first
def test_each_object_lies_on_one_volume_and_none_is_too_full(sizes, volume_size, wanted):
    listed = {f"d{n}": size for n, size in enumerate(sizes)}
    plan = volumes.plan(listed, 1000, [Path("out")], volume_size, wanted)
    names = [name for v in plan.volumes for name in v.objects]
    assert sorted(names) == sorted([*listed, *plan.groups])
    assert all(plan.bytes_of(v) + 1000 <= volume_size for v in plan.volumes)
    assert [v.place.name for v in plan.volumes] == [f"vol-{n + 1}" for n in range(len(plan.volumes))]


def test_several_drives_take_what_each_has_room_for(tmp_path, monkeypatch):
    room = {"a": 700_000, "b": 2_600_000, "c": 2_000_000}
    monkeypatch.setattr(volumes, "_free", lambda place: room[place.name])
    spec = source(tmp_path / "source")
    places = [tmp_path / name for name in room]
    built = build(CTX, spec, places, [KEY])
    assert [folder.parents[1].name for folder in built.folders] == ["b", "c"]
    assert verify(CTX, places[1:], TRUSTED)["verdict"] == "verified"
    with pytest.raises(WorldError) as caught:
        build(CTX, spec, places[:2], [KEY])
    assert caught.value.code == "bundle.drives-too-few"


def test_one_drive_after_the_other_in_one_place(tmp_path, open_site):
    slot, shelf = tmp_path / "slot", tmp_path / "shelf"
    asked: list[tuple[int, int]] = []

    def swap(number: int, of: int, place: Path) -> None:
        asked.append((number, of))
        if len(asked) != 2:  # at the second question the old drive is still in
            place.rename(shelf / f"drive{number - 1}")
            place.mkdir()

    shelf.mkdir()
    built = build(CTX, source(tmp_path / "source"), slot, [KEY], 1_250_000, swap=swap)
    of = len(built.folders)
    assert of >= 3 and [n for n, _ in asked] == [2, 3, *range(3, of + 1)]
    assert verify(CTX, [*shelf.iterdir(), slot], TRUSTED)["verdict"] == "verified"
