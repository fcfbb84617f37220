"""``sealift inventory parse``: exit codes and the one JSON document."""

from __future__ import annotations

import json

import pytest

from console.cli.main import main

LIST = "GPU 0: NVIDIA H200 (UUID: GPU-6a7d2000-5ea1-4f00-8a00-0000c0ffee00)\n"


@pytest.mark.parametrize(("tool", "text", "code", "key"), [
    ("nvidia-smi -L", LIST, 0, "devices"), ("nvidia-smi", "No devices were found\n", 1, "error_kind"),
    ("nvidia-smi -L", "something new\n", 3, "error"), ("frobnicate", LIST, 3, "error")])
def test_exit_codes(tmp_path, capsys, tool: str, text: str, code: int, key: str) -> None:
    file = tmp_path / "recording.txt"
    file.write_text(text, encoding="utf-8")
    assert main(["--json", "inventory", "parse", tool, str(file)]) == code
    assert key in json.loads(capsys.readouterr().out)


def test_options_may_stand_behind(tmp_path, capsys) -> None:
    file = tmp_path / "recording.txt"
    file.write_text(LIST, encoding="utf-8")
    assert main(["inventory", "parse", "nvidia-smi -L", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["device_count"] == 1


def test_missing_file_is_an_error_in_words(tmp_path, capsys) -> None:
    assert main(["--json", "inventory", "parse", "nvidia-smi", str(tmp_path / "no")]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "inventory.recording-unreadable"


def test_unreadable_line_is_named(tmp_path, capsys) -> None:
    file = tmp_path / "recording.txt"
    file.write_text(LIST + "what is this\n", encoding="utf-8")
    assert main(["--json", "inventory", "parse", "nvidia-smi -L", str(file)]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["details"]["line"] == 2
