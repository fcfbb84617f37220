"""How the window looks: two palettes of our own, one style sheet by role, one spacing scale.

The platform's colour scheme is not asked: on plain X11 it stays unknown, so Sealift ships both palettes and
remembers the operator's choice. Widgets say what they are with the dynamic property ``role``; only this module
says what a role looks like.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from string import Template

from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication, QWidget

from console.assets import asset

XS, S, M, L, XL, XXL = 4, 8, 12, 16, 24, 32
"""The spacing scale, in pixels."""

ROW_HEIGHT = 36
"""Fixed, because a fallback font of another height would otherwise move the rows."""

FONT_FAMILIES = ["Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", "WenQuanYi Micro Hei", "Sans Serif"]
MONO_FAMILIES = ["DejaVu Sans Mono", "Noto Sans Mono CJK SC", "Consolas", "Menlo", "Monospace"]
TONES = ("ok", "info", "warn", "fail", "unknown", "muted", "accent")


@dataclass(frozen=True)
class Palette:
    """Every colour by what it is for. ``*_soft`` is the quiet background that goes under the plain colour."""

    name: str
    window: str
    surface: str
    sunken: str
    hover: str
    border: str
    border_strong: str
    text: str
    muted: str
    accent: str
    accent_hover: str
    accent_soft: str
    on_accent: str
    ok: str
    ok_soft: str
    info: str
    info_soft: str
    warn: str
    warn_soft: str
    fail: str
    fail_soft: str
    unknown: str
    unknown_soft: str
    rail: str
    rail_text: str
    rail_muted: str
    rail_hover: str
    rail_active: str
    weights: str
    kv: str
    overhead: str
    free: str

    def tone(self, tone: str) -> QColor:
        """The colour of a status tone."""
        return QColor(getattr(self, tone))

    def soft(self, tone: str) -> QColor:
        """The quiet background of a status tone."""
        return QColor(getattr(self, f"{tone}_soft", self.sunken))


LIGHT = Palette(
    name="light", window="#f3f5f7", surface="#ffffff", sunken="#eef1f4", hover="#e8edf1", border="#dce2e8",
    border_strong="#b4bfca", text="#17212b", muted="#546371", accent="#0b6b82", accent_hover="#095a6e",
    accent_soft="#e0f0f4", on_accent="#ffffff", ok="#1a7348", ok_soft="#e1f3e9", info="#2360a5", info_soft="#e3edf9",
    warn="#8a5a00", warn_soft="#fdf0d5", fail="#b02a21", fail_soft="#fbe6e4", unknown="#655586",
    unknown_soft="#edeaf5", rail="#122530", rail_text="#e8eff3", rail_muted="#9db2be", rail_hover="#1b3442",
    rail_active="#234355", weights="#0b6b82", kv="#c07a1c", overhead="#8c6bb1", free="#e3e9ee")

DARK = Palette(
    name="dark", window="#12181d", surface="#1b2329", sunken="#161d22", hover="#253038", border="#2d3941",
    border_strong="#4d5d69", text="#e6edf1", muted="#9eb0bb", accent="#4fb3c9", accent_hover="#6cc4d7",
    accent_soft="#173640", on_accent="#06222a", ok="#5cc48d", ok_soft="#17362a", info="#7db2ee", info_soft="#1a2f48",
    warn="#e2b04a", warn_soft="#3a2f14", fail="#f08a80", fail_soft="#43211f", unknown="#b4a5dc",
    unknown_soft="#2e2941", rail="#0c1216", rail_text="#e6edf1", rail_muted="#8ea1ad", rail_hover="#172127",
    rail_active="#1f2d35", weights="#4fb3c9", kv="#e0a04a", overhead="#a98bd0", free="#2b363e")

PALETTES = {"light": LIGHT, "dark": DARK}


class _Current:
    palette: Palette = LIGHT


def palette() -> Palette:
    """The palette in use; own-painted widgets read it at every paint."""
    return _Current.palette


def font(points: float = 10, *, bold: bool = False) -> QFont:
    """The interface font. One family list for both scripts, so that the languages lay out alike."""
    made = QFont(FONT_FAMILIES)
    made.setPointSizeF(points)
    made.setBold(bold)
    return made


def mono(points: float = 9.5) -> QFont:
    """The font of evidence, digests and fingerprints."""
    made = QFont(MONO_FAMILIES)
    made.setStyleHint(QFont.StyleHint.Monospace)
    made.setPointSizeF(points)
    return made


def has_chinese_font() -> bool:
    """Whether any installed font can show Simplified Chinese."""
    return bool(QFontDatabase.families(QFontDatabase.WritingSystem.SimplifiedChinese))


def apply(app: QApplication, name: str) -> Palette:
    """Switch the whole application to the palette ``name``, also while windows are open."""
    chosen = _Current.palette = PALETTES.get(name, LIGHT)
    app.setFont(font())
    app.setPalette(_qt_palette(chosen))
    # Setting the same sheet again would leave widgets half in the old palette; clearing it first re-polishes all.
    app.setStyleSheet("")
    app.setStyleSheet(style_sheet(chosen))
    return chosen


def set_role(widget: QWidget, role: str) -> None:
    """Give ``widget`` a role and have it drawn by it, also after it was shown."""
    set_property(widget, "role", role)


def set_property(widget: QWidget, name: str, value: object) -> None:
    """Give ``widget`` a property that the style sheet asks for, and have it drawn by it."""
    widget.setProperty(name, value)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


def _qt_palette(p: Palette) -> QPalette:
    made = QPalette()
    roles = {
        QPalette.ColorRole.Window: p.window, QPalette.ColorRole.WindowText: p.text, QPalette.ColorRole.Base: p.surface,
        QPalette.ColorRole.AlternateBase: p.sunken, QPalette.ColorRole.Text: p.text,
        QPalette.ColorRole.Button: p.surface,
        QPalette.ColorRole.ButtonText: p.text, QPalette.ColorRole.BrightText: p.fail, QPalette.ColorRole.Link: p.accent,
        QPalette.ColorRole.Highlight: p.accent, QPalette.ColorRole.HighlightedText: p.on_accent,
        QPalette.ColorRole.ToolTipBase: p.surface, QPalette.ColorRole.ToolTipText: p.text,
        QPalette.ColorRole.PlaceholderText: p.muted, QPalette.ColorRole.Mid: p.border,
        QPalette.ColorRole.Light: p.surface, QPalette.ColorRole.Dark: p.border_strong,
    }
    for role, colour in roles.items():
        made.setColor(role, QColor(colour))
    for role in (QPalette.ColorRole.Text, QPalette.ColorRole.ButtonText, QPalette.ColorRole.WindowText):
        made.setColor(QPalette.ColorGroup.Disabled, role, QColor(p.border_strong))
    return made


def style_sheet(p: Palette) -> str:
    """The style sheet of the palette."""
    icons = asset("icons").as_posix()
    return Template(_SHEET).substitute(asdict(p), icons=icons, mono=", ".join(f'"{f}"' for f in MONO_FAMILIES))


_SHEET = """
* { outline: 0; }
QMainWindow, QDialog, QWidget[role="page"] { background: $window; }
QScrollArea, QScrollArea > QWidget > QWidget[role="page"] { background: transparent; border: 0; }
QToolTip { background: $surface; color: $text; border: 1px solid $border_strong; padding: 4px 6px; }

