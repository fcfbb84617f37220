"""Tables with other widths, more columns and other products give the right values or a named error."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from console.errors import InputError
from console.facts.recorded import parse_recorded

NAMES = st.text(st.characters(codec="ascii", categories=("Lu", "Ll", "Nd")), min_size=2, max_size=18).map(
    lambda word: f"NVIDIA {word}")
READINGS = st.fixed_dictionaries({
    "name": NAMES, "temp": st.integers(0, 120), "power": st.integers(0, 2000), "used": st.integers(0, 300_000),
    "total": st.integers(1, 400_000), "mode": st.sampled_from(["On", "Off"])})


def _nvidia(devices: list[dict], pad: list[int], extra: bool) -> str:
    """A table of nvidia-smi whose columns are wider by ``pad``, with a column more when ``extra``."""
    widths = [41 + pad[0], 24 + pad[1], 22 + pad[2], *([12] if extra else [])]

    def row(*cells: str) -> str:
        filled = [*cells, *(["new"] if extra else [])]
        return "|" + "|".join(f" {c} ".ljust(w) for c, w in zip(filled, widths, strict=True)) + "|"

    def rule(mark: str, edge: str) -> str:
        return edge + "+".join(mark * w for w in widths) + edge

    whole = sum(widths) + len(widths) - 1
    lines = ["+" + "-" * whole + "+",
             "|" + " NVIDIA-SMI 999.11.22   Driver Version: 999.11.22   CUDA Version: 14.0 ".ljust(whole) + "|",
             rule("-", "|"),
             row("GPU  Name                 Persistence-M", "Bus-Id          Disp.A", "Volatile Uncorr. ECC"),
             row("Fan  Temp   Perf          Pwr:Usage/Cap", "        Memory-Usage", "GPU-Util  Compute M."),
             row("", "", "             MIG M."), rule("=", "|")]
    for index, d in enumerate(devices):
        lines += [row(f"{index:3}  {d['name']}   {d['mode']}", f"00000000:{index:02X}:00.0 Off", "0"),
                  row(f"N/A   {d['temp']}C    P0     {d['power']}W / 2000W", f"{d['used']}MiB /  {d['total']}MiB",
                      "0%      Default"),
                  row("", "", "Disabled"), rule("-", "+")]
    return "\n".join([*lines, "", ""])


ONE = {"name": "NVIDIA 00", "temp": 0, "power": 0, "used": 0, "total": 1, "mode": "On"}


@settings(max_examples=120, deadline=None)
@given(devices=st.lists(READINGS, min_size=1, max_size=9), pad=st.lists(st.integers(0, 30), min_size=3, max_size=3),
       extra=st.booleans())
def test_nvidia_table(devices: list[dict], pad: list[int], extra: bool) -> None:
    found = parse_recorded("nvidia-smi", _nvidia(devices, pad, extra).encode())
    assert found["driver_version"] == "999.11.22" and found["device_count"] == len(devices)
    for index, (given_, got) in enumerate(zip(devices, found["devices"], strict=True)):
        assert got == {"index": index, "name": given_["name"], "bus_id": f"00000000:{index:02X}:00.0",
                       "temperature_c": given_["temp"], "power_w": given_["power"],
                       "memory_used_mib": given_["used"], "memory_total_mib": given_["total"], "health": None,
                       "mig": {"mode": "Disabled", "instances": []}}


@settings(max_examples=80, deadline=None)
@example(devices=[ONE], at=_nvidia([ONE], [0, 0, 0], False).index("Pwr") + 1, what="+")  # a column lost its name
@example(devices=[ONE | {"temp": 55}], at=_nvidia([ONE | {"temp": 55}], [0, 0, 0], False).index("55C"), what="+")
@given(devices=st.lists(READINGS, min_size=1, max_size=3), at=st.integers(0, 5000), what=st.sampled_from("|+ 5x"))
def test_nvidia_table_with_a_character_changed(devices: list[dict], at: int, what: str) -> None:
    """A digit put over another is another true reading; anything else is the same values or an error."""
    text = _nvidia(devices, [0, 0, 0], False)
    at %= len(text)
    try:
        found = parse_recorded("nvidia-smi", (text[:at] + what + text[at + 1 :]).encode())
    except InputError as problem:
        assert problem.code == "inventory.unreadable-output"
        return
    if what in "|+" and text[at] != what:
        # A frame character inside a name or a version stays part of it; numbers never change.
        same = parse_recorded("nvidia-smi", text.encode())
        for got, was in zip(found["devices"], same["devices"], strict=True):
            assert all(got[key] == was[key] for key in
                       ("temperature_c", "power_w", "memory_used_mib", "memory_total_mib"))


NPU = st.fixed_dictionaries({
    "name": st.sampled_from(["910B3", "910B4-1", "Ascend910", "960X", "310P3", "Future Chip 2"]),
    "health": st.sampled_from(["OK", "Warning", "Alarm", "Critical", "UNKNOWN"]),
    "power": st.none() | st.floats(0, 900).map(lambda v: round(v, 1)), "temp": st.integers(0, 110),
    "used": st.integers(0, 99_999), "total": st.integers(1, 99_999)})


def _ascend(chips: list[dict], pad: list[int], column: bool) -> str:
    widths = [27 + pad[0], 15 + pad[1], 62 + pad[2]]

    def row(*cells: str) -> str:
        return "|" + "|".join(f" {c}".ljust(w) for c, w in zip(cells, widths, strict=True)) + "|"

    def rule(mark: str) -> str:
        return "+" + "+".join(mark * w for w in widths) + "+"

    whole = sum(widths) + 2
    more = ("   Fresh(x)", "   7") if column else ("", "")
    lines = ["+" + "-" * whole + "+", "|" + " npu-smi 27.1.0        Version: 27.1.0".ljust(whole) + "|", rule("-"),
             row("NPU   Name", "Health", "Power(W)    Temp(C)   Hugepages-Usage(page)"),
             row("Chip  Phy-ID", "Bus-Id", "AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)" + more[0]), rule("=")]
    for n, c in enumerate(chips):
        power = "-" if c["power"] is None else f"{c['power']}"
        lines += [row(f"{n // 2}     {c['name']}", c["health"], f"{power}   {c['temp']}     0    / 0"),
                  row(f"{n % 2}     {n}", f"0000:{n:02X}:00.0",
                      f"3     0    / 0     {c['used']}/ {c['total']}" + more[1]),
                  rule("=")]
    return "\n".join([*lines, ""])


@settings(max_examples=120, deadline=None)
@given(chips=st.lists(NPU, min_size=1, max_size=16), pad=st.lists(st.integers(0, 25), min_size=3, max_size=3),
       column=st.booleans())
def test_ascend_table(chips: list[dict], pad: list[int], column: bool) -> None:
    found = parse_recorded("npu-smi info", _ascend(chips, pad, column).encode())
    assert found["device_count"] == len(chips) and "truncated" not in found
    for n, (given_, got) in enumerate(zip(chips, found["devices"], strict=True)):
        assert (got["index"], got["chip"], got["phy_id"], got["bus_id"]) == (n // 2, n % 2, n, f"0000:{n:02X}:00.0")
        assert (got["name"], got["health"], got["power_w"]) == (given_["name"], given_["health"], given_["power"])
        assert (got["temperature_c"], got["hbm_used_mib"], got["memory_total_mib"]) == (
            given_["temp"], given_["used"], given_["total"])


@settings(max_examples=80, deadline=None)
@given(size=st.integers(1, 12), spaces=st.integers(1, 6), tabs=st.booleans(),
       kind=st.sampled_from(["NV18", "SYS", "PIX", "HCCS"]))
def test_topology(size: int, spaces: int, tabs: bool, kind: str) -> None:
    names = [f"GPU{n}" for n in range(size)]
    gap = "\t" if tabs else " " * (spaces + 1)
    lines = [gap.join(["", *names, "CPU Affinity", "NUMA Affinity"])]
    lines += [gap.join([name, *("X" if other == name else kind for other in names), "0-47,96-143", "0"])
              for name in names]
    found = parse_recorded("nvidia-smi topo -m", ("\n".join(lines) + "\n\nLegend:\n").encode())["topology"]
    assert found["devices"] == names and found["numa_affinity"] == dict.fromkeys(names, "0")
    assert all(found["links"][a][b] == ("X" if a == b else kind) for a in names for b in names)


@settings(max_examples=60, deadline=None)
@given(more=st.lists(st.sampled_from(["fan.speed [%]", "pstate", "clocks.sm [MHz]", "brand.new"]), unique=True),
       at=st.integers(0, 4), used=st.integers(0, 200_000), name=NAMES)
def test_csv_with_other_columns(more: list[str], at: int, used: int, name: str) -> None:
    heads = ["index", "name", "memory.used [MiB]", "temperature.gpu"]
    cells = ["3", name, f"{used} MiB", "41"]
    heads[at:at], cells[at:at] = more, ["[N/A]"] * len(more)
    text = ", ".join(heads) + "\n" + ", ".join(cells) + "\n"
    device = parse_recorded("nvidia-smi --query-gpu=... --format=csv", text.encode())["devices"][0]
    assert (device["index"], device["name"], device["memory_used_mib"], device["temperature_c"]) == (3, name, used, 41)
