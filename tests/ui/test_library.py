"""The library screen: drives that come and go, inspecting before trust, swapping volumes, room, hashing again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QWidget

from console.bundles import build as building
from console.bundles import drives as places
from console.bundles import receipts
from console.bundles.library import Library, Room
from console.engine import Engine
from console.jobs.job import NullContext
from console.trust.keys import PrivateKey
from ui.app import Application
from ui.preferences import Preferences
from ui.screens import bundles
from ui.screens.builder import BuilderDialog
from ui.screens.library import LibraryScreen
from ui.screens.librarybundle import BundleView, FilesDialog
from ui.widgets.basic import Badge
from ui.widgets.dialogs import AskDialog

VOLUME_BYTES = 300_000
TITLE = "Papers of the hall"


def described(folder: Path, *, sequence: int = 1, files: int = 5) -> Path:
    """A description of ``files`` files of 100 kB, which come to one volume for each two of them."""
    papers = folder / "papers"
    papers.mkdir(exist_ok=True)
    for number in range(files):
        (papers / f"sheet-{number}.txt").write_text(f"{sequence}-{number}\n" * 25_000)
    spec = folder / "bundle.yaml"
    spec.write_text(f"title: {TITLE}\nchannel: papers\nsequence: {sequence}\n"
                    "components:\n- {id: papers, type: docs, from: ./papers, license: CC0-1.0}\n")
    return spec


@pytest.fixture
def key() -> PrivateKey:
    return PrivateKey.generate()


@pytest.fixture
def volumes(tmp_path, key) -> list[Path]:
    """Three drives' folders, one volume of one bundle on each."""
    built = building.build(NullContext(), described(tmp_path), tmp_path / "out", [key], VOLUME_BYTES)
    assert len(built.folders) == 3
    return [tmp_path / "out" / f"vol-{number}" for number in (1, 2, 3)]


@pytest.fixture
def plugged(monkeypatch) -> list[Path]:
    """The drives that are plugged in; a test puts them in and takes them out."""
    here: list[Path] = []
    monkeypatch.setattr(places, "drives", lambda: [places.place(path, drive=True, file_system="vfat") for path in here])
    return here


@pytest.fixture
def screen(qtbot, qapp, tmp_path, plugged):
    qapp.setStyle("Fusion")
    with Engine.open(tmp_path / "workspace") as engine:
        engine.site.init("Harbour data hall 2", "ca", "internal")
        application = Application(qapp, engine, Preferences(engine.settings), "en")
        application.window.show()
        application.window.show_screen("library")
        shown: LibraryScreen = application.window.current()
        qtbot.waitUntil(lambda: shown.ready and not shown.busy())
        shown.to_drives()
        shown.window_under_test = application.window
        try:
            yield shown
        finally:
            application.close()


def trust(screen: LibraryScreen, key: PrivateKey) -> None:
    screen.engine.trust.add(key.public, "The builder", key.public.fingerprint)


def look(qtbot, screen: LibraryScreen) -> None:
    """What the timer does, without waiting for it."""
    screen._survey()
    qtbot.waitUntil(lambda: not screen._looking and screen.ready and not screen.busy(), timeout=20_000)


def says(root: QWidget, text: str) -> bool:
    return any(text in label.text() and label.isVisible() for label in root.findChildren(QLabel))


def badges(root: QWidget) -> set[str]:
    return {badge.accessibleName() for badge in root.findChildren(Badge) if badge.isVisible()}


def bundle_in_sight(qtbot, screen: LibraryScreen) -> BundleView:
    """The view of the chosen bundle; one that was replaced lives on hidden for a turn of the loop."""
    def views() -> list[BundleView]:
        return [view for view in screen.findChildren(BundleView) if view.isVisible()]

    qtbot.waitUntil(lambda: len(views()) == 1)
    return views()[0]


def pressed(root: QWidget, name: str) -> QAbstractButton:
    return next(b for b in root.findChildren(QAbstractButton)
                if b.isVisible() and name in (b.objectName(), b.text().replace("&", "")))


def dialog(kind: type) -> QWidget:
    return next(w for w in QApplication.topLevelWidgets() if isinstance(w, kind) and w.isVisible())


# Drives --------------------------------------------------------------------------------------------------------------


def test_a_drive_appears_and_disappears_by_itself(qtbot, screen, plugged, volumes):
    assert says(screen, "No drive is plugged in") and says(screen, "No bundle here")
    plugged.append(volumes[0])
    look(qtbot, screen)
    assert says(screen, "vfat") and "Ready" in badges(screen) and bundle_in_sight(qtbot, screen)
    plugged.clear()
    look(qtbot, screen)
    qtbot.waitUntil(lambda: not screen._found.rows.records)
    assert says(screen, "No drive is plugged in")


