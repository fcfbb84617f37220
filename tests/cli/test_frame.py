"""The frame of the command line: exit codes, one JSON document, no traceback, cheap to start."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import pytest

from console import registry
from console.cli.main import GROUPS, build_parser, main
from console.engine import Engine
from console.errors import SealiftError, declared


def run(capsys, *words):
    exit_code = main(list(words))
    captured = capsys.readouterr()
    return exit_code, captured.out, captured.err


def test_a_wrong_command_line_is_one_json_document_and_exit_2(capsys, tmp_path):
    exit_code, out, _ = run(capsys, "--json", "--workspace", str(tmp_path), "site", "init")
    assert exit_code == 2
    assert json.loads(out)["error"]["code"] == "command.usage"


def test_global_options_count_before_and_after_the_command(capsys, tmp_path):
    assert run(capsys, "--workspace", str(tmp_path / "w"), "site", "init", "--name", "A", "--json")[0] == 0
    exit_code, out, _ = run(capsys, "--json", "site", "show", "--workspace", str(tmp_path / "w"))
    assert exit_code == 0
    assert json.loads(out)["site"]["name"] == "A"


def test_an_error_in_words_and_in_chinese(capsys, tmp_path):
    _, _, plain = run(capsys, "--workspace", str(tmp_path / "w"), "server", "show", "gpu-9")
    assert "[server.unknown]" in plain
    _, out, _ = run(capsys, "--json", "--lang", "zh_CN", "--workspace", str(tmp_path / "w"), "server", "show", "gpu-9")
    assert any("\u4e00" <= c <= "\u9fff" for c in json.loads(out)["error"]["message"])


def test_without_a_window_it_says_so(capsys):
    exit_code, _, err = run(capsys)
    assert exit_code == 2
    assert "command.no-window" in err


def test_no_command_opens_the_window(tmp_path):
    asked = []
    assert main(["--workspace", str(tmp_path)], open_window=lambda **told: asked.append(told) or 0) == 0
    assert asked[0]["workspace"] == tmp_path


def test_a_second_start_says_who_holds_the_workspace(capsys, tmp_path):
    with Engine.open(tmp_path / "w"):
        exit_code, out, _ = run(capsys, "--json", "--workspace", str(tmp_path / "w"), "site", "show")
    assert exit_code == 3
    error = json.loads(out)["error"]
    assert error["code"] == "workspace.busy"
    assert error["retryable"]


def test_every_command_has_help():
    parser = build_parser()
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--help"])
    assert ended.value.code == 0


def test_every_command_stands_in_one_group_of_the_help(capsys):
    parser = build_parser()
    commands = next(a for a in parser._actions if a.dest == "command").choices
    assert sorted(name for _, names in GROUPS for name in names) == sorted(c for c in commands if not c.startswith("_"))
    assert run(capsys, "--help")[0] == 0


def test_help_is_in_the_language_asked_for(capsys):
    exit_code, out, _ = run(capsys, "--lang", "zh_CN", "push", "--help")
    assert exit_code == 0
    assert "显示此帮助并退出" in out and "show this help" not in out


def test_starting_is_cheap():
    """What is slow to import waits until it is needed."""
    script = ("import sys, console.cli.main as m; m.build_parser(); "
              "print([n for n in ('paramiko', 'onnxruntime', 'numpy', 'PySide6', 'yaml') if n in sys.modules])")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = set(eval(done.stdout))  # noqa: S307 - a list of names that the line above printed
    assert not heavy & {"onnxruntime", "numpy", "PySide6"}


def test_a_command_that_needs_no_other_loads_none(tmp_path):
    script = ("import sys, console.cli.main as m\n"
              f"m.main(['--workspace', {str(tmp_path)!r}, '--lang', 'zh_CN', 'inventory', '--cached']); print('console.cli.bundle' in sys.modules)\n"
              f"m.main(['--workspace', {str(tmp_path)!r}, 'jobs', 'list']); print('console.cli.bundle' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line in ("True", "False")] == ["False", "True"]


@pytest.mark.parametrize("words", [
    ["--user", "server", "jobs", "list"], ["--workspace", "inventory", "self-test", "--help"], ["server", "no-such"], ["inventory", "--no-such"],
    ["--help", "server"], ["server", "--help"], ["--lang", "zh_CN", "inventory", "--help"], ["inventory", "parse", "--help"], ["-h"], ["server", "list", "--sort", "x"],
    ["--version", "ready"], ["ready"], ["--no-such", "server", "list"], ["_push-worker"], ["_inventory-worker", "--no-such"]], ids=" ".join)  # fmt: skip
def test_a_command_line_is_read_as_by_the_whole_parser(capsys, monkeypatch, words):
    from console.cli import main as subject

    def read() -> tuple:
        try:
            return vars(subject._parsed(words) or argparse.Namespace()).keys(), capsys.readouterr()
        except SealiftError as problem:
            return problem.as_dict(), capsys.readouterr()

    quick = read()
    monkeypatch.setattr(subject, "_only", lambda _words: None)
    assert read() == quick


def test_a_command_loads_for_its_queries_what_they_take(tmp_path):
    """To load sqlite-utils takes longer than most commands do all the rest; numpy, which it would load, nobody wants for it."""
    script = ("import sys, console.cli.main as m; asked = lambda: [n for n in ('sqlite_utils', 'numpy') if n in sys.modules]\n"
              "for words in (['server', 'list'], ['bundle', 'list']):\n"
              f"    m.main(['--workspace', {str(tmp_path)!r}, '--json', *words]); print(asked(), file=sys.stderr)\n"
              "import numpy")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-2:] == ["[]", "['sqlite_utils']"]


def test_every_error_has_a_remedy_and_fills_its_fields():
    import importlib
    import string

    for name in registry.all_modules():
        importlib.import_module(name)
    assert len(declared()) > 100
    for kind in declared().values():
        assert kind.message.strip(), kind.code
        assert kind.remedy.strip(), kind.code
        for text in (kind.message, kind.remedy):
            assert all(field is None or field.isidentifier() for _, field, _, _ in string.Formatter().parse(text)), kind.code
