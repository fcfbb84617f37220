"""Smoke inference in the console."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from console import smoke
from console.errors import InputError
from console.smoke import runtime


def test_the_shipped_model_gives_its_known_answers():
    found = smoke.local()
    assert found.verdict == "pass" and found.answer == "Paris."
    assert len(found.probes) >= 10


def test_a_wrong_answer_fails_with_both_texts(tmp_path: Path):
    shutil.copytree(runtime.smoke_model(), tmp_path / "m")
    (tmp_path / "m/expected.json").write_text(json.dumps({"answers": [{"question": "2+2", "answer": "5."}]}))
    found = smoke.local(tmp_path / "m")
    assert found.verdict == "fail" and found.probes[0].got == "4." and found.probes[0].params == {"expected": "5."}


def test_no_known_answers_is_unknown(tmp_path: Path):
    shutil.copytree(runtime.smoke_model(), tmp_path / "m")
    (tmp_path / "m/expected.json").unlink()
    assert smoke.local(tmp_path / "m").verdict == "unknown"


@pytest.mark.parametrize("name, content", [
    ("config.json", b"{"), ("config.json", b"[]"), ("config.json", b"{}"), ("tokenizer.json", b'{"format": "other"}'),
    ("tokenizer.json", b"[" * 50_000), ("model.onnx", b"junk"), ("model.onnx", b""),
    ("expected.json", b'{"answers": 7}')])
def test_a_malformed_folder_is_named_and_shows_no_path(tmp_path: Path, name: str, content: bytes):
    shutil.copytree(runtime.smoke_model(), tmp_path / "m")
    (tmp_path / "m" / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        smoke.local(tmp_path / "m")
    assert caught.value.code == "smoke.bad-model" and name in caught.value.message()
    assert str(tmp_path) not in caught.value.message()


def test_an_empty_folder_is_named(tmp_path: Path):
    with pytest.raises(InputError):
        smoke.local(tmp_path)


def test_shipped_files_are_small_and_the_graph_is_plain():
    import onnx

    assert sum(f.stat().st_size for f in runtime.smoke_model().iterdir()) < 2 << 20
    model = onnx.load(runtime.smoke_model() / "model.onnx")
    assert [o.domain for o in model.opset_import] == [""]
    assert not any(t.external_data for t in model.graph.initializer)
