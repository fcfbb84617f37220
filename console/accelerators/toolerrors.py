"""What vendor tools print instead of an answer: each kind by name, with a remedy.

Messages as printed by nvidia-smi 384 to 610, npu-smi and hccn_tool 20 to 26, rocm-smi 3 to 7, amd-smi 23 to 27.
"""

from __future__ import annotations

import re
from typing import Any

from console.errors import ErrorKind, WorldError, code
from console.i18n import N_

BUS_ID = re.compile(r"(?<![0-9A-Fa-f:])[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}(?:\.[0-7])?(?![0-9A-Fa-f])")

_PATTERNS = (
    ("gpu_lost", r"(?:Unable to determine the device handle|GPU ).{0,120}GPU is lost|GPU is lost\b"),
    ("device_handle_error", r"Unable to determine the device handle.{0,80}: "
                            r"(?:Unknown Error|Not Found|Uninitialized|Timeout"
                            r"|No Permission|Insufficient|Reset|Unable to communicate|Not Supported|Invalid)"),
    ("driver_library_mismatch", r"Failed to initialize NVML: Driver/library version mismatch"),
    ("driver_not_running", r"NVIDIA-SMI has failed because it (?:couldn.?t|could not) communicate with the NVIDIA driver"
                           r"|Failed to initialize NVML: Driver Not Loaded"
                           r"|NVIDIA-SMI couldn'?t find \S{3,40} library"
                           r"|error while loading shared libraries: \S{3,80}: "),
    ("no_devices", r"No devices were found|No devices found"
                   r"|Failed to initialize NVML: No (?:supported )?(?:GPU|device)s? (?:were )?found"
                   r"|No AMD GPUs specified|No device available, no device found|Unable to detect any GPU devices"),
    ("insufficient_permissions", r"Failed to initialize NVML: Insufficient Permissions|Insufficient Permissions\s*$"
                                 r"|Failed to execute npu-smi \w{1,20}\. ret is -8002\b"
                                 r"|Unable to open /dev/kfd read-write: Permission denied|^\d{1,3} \| AMDSMI_STATUS_NO_PERM"),
    ("nvml_unknown_error", r"Failed to initialize NVML: Unknown Error"),
    ("driver_not_running", r"ROCk module is NOT loaded|Driver not initialized \(amdgpu not found in modules\)"
                           r"|ERROR:.{0,40}amdgpu not found in modules"
                           r"|^(?:.{0,40}code: )?\d{1,3} \| AMDSMI_STATUS_(?:DRIVER_NOT_LOADED|NOT_INIT)\b"),
    ("dcmi_device_busy", r"dcmi mod(?:el|ule) initiali[sz]ed? fail(?:ed)?.{0,60}(?:device is used|-8020)"
                         r"|dcmi model initialized failed, because the device is used"),
    ("dcmi_init_failed", r"dcmi mod(?:el|ule) initiali[sz]ed? failed\. ret|dcmi_?init\S* fail|npu get board type failed\. ret"),
    ("invalid_device_id", r"Error parameter of -?[ic]\b|Failed to execute npu-smi \w{1,20}\. ret is -800[178]\b|invalid (?:npu|card|chip|device|dev|logic) ?_?id"
                          r"|(?:npu|card|chip|device|dev|logic) ?_?id.{0,30}(?:invalid|does not exist|not exist|error)"
                          r"|The (?:npu|card|chip|device) .{0,40}does not exist|No such device\b"
                          r"|This device does not exist|Invalid (?:gpu|device)\b"),
    ("unsupported_query", r"This device does not support\b|Failed to execute npu-smi \w{1,20}\. ret is -8255\b|The device does not support\b|Not supported devices? in"
                          r"|No supported devices? in|Failed to query \"[^\"]{1,60}\" result"
                          r"|Invalid combination of input arguments|Option \S{1,60} is not recognized"
                          r"|Field \"[^\"]{1,80}\" is not a valid field to query|^\d{1,3} \| AMDSMI_STATUS_NOT_SUPPORTED"),
)
# Other words behind these are rare and say no more; only a line that was not cut can be told from the ones above.
_WHOLE = (("device_handle_error", re.compile(r"Unable to determine the device handle for.{0,80}: \S.*")),
          ("nvml_unknown_error", re.compile(r"Failed to initialize NVML: \S.*")))
_RULES = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _PATTERNS)
_AHEAD = re.compile(r"DrvMng\w+ failed|drv\w+ fail|WARNING|ROCk module|cat: /sys/|Open mkfd failed|Expected integer value from monitor|Error code:$",
                    re.IGNORECASE)
_RET = re.compile(r"\bret(?:urn)?(?: code)?\s*(?:is|=|:)\s*\(?(-?[0-9]{1,9})", re.IGNORECASE)
_NVML_VERSION = re.compile(r"NVML library version:\s*(\S+)")


