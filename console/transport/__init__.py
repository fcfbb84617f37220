"""Reaching servers: one interface, and SSH as the real thing behind it."""

import sys

# paramiko imports invoke where it is installed, for a single directive of OpenSSH configs that Sealift never runs, and that
# took 0.2 of the 0.5 s that a command or a push's worker needs to start. With None in its place it counts as not installed.
sys.modules.setdefault("invoke", None)  # type: ignore[arg-type]
