"""The receiver for servers without Python: a POSIX shell script with dd and a SHA-256 tool, and the same guarantees.

Slower: each chunk is written, read back from the file and hashed there, so the degree is always *stored* or better.
What an earlier push left is hashed again before it counts.
"""

from __future__ import annotations

SCRIPT = r"""
set -u
umask 077
fail() { printf 'error %s %s\n' "$1" "${2:-}"; exit 1; }
case $1 in '~') store=$HOME ;; '~/'*) store=$HOME/${1#'~/'} ;; *) store=$1 ;; esac
release=$2 degree=$3
if command -v openssl >/dev/null 2>&1; then digest() { openssl dgst -sha256 | sed 's/.*= *//'; }
elif command -v sha256sum >/dev/null 2>&1; then digest() { sha256sum | cut -d' ' -f1; }
else fail no-digest-tool; fi
part() { printf '%s/staging/%s/%s.part' "$store" "$release" "$1"; }
object() { printf '%s/objects/%s/%s' "$store" "$(printf %.2s "$1")" "$1"; }
range() { dd if="$1" bs=1048576 iflag=skip_bytes,count_bytes skip="$2" count="$3" 2>/dev/null | digest; }
mkdir -p "$store/objects" "$store/staging/$release" "$store/releases" 2>/dev/null || fail no-rights "$store"
# Two pushes into one store would write over each other; a lock left by a dead one is taken over.
lock=$store/lock.d
if ! mkdir "$lock" 2>/dev/null; then
    kill -0 "$(cat "$lock/pid" 2>/dev/null)" 2>/dev/null && fail store-busy
    rm -rf "$lock"; mkdir "$lock" 2>/dev/null || fail store-busy
fi
echo $$ >"$lock/pid"
trap 'rm -rf "$lock"' EXIT
trap 'exit 1' HUP INT TERM
free() { df -Pk "$store" | tail -n 1 | { read -r _ _ _ kib _; echo "$((kib * 1024))"; }; }
echo ready
while read -r op a b c; do
    case $op in
    object)  # object SHA256 SIZE: is it there, whole?
        f=$(object "$a")
        if [ -f "$f" ] && [ ! -L "$f" ] && [ "$(wc -c <"$f")" -eq "$b" ] && [ "$(digest <"$f")" = "$a" ]; then echo yes; else rm -f "$f"; echo no; fi ;;
    size)  # size SHA256: bytes of the part that is there
        f=$(part "$a"); [ -f "$f" ] && [ ! -L "$f" ] && wc -c <"$f" | tr -d ' ' || echo 0 ;;
    check)  # check SHA256 OFFSET LENGTH: digest of what is there
        range "$(part "$a")" "$b" "$c" ;;
    free) free ;;
    put)  # put SHA256 OFFSET LENGTH: that many bytes follow
        f=$(part "$a")
        dd bs=1048576 iflag=fullblock,count_bytes count="$c" 2>/dev/null |
            dd of="$f" bs=1048576 oflag=seek_bytes seek="$b" conv=notrunc iflag=fullblock 2>/dev/null ||
            fail disk-full "$(free)"
        range "$f" "$b" "$c" ;;
    finish)  # finish SHA256 SIZE MODE, after every chunk of it was put or checked
        f=$(part "$a"); o=$(object "$a")
        [ -f "$f" ] || : >"$f"
        sync "$f" 2>/dev/null || sync
        good=$a
        if [ "$degree" = media ]; then
            dd of="$f" oflag=nocache conv=notrunc,fdatasync count=0 2>/dev/null
            good=$(digest <"$f")
        fi
        if [ "$(wc -c <"$f")" -eq "$b" ] && [ "$good" = "$a" ]; then
            mkdir -p "${o%/*}" && chmod "$c" "$f" && mv -f "$f" "$o" && sync "${o%/*}" 2>/dev/null
            [ -f "$o" ] && echo yes || fail io "$o"
        else echo no; fi ;;
    begin) new=$store/releases/$release.new; rm -rf "$new"; mkdir "$new" || fail io "$new"
        old=$store/releases/$release
        if [ -d "$old" ]; then cp -al "$old/." "$new/" 2>/dev/null || cp -a "$old/." "$new/"; fi
        echo yes ;;
    link)  # link SHA256, and the path on a line of its own, since it may hold spaces
        IFS= read -r path; p=$new/$path; mkdir -p "${p%/*}" && ln -f "$(object "$a")" "$p" && echo yes || fail io "$p" ;;
    end) old=$store/releases/$release
        rm -rf "$old.old"; [ -d "$old" ] && mv "$old" "$old.old"
        mv "$new" "$old" || fail io "$old"
        rm -rf "$old.old" "$store/staging/$release"; sync "$store/releases" 2>/dev/null || sync
        echo done; exit 0 ;;
    *) fail bad-frame "$op" ;;
    esac
done
exit 1
"""
