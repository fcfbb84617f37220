"""Adding servers: by form, from files, and confirming host keys, one and many at once."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication, QDialog

from console.engine import Engine
from console.secrets import Secret
from console.servers.keys import HostKey
from console.servers.record import ServerRecord
from tests.ui import scenes
from tests.ui.fit import cut_off
from tests.ui.test_keyboard import inputs, twice, walk
from tests.ui.test_screens import opened, settled
from ui import theme
from ui.screens import serverdialogs
from ui.screens.serverdialogs import ServerDialog
from ui.screens.siteimport import ImportServersDialog, KnownHostsDialog
from ui.screens.sitekeys import HostKeysDialog, OfferedKey, given_keys
from ui.widgets.dialogs import FingerprintDialog

LONG_MS = 60_000
TABLE = """name,address,port,user,auth,identity,jump,labels,group
gpu-21,10.20.0.21,22,ops,key,~/.ssh/id,,training;new,hall 2
gpu-22,10.20.0.22,twenty,ops,,,,,
bastion,10.20.0.2,22,ops,,,,,
gpu-23,10.20.0.23,22,ops,,,bastion,,hall 2
gpu-24,10.20.0.24,22,ops,telnet,,,,
gpu-25,10.20.0.25,22,ops,,,nowhere,,
there,10.20.0.9,22,ops,,,,,
"""
pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="the practice servers need a POSIX shell")


@pytest.fixture
def window(qtbot, qapp, tmp_path):
    with Engine.open(tmp_path / "workspace") as engine:
        engine.servers.add(ServerRecord("there", "10.20.0.9"))
        application = opened(qapp, engine)
        application.window.show_screen("site")
        settled(qtbot, application.window)
        try:
            yield application.window
        finally:
            application.close()


def top(qtbot, kind: type) -> QDialog:
    def found():
        return next((w for w in QApplication.topLevelWidgets() if isinstance(w, kind) and w.isVisible()), None)

    qtbot.waitUntil(lambda: found() is not None, timeout=LONG_MS)
    return found()


def press(qtbot, dialog: QDialog, name: str = "confirm") -> None:
    button = dialog.findChild(object, name)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_the_form_adds_a_server_and_keeps_its_secrets_for_the_session_only(qtbot, window, tmp_path):
    engine, screen = window.desk.engine, window.current()
    added = []
    dialog = ServerDialog(screen, window.desk, added.append, others=[view.record for view in screen._views])
    dialog.open()
    key = tmp_path / "id"
    for path in (key, tmp_path / "id-cert.pub"):
        path.write_text("x")
    dialog.name.setText("gpu-01")
    dialog.address.setText("10.20.0.11")
    dialog.auth.setCurrentIndex(dialog.auth.findData("key"))
    dialog.sudo.setCurrentIndex(dialog.sudo.findData("password"))
    dialog.identity.setText(str(key))
    assert "id-cert.pub" in dialog._certificate.text(), "a certificate beside the key is seen"
    dialog.secret.setText("open sesame")
    dialog.sudo_secret.setText("other words")
    dialog.jump.add("there")
    assert dialog.jump._way.text() == "this desktop → there → gpu-01"
    dialog.labels.setText("training, new training")
    dialog.group.setCurrentText("hall 2")
    press(qtbot, dialog)
    qtbot.waitUntil(lambda: added == ["gpu-01"], timeout=LONG_MS)
    made = engine.servers.get("gpu-01")
    assert (made.jump, made.labels, made.group, made.auth) == (("there",), ("training", "new"), "hall 2", "key")
    login = engine.servers.credentials.login("gpu-01")
    assert login.passphrase == Secret("open sesame") and login.sudo_password == Secret("other words") and login.password is None
    kept = b"".join(path.read_bytes() for path in engine.workspace.rglob("*") if path.is_file() and path.stat().st_size < 1 << 24)
    assert b"open sesame" not in kept and b"other words" not in kept


def test_what_is_wrong_is_said_at_its_field_and_nothing_is_lost(qtbot, window):
    dialog = ServerDialog(window.current(), window.desk, lambda _name: None)
    dialog.open()
    dialog.name.setText("gpu 01")
    dialog.address.setText("10.20.0.11")
    press(qtbot, dialog)
    qtbot.waitUntil(lambda: dialog.name.property("wrong") is True, timeout=LONG_MS)
    assert dialog.isVisible() and dialog.address.text() == "10.20.0.11" and dialog.address.property("wrong") is False
    assert [r.name for r in window.desk.engine.servers.list()] == ["there"]
    dialog.name.setText("gpu-01")
    press(qtbot, dialog)
    qtbot.waitUntil(lambda: len(window.desk.engine.servers.list()) == 2, timeout=LONG_MS)


def test_an_entry_can_be_changed(qtbot, window):
    screen = window.current()
    screen.edit("there")
    dialog = top(qtbot, ServerDialog)
    assert dialog.name.isReadOnly() and dialog.address.text() == "10.20.0.9"
    dialog.address.setText("10.20.0.10")
    press(qtbot, dialog)
    qtbot.waitUntil(lambda: window.desk.engine.servers.get("there").address == "10.20.0.10", timeout=LONG_MS)


def test_a_table_is_shown_line_by_line_and_what_is_right_is_added(qtbot, window, tmp_path):
    file, engine, screen = tmp_path / "servers.csv", window.desk.engine, window.current()
    file.write_text(TABLE)
    serverdialogs.import_file(screen, window.desk, "csv", str(file), screen.refresh)
    dialog = top(qtbot, ImportServersDialog)
    said = {p.line: p.text for table in dialog.findChildren(serverdialogs.QWidget) if hasattr(table, "rows")
            for p in table.rows.records if hasattr(p, "line")}
    assert set(said) == {3, 6} and "twenty" in said[3] and "telnet" in said[6]
    assert [row.record.name for row in dialog._rows if row.there] == ["there"]
    press(qtbot, dialog)
    qtbot.waitUntil(lambda: {r.name for r in engine.servers.list()} == {"there", "gpu-21", "bastion", "gpu-23"}, timeout=LONG_MS)
    qtbot.waitUntil(lambda: not dialog._add_button.isVisible(), timeout=LONG_MS)
    QApplication.processEvents()
    refused = [p for table in dialog.findChildren(serverdialogs.QWidget) if hasattr(table, "rows") and table.isVisible()
               for p in table.rows.records if hasattr(p, "line")]
    assert len(refused) == 1 and refused[0].text.startswith("gpu-25: ") and refused[0].line > 1, "a server behind an unknown one is refused, and said to be"


def test_an_openssh_configuration_brings_its_jump_hosts(qtbot, window, tmp_path):
    file, engine, screen = tmp_path / "config", window.desk.engine, window.current()
    (tmp_path / "more").write_text("Host inner\n  HostName 10.9.9.9\n  ProxyJump outer\n")
    file.write_text("Include more\nHost outer\n  HostName 192.0.2.7\n  Port 2222\n  IdentityFile ~/.ssh/hall\n")
    serverdialogs.import_file(screen, window.desk, "ssh", str(file), screen.refresh)
    press(qtbot, top(qtbot, ImportServersDialog))
    qtbot.waitUntil(lambda: len(engine.servers.list()) == 3, timeout=LONG_MS)
    assert engine.servers.get("inner").jump == ("outer",) and engine.servers.get("outer").port == 2222


@contextmanager
def practice(engine: Engine):
    """The practice servers, their own entries aside, as three servers that nobody trusts yet, and one that is not there."""
    engine.practice.up(in_process=True)
    try:
        keys = {}
        for number, source in enumerate(("practice-nvidia", "practice-amd", "practice-ascend")):
            known = engine.servers.get(source)
            engine.servers.add(ServerRecord(f"new-{number}", known.address, known.port, user=known.user,
                                            identity_file=known.identity_file, auth=known.auth))
            keys[f"new-{number}"] = HostKey(known.host_keys[0])
        yield keys
    finally:
        engine.practice.down()


def test_many_keys_are_fetched_side_by_side_and_only_compared_ones_are_trusted(qtbot, window):
    engine, screen = window.desk.engine, window.current()
    with practice(engine) as keys:
        engine.servers.add(ServerRecord("gone", "127.0.0.1", 1))
        done = []
        dialog = HostKeysDialog(screen, window.desk, [*keys, "gone"], lambda: done.append(True))
        dialog.open()
        qtbot.waitUntil(lambda: all(k.verdict != "waiting" for k in dialog._keys.values()), timeout=LONG_MS)
        assert {k.name: k.verdict for k in dialog._keys.values()} == {"new-0": "open", "new-1": "open", "new-2": "open", "gone": "silent"}
        assert not dialog._trust.isEnabled(), "nothing was compared yet"
        dialog._given.setPlainText(f"256 {keys['new-0'].fingerprint} root@new-0 (ED25519)\nnew-1 SHA256:{'A' * 43}\n")
        assert [k.verdict for k in dialog._keys.values()] == ["same", "different", "open", "silent"]
        assert "new-1" in dialog._verdict.text()
        dialog._table.select_key("new-1")
        assert not dialog._look.isEnabled(), "what was found different is not waved through by eye"
        dialog._table.select_key("new-2")
        dialog._table.setFocus()
        qtbot.keyClick(dialog._table, Qt.Key.Key_Space)
        assert dialog._wanted() == {name: keys[name].fingerprint for name in ("new-0", "new-2")}
        press(qtbot, dialog)
        qtbot.waitUntil(lambda: bool(done), timeout=LONG_MS)
        trusted = {r.name for r in engine.servers.list() if r.host_keys and r.name.startswith("new")}
        assert trusted == {"new-0", "new-2"} and dialog.isVisible()
        assert dialog._keys["new-0"].verdict == "trusted"
        dialog.reject()
        settled(qtbot, window)


def test_one_key_is_compared_and_pinned(qtbot, window):
    engine, screen = window.desk.engine, window.current()
    with practice(engine) as keys:
        screen.refresh()
        qtbot.waitUntil(lambda: any(view.name == "new-0" for view in screen._views), timeout=LONG_MS)
        screen._picked("new-0", None)
        qtbot.mouseClick(screen._details.findChild(object, "confirm-key"), Qt.MouseButton.LeftButton)
        dialog = top(qtbot, FingerprintDialog)
        dialog._other.setText(keys["new-0"].fingerprint)
        press(qtbot, dialog)
        qtbot.waitUntil(lambda: bool(engine.servers.get("new-0").host_keys), timeout=LONG_MS)
        qtbot.waitUntil(lambda: next(v for v in screen._views if v.name == "new-0").state == "unasked", timeout=LONG_MS)


def test_a_known_hosts_file_pins_what_it_names(qtbot, window, tmp_path):
    engine, screen, file = window.desk.engine, window.current(), tmp_path / "known_hosts"
    file.write_text(f"10.20.0.9 {scenes.HOST_LINE}\nnonsense\n@cert-authority *.hall {scenes.HOST_LINE}\n")
    serverdialogs.import_known_hosts(screen, window.desk, str(file), screen.refresh)
    dialog = top(qtbot, KnownHostsDialog)
    assert [one.record.name for one in dialog._found] == ["there"]
    dialog._authorities.setChecked(True)
    press(qtbot, dialog)
    qtbot.waitUntil(lambda: engine.servers.get("there").host_keys == (scenes.HOST_LINE,), timeout=LONG_MS)
    engine.servers.add(ServerRecord("later", "gpu.hall"))
    assert engine.servers.get("later").host_keys, "the authority counts for servers that are added later"


OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def offered() -> list[OfferedKey]:
    return [OfferedKey("gpu-1", "10.0.0.1:22", HostKey(scenes.HOST_LINE)), OfferedKey("gpu-2", "10.0.0.2:2222", HostKey(OTHER)),
            OfferedKey("gpu-3", "10.0.0.3:22")]


@pytest.mark.parametrize(("text", "verdicts"), [
    ("", {}), ("what is this", {}),
    (HostKey(scenes.HOST_LINE).fingerprint, {"gpu-1": "same"}),
    (f"256 {HostKey(OTHER).fingerprint} root@gpu-2 (ED25519)", {"gpu-2": "same"}),
    (f"gpu-1 {HostKey(OTHER).fingerprint}", {"gpu-1": "different", "gpu-2": "same"}),
    (f"10.0.0.1 {scenes.HOST_LINE}", {"gpu-1": "same"}), (f"[10.0.0.2]:2222 {OTHER}", {"gpu-2": "same"}),
    (f"10.0.0.1 {OTHER}", {"gpu-1": "different", "gpu-2": "same"})])
def test_a_pasted_list_is_read_as_people_have_it(text, verdicts):
    assert given_keys(text, offered()) == verdicts


@given(st.text(max_size=400))
@settings(deadline=None)
def test_no_pasted_text_makes_a_key_trusted_that_it_does_not_hold(text):
    found = given_keys(text, offered())
    for one in offered():
        if one.key is None or one.key.fingerprint not in text and one.key.line not in text:
            assert found.get(one.name) != "same"


@pytest.mark.parametrize(("theme_name", "lang"), [("light", "en"), ("dark", "zh_CN")])
def test_every_dialog_fits_and_is_walked_by_keyboard(qtbot, window, tmp_path, theme_name, lang):
    window.restyle(theme_name, lang)
    window.resize(1024, 700)
    window.show_screen("site")
    settled(qtbot, window)
    screen, table, known = window.current(), tmp_path / "servers.csv", tmp_path / "known"
    table.write_text(TABLE)
    known.write_text(f"10.20.0.9 {scenes.HOST_LINE}\nnonsense\n@cert-authority *.hall {scenes.HOST_LINE}\n")
    steps = ((ServerDialog, screen.add_by_form), (ServerDialog, lambda: screen.edit("there")),
             (ImportServersDialog, lambda: serverdialogs.import_file(screen, window.desk, "csv", str(table), screen.refresh)),
             (KnownHostsDialog, lambda: serverdialogs.import_known_hosts(screen, window.desk, str(known), screen.refresh)),
             (HostKeysDialog, lambda: HostKeysDialog(screen, window.desk, ["there"], screen.refresh).open()))
    for kind, step in steps:
        step()
        dialog = top(qtbot, kind)
        qtbot.waitUntil(lambda made=dialog: made.activateWindow() or QApplication.activeWindow() is made, timeout=LONG_MS)
        qtbot.wait(60)
        assert not cut_off(dialog), kind
        assert dialog.width() <= 1024 and dialog.height() <= 700, kind
        assert not twice(dialog), kind
        reached = walk(qtbot, dialog)
        assert not [widget for widget in inputs(dialog) if widget not in reached], kind
        tops = [widget.mapTo(dialog, QPoint(0, widget.height() // 2)).y() for widget in reached]
        foot = tops.index(max(tops))  # the round ends with the buttons at the foot
        while foot + 1 < len(tops) and tops[foot + 1] > max(tops) - theme.ROW_HEIGHT:
            foot += 1
        turned = tops[foot + 1:] + tops[:foot + 1]
        back = [(a, b) for a, b in zip(turned, turned[1:], strict=False) if b < a - theme.ROW_HEIGHT]
        assert not back, f"{kind}: the order jumps up at {back}"
        dialog.reject()
        settled(qtbot, window)
