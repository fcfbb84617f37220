"""Smoke inference on three levels: in the console, on a server's devices, through a deployed service."""

from console.smoke.device import device
from console.smoke.local import local
from console.smoke.result import Probe, SmokeResult
from console.smoke.service import SmokeService, service

__all__ = ["Probe", "SmokeResult", "SmokeService", "device", "local", "service"]