def test_free_room_changes_without_reading_the_drives_again(qtbot, screen, plugged, volumes, monkeypatch):
    plugged.append(volumes[0])
    look(qtbot, screen)
    kept = screen._drives._lines[0]
    real = places.place

    def fuller(path, **more):
        one = real(path, **more)
        return places.Place(one.path, one.label, one.drive, 1 << 30, one.total_bytes, one.file_system, one.state)

    monkeypatch.setattr(places, "drives", lambda: [fuller(p, drive=True, file_system="vfat") for p in plugged])
    look(qtbot, screen)
    assert screen._drives._lines[0] is kept and kept._room.text().startswith("1.0 GiB free")


def test_the_watch_sleeps_while_another_screen_is_in_sight(qtbot, screen):
    assert screen._watch.isActive()
    screen.window_under_test.show_screen("home")
    assert not screen._watch.isActive()


@pytest.mark.parametrize("change,state", [
    (lambda volume: None, "ready"),
    (lambda volume: next((volume / "BUNDLES").iterdir()).joinpath("SEALED").unlink(), "unfinished"),
    (shutil.rmtree, "gone")])
def test_the_state_of_a_drive_has_a_name(volumes, change, state):
    change(volumes[0])
    assert places.place(volumes[0], drive=True).state == state


def test_write_protection_and_a_full_drive_have_names(tmp_path, monkeypatch):
    assert places.place(tmp_path, drive=True, read_only=True).state == "read-only"
    monkeypatch.setattr(places, "FULL_BYTES", 1 << 60)
    assert places.place(tmp_path, drive=True).state == "full"


def test_drives_that_are_not_mounted_are_told_apart(tmp_path):
    system, udev = tmp_path / "block", tmp_path / "udev"
    udev.mkdir()
    for number, (name, kind) in enumerate((("sdb1", "crypto_LUKS"), ("sdc1", "exfat"), ("sdd", ""), ("sde1", "ext4"))):
        device = system / name
        device.mkdir(parents=True)
        (device / "size").write_text("2048\n")
        (device / "removable").write_text("0\n" if name == "sde1" else "1\n")
        (device / "dev").write_text(f"8:{number}\n")
        (udev / f"b8:{number}").write_text(f"I:1\nE:ID_FS_TYPE={kind}\nE:ID_FS_LABEL=STICK\n" if kind else "I:1\n")
    found = {place.path.name: place for place in places.unmounted({"sdz"}, system, udev)}
    assert {name: place.state for name, place in found.items()} == {"sdb1": "locked", "sdc1": "not-mounted",
                                                                    "sdd": "unreadable"}
    assert found["sdb1"].label == "STICK" and found["sdb1"].total_bytes == 1 << 20 and not found["sdb1"].readable
    assert "sdc1" not in {place.path.name for place in places.unmounted({"sdc1"}, system, udev)}


# Before trust --------------------------------------------------------------------------------------------------------


def test_who_signed_and_what_is_inside_is_told_before_anything_is_accepted(qtbot, screen, plugged, volumes, key):
    plugged.extend(volumes)
    look(qtbot, screen)
    view = bundle_in_sight(qtbot, screen)
    assert says(view, "nobody this site trusts") and says(view, "The key that signed it is not trusted here.")
    assert says(view, key.public.fingerprint.replace(" ", "")[:4]) and "Not verified" in badges(view)
    assert {f"Volume {n}: Here" for n in (1, 2, 3)} <= badges(view)
    assert says(view, "To be copied"), "what it needs of the library is shown before it is brought in"
    qtbot.waitUntil(lambda: says(view, "What is inside"))
    qtbot.mouseClick(pressed(view, "All files…"), Qt.MouseButton.LeftButton)
    listed = dialog(FilesDialog)
    assert {f"papers/sheet-{n}.txt" for n in range(5)} <= {entry.path for entry in listed.table.rows.records}
    listed.reject()
    assert not screen.engine.library.list() and not screen.engine.trust.list()


def test_too_little_room_is_said_and_the_import_is_not_offered(qtbot, screen, plugged, volumes, key, monkeypatch):
    trust(screen, key)
    plugged.extend(volumes)
    monkeypatch.setattr(Library, "room", lambda _self, _seen: Room(1 << 40, 0, 0, 1 << 40, 1 << 30))
    look(qtbot, screen)
    view = bundle_in_sight(qtbot, screen)
    assert says(view, "too little room") and not pressed(view, "import").isEnabled()


