"""Pushing by clicking alone: choosing, holding and limiting it while it sends, what became of each server, hashing again there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from console.engine import Engine
from tests.ui import scenes
from tests.ui.test_main_job import Operator
from ui.app import Application
from ui.preferences import Preferences
from ui.widgets.table import Table

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="the practice servers need a POSIX shell")
SERVERS = ("practice-ascend", "practice-nvidia")


@pytest.fixture
def operator(qtbot, qapp, tmp_path):
    """At the push tab of a site with a release in its library."""
    with Engine.open(tmp_path / "workspace") as engine:
        scenes.stocked_site(engine, tmp_path)
        application = Application(qapp, engine, Preferences(engine.settings), "en")
        application.window.resize(1280, 900)
        application.window.show()
        try:
            made = Operator(qtbot, application)
            made.go("library")
            made.click("Push it…")
            made.until(lambda: made.window.current().id == "deploy" and made.window.current().pushing.isVisible())
            made.rest()
            yield made
        finally:
            application.close()
            engine.practice.down()


def results(tab) -> list[list[str]]:
    """The cells of the last table."""
    rows = tab.findChildren(Table)[-1].rows
    return [[rows.index(r, c).data() for c in range(rows.columnCount())] for r in range(rows.rowCount())]


def objects(engine: Engine, name: str) -> list[Path]:
    store = Path(os.path.expanduser(engine.servers.get(name).store.replace("~", str(engine.workspace / "practice" / name / "home"), 1)))
    return [path for path in store.rglob("*") if path.is_file() and path.parent.parent.name == "objects"]


def test_a_push_that_is_held_limited_and_let_go_on(operator):
    tab, engine = operator.window.current().pushing, operator.application.engine
    assert tab.release.currentText() == "Practice bundle" and "46" in tab._size.text()
    tab.servers.tick(SERVERS)
    tab.rate.setEditText("a lot")
    assert not tab.push.isEnabled() and "20MiB" in tab._wrong.text()
    tab.rate.setEditText("3 MiB/s")
    tab.hours.setText("25:00")
    assert not tab.push.isEnabled() and "20:00-06:00" in tab._wrong.text()
    tab.hours.setText("")
    tab.relay.setChecked(False)
    operator.click("push")
    operator.until(lambda: tab._run._hold.isVisible())
    (control,) = engine.push.traffic.list()
    assert control.limit.bytes_per_s == 3 << 20 and tab._run._rate.currentText() == "3.0 MiB/s"
    assert not tab.push.isEnabled()
    operator.click("hold")
    operator.until(lambda: control.paused and tab._run._hold.text() == "&Go on" and tab._run._hold.isEnabled())
    tab._run._rate.setEditText("No limit")
    tab._run._rate.lineEdit().editingFinished.emit()
    operator.until(lambda: control.limit.bytes_per_s == 0)
    operator.click("hold")
    operator.until(lambda: operator.says("2 of 2 servers have the release, verified."))
    assert [row[:3] for row in results(tab)] == [[name, "Verified", "stored"] for name in SERVERS]
    assert not tab._run._hold.isVisible() and not tab._run._stop.isVisible() and tab.push.isEnabled()


def test_what_lies_on_a_server_is_hashed_again_and_mended_by_the_next_push(operator):
    tab, engine = operator.window.current().pushing, operator.application.engine
    tab.servers.tick(SERVERS[:1])
    tab.degree.setCurrentIndex(0)
    operator.click("push")
    operator.until(lambda: operator.says("1 of 1 servers have the release, verified."))
    damaged = max(objects(engine, SERVERS[0]), key=lambda path: path.stat().st_size)
    damaged.chmod(0o644)
    with open(damaged, "r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    operator.click("verify-there")
    operator.until(lambda: operator.says("0 of 1 servers hold exactly the signed files."))
    assert results(tab)[0][0] == "digest" and results(tab)[0][1].startswith(SERVERS[0])
    operator.click("push")
    operator.until(lambda: operator.says("1 of 1 servers have the release, verified."))
    operator.click("verify-there")
    operator.until(lambda: operator.says("1 of 1 servers hold exactly the signed files."))


def test_a_push_that_was_stopped_says_how_it_goes_on(operator):
    tab = operator.window.current().pushing
    tab.servers.tick(SERVERS[:1])
    tab.rate.setEditText("1MiB")
    operator.click("push")
    operator.until(lambda: tab._run._hold.isVisible())
    operator.click("stop")
    operator.until(lambda: operator.says("it goes on from the last verified chunk"))
    assert tab.push.isEnabled() and not tab._run._stop.isVisible()


def test_the_least_degree_of_the_site_is_the_least_that_can_be_chosen(operator):
    tab, engine = operator.window.current().pushing, operator.application.engine
    engine.site.set(policy={"push_degree": "media", "relay": False})
    operator.window.current().refresh()
    operator.until(lambda: tab.degree.currentData() == "media")
    assert [tab.degree.model().item(place).isEnabled() for place in range(3)] == [False, False, True]
    assert not tab.relay.isEnabled() and not tab.relay.isChecked()
