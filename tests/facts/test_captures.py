"""Every shared recording gives exactly its ground truth; a recording that is cut gives no wrong value."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.errors import InputError
from console.facts.recorded import parse_recorded

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"


def _index() -> list[tuple[str, str]]:
    if not CAPTURES.is_dir():
        return []
    with (CAPTURES / "INDEX.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [(row["path"], row["tool_args"]) for row in rows]


INDEX = _index()
needs_captures = pytest.mark.skipif(not INDEX, reason="the shared recordings are not here")


def _told(value: Any) -> Any:
    """Without what the tool did not tell."""
    if isinstance(value, dict):
        return {k: _told(v) for k, v in value.items() if v is not None and k != "notes"}
    return [_told(v) for v in value] if isinstance(value, list) else value


def _truth(path: str) -> Any:
    return json.loads((CAPTURES / f"{path.rpartition('.')[0]}.truth.json").read_text(encoding="utf-8"))


@needs_captures
@pytest.mark.parametrize(("path", "tool"), INDEX, ids=[path for path, _ in INDEX])
def test_recording_gives_its_truth(path: str, tool: str) -> None:
    assert _told(parse_recorded(tool, (CAPTURES / path).read_bytes())) == _told(_truth(path))


COUNTS = {"device_count", "npu_count", "pci_function_count", "physical_gpu_count", "xid_line_count", "truncated",
          "rows_still_printed", "vendor"}


def _wrong(truth: Any, ours: Any, path: str = "") -> list[str]:
    """Where ours says something that the truth does not."""
    if ours is None:
        return []
    if isinstance(ours, dict):
        return [w for k, v in ours.items() if k not in COUNTS
                for w in _wrong((truth or {}).get(k), v, f"{path}.{k}")] if isinstance(truth, dict | None) else [path]
    if isinstance(ours, list):
        known = truth or []
        if len(ours) > len(known):
            return [path]
        return [w for n, v in enumerate(ours) for w in _wrong(known[n], v, f"{path}[{n}]")]
    return [] if ours == truth else [f"{path}: {ours!r} for {truth!r}"]


@needs_captures
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_cut_recording_gives_no_wrong_value(data: st.DataObject) -> None:
    path, tool = data.draw(st.sampled_from(INDEX))
    raw = (CAPTURES / path).read_bytes()
    # Records on pages without any frame are complete in themselves; there a cut between them cannot be seen, and
    # what a value of several lines, or a table of keys, would have gone on with, neither.
    frameless = ("npu-smi-t-common" in path or "npu-smi-t-health" in path or "lspci" in path)
    end = data.draw(st.integers(0, len(raw) - 1))
    try:
        found = parse_recorded(tool, raw[:end])
    except InputError as problem:
        assert problem.code in ("inventory.unreadable-output", "inventory.unknown-tool")
        return
    if not frameless:
        assert _wrong(_truth(path), found) == []