QLabel { background: transparent; color: $text; }
QLabel[role="title"] { font-size: 17pt; font-weight: bold; }
QLabel[role="brand"] { font-size: 14pt; font-weight: bold; }
QLabel[role="heading"] { font-size: 12pt; font-weight: bold; }
QLabel[role="strong"] { font-weight: bold; }
QLabel[role="muted"], QLabel[role="small"] { color: $muted; }
QLabel[role="small"], QLabel[role="label"] { font-size: 9pt; }
QLabel[role="label"] { color: $muted; }
QLabel[role="mono"] { font-family: $mono; font-size: 9.5pt; }
QLabel[role="figure"] { font-size: 18pt; font-weight: bold; }
QLabel[role="ok"] { color: $ok; }  QLabel[role="warn"] { color: $warn; }  QLabel[role="fail"] { color: $fail; }

QFrame[role="card"] { background: $surface; border: 1px solid $border; border-radius: 8px; }
QFrame[role="well"] { background: $sunken; border: 1px solid $border; border-radius: 6px; }
QFrame[role="line"] { background: $border; border: 0; max-height: 1px; min-height: 1px; }
QFrame[role="banner-info"] { background: $info_soft; border: 1px solid $info; border-radius: 6px; }
QFrame[role="banner-warn"] { background: $warn_soft; border: 1px solid $warn; border-radius: 6px; }
QFrame[role="banner-fail"] { background: $fail_soft; border: 1px solid $fail; border-radius: 6px; }
QFrame[role="banner-ok"] { background: $ok_soft; border: 1px solid $ok; border-radius: 6px; }
QFrame[role="strip"] { background: $surface; border: 0; border-top: 1px solid $border; }

QWidget[role="rail"] { background: $rail; }
QWidget[role="rail"] QLabel { color: $rail_text; }
QWidget[role="rail"] QLabel[role="small"] { color: $rail_muted; }
QPushButton[role="nav"] { background: transparent; color: $rail_muted; border: 1px solid transparent;
    border-radius: 6px; text-align: left; padding: 0 10px; min-height: 36px; }