# Bringing it in ------------------------------------------------------------------------------------------------------


def test_volumes_are_swapped_one_at_a_time(qtbot, screen, plugged, volumes, key):
    trust(screen, key)
    plugged.append(volumes[0])
    look(qtbot, screen)
    qtbot.mouseClick(pressed(bundle_in_sight(qtbot, screen), "import"), Qt.MouseButton.LeftButton)
    for number in (2, 3):
        awaited = {f"Volume {number - 1}: Copied", f"Volume {number}: Plug it in"}
        qtbot.waitUntil(lambda awaited=awaited: awaited <= badges(screen), timeout=20_000)
        qtbot.waitUntil(lambda: screen._job is None and screen._swap is not None and not screen.busy(), timeout=20_000)
        assert not screen.engine.library.list()
        # An import that waits is not listed as a job that failed.
        qtbot.waitUntil(lambda: not any(job.state == "failed" for job in screen.desk.bridge.board.jobs.values()))
        plugged[:] = [volumes[number - 1]]
        look(qtbot, screen)
    qtbot.waitUntil(lambda: screen._job is None and bool(screen.engine.library.list()), timeout=20_000)
    qtbot.waitUntil(lambda: says(screen, f"{TITLE} is in the library."))
    release = screen.engine.library.get(TITLE)
    for entry in release.files:
        assert screen.engine.library.open_file(release, entry.path).stat().st_size == entry.size


def test_waiting_for_a_volume_can_be_ended(qtbot, screen, plugged, volumes, key):
    trust(screen, key)
    plugged.append(volumes[0])
    look(qtbot, screen)
    screen.bring_in()
    qtbot.waitUntil(lambda: screen._job is None and screen._swap is not None and not screen.busy(), timeout=20_000)
    qtbot.mouseClick(pressed(screen, "stop-waiting"), Qt.MouseButton.LeftButton)
    plugged[:] = [volumes[1]]
    look(qtbot, screen)
    assert screen._swap is None and screen._job is None and not screen.engine.library.list()


def test_after_a_drive_was_pulled_the_import_goes_on_when_it_is_back(qtbot, screen, plugged, volumes, key, monkeypatch):
    from console.bundles.media import GONE

    trust(screen, key)
    plugged.extend(volumes)
    look(qtbot, screen)
    real, pulled = bundles.bring_in, []

    def once_pulled(engine, say, folders, overrides=frozenset()):
        spec = real(engine, say, folders, overrides)
        if pulled:
            return spec
        pulled.append(folders)

        def run(ctx):
            raise GONE(place=str(folders[0]), reason="Input/output error")

        return bundles.JobSpec(spec.kind, spec.title, run)

    monkeypatch.setattr(bundles, "bring_in", once_pulled)
    screen.bring_in()
    qtbot.waitUntil(lambda: screen._swap is not None and screen._job is None and not screen.busy(), timeout=20_000)
    assert says(screen, "The drive was removed while it was read.")
    look(qtbot, screen)
    assert screen._job is None, "a drive that fails at once is not tried for ever"
    plugged.clear()
    look(qtbot, screen)
    plugged.extend(volumes)
    look(qtbot, screen)
    qtbot.waitUntil(lambda: bool(screen.engine.library.list()), timeout=20_000)


