"""The site screen with servers in every state: filters, list, details, evidence, changes, and the keyboard."""

from __future__ import annotations

import gc
import re

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QWidget

from console.engine import Engine
from console.servers.record import ServerRecord
from console.store import servers as table
from tests.ui import fleets
from tests.ui.test_keyboard import twice
from tests.ui.test_screens import faults_of, opened, settled
from ui.models.rows import RECORD
from ui.screens.site import _Halves
from ui.widgets.basic import Banner, WrapLabel

LONG_MS = 60_000
NVIDIA, AMD, FAULTY = "practice-nvidia", "practice-amd", "practice-faulty"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """One server in each state."""
    with Engine.open(tmp_path_factory.mktemp("answers") / "workspace") as engine:
        answers = fleets.practice_answers(engine)
    with Engine.open(tmp_path_factory.mktemp("site") / "workspace") as engine:
        def put(name, *taken, trusted=True, group="hall 1", **more):
            fleets.put(engine, ServerRecord(name, f"10.0.0.{len(engine.servers.list()) + 1}", group=group, **more), trusted)
            for number, one in enumerate(taken):
                at = f"2026-11-2{number}T08:00:00.000000Z"
                error = one if isinstance(one, dict) and "code" in one else None
                table.add_inventory(engine.store, name, at, error is None, error, {} if error else one)

        away = {"code": "ssh.unreachable", "details": {"server": "away", "address": "10.0.0.3", "port": 22, "reason": "no route"}}
        other = {"code": "ssh.host-key-changed", "details": {"server": "other", "offered": "SHA256:x", "pinned": "SHA256:y"}}
        put("healthy", answers[NVIDIA], labels=("training",))
        put("broken", answers[FAULTY], labels=("training", "old"))
        put("swapped", answers[NVIDIA], answers[AMD], group="hall 2")
        put("away", answers[NVIDIA], away, group="hall 2")
        put("other", other)
        put("new", trusted=False, group="")
        put("silent", group="")
        yield engine


@pytest.fixture
def window(qtbot, qapp, site):
    application = opened(qapp, site)
    shown = application.window
    shown.resize(1280, 800)
    shown.desk.memory.clear()
    with qtbot.waitActive(shown):
        shown.activateWindow()
    shown.show_screen("site")
    settled(qtbot, shown)
    try:
        yield shown
    finally:
        application.close()


@pytest.fixture
def screen(window):
    return window.current()


def names(screen) -> list[str]:
    return [view.name for view in screen._picture.views()]


def listed(screen) -> list[str]:
    model = screen._table.filter
    return [model.index(row, 0).data(RECORD).name for row in range(model.rowCount())]


def test_each_server_is_in_its_state_and_says_so(qtbot, screen):
    assert {view.name: view.state for view in screen._views} == {
        "healthy": "ok", "broken": "fail", "swapped": "ok", "away": "unreachable", "other": "keychanged", "new": "untrusted",
        "silent": "unasked"}
    said = {}
    for view in screen._views:
        screen._picked(view.name, None)
        QApplication.processEvents()
        said[view.name] = " ".join(label.text() for label in screen._details.findChildren(QLabel) if label.isVisible())
    assert "Nothing is sent to it before that" in said["new"] and "Not asked yet" in said["silent"]
    assert "no route" in said["away"] and "2026-11-20" in said["away"], "why, and from when the devices are"
    assert "GPU is lost" in said["broken"]
    assert "Host key changed" in screen._picture.describe("other", None)
    screen._picked("other", None)
    QApplication.processEvents()
    assert any(made.isVisible() for made in screen._details.findChildren(QPushButton, "compare-key"))
    assert next(v for v in screen._views if v.name == "away").devices, "what was known stays to be seen"


def test_chips_words_and_terms_narrow_what_is_shown(qtbot, screen):
    qtbot.mouseClick(screen._chips._buttons["fail"], Qt.MouseButton.LeftButton)
    assert names(screen) == ["broken"]
    qtbot.mouseClick(screen._chips._buttons[""], Qt.MouseButton.LeftButton)
    screen._filter.setText("group:hall label:training")
    assert names(screen) == ["broken", "healthy"]
    assert screen._ask.text().replace("&", "") == "Ask these 2"
    screen._show_kind(1)
    assert sorted(listed(screen)) == ["broken", "healthy"]
    screen._filter.setText("mi325x")
    assert listed(screen) == ["swapped"]


def test_servers_are_grouped_under_headings(screen):
    screen._group.setCurrentIndex(screen._group.findData("group"))
    assert [section.title for _where, section in screen._picture._headings] == ["hall 1", "hall 2", "Without a group"]
    assert names(screen) == ["broken", "healthy", "other", "away", "swapped", "new", "silent"]