QPushButton[role="nav"]:hover { background: $rail_hover; color: $rail_text; }
QPushButton[role="nav"]:checked { background: $rail_active; color: $rail_text; font-weight: bold; }
QPushButton[role="nav"][small="true"] { padding: 0 7px; min-height: 30px; font-size: 9pt; }
QPushButton[role="nav"]::menu-indicator { image: none; width: 0; }
QPushButton[role="nav"]:focus { border: 1px solid #7fd0e2; }

QPushButton { background: $surface; color: $text; border: 1px solid $border_strong; border-radius: 6px; padding: 0 14px;
    min-height: 30px; }
QPushButton:hover { background: $hover; }
QPushButton:pressed { background: $border; }
QPushButton:focus { border: 2px solid $accent; padding: 0 13px; min-height: 28px; }
QPushButton:disabled { color: $border_strong; border-color: $border; background: $sunken; }
QPushButton[role="primary"] { background: $accent; color: $on_accent; border: 1px solid $accent; font-weight: bold; }
QPushButton[role="primary"]:hover { background: $accent_hover; }
QPushButton[role="primary"]:focus { border: 2px solid $text; }
QPushButton[role="primary"]:disabled { background: $sunken; color: $border_strong; border-color: $border; }
QPushButton[role="danger"] { color: $fail; border-color: $fail; }
QPushButton[role="danger"]:disabled { color: $border_strong; border-color: $border; }
QPushButton[menu="true"] { padding-right: 32px; }
QPushButton[menu="true"]:focus { padding-right: 31px; }
QPushButton::menu-indicator { image: url("$icons/chevron-$name.svg"); width: 12px; height: 12px;
    subcontrol-origin: padding; subcontrol-position: right center; right: 12px; }
QPushButton[role="quiet"] { background: transparent; border: 1px solid transparent; color: $accent; padding: 0 8px; }
QPushButton[role="quiet"]:hover { background: $hover; }
QPushButton[role="quiet"]:focus { border: 1px solid $accent; padding: 0 8px; min-height: 30px; }
QPushButton[role="quiet"]:disabled { color: $border_strong; }
QPushButton[role="icon"] { background: transparent; border: 1px solid transparent; padding: 0; min-height: 0; }
QPushButton[role="icon"]:hover { background: $hover; }
QPushButton[role="icon"]:focus { border: 1px solid $accent; }
QPushButton[role="choice"] { text-align: left; padding: 5px 12px; border-color: transparent; background: transparent; }
QPushButton[role="choice"]:hover { background: $hover; }
QPushButton[role="choice"]:checked { background: $surface; border-color: $border; font-weight: bold; }
QPushButton[role="choice"]:disabled { background: transparent; border-color: transparent; }
QPushButton[role="choice"]:focus { border: 2px solid $accent; padding: 4px 11px; min-height: 30px; }
QPushButton[role="segment"] { border-radius: 0; border-color: $border_strong; margin: 0 -1px 0 0; }
QPushButton[role="segment"]:checked { background: $accent_soft; color: $accent; border: 1px solid $accent;
    font-weight: bold; }
QPushButton[role="chip"] { border: 1px solid $border; border-radius: 14px; padding: 0 9px; min-height: 26px; }
QPushButton[role="chip"]:checked { background: $accent_soft; border: 1px solid $accent; color: $accent; }
QPushButton[role="chip"]:focus { border: 2px solid $accent; padding: 0 8px; min-height: 24px; }

QLineEdit, QComboBox, QSpinBox, QPlainTextEdit, QTextEdit { background: $surface; color: $text;
    border: 1px solid $border_strong; border-radius: 6px; padding: 0 8px; min-height: 30px;
    selection-background-color: $accent; selection-color: $on_accent; }
QPlainTextEdit, QTextEdit { padding: 4px 6px; }
QPlainTextEdit[role="evidence"] { background: $sunken; border-color: $border; font-family: $mono; font-size: 9.5pt; }
QLineEdit:focus, QComboBox:focus, QSpinBox:focus, QPlainTextEdit:focus { border: 2px solid $accent; padding: 0 7px;
    min-height: 28px; }
QPlainTextEdit:focus { padding: 3px 5px; }
QLineEdit:disabled, QComboBox:disabled, QSpinBox:disabled { background: $sunken; color: $muted; border-color: $border; }
QLineEdit[wrong="true"] { border: 2px solid $fail; }
QComboBox::drop-down { border: 0; width: 26px; }
QComboBox::down-arrow { image: url("$icons/chevron-$name.svg"); width: 14px; height: 14px; }
QComboBox QAbstractItemView { background: $surface; border: 1px solid $border_strong; padding: 4px;
    selection-background-color: $accent_soft; selection-color: $text; }
QSpinBox { padding-right: 4px; }
QSpinBox::up-button, QSpinBox::down-button { border: 0; width: 20px; background: transparent; }
QSpinBox::up-arrow { image: url("$icons/chevron-up-$name.svg"); width: 11px; height: 11px; }
QSpinBox::down-arrow { image: url("$icons/chevron-$name.svg"); width: 11px; height: 11px; }

QCheckBox, QRadioButton { color: $text; spacing: 8px; min-height: 26px; border: 1px solid transparent;
    border-radius: 4px; padding: 0 4px; background: transparent; }
QCheckBox:focus, QRadioButton:focus { border: 1px solid $accent; }
QCheckBox:disabled, QRadioButton:disabled { color: $border_strong; }
QCheckBox::indicator, QAbstractItemView::indicator { width: 16px; height: 16px; border: 1px solid $border_strong;
    border-radius: 4px; background: $surface; }
QCheckBox::indicator:checked, QAbstractItemView::indicator:checked { background: $accent; border-color: $accent;
    image: url("$icons/tick-$name.svg"); }
QCheckBox::indicator:disabled { background: $sunken; border-color: $border; }
QRadioButton::indicator { width: 16px; height: 16px; border: 1px solid $border_strong; border-radius: 9px;
    background: $surface; }
QRadioButton::indicator:checked { border: 5px solid $accent; border-radius: 9px; width: 8px; height: 8px; }

QTableView, QListView, QTreeView { background: $surface; alternate-background-color: $surface; color: $text;
    border: 1px solid $border; border-radius: 8px; gridline-color: $border; selection-background-color: $accent_soft;
    selection-color: $text; }
QTableView:focus, QListView:focus, QTreeView:focus { border: 1px solid $accent; }
QTableView::item { padding: 0 8px; border: 0; border-bottom: 1px solid $border; }
QTableView::item:selected { background: $accent_soft; color: $text; }
QListView::item { padding: 6px 8px; border-radius: 4px; }
QListView::item:selected { background: $accent_soft; color: $text; }
QHeaderView { background: transparent; border: 0; }
QHeaderView::section { background: $surface; color: $muted; border: 0; border-bottom: 1px solid $border_strong;
    padding: 0 11px; height: 34px; font-size: 9pt; font-weight: bold; }
QHeaderView::section:first { border-top-left-radius: 7px; }
QHeaderView::section:last { border-top-right-radius: 7px; }
QHeaderView::section:only-one { border-top-left-radius: 7px; border-top-right-radius: 7px; }
QHeaderView::section:hover { color: $text; }
QHeaderView::up-arrow { image: url("$icons/chevron-up-$name.svg"); width: 10px; height: 10px; }
QHeaderView::down-arrow { image: url("$icons/chevron-$name.svg"); width: 10px; height: 10px; }
QTableCornerButton::section { background: $surface; border: 0; }

QTabWidget::pane { border: 0; border-top: 1px solid $border; top: -1px; }
QTabBar::tab { background: transparent; color: $muted; border: 1px solid transparent;
    border-bottom: 2px solid transparent; padding: 8px 12px; margin-right: 4px; }
QTabBar::tab:hover { color: $text; }
QTabBar::tab:selected { color: $accent; border-bottom: 2px solid $accent; font-weight: bold; }
QTabBar::tab:focus { border: 1px solid $accent; border-bottom: 2px solid $accent; border-radius: 4px; }

QProgressBar { background: $sunken; border: 0; border-radius: 4px; min-height: 8px; max-height: 8px; }
QProgressBar::chunk { background: $accent; border-radius: 4px; }
QProgressBar[tone="ok"]::chunk { background: $ok; }
QProgressBar[tone="fail"]::chunk { background: $fail; }

QScrollBar:vertical { background: transparent; width: 12px; margin: 2px; }
QScrollBar:horizontal { background: transparent; height: 12px; margin: 2px; }
QScrollBar::handle { background: $border_strong; border-radius: 4px; min-height: 28px; min-width: 28px; }
QScrollBar::handle:hover { background: $muted; }
QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page { background: none; border: 0;
    width: 0; height: 0; }
QAbstractScrollArea::corner { background: transparent; border: 0; }
QSplitter::handle { background: transparent; }
QMenu { background: $surface; color: $text; border: 1px solid $border_strong; padding: 4px; }
QMenu::item { padding: 6px 18px; border-radius: 4px; }
QMenu::item:selected { background: $accent_soft; color: $text; }
QMenu::item:disabled { color: $border_strong; }
QGroupBox { border: 0; margin: 0; }
"""