def test_an_older_edition_needs_a_second_yes(qtbot, screen, plugged, tmp_path, key):
    trust(screen, key)
    for sequence in (1, 2):
        out = tmp_path / f"drive-{sequence}"
        building.build(NullContext(), described(tmp_path, sequence=sequence), out, [key])
        screen.engine.library.import_(NullContext(), [out])
    screen.engine.library.remove(next(r for r in screen.engine.library.list() if r.sequence == 1).release_id)
    plugged.append(tmp_path / "drive-1")
    look(qtbot, screen)
    screen.bring_in()
    qtbot.waitUntil(lambda: screen._job is None and says(screen, "number 1 of papers"), timeout=20_000)
    qtbot.mouseClick(pressed(screen, "override"), Qt.MouseButton.LeftButton)
    qtbot.mouseClick(pressed(dialog(AskDialog), "confirm"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(screen.engine.library.list()) == 2, timeout=20_000)


def test_the_receipt_goes_back_on_the_drive(qtbot, screen, plugged, volumes, key):
    trust(screen, key)
    plugged.extend(volumes)
    look(qtbot, screen)
    screen.bring_in()
    qtbot.waitUntil(lambda: screen._job is None and says(screen, f"{TITLE} is in the library."), timeout=20_000)
    qtbot.mouseClick(pressed(screen, "receipt-back"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: says(screen, "The receipt is in"))
    written = [place for volume in volumes for place in volume.glob("RECEIPTS/*.dsse.json")]
    assert len(written) == 1
    told = receipts.verify(written[0].read_bytes(), [screen.engine.audit.key().public])
    assert told["verdict"] == "verified" and told["receipt"]["release_id"] == screen.engine.library.get(TITLE).release_id


def test_an_import_that_waits_is_told_of_in_the_library_and_can_be_thrown_away(qtbot, screen, plugged, volumes, key):
    trust(screen, key)
    plugged.append(volumes[0])
    look(qtbot, screen)
    screen.bring_in()
    qtbot.waitUntil(lambda: screen._job is None and screen._swap is not None and not screen.busy(), timeout=20_000)
    screen._tabs.setCurrentIndex(0)
    qtbot.waitUntil(lambda: says(screen.releases, f"{TITLE} was not brought in to its end."))
    assert len(screen.engine.library.unfinished()) == 1
    qtbot.mouseClick(pressed(screen.releases, "discard"), Qt.MouseButton.LeftButton)
    qtbot.mouseClick(pressed(dialog(AskDialog), "confirm"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not screen.engine.library.unfinished() and says(screen.releases, "The library is empty"))


# In the library ------------------------------------------------------------------------------------------------------


@pytest.fixture
def stocked(qtbot, screen, plugged, tmp_path, key):
    trust(screen, key)
    building.build(NullContext(), described(tmp_path), tmp_path / "drive", [key])
    screen.engine.library.import_(NullContext(), [tmp_path / "drive"])
    screen._tabs.setCurrentIndex(0)
    screen.refresh()
    qtbot.waitUntil(lambda: not screen.busy() and bool(screen.releases.table.rows.records))
    return screen


def test_a_release_is_hashed_again_and_damage_is_named(qtbot, stocked):
    qtbot.mouseClick(pressed(stocked, "recheck"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: says(stocked, "every file is what it was"), timeout=20_000)
    release = stocked.engine.library.list()[0]
    file = stocked.engine.library.file(release.files[0].sha256)
    file.chmod(0o600)
    file.write_bytes(b"x" * release.files[0].size)
    qtbot.mouseClick(pressed(stocked, "recheck"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: says(stocked, "Missing or damaged files"), timeout=20_000)


def test_the_receipt_is_saved(qtbot, stocked, tmp_path):
    release, out = stocked.engine.library.list()[0], tmp_path / "receipt.json"
    stocked.releases.save_receipt(release, str(out))
    qtbot.waitUntil(lambda: says(stocked, "The receipt is in"))
    assert out.read_bytes() == stocked.engine.library.receipt(release)


def test_a_release_is_removed_after_a_yes(qtbot, stocked):
    qtbot.mouseClick(pressed(stocked, "Remove from the library…"), Qt.MouseButton.LeftButton)
    qtbot.mouseClick(pressed(dialog(AskDialog), "confirm"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not stocked.engine.library.list() and says(stocked, "The library is empty"))


# Dropping and building -----------------------------------------------------------------------------------------------


def drop(window: QWidget, *paths: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    window.dropEvent(QDropEvent(QPoint(40, 40), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton,
                                Qt.KeyboardModifier.NoModifier))


def test_a_dropped_bundle_is_looked_into(qtbot, screen, volumes):
    screen.window_under_test.show_screen("home")
    drop(screen.window_under_test, volumes[0])
    qtbot.waitUntil(lambda: screen.isVisible() and not screen.busy() and bool(screen._found.rows.records))
    assert str(volumes[0]) in screen.memory["folders"]


def test_dropped_folders_become_a_signed_bundle(qtbot, screen, tmp_path, key):
    model = tmp_path / "My Model"
    model.mkdir()
    (model / "notes.txt").write_text("notes" * 2000)
    single = tmp_path / "manual.pdf"
    single.write_bytes(b"%PDF-" + b"0" * 5000)
    drop(screen.window_under_test, model, single)
    qtbot.waitUntil(lambda: any(isinstance(w, BuilderDialog) and w.isVisible() for w in QApplication.topLevelWidgets()))
    made = dialog(BuilderDialog)
    qtbot.waitUntil(lambda: len(made._lines) == 2 and made._asked == 0)
    assert [line.part()["type"] for line in sorted(made._lines, key=lambda one: one.source)] == ["config", "docs"]
    assert not made._go.isEnabled() and "a signing key" in made._cost.text()
    secret, out = "correct horse", tmp_path / "written"
    out.mkdir()
    key_file = tmp_path / "signing.key"
    from console.secrets import Secret

    key.save(key_file, Secret(secret))
    made._title.setText("What was dropped")
    assert made._channel.text() == "what-was-dropped"
    made._key.setText(str(key_file))
    made._out.setEditText(str(out))
    qtbot.waitUntil(made._go.isEnabled, timeout=20_000)
    made._pass.setText("wrong")
    qtbot.mouseClick(made._go, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: says(made, "passphrase"))
    assert made.isVisible() and not list(out.iterdir())
    made._pass.setText(secret)
    qtbot.mouseClick(made._go, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: says(screen, "The bundle is written and was read back."), timeout=20_000)
    qtbot.waitUntil(lambda: not screen.busy() and bool(screen._found.rows.records), timeout=20_000)
    told = screen._found.current().told
    assert told["title"] == "What was dropped" and "draft" not in screen.memory
    assert {"manual", "my-model"} <= {part["id"] for part in told["components"]}
    trust(screen, key)
    screen.refresh()
    qtbot.waitUntil(lambda: not screen.busy())
    screen.bring_in()
    qtbot.waitUntil(lambda: bool(screen.engine.library.list()), timeout=20_000)


def test_what_may_not_go_in_is_listed_and_the_draft_is_kept(qtbot, screen, tmp_path, key):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "pytorch model.bin").write_bytes(b"\x80\x04\x95" + b"cposix\nsystem\n." + b"0" * 64)
    draft = bundles.Draft("Pickled", "pickled", 1, (bundles.describe(model),))
    screen.memory["draft"] = {"draft": draft, "key": "k", "out": str(tmp_path), "volume": 0, "repair": 0}
    screen.build_bundle(draft, tmp_path / "out", key, None)
    qtbot.waitUntil(lambda: screen._job is None and says(screen, "may not go into a bundle"), timeout=20_000)
    qtbot.mouseClick(pressed(screen, "Leave these files out…"), Qt.MouseButton.LeftButton)
    made = dialog(BuilderDialog)
    assert made._title.text() == "Pickled" and [line.source for line in made._lines] == [str(model)]
    assert made.draft().components[0]["exclude"] == ["pytorch model.bin"]
    made.reject()
    screen.build_bundle(made.draft(), tmp_path / "out", key, None)
    qtbot.waitUntil(lambda: screen._job is None and says(screen, "The bundle is written"), timeout=20_000)


def test_two_sources_of_one_name_get_two_ids(qtbot, screen, tmp_path):
    for parent in ("a", "b"):
        (tmp_path / parent / "same").mkdir(parents=True)
        (tmp_path / parent / "same" / "file.txt").write_text(parent)
    made = BuilderDialog(screen, (str(tmp_path / "a" / "same"), str(tmp_path / "b" / "same")))
    made.open()
    qtbot.waitUntil(lambda: made._weight is not None, timeout=20_000)
    assert sorted(line.part()["id"] for line in made._lines) == ["same", "same-2"] and made._weight.files == 2
    made.reject()


def test_what_repair_data_costs_is_shown_before_and_it_repairs(qtbot, screen, plugged, tmp_path, key):
    papers = described(tmp_path).parent / "papers"
    made = BuilderDialog(screen, (str(papers),))
    made.open()
    qtbot.waitUntil(lambda: made._weight is not None, timeout=20_000)
    made._repair.setCurrentIndex(made._repair.findData(8))
    assert "The repair data takes about" in made._cost.text()
    made.reject()
    assert bundles.repair_bytes(1000, 400, "volume") == 400 and bundles.repair_bytes(1000, None, 8) == 125
    trust(screen, key)
    draft, out = bundles.Draft("Papers", "papers", 1, (bundles.describe(papers),)), tmp_path / "drives"
    out.mkdir()
    screen.build_bundle(draft, out, key, VOLUME_BYTES, "volume")
    qtbot.waitUntil(lambda: screen._job is None and says(screen, "The bundle is written"), timeout=20_000)
    parts = sorted(out.glob("vol-*"))
    assert len(parts) == 4, "a volume of repair data more than without"
    plugged.extend([parts[0], *parts[2:]])
    screen.memory["folders"] = []
    look(qtbot, screen)
    screen.refresh()
    qtbot.waitUntil(lambda: not screen.busy() and len(screen._found.current().here) == 3)
    screen.bring_in()
    qtbot.waitUntil(lambda: bool(screen.engine.library.list()), timeout=20_000)