def tool_error(text: str) -> dict[str, Any] | None:
    """The error that a recorded output is, None where it is an answer.

    Gives ``error_kind`` and, where shown, ``bus_id``, ``ret_code`` (of the line that names the error),
    ``nvml_library_version`` and ``rows_still_printed`` (lines of CSV behind the error).
    """
    lines = [line.strip() for line in text[:20000].split("\n")]
    filled = [(n, line) for n, line in enumerate(lines) if line]
    for position, (number, line) in enumerate(filled[:12]):
        if len(line) > 2000:
            return None
        kind = next((kind for kind, rule in _RULES if rule.search(line)), None)
        if kind is None and number + 1 < len(lines):
            kind = next((kind for kind, rule in _WHOLE if rule.fullmatch(line)), None)
        if kind:
            return _described(kind, lines[number], text, [text for _, text in filled[position + 1:]])
        if not (_AHEAD.search(line) or _decoration(line)):
            return None
    return None


def _decoration(line: str) -> bool:
    """Headings that rocm-smi prints before its complaint, and the date that nvidia-smi may print."""
    return line.startswith("=") or line.strip("= ").endswith("System Management Interface") or bool(
        re.match(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) \w{3} ", line))


def _described(kind: str, line: str, text: str, behind: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"error_kind": kind}
    # A number at the very end of a page that was cut may be part of a longer one.
    solid = text[:20000] if text.endswith("\n") or len(text) > 20000 else text + "\ufffd"
    bus, ret, library = BUS_ID.search(line), _RET.search(line), _NVML_VERSION.search(solid)
    if bus:
        found["bus_id"] = bus[0]
    if ret and f"{ret[0]}\ufffd" not in solid:
        found["ret_code"] = int(ret[1])
    if library and "\ufffd" not in library[1]:
        found["nvml_library_version"] = library[1]
    rows = [row for row in behind if row.count(",") and not tool_error(row) and not row.startswith("NVML")]
    rows = rows[1:] if rows and re.match(r"(?:index|name|timestamp|uuid|gpu_\w+|pci\.\w+)\b", rows[0]) else rows
    if rows and kind in ("gpu_lost", "device_handle_error"):
        found["rows_still_printed"] = len(rows)
    return found


KINDS: dict[str, ErrorKind] = {kind.code.split(".")[1].replace("-", "_"): kind for kind in (
    code("inventory.driver-not-running", WorldError, N_("{tool} cannot reach the driver: it is not loaded."),
         N_("Load the driver's kernel module, or install the driver for the running kernel, and ask again.")),
    code("inventory.driver-library-mismatch", WorldError,
         N_("{tool}: the loaded driver module and the driver's libraries are of different versions."),
         N_("Restart the server, or stop everything that uses the devices and reload the kernel module.")),
    code("inventory.no-devices", WorldError, N_("{tool} finds no devices."),
         N_("Compare with what lspci lists; check power, seating and the driver's messages in the kernel log.")),
    code("inventory.nvml-unknown-error", WorldError,
         N_("{tool} cannot start: an unknown error of the driver's library."),
         N_("In a container, start it anew; on the server, look at the kernel log and restart the server.")),
    code("inventory.insufficient-permissions", WorldError, N_("{tool} is not permitted to open the devices."),
         N_("Add the account to the group that owns the device files, or let the facts be gathered with sudo.")),
    code("inventory.gpu-lost", WorldError, N_("{tool}: a device is lost ({bus_id})."),
         N_("Restart the server. If the device is lost again, have its power and seating checked, then replace it.")),
    code("inventory.device-handle-error", WorldError, N_("{tool} cannot open a device ({bus_id})."),
         N_("Look for Xid messages in the kernel log, reset the device or restart the server.")),
    code("inventory.dcmi-init-failed", WorldError, N_("{tool} cannot start the device management (code {ret_code})."),
         N_("Check that driver and firmware are installed and loaded, that the account may open /dev/davinci_manager, "
            "and that the devices are not given to a container.")),
    code("inventory.dcmi-device-busy", WorldError, N_("{tool}: another program holds the device (code {ret_code})."),
         N_("Stop the program or container that holds the device, or ask from inside that container.")),
    code("inventory.invalid-device-id", WorldError, N_("{tool}: there is no device with this number."),
         N_("List the devices first (npu-smi info -l, nvidia-smi -L) and use a number from there.")),
    code("inventory.unsupported-query", WorldError, N_("{tool}: the device does not support this query."),
         N_("Nothing is wrong; this device does not tell this.")),
)}


def raise_tool_error(found: dict[str, Any], tool: str) -> None:
    """Raise the named error for what :func:`tool_error` found."""
    raise KINDS[found["error_kind"]](tool=tool, bus_id=found.get("bus_id", "–"), ret_code=found.get("ret_code", "–"))
