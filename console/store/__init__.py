"""What the workspace's database holds, table by table."""

import sys

# sqlite-utils loads numpy where it is installed, to store its numbers, of which there are none here: 0.1 s and 13 MB for every
# command. With None in its place it counts as not installed while sqlite-utils is loaded; whoever needs numpy comes later.
_hides_numpy = sys.modules.setdefault("numpy", None) is None  # type: ignore[arg-type]

import sqlite_utils  # noqa: E402, F401

if _hides_numpy:
    del sys.modules["numpy"]
