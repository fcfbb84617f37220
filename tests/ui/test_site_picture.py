"""The picture of the site: levels of detail, marks that need no colour, the keyboard, and drawing only what changed."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QImage, QPainter
from PySide6.QtWidgets import QApplication

from console.accelerators.device import Device
from console.i18n import tr
from tests.ui.test_site_model import gpus, view
from ui import theme
from ui.models.servers import HEALTH, Section, ServerView
from ui.widgets import topology
from ui.widgets.serverpicture import ServerPicture
from ui.widgets.topology import COMPACT, LARGE, LEVELS, OVERVIEW, SMALL


def say(text: str, **params) -> str:
    return tr(text, "en", **params)


def fleet(count: int, devices: int = 8) -> list[ServerView]:
    return [view(f"gpu-{number:03d}", gpus(devices, numa=lambda i: i // 4)) for number in range(count)]


@pytest.fixture
def picture(qtbot):
    theme.apply(QApplication.instance(), "light")
    made = ServerPicture(say)
    qtbot.addWidget(made)
    made.resize(780, 560)
    made.show()
    with qtbot.waitActive(made):
        made.activateWindow()
    made.setFocus()
    return made


def show(picture: ServerPicture, views: list[ServerView]) -> None:
    picture.show_sections([Section("", tuple(views))])
    QApplication.processEvents()


def settle(qtbot, picture: ServerPicture) -> None:
    """Until nothing is left to be drawn: an event loop's turn in which nothing was, and no other is asked for."""
    quiet = 0
    while quiet < 3:
        drawn = picture.repainted_cards
        QApplication.processEvents()
        quiet = quiet + 1 if drawn == picture.repainted_cards and not picture._later.isActive() else 0


