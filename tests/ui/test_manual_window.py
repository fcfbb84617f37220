"""The manual opens at the page about the screen, finds words, and follows the window's language."""

from __future__ import annotations


def opened(qtbot, window):
    window.open_manual()
    qtbot.waitUntil(lambda: window.manual._list.count() > 0)
    return window.manual


def test_it_opens_at_the_page_about_the_screen(qtbot, window):
    window.show_screen("proof")
    manual = opened(qtbot, window)
    assert manual._list.currentItem().text() == "Proof"
    assert "verify_audit.py" in manual._text.toPlainText()
    window.show_screen("library")
    window.open_manual()
    assert window.manual is manual and manual._list.currentItem().text().startswith("Bundles")


def test_a_search_leaves_the_pages_that_have_the_words(qtbot, window):
    manual = opened(qtbot, window)
    manual._search.setText("requiretty")
    qtbot.waitUntil(lambda: manual._found.text() != "")
    assert [manual._list.item(n).text() for n in range(manual._list.count()) if not manual._list.item(n).isHidden()] \
        == ["When something goes wrong"]
    assert manual._list.currentItem().text() == "When something goes wrong"
    assert len(manual._text.extraSelections()) == 1
    manual._search.clear()
    qtbot.waitUntil(lambda: manual._found.text() == "")
    assert not any(manual._list.item(n).isHidden() for n in range(manual._list.count()))


def test_words_that_are_nowhere_say_so(qtbot, window):
    manual = opened(qtbot, window)
    manual._search.setText("no such words")
    qtbot.waitUntil(lambda: manual._found.text() == "0 hits on 0 pages")


def test_another_language_closes_it_and_opens_it_translated(qtbot, window):
    opened(qtbot, window)
    window.restyle("dark", "zh_CN")
    qtbot.waitUntil(lambda: window.manual is None)
    assert opened(qtbot, window)._list.item(0).text().startswith("Sealift 做什么")


def test_it_closes_with_the_window(qtbot, window):
    opened(qtbot, window)
    window.close()
    qtbot.waitUntil(lambda: window.manual is None)
