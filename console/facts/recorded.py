"""One recorded output, read by the command line that made it: the result of ``sealift inventory parse``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from console.accelerators import (
    amd_smi,
    amd_table,
    ascend_pages,
    ascend_table,
    nvidia_monitor,
    nvidia_query,
    nvidia_table,
    rocm_smi,
    rocminfo,
    topology,
)
from console.accelerators.toolerrors import tool_error
from console.facts import collectenv, cpu, dmesg, lspci, memory, os, surroundings
from console.facts.fact import UNKNOWN_TOOL
from console.facts.grammar import Page, clean
from console.i18n import N_, Said

_WRAPPERS = frozenset({"env", "sudo", "timeout", "nice", "stdbuf", "command", "watch"})
_CARRIERS = frozenset({"docker", "podman", "nerdctl", "kubectl", "oc", "crictl", "srun", "ssh", "singularity", "apptainer", "enroot", "wsl", "cmd",
                       "powershell", "optirun", "bash", "sh"})
_DURATION = re.compile(r"[\d.]+[smhd]?")


@dataclass(frozen=True)
class Call:
    """One command of a recorded line: its program, the words behind it, and all words in lower case."""

    program: str
    words: tuple[str, ...]
    line: str

    def has(self, *flags: str) -> bool:
        """Whether one of the words is there, alone or as ``--word=value``."""
        return any(word == flag or word.startswith(f"{flag}=") for word in self.words for flag in flags)

    def value(self, *flags: str) -> str | None:
        """What follows the flag, ``--flag=value`` or ``--flag value``."""
        for place, word in enumerate(self.words):
            name, mark, value = word.partition("=")
            if name in flags:
                return value if mark else next(iter(self.words[place + 1 : place + 2]), None)
        return None

    def short(self, letter: str) -> bool:
        """Whether a one-letter flag is there, also in a group such as ``-qx``."""
        return any(re.fullmatch(r"-[A-Za-z]{1,6}", word) and letter in word for word in self.words)


def calls(tool: str) -> list[Call]:
    """The commands of a line: chains and pipes apart; wrappers, assignments and paths away; filters left out."""
    found = []
    for part in re.split(r"&&|\|\||;|\n", tool):
        text = part.split("|")[0].strip()
        try:
            words = shlex.split(re.sub(r"\s[0-9]?>{1,2}\s*\S+", " ", f" {text}"))
        except ValueError:
            words = text.split()
        words = _carried(_unwrapped(words))
        if words:
            found.append(Call(_program(words[0]), tuple(words[1:]), text))
    return found


def _program(word: str) -> str:
    return re.split(r"[/\\]", word)[-1].lower().removesuffix(".exe")


def _carried(words: list[str]) -> list[str]:
    """The command that another one takes into a container, to a node or to a shell."""
    if not words or _program(words[0]) not in _CARRIERS:
        return words
    inner = [part for word in words[1:] for part in word.split()]
    last = max((n for n, word in enumerate(inner) if ":" not in word and _program(word) in _READERS), default=None)
    return words if last is None else inner[last:]


def _unwrapped(words: list[str]) -> list[str]:
    while words:
        head = words[0].rsplit("/", 1)[-1]
        if head in ("for", "while", "do", "done", "$", "#", "&") or re.fullmatch(r"\w+=\S*", head):
            words = words[1:] if head not in ("for", "while") else []
        elif head in _WRAPPERS:
            words = words[1:]
            while words and (words[0].startswith("-") or _DURATION.fullmatch(words[0])):
                words = words[1:]
        else:
            break
    return words


def parse_recorded(tool: str, raw: bytes) -> dict[str, Any]:
    """What a recorded output says, in the schema of the recordings' ground truth.

    Args:
        tool: the command line that was recorded, such as ``npu-smi info -t board -i 0``.
        raw: what it printed.

    Returns:
        ``vendor``, ``tool`` and the values; for an error of the tool ``error_kind`` and what else it tells.

    Raises:
        InputError: ``inventory.unknown-tool``; ``inventory.unreadable-output`` naming the line;
            ``inventory.output-too-long``.
    """
    tool = " ".join(tool.split())[:2000]
    known = [call for call in calls(tool) if call.program in _READERS]
    if not known:
        raise UNKNOWN_TOOL(tool=tool[:200])
    call = known[-1]
    vendor, read, may_fail = _READERS[call.program]
    text = surroundings.without(clean(raw, tool), call.program)
    failure = tool_error(text) if may_fail else None
    if failure:
        return {"vendor": vendor, "tool": tool} | failure
    page = Page(text, tool)
    if not text.strip():
        page.fail(0, N_("the output is empty"))
    try:
        found = read(page, call)
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as problem:
        # A layout that no reader foresaw must end as the named error that it is, whatever a reader stumbled over.
        page.fail(0, Said(N_("the layout is not known ({type})"), type=type(problem).__name__))
    return {"vendor": found.pop("vendor", vendor), "tool": tool} | found


def _nvidia_smi(page: Page, call: Call) -> dict[str, Any]:
    if call.words[:1] == ("topo",):
        return topology.parse_topology(page)
    if call.words[:1] == ("nvlink",):
        return nvidia_query.parse_nvlink(page)
    if call.words[:1] in (("dmon",), ("pmon",)):
        return (nvidia_monitor.parse_dmon if call.words[0] == "dmon" else nvidia_monitor.parse_pmon)(page)
    if call.has("--query-gpu"):
        return nvidia_query.parse_query_csv(page, *_csv_form(call, "--query-gpu"))
    if call.has("--query-compute-apps"):
        return nvidia_query.parse_apps_csv(page, *_csv_form(call, "--query-compute-apps"))
    if call.has("--version"):
        return nvidia_query.parse_version(page)
    if call.has("-L", "--list-gpus"):
        return nvidia_query.parse_list(page)
    if call.has("--query") or call.short("q") or call.has("-a", "-x", "--xml-format"):
        if re.search(r"^\s*<(?:\?xml|!DOCTYPE|nvidia_smi_log)", page.text, re.MULTILINE):
            return nvidia_query.parse_xml(page)
        return nvidia_query.parse_query_text(page, call.value("-d", "--display") or "")
    if any(not word.startswith("-") for word in call.words if not re.fullmatch(r"[\d,.:A-Fa-fGPU-]+", word)):
        raise UNKNOWN_TOOL(tool=call.line[:200])
    return nvidia_table.parse_table(page)


def _csv_form(call: Call, flag: str) -> tuple[list[str], bool]:
    """The fields asked for, when the line names them, and whether a heading is printed."""
    asked = call.value(flag) or ""
    fields = [] if "..." in asked or not asked else [field.strip() for field in asked.split(",")]
    return fields, "noheader" not in (call.value("--format") or "")


def _npu_smi(page: Page, call: Call) -> dict[str, Any]:
    if call.has("-v", "--version"):
        return ascend_pages.parse_tool_version(page)
    kind = call.value("-t", "--type")
    if kind == "topo":
        return topology.parse_topology(page)
    if kind:
        return ascend_pages.parse_fields(page)
    if call.has("-m"):
        return ascend_pages.parse_map(page)
    if call.has("-l"):
        return ascend_pages.parse_list(page)
    return ascend_table.parse_table(page)


def _hccn_tool(page: Page, call: Call) -> dict[str, Any]:
    options = [word[1:] for word in call.words if re.fullmatch(r"-[a-z]\w{1,30}", word)]
    return ascend_pages.parse_hccn(page, options[0] if options else "")


# Hygon ships the tools of ROCm under their own names; its cards name themselves.
_HYGON = re.compile(r"Device Type:[ \t]{1,80}(?:DCU|HCU)\b|Vendor Name:[ \t]{1,80}HYGON\b|Haiguang|\b(?:DCU|HCU) use \(%\)|^[ \t]{0,8}(?:DCU|HCU)(?:\[\d|[ \t]{1,20}Temp\b)", re.MULTILINE)


def _rocm_smi(page: Page, call: Call) -> dict[str, Any]:
    return ({"vendor": "hygon"} if _HYGON.search(page.text) else {}) | _rocm_smi_page(page, call)


def _rocm_smi_page(page: Page, call: Call) -> dict[str, Any]:
    if call.has("--json"):
        return rocm_smi.parse_topology_json(page) if _only_topology(call) else rocm_smi.parse_json(page)
    if call.has("--csv"):
        return rocm_smi.parse_csv(page)
    if any(word.startswith("--showtopo") for word in call.words):
        return rocm_smi.parse_topology(page)
    if call.has("--showpids"):
        return rocm_smi.parse_processes(page)
    if call.has("--showhw"):
        return rocm_smi.parse_hardware(page)
    if call.words and not all(re.fullmatch(r"-d|\d+", word) for word in call.words):
        return rocm_smi.parse_pages(page, call.has("-a", "--showall", "--showallinfo"))
    return rocm_smi.parse_table(page)


def _only_topology(call: Call) -> bool:
    shows = [word for word in call.words if word.startswith("--show") or word in ("-a", "-i", "-u")]
    return bool(shows) and all(word.startswith("--showtopo") for word in shows)


def _hy_smi(page: Page, call: Call) -> dict[str, Any]:
    return {"vendor": "hygon"} | _rocm_smi_page(page, call)


def _amd_smi(page: Page, call: Call) -> dict[str, Any]:
    verb = next((word.lower() for word in call.words if not word.startswith("-")), "")
    as_json, as_csv = call.has("--json"), call.has("--csv")
    if verb == "process":
        return amd_smi.parse_processes(page, as_json, as_csv)
    if verb == "version" and (as_json or as_csv):
        return amd_smi.parse_version_fields(page, as_json)
    if as_csv:
        return amd_smi.parse_csv(page)
    if as_json and verb in ("monitor", "topology"):
        return (amd_smi.parse_monitor_json if verb == "monitor" else amd_smi.parse_topology_json)(page)
    readers: dict[str, Callable[[], dict[str, Any]]] = {
        "list": lambda: amd_smi.parse_list(page, as_json), "static": lambda: amd_smi.parse_static(page, as_json),
        "metric": lambda: amd_smi.parse_metric(page, as_json), "monitor": lambda: amd_smi.parse_monitor(page),
        "version": lambda: amd_smi.parse_version(page), "topology": lambda: amd_smi.parse_topology(page),
        "": lambda: amd_table.parse_table(page)}
    if verb not in readers:
        raise UNKNOWN_TOOL(tool=call.line[:200])
    return readers[verb]()


def _rocminfo(page: Page, _call: Call) -> dict[str, Any]:
    return ({"vendor": "hygon"} if _HYGON.search(page.text) else {}) | rocminfo.parse_rocminfo(page)


def _lspci(page: Page, _call: Call) -> dict[str, Any]:
    found, vendor = lspci.parse_lspci(page)
    return {"vendor": vendor} | found


def _dmesg(page: Page, _call: Call) -> dict[str, Any]:
    return dmesg.parse_dmesg(page)


def _python(page: Page, call: Call) -> dict[str, Any]:
    if not re.search("collect[_-]env", call.line):
        raise UNKNOWN_TOOL(tool=call.line[:200])
    found, vendor = collectenv.parse_collect_env(page)
    return {"vendor": vendor} | found


def _lscpu(page: Page, _call: Call) -> dict[str, Any]:
    return {"env": cpu.parse_lscpu(page)}


def _cat(page: Page, call: Call) -> dict[str, Any]:
    path = next((word for word in call.words if not re.fullmatch(r"-.*|[+]?\d+", word)), "")
    name = path.rsplit("/", 1)[-1]
    if name in ("os-release", "openEuler-release") or name.endswith("-release"):
        return {"env": os.release_env(page)}
    if name == "meminfo":
        return {"env": memory.meminfo_env(page)}
    if name in ("version.info", "version.cfg") or name.endswith("_install.info") or name.endswith(".info"):
        return {"vendor": "ascend"} | ascend_pages.parse_info_file(page, path)
    if path.endswith("driver/nvidia/version"):
        return {"vendor": "nvidia"} | nvidia_query.parse_module_version(page)
    if _KERNEL_LOG.fullmatch(name):
        return _dmesg(page, call) | {"vendor": "nvidia"}
    raise UNKNOWN_TOOL(tool=call.line[:200])


def _grep(page: Page, call: Call) -> dict[str, Any]:
    """A search in the kernel log for the driver's messages, or in a file of facts."""
    if call.words and call.words[-1].rsplit("/", 1)[-1] in ("meminfo", "os-release"):
        return {"vendor": "host"} | _cat(page, Call(call.program, call.words[-1:], call.line))
    if not re.search(r"xid|nvrm", call.line, re.IGNORECASE) or not any(
            _KERNEL_LOG.fullmatch(word.rsplit("/", 1)[-1]) for word in call.words):
        raise UNKNOWN_TOOL(tool=call.line[:200])
    return _dmesg(page, call)


