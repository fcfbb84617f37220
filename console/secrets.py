"""A secret that cannot be printed by accident."""

from __future__ import annotations


class Secret:
    """Holds a password, passphrase or token. ``str``, ``repr`` and formatting never show it."""

    __slots__ = ("_text",)

    def __init__(self, text: str):
        self._text = text

    def reveal(self) -> str:
        """The secret itself; call it only where it is handed to the peer that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))

    def __reduce__(self):
        raise TypeError("a secret is never serialised")
