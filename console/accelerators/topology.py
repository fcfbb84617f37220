"""Matrices of links between devices: ``nvidia-smi topo``, ``npu-smi info -t topo``, ``rocm-smi --showtopo``."""

from __future__ import annotations

import re
from typing import Any

from console.facts.grammar import Page, shown
from console.i18n import N_

MAX_DEVICES = 512
_TITLE = re.compile(r"CPU Affinity|NUMA Affinity|GPU NUMA ID")
_DEVICE = re.compile(r"[A-Za-z][\w.:\-]{1,40}")
_ACCELERATOR = re.compile(r"(?:GPU|NPU|DCU|Phy-ID)[0-9]+")


def parse_topology(page: Page) -> dict[str, Any]:
    """The matrix of ``topo -m`` with its columns of affinity."""
    start = next((n for n, line in page.numbered() if _is_header(line)), None)
    if start is None:
        page.empty()
    names, titles = _header(page, start)
    links, cpu, numa, end = {}, {}, {}, len(page.lines)
    for index, line in page.numbered(start + 1):
        words = line.split()
        if not words or words[0] not in names:
            end = index
            break
        links[words[0]] = _row(page, index, words, names)
        _affinities(page, index, line, names, titles, cpu, numa)
    # The last cell of a page that was not ended may be part of one; it need not be whole where nothing is read from it.
    if end >= len(page.lines) and (not titles or titles[-1] in ("CPU Affinity", "NUMA Affinity") or not _is_full(page, names, titles)):
        page.whole()
    told = {name in cpu for name in _accelerators(names)}
    if list(links) != names or len(told) > 1:
        page.fail(min(end, len(page.lines) - 1), N_("rows of the matrix are missing"))
    topology: dict[str, Any] = {"devices": names, "links": links}
    topology |= {key: value for key, value in (("cpu_affinity", cpu), ("numa_affinity", numa)) if value}
    return {"device_count": len(_accelerators(names)), "topology": topology}


def _is_full(page: Page, names: list[str], titles: list[str]) -> bool:
    """Whether the last row has a cell under every title."""
    return len(page.lines[-1].split()) == 1 + len(names) + len(titles)


def _accelerators(names: list[str]) -> list[str]:
    return [name for name in names if _ACCELERATOR.fullmatch(name)]


def _plain(line: str) -> str:
    """The header without the marks for underlining, of which copies often lost the escape character."""
    return re.sub(r"\[\d{1,2}m", "", line)


def _is_header(line: str) -> bool:
    words = _plain(line).split()[:2]
    return bool(words) and bool(_ACCELERATOR.fullmatch(words[0])) and (len(words) < 2 or bool(_DEVICE.fullmatch(words[1])))


def _header(page: Page, index: int) -> tuple[list[str], list[str]]:
    """Names of devices, and titles of the columns behind them."""
    line = " ".join(_plain(page.lines[index]).split())
    behind = _TITLE.search(line)
    names = line[: behind.start() if behind else len(line)].split()
    if len(set(names)) != len(names) or len(names) > MAX_DEVICES or not all(map(_DEVICE.fullmatch, names)):
        page.fail(index, N_("the devices of the header are not readable"))
    return names, re.findall(rf"{_TITLE.pattern}|\S+", line[behind.start() :]) if behind else []


def _row(page: Page, index: int, words: list[str], names: list[str]) -> dict[str, str]:
    cells = words[1 : len(names) + 1]
    own = names.index(words[0])
    if len(cells) != len(names) or "NV" in cells or cells[own] not in ("X", "0", "SELF", "N/A"):
        page.fail(index, N_("the row of the matrix does not fit its header"))
    return dict(zip(names, cells, strict=True))


def _affinities(page: Page, index: int, line: str, names: list[str], titles: list[str],
                cpu: dict[str, str], numa: dict[str, str]) -> None:
    words = line.split()
    values = words[len(names) + 1 :]
    if values and not titles:
        page.fail(index, N_("the row is longer than the header"))
    if not any(shown(value) is not None for value in values):
        return
    if len(values) != len(titles):
        values = _by_place(page, index, line, names, titles)
    for title, value in zip(titles, values, strict=True):
        into = {"CPU Affinity": cpu, "NUMA Affinity": numa}.get(title)
        if into is not None and shown(value) is not None:
            into[words[0]] = value


def _by_place(page: Page, index: int, line: str, names: list[str], titles: list[str]) -> list[str]:
    """Where columns are empty, tabs tell which; without tabs nobody can tell."""
    cells = [cell.strip() for cell in line.split("\t")]
    values = cells[len(names) + 1 :]
    if len(cells) <= len(names) or sum(map(bool, values)) > len(titles):
        page.fail(index, N_("the columns behind the matrix do not fit their titles"))
    values = (values + [""] * len(titles))[: max(len(titles), len(values))]
    if any(values[len(titles) - 1 :]) and len(values) > len(titles):
        # The tool widens the columns before the last with empty ones.
        values = values[: len(titles) - 1] + [next(v for v in values[len(titles) - 1 :] if v)]
    return values[: len(titles)]