def test_the_list_is_sorted_and_its_columns_are_chosen(qtbot, screen):
    screen._show_kind(1)
    shown = screen._table.columns_shown()
    assert shown == ["name", "state", "devices", "memory", "address", "asked"]
    menu = screen._table.columns_menu()
    by_text = {action.text(): action for action in menu.actions()}
    by_text["Driver"].trigger()
    by_text["Asked"].trigger()
    assert screen._table.columns_shown() == ["name", "state", "devices", "memory", "address", "driver"]
    assert screen.memory["columns"] == screen._table.columns_shown()
    assert not by_text["Server"].isEnabled(), "a list without names would be of no use"
    screen._table.sortByColumn(1, Qt.SortOrder.AscendingOrder)
    assert listed(screen)[0] == "other", "what needs a person first comes first"
    screen._table.sortByColumn(3, Qt.SortOrder.DescendingOrder)
    assert listed(screen)[0] == "swapped"


def test_picture_list_and_details_show_the_same_server(qtbot, screen):
    screen._picked("swapped", None)
    screen._show_kind(1)
    assert screen._table.current().name == "swapped"
    screen._table.select_key("healthy")
    assert screen._details.shown().name == "healthy"
    screen._show_kind(0)
    assert screen._picture.chosen_name() == "healthy"


def test_a_device_is_shown_with_the_answers_of_the_commands_that_told_of_it(qtbot, screen):
    qtbot.mouseClick(screen._picture.viewport(), Qt.MouseButton.LeftButton,
                     pos=screen._picture.place_of("broken", ("nvidia", 3)).center())
    details = screen._details
    assert details._tabs.currentIndex() == 1 and details._devices.current().index == 3
    source = details._device_source
    assert "GPU is lost" in source.evidence._text.toPlainText()
    source.choice.setCurrentIndex(source.choice.findData("nvidia.query"))
    assert source.evidence._command.text().startswith("$ sh -c")
    assert "exit code" in source.evidence._ending.text() and "2026-11-20 08:00 UTC" in source._stamp.text()
    assert "nvidia_smi_log" in source.evidence._text.toPlainText()
    details._devices.select_key(("nvidia", 4))
    assert source.choice.currentData() == "nvidia.query", "the chosen source stays from one device to the next"
    assert screen.memory["device"] == ("nvidia", 4) and screen._picture._chosen == ("broken", ("nvidia", 4))


def test_facts_are_found_and_stand_on_their_evidence(qtbot, screen):
    screen._picked("healthy", None)
    screen._details._tabs.setCurrentIndex(2)
    screen._details._find_fact.setText("os.kernel")
    facts = screen._details._facts
    assert facts.filter.rowCount() == 1
    facts.select_key("os.kernel")
    assert "/proc/sys/kernel/osrelease" in screen._details._evidence.evidence._command.text()


def test_what_changed_since_the_inventory_before_is_listed(qtbot, screen):
    screen._picked("swapped", None)
    details = screen._details
    assert details._tabs.tabText(3).startswith("Changes (")
    details._tabs.setCurrentIndex(3)
    qtbot.waitUntil(lambda: "2026-11-20" in details._since.text() and "2026-11-21" in details._since.text(), timeout=LONG_MS)
    kinds = {one.kind for one in details._changes.rows.records}
    assert {"device-gone", "device-new"} <= kinds
    qtbot.mouseClick(screen._chips._buttons["changed"], Qt.MouseButton.LeftButton)
    assert names(screen) == ["swapped"]
    screen._picked("healthy", None)
    qtbot.waitUntil(lambda: "first" in details._since.text(), timeout=LONG_MS)
    assert not details._changes.isVisible()


def test_the_keyboard_alone_finds_opens_and_comes_back(qtbot, screen):
    picture = screen._picture
    picture.setFocus()
    qtbot.keyClick(picture, Qt.Key.Key_Slash)
    assert screen._filter.hasFocus()
    qtbot.keyClicks(screen._filter, "broken")
    assert names(screen) == ["broken"] and "/" not in screen._filter.text()
    qtbot.keyClick(screen._filter, Qt.Key.Key_Return)
    assert picture.hasFocus()
    for _step in range(4):
        qtbot.keyClick(picture, Qt.Key.Key_Right)
    qtbot.keyClick(picture, Qt.Key.Key_Return)
    assert screen._details._tabs.hasFocus() or screen._details.isAncestorOf(QApplication.focusWidget())
    assert screen._details._devices.current().index == 3
    qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Escape)
    assert picture.hasFocus()
    qtbot.keyClick(picture, Qt.Key.Key_Slash)
    qtbot.keyClick(screen._filter, Qt.Key.Key_Escape)
    assert screen._filter.text() == "" and len(names(screen)) == 7