_KERNEL_LOG = re.compile(r"(?:syslog|messages|kern\.log|dmesg)(?:[.\-][\w.\-]{1,20})?")


_READERS: dict[str, tuple[str, Callable[[Page, Call], dict[str, Any]], bool]] = {
    "nvidia-smi": ("nvidia", _nvidia_smi, True), "npu-smi": ("ascend", _npu_smi, True),
    "hccn_tool": ("ascend", _hccn_tool, True), "rocm-smi": ("amd", _rocm_smi, True),
    "rocm_smi.py": ("amd", _rocm_smi, True), "hy-smi": ("hygon", _hy_smi, True),
    "amd-smi": ("amd", _amd_smi, True), "rocminfo": ("amd", _rocminfo, True),
    "lspci": ("host", _lspci, False), "dmesg": ("nvidia", _dmesg, False), "journalctl": ("nvidia", _dmesg, False),
    "grep": ("nvidia", _grep, False), "egrep": ("nvidia", _grep, False), "zgrep": ("nvidia", _grep, False),
    "vllm": ("host", _python, False), "python": ("host", _python, False), "python3": ("host", _python, False), "collect_env.py": ("host", _python, False),
    "lscpu": ("host", _lscpu, False), "cat": ("host", _cat, False), "head": ("host", _cat, False), "tail": ("host", _cat, False),
}
