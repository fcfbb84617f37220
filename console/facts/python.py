"""Python interpreters on the server."""

from __future__ import annotations

import re
from typing import Any

from console.facts import frameworks
from console.facts.fact import Fact
from console.facts.grammar import clean

# One start an interpreter, which tells of the installed packages too, and nothing imported: what is looked for is only
# found, which takes a tenth of the time. Names that lead to the same file are asked once, but environments of their own,
# which lead there too, each; of the many shims of a version manager, each slow and most of them for nothing, only the one
# in use is.
_SCRIPT = "packages='" + frameworks.PYTHON + r"""'
seen=: asked=0
for p in python3 python3.8 python3.9 python3.10 python3.11 python3.12 python3.13 python3.14 /opt/*/bin/python3 /opt/*/envs/*/bin/python3 \
"$HOME"/*/bin/python3 "$HOME"/.[!.]*/bin/python3 "$HOME"/*/envs/*/bin/python3; do
f=$(command -v "$p" 2>/dev/null) || continue; [ -x "$f" ] || continue
[ -L "$f" ] && real=$(readlink -f "$f" 2>/dev/null) || real=$f
[ -e "${f%/bin/*}/pyvenv.cfg" ] && real=$f
case $seen in *:"$real":*) continue;; esac; seen=$seen$real:
case $p:$f in python3:*) ;; *:*/shims/*) continue;; esac
asked=$((asked + 1)); [ "$asked" -le 24 ] || continue
case $p in python3|/*) only=;; *) only='-E -s -S';; esac
"$f" $only -c 'import sys
from importlib.util import find_spec
venv = "venv" if find_spec("ensurepip") and find_spec("venv") else ""
print("%s|Python %s|%s" % (sys.argv[1], sys.version.split()[0], venv))
if not sys.flags.no_site:
    exec(sys.argv[2])' "$f" "$packages" 2>/dev/null
done
""" + frameworks.SHELL + "exit 0"


def _versions(text: str) -> list[dict[str, Any]]:
    """``path``, ``version``, and ``venv``: whether virtual environments can be made with pip."""
    found: dict[str, dict[str, Any]] = {}
    for line in clean(text).splitlines():
        cells = line.split("|")
        version = re.match(r"Python (\d+\.\d+\.\d+\S*)", cells[1]) if len(cells) == 3 else None
        if version:
            found.setdefault(cells[0], {"path": cells[0], "version": version[1], "venv": cells[2] == "venv"})
    return list(found.values())


_ASKED = Fact("python.versions", ("sh", "-c", _SCRIPT), 30, _versions)
FACTS = [_ASKED, frameworks.fact_of(_ASKED)]