def test_the_details_give_way_and_come_back_with_enter(qtbot, screen):
    screen.hide_details()
    assert not screen._details.isVisible() and screen._picture.hasFocus()
    qtbot.keyClick(screen._picture, Qt.Key.Key_Home)
    qtbot.keyClick(screen._picture, Qt.Key.Key_Return)
    assert screen._details.isVisible()


@pytest.mark.parametrize(("theme_name", "lang", "width", "height"), [
    ("light", "en", 1024, 700), ("dark", "zh_CN", 1024, 700), ("dark", "en", 1680, 1050), ("light", "zh_CN", 1680, 1050)])
def test_nothing_is_cut_off_in_any_state(qtbot, window, theme_name, lang, width, height):
    window.restyle(theme_name, lang)
    window.resize(width, height)
    window.show_screen("site")
    settled(qtbot, window)
    screen, faults = window.current(), []
    for kind in (0, 1):
        screen._show_kind(kind)
        for view in screen._views:
            screen._picked(view.name, None)
            for tab in range(4):
                screen._details._tabs.setCurrentIndex(tab)
                settled(qtbot, window)
                faults += [f"{view.name} {kind} {tab}: {fault}" for fault in faults_of(qtbot, window) + twice(window)]
    assert not faults, "\n".join(faults)


def test_no_rubbish_is_collected_in_the_thread_of_a_job(qtbot, window):
    """Qt objects in a ring that nobody holds are destroyed in the window's thread, or the program may end there."""
    import gc
    import threading

    from PySide6.QtCore import QObject

    from ui.rubbish import YOUNG_OBJECTS

    gone_in: list[int] = []

    class Ring(QObject):
        def __del__(self):
            gone_in.append(threading.get_ident())

    for _number in range(20):
        one, other = Ring(), Ring()
        one.other, other.other = other, one
    del one, other
    kept: list[list] = []
    worker = threading.Thread(target=lambda: kept.extend([number] for number in range(10 * max(gc.get_threshold()[0], YOUNG_OBJECTS))))
    worker.start()
    worker.join()
    qtbot.waitUntil(lambda: len(gone_in) == 40, timeout=10_000)
    assert set(gone_in) == {threading.get_ident()}


def test_rubbish_is_left_alone_while_something_is_going_on(qtbot, window, monkeypatch):
    from ui.rubbish import Rubbish

    bridge = window.desk.bridge
    gc.enable()
    mine, collected, running = Rubbish(bridge), [], [object()]
    assert not gc.isenabled(), "the open window has it in its own hands"
    monkeypatch.setattr(bridge.board, "running", lambda: running)
    monkeypatch.setattr(gc, "collect", lambda: collected.append(True))
    monkeypatch.setattr(gc, "get_count", lambda: (0, 0, 50))
    assert not any(mine.look() for _look in range(5))
    running.clear()
    assert [mine.look() for _look in range(2)] == [False, True] and len(collected) == 1
    monkeypatch.setattr(gc, "get_count", lambda: (0, 0, 1))
    assert not any(mine.look() for _look in range(60)), "with little to find nothing is halted"
    mine.stop()
    assert gc.isenabled()
    gc.disable()


def test_what_a_larger_window_gains_goes_to_the_picture(qtbot):
    beside, details = QWidget(), QWidget()
    details.setMinimumWidth(390)
    split = _Halves(beside, details)
    qtbot.addWidget(split)
    split.turn(Qt.Orientation.Horizontal)
    split.show()
    for width in (800, 1700, 900):
        split.resize(width, 500)
        assert 390 <= details.width() <= 480 and beside.width() == width - details.width() - split.handleWidth()
    split.moveSplitter(300, 1)
    chosen = split.sizes()[0] / 900
    split.resize(1400, 500)
    assert abs(split.sizes()[0] / 1400 - chosen) < 0.02  # the border stays where somebody put it


def test_a_fingerprint_in_a_banner_can_be_read_whole(qtbot):
    mark = "SHA256:gI1zLm2N6dS8sBv0E6Zr4CkPj0x9sQYtqWbO3uKfHcA"
    banner = Banner("fail", f"Offered now: {mark}.", mark)
    qtbot.addWidget(banner)
    words = [one.text() for one in banner.findChildren(WrapLabel)]
    assert len(words) == 2 and all(mark in text.replace("\u200b", "") for text in words)
    assert max(len(piece) for text in words for piece in re.split("[ \u200b]", text)) <= 17
