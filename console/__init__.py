"""The Sealift engine: everything but the windows. Imports no Qt and never prints."""

__version__ = "0.1.0"
