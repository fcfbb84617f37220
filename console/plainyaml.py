"""YAML as people write it by hand: plain values under plain names, no name twice.

Aliases may repeat a value as often as they like: whoever reads takes values by their types, and never prints one as a whole.
"""

from __future__ import annotations

from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(keys) != len(node.value) or len(set(keys)) != len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key is repeated or is no plain word", node.start_mark)
        return super().construct_mapping(node, deep)


def load(raw: bytes | str) -> Any:
    """The value of a document.

    Raises:
        ValueError: it is not such a document; the reason is in one line.
    """
    try:
        return yaml.load(raw, Loader=_Loader)  # noqa: S506 - derived from the safe loader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, OverflowError) as problem:
        raise ValueError(" ".join(str(problem).split())[:300] or type(problem).__name__) from None