def test_one_server_is_large_and_hundreds_are_an_overview(picture):
    show(picture, fleet(1))
    assert picture.level is LARGE
    show(picture, fleet(4))
    assert picture.level in (SMALL, topology.MEDIUM)
    show(picture, fleet(30))
    assert picture.level is COMPACT
    show(picture, fleet(300))
    assert picture.level is OVERVIEW
    high = picture.verticalScrollBar().maximum() + picture.viewport().height()
    assert high < 3 * picture.viewport().height(), "three hundred servers are less than three windows high"


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.id)
@pytest.mark.parametrize("kind", ["NV18", "PIX", "SYS", "mixed"])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 10, 16])
def test_nothing_of_a_server_lies_outside_of_it_or_on_another_part(level, kind, count):
    links = (lambda a, b: "NV2" if b == a + 1 else "SYS") if kind == "mixed" else (lambda a, b: kind)
    made = view("gpu-1", gpus(count, links, numa=lambda i: i // 4))
    plan = topology.lay_out(made, level)
    inner = QRect(0, 0, plan.width, plan.height)
    assert len(plan.tiles) == count
    places = [where for _key, where in plan.tiles]
    for number, where in enumerate(places):
        assert inner.adjusted(2, 2, -2, -2).contains(where), (number, where)
        assert not any(where.intersects(other) for other in places[number + 1:])
    for node, box in plan.boxes:
        assert inner.contains(box)
        held = [where for key, where in plan.tiles if key[1] in node.places]
        assert all(box.contains(where) for where in held)


def shape(level, health: str) -> frozenset[tuple[int, int]]:
    """The pixels of a device that are not of its commonest colour: what somebody sees who sees no colours."""
    made = Device("nvidia", 0, "X", health=health)
    image = QImage(level.tile[0], level.tile[1], QImage.Format.Format_RGB32)
    image.fill(Qt.GlobalColor.white)
    painter = QPainter(image)
    topology._draw_tile(painter, made, QRect(0, 0, *level.tile), level, False, {})
    painter.end()
    pixels = {(x, y): image.pixel(x, y) for x in range(image.width()) for y in range(image.height())}
    common = max(set(pixels.values()), key=list(pixels.values()).count)
    return frozenset(place for place, colour in pixels.items() if colour != common)


@pytest.mark.parametrize("theme_name", ["light", "dark"])
@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.id)
def test_health_is_told_without_colour(qapp, level, theme_name):
    theme.apply(qapp, theme_name)
    shapes = {health: shape(level, health) for health in HEALTH}
    assert len(set(shapes.values())) == len(HEALTH), "two states of health have the same shape"


def test_a_fuller_memory_is_a_higher_gauge(qapp):
    theme.apply(qapp, "light")

    def darkest(part: float) -> int:
        made = Device("nvidia", 0, "X", health="ok", memory_used_bytes=round(part * 1000), memory_total_bytes=1000)
        image = QImage(46, 62, QImage.Format.Format_RGB32)
        image.fill(Qt.GlobalColor.white)
        painter = QPainter(image)
        topology._draw_tile(painter, made, QRect(0, 0, 46, 62), topology.MEDIUM, False, {})
        painter.end()
        base = image.pixelColor(42, 30).lightness() if part < 0.5 else image.pixelColor(42, 2).lightness()
        return sum(image.pixelColor(42, y).lightness() < base - 8 for y in range(4, 58))

    assert darkest(0.1) < darkest(0.4) < darkest(0.9)


def test_the_arrows_walk_devices_servers_and_rows(qtbot, picture):
    show(picture, fleet(40))
    picked = []
    picture.picked.connect(lambda name, device: picked.append((name, device)))
    for key in (Qt.Key.Key_Home, Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Left):
        qtbot.keyClick(picture, key)
    assert picked == [("gpu-000", None), ("gpu-000", ("nvidia", 0)), ("gpu-000", ("nvidia", 1)), ("gpu-000", ("nvidia", 0))]
    qtbot.keyClick(picture, Qt.Key.Key_Right, Qt.KeyboardModifier.ControlModifier)
    assert picked[-1] == ("gpu-001", None)
    qtbot.keyClick(picture, Qt.Key.Key_Left)
    assert picked[-1] == ("gpu-000", ("nvidia", 7)), "to the left of a server is the last device of the one before"
    above = picture.place_of("gpu-001")
    qtbot.keyClick(picture, Qt.Key.Key_Right)
    qtbot.keyClick(picture, Qt.Key.Key_Down)
    below = picture.place_of(picked[-1][0])
    assert below.left() == above.left() and below.top() > above.top()
    qtbot.keyClick(picture, Qt.Key.Key_Up)
    assert picked[-1][0] == "gpu-001"
    qtbot.keyClick(picture, Qt.Key.Key_End)
    assert picked[-1][0] == "gpu-039"
    last = picture.place_of("gpu-039")
    assert picture.viewport().rect().contains(last), "what is chosen is scrolled into sight"


def test_enter_opens_and_plus_and_minus_change_the_size(qtbot, picture):
    show(picture, fleet(40))
    opened, levels = [], []
    picture.opened.connect(lambda name, device: opened.append((name, device)))
    picture.levelled.connect(levels.append)
    qtbot.keyClick(picture, Qt.Key.Key_Home)
    qtbot.keyClick(picture, Qt.Key.Key_Right)
    qtbot.keyClick(picture, Qt.Key.Key_Return)
    assert opened == [("gpu-000", ("nvidia", 0))]
    qtbot.keyClick(picture, Qt.Key.Key_Plus)
    qtbot.keyClick(picture, Qt.Key.Key_Minus)
    qtbot.keyClick(picture, Qt.Key.Key_Minus)
    assert levels == ["small", "compact", "overview"] and picture.wanted_level() == "overview"


def test_what_is_chosen_is_told_to_screen_readers(qtbot, picture):
    made = view("gpu-1", [Device("nvidia", 0, "H200", health="fail", health_raw="GPU is lost", temperature_c=61)])
    show(picture, [made])
    qtbot.keyClick(picture, Qt.Key.Key_Home)
    assert "gpu-1" in picture.accessibleDescription() and "Device failed" in picture.accessibleDescription()
    qtbot.keyClick(picture, Qt.Key.Key_Right)
    assert "GPU is lost" in picture.accessibleDescription() and "61 °C" in picture.accessibleDescription()


@pytest.mark.parametrize("level", [level.id for level in LEVELS])
def test_the_pointer_finds_every_device_where_it_is_drawn(qtbot, picture, level):
    show(picture, fleet(6))
    picture.show_level(level)
    picked = []
    picture.picked.connect(lambda name, device: picked.append((name, device)))
    for key in (("nvidia", 0), ("nvidia", 5)):
        where = picture.place_of("gpu-001", key)
        qtbot.mouseClick(picture.viewport(), Qt.MouseButton.LeftButton, pos=where.center())
        assert picked[-1] == ("gpu-001", key)
        assert "5: X" in picture.describe(*picked[-1]) or key[1] == 0
    assert picture.at(QPoint(0, picture.viewport().height() - 1)) is None or level == "large"


def test_an_answer_draws_one_server_anew_and_moves_nothing(qtbot, picture):
    views = fleet(60)
    views[7] = view("gpu-007", asked=False)
    show(picture, views)
    settle(qtbot, picture)
    bar = picture.verticalScrollBar()
    bar.setValue(bar.maximum() // 3)
    settle(qtbot, picture)
    places, drawn = list(picture._places), picture.repainted_cards
    picture.update_views([view("gpu-007", gpus(8))])
    settle(qtbot, picture)
    assert picture._places == places
    assert picture.repainted_cards - drawn <= 1


def test_a_server_that_grows_does_not_move_what_is_being_looked_at(qtbot, picture):
    views = fleet(60)
    views[0] = view("gpu-000", asked=False)
    show(picture, views)
    picture.show_level("small")
    bar = picture.verticalScrollBar()
    bar.setValue(bar.maximum() // 2)
    seen = next(v.name for v in views if picture.place_of(v.name).top() >= 0)
    before = picture.place_of(seen)
    picture.update_views([view("gpu-000", gpus(16, numa=lambda i: i // 8))])
    assert picture.place_of(seen) == before


def test_a_server_that_is_being_asked_says_so_and_keeps_its_devices(qtbot, picture):
    show(picture, fleet(3))
    before = picture._plan(picture.views()[1])
    picture.show_asking(frozenset({"gpu-001"}))
    assert "Being asked" in picture.describe("gpu-001", None)
    assert picture._plan(picture.views()[1]) is before


def test_the_ring_shows_where_the_keyboard_is(qtbot, picture):
    show(picture, fleet(3))
    qtbot.keyClick(picture, Qt.Key.Key_Home)
    settle(qtbot, picture)
    here = picture.grab().toImage()
    picture.clearFocus()
    assert picture.grab().toImage() != here


def test_drawing_hundreds_is_spread_over_turns_of_the_loop(qtbot, picture):
    views = fleet(300)
    show(picture, views)
    seen = sum(picture.viewport().rect().intersects(picture.place_of(v.name)) for v in views)
    qtbot.waitUntil(lambda: picture.repainted_cards >= seen, timeout=10_000)
    settle(qtbot, picture)
    assert seen <= picture.repainted_cards < 300, "what is out of sight is not drawn"
