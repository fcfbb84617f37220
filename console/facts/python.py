"""Python interpreters on the server."""

from __future__ import annotations

import re
from typing import Any

from console.facts import frameworks
from console.facts.fact import quiet_fact
from console.facts.grammar import clean

# Interpreters are asked for their version only, and nothing of theirs is run: what is installed for them lies in folders with
# names of their own, which costs a fifth of asking them. Names that lead to the same file are asked once, but environments of
# their own, which lead there too, each; of the many shims of a version manager, each slow and most of them for nothing, only
# the one in use is, and asked where it leads.
_SCRIPT = frameworks.LOOK + r"""
where() { f=; rest=$PATH:
while [ -n "$rest" ] && [ -z "$f" ]; do d=${rest%%:*}; rest=${rest#*:}; [ -f "$d/$1" ] && [ -x "$d/$1" ] && f=$d/$1; done
case $f in /*) ;; *) f=$(command -v "$1");; esac; }
asked=0 seen=
for p in python3 python3.8 python3.9 python3.10 python3.11 python3.12 python3.13 python3.14 /opt/*/bin/python3 /opt/*/envs/*/bin/python3 \
"$HOME"/*/bin/python3 "$HOME"/.[!.]*/bin/python3 "$HOME"/*/envs/*/bin/python3; do
case $p in /*) f=$p; [ -x "$f" ] || continue;; *) command -v "$p" >/dev/null 2>&1 || continue; where "$p";; esac
case $p:$f in python3:*) ;; *:*/shims/*) continue;; esac
home=${f%/bin/*}; config=$home/pyvenv.cfg
if [ ! -r "$config" ]; then config=
same=; for g in $seen; do [ "$g" -ef "$f" ] && same=1; done
[ -z "$same" ] || continue
case $f in *[[:space:]*?[]*) ;; *) seen="$seen $f";; esac; fi
asked=$((asked + 1)); [ "$asked" -le 24 ] || continue
guard=$limit; case $f in /usr/bin/*|/bin/*) guard=;; esac
$flush; version=$($guard "$f" -V 2>/dev/null </dev/null) || continue
case $version in "Python 3."[0-9]*) ;; *) continue;; esac
name=${version#Python 3.}; name=python3.${name%%[!0-9]*}; base=$home
if [ -n "$config" ]; then while IFS=' =' read -r key value; do [ "$key" = home ] && base=${value%/bin}; done <"$config"; fi
[ -d "$base/lib/$name" ] || [ -d "$base/lib64/$name" ] || { real=$(readlink -f "$f" 2>/dev/null); base=${real%/bin/*}; }
[ -d "$base/lib/$name" ] || [ -d "$base/lib64/$name" ] || base=$($limit "$f" -I -S -c 'import sys; print(sys.base_prefix)' 2>/dev/null </dev/null)
[ -n "$base" ] || base=/usr
[ -n "$config" ] || home=$base
venv=; for l in lib lib64; do [ -e "$base/$l/$name/venv/__init__.py" ] && [ -e "$base/$l/$name/ensurepip/__init__.py" ] && venv=venv; done
out="$out$f|$version|$venv
"
[ -n "$config" ] || look "$f" "$HOME/.local/lib/$name/site-packages"
[ "$home" != /usr ] || look "$f" /usr/local/lib/$name/dist-packages /usr/local/lib/$name/site-packages /usr/lib/python3/dist-packages
for l in lib lib64; do [ -L "$home/$l" ] || look "$f" "$home/$l/$name/site-packages"; done
done
""" + frameworks.SHELL + ":"


def _versions(text: str) -> list[dict[str, Any]]:
    """``path``, ``version``, and ``venv``: whether virtual environments can be made with pip."""
    found: dict[str, dict[str, Any]] = {}
    for line in clean(text).splitlines():
        cells = line.split("|")
        version = re.match(r"Python (\d+\.\d+\.\d+\S*)", cells[1]) if len(cells) == 3 else None
        if version:
            found.setdefault(cells[0], {"path": cells[0], "version": version[1], "venv": cells[2] == "venv"})
    return list(found.values())


_ASKED = quiet_fact("python.versions", _SCRIPT, 30, _versions)
FACTS = [_ASKED, frameworks.fact_of(_ASKED)]
