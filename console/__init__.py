"""The Sealift engine: everything but the windows. Imports no Qt and never prints."""

__version__ = "0.1.0"
__built__ = "2026-01-01T00:00:00.000000Z"
"""When this version was made: a clock that tells an earlier time is wrong."""
