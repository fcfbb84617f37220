"""The receiver for servers without Python: a POSIX shell script with dd and a SHA-256 tool, and the same guarantees.

Slower: each chunk is written, read back from the file and hashed there, so the degree is always *stored* or better.
There is no journal: what an earlier push left is hashed again before it counts, which is the stricter of the Python
receiver's two ways. Its folders and its lock are those of the Python receiver, so either goes on where the other ended.
"""

from __future__ import annotations

SCRIPT = r"""
set -u
umask 022
LC_ALL=C
export LC_ALL
fail() { printf 'error %s %s\n' "$1" "${2:-}"; exit 1; }
case $1 in '~') store=$HOME ;; '~/'*) store=$HOME/${1#'~/'} ;; *) store=$1 ;; esac
release=$2 degree=$3 push=$4 patience=$5
# openssl first: the C code in many a sha256sum is several times slower than its SHA instructions.
if command -v openssl >/dev/null 2>&1; then digest() { openssl dgst -sha256 | sed 's/.*= *//'; }
elif command -v sha256sum >/dev/null 2>&1; then digest() { sha256sum | cut -d' ' -f1; }
else fail no-digest-tool; fi
[ "$(printf abcd | dd bs=16 iflag=fullblock,count_bytes count=3 2>/dev/null)" = abc ] || fail no-tool dd
part() { printf '%s/staging/%s/%s.part' "$store" "$release" "$1"; }
object() { printf '%s/objects/%s/%s' "$store" "$(printf %.2s "$1")" "$1"; }
range() { dd if="$1" bs=1048576 iflag=skip_bytes,count_bytes skip="$2" count="$3" 2>/dev/null | digest; }
free() { df -Pk "$store" | tail -n 1 | { read -r _ _ _ kib _; echo "$((kib * 1024))"; }; }
# Digest of a file as the degree wants it read; none where that cannot be.
proof() {
    if [ "$degree" != media ]; then digest <"$1"
    elif dd if="$1" iflag=direct bs=1048576 count=1 >/dev/null 2>&1; then dd if="$1" iflag=direct bs=1048576 2>/dev/null | digest
    elif dropped "$1"; then digest <"$1"
    else echo none; fi
}
# Takes a file out of the cache; whether nothing of it is there any more.
dropped() { dd if="$1" iflag=nocache count=0 2>/dev/null && [ "$(fincore -nbo RES "$1" 2>/dev/null | tr -d ' ')" = 0 ]; }
flushed() { sync "$1" 2>/dev/null || sync; }
# Make the folders of path $2 below $1; no link is followed.
folders() {
    made=$1 left=$2/
    while [ -n "$left" ]; do
        made=$made/${left%%/*} left=${left#*/}
        [ -L "$made" ] && fail unsafe-store "$made"
        [ -d "$made" ] || mkdir "$made" 2>/dev/null || [ -d "$made" ] || broke "$made"
    done
}
# Tell a full disk from missing rights and from the rest.
broke() {
    case ${2:-$( { : >>"$store/staging/$release/probe"; } 2>&1 )} in
    *[Nn]o\ space*|*too\ large*|*[Qq]uota*) fail disk-full "$(free)" ;;
    *ermission*|*ead-only*) fail no-rights "$1" ;;
    esac
    [ "$(free)" -lt 1048576 ] && fail disk-full "$(free)"
    fail io "$1"
}
mkdir -p "$store" 2>/dev/null || fail no-rights "$store"
for made in objects staging releases; do
    [ -L "$store/$made" ] && fail unsafe-store "$store/$made"
    mkdir -p "$store/$made" 2>/dev/null || { [ -w "$store" ] && broke "$store" || fail no-rights "$store"; }
done
folders "$store" "staging/$release"

# One push at a time, whichever receiver it uses.
own() { sed -n "s/^{\"push\": \"$push\", \"pid\": \([0-9]*\)}$/\1/p" "$1" 2>/dev/null; }
lock=$store/lock dir=
( : >>"$lock" ) 2>/dev/null || broke "$lock"
exec 9<>"$lock"
if command -v flock >/dev/null 2>&1; then
    tries=0
    until flock -n 9; do
        old=$(own "$lock"); [ "$tries" -eq 0 ] && [ -n "$old" ] && kill -9 "$old" 2>/dev/null
        tries=$((tries + 1)); [ "$tries" -gt "$patience" ] && fail store-busy
        sleep 1
    done
else
    # A lock whose process is gone, or runs since another time than noted, is taken over.
    dir=$store/lock.d tries=0
    born() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null; }
    until mkdir "$dir" 2>/dev/null; do
        old=$(cat "$dir/pid" 2>/dev/null)
        if [ -n "$old" ] && { ! kill -0 "$old" 2>/dev/null || [ "$(born "$old")" != "$(cat "$dir/born" 2>/dev/null)" ]; }; then
            mv "$dir" "$dir.$$" 2>/dev/null && rm -rf "$dir.$$"; continue
        fi
        old=$(own "$lock"); [ "$tries" -eq 0 ] && [ -n "$old" ] && kill -9 "$old" 2>/dev/null
        tries=$((tries + 1)); [ "$tries" -gt "$patience" ] && fail store-busy
        sleep 1
    done
    echo $$ >"$dir/pid"; born $$ >"$dir/born"
fi
printf '{"push": "%s", "pid": %s}\n' "$push" $$ >"$lock"

# Ends this receiver when its console is gone without a word: nothing was asked and nothing arrived for a while.
beat=$store/staging/$release/beat
: >"$beat" 2>/dev/null; echo "$beat" >"$beat.part" 2>/dev/null
(
    exec 9<&-
    count=0
    : >"$beat.mark"
    while sleep 5 && kill -0 $$; do
        count=$((count + 1))
        if [ -n "$(find "$beat" "$(cat "$beat.part")" -newer "$beat.mark")" ]; then count=0; : >"$beat.mark"; fi
        if [ "$count" -ge 9 ]; then kill -9 $$; [ -n "$dir" ] && rm -rf "$dir"; exit; fi
    done
) </dev/null >/dev/null 2>&1 &
dog=$!
trap 'kill $dog 2>/dev/null; rm -f "$beat" "$beat.part" "$beat.mark" "$store/staging/$release/probe"; [ -n "$dir" ] && rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
echo ready
new=$store/releases/$release.new old=$store/releases/$release
while read -r op a b c; do
    : >"$beat"
    case $op in
    object)  # object SHA256 SIZE MODE: is it there, whole? A damaged one becomes the part, whose good chunks are kept.
        f=$(object "$a") p=$(part "$a")
        real=
        [ -f "$f" ] && [ ! -L "$f" ] && [ "$(wc -c <"$f")" -eq "$b" ] && real=$(proof "$f")
        [ "$real" = none ] && fail no-medium "$f"
        if [ ! -f "$f" ] || [ -L "$f" ]; then rm -f "$f"; echo no
        elif [ "$real" = "$a" ]; then
            # Others may need it as data, or as a program.
            [ -n "$(find "$f" -perm "-$c")" ] || chmod "$c" "$f" || broke "$f"
            echo yes
        else
            # A copy: the damaged file may be in use under a release's name, which must not change under its reader.
            [ -e "$p" ] || { cp "$f" "$p" && chmod 600 "$p"; } 2>/dev/null || rm -f "$p"
            rm -f "$f" "$f.chunks"; echo no
        fi ;;
    size)  # size SHA256: bytes of the part that is there
        f=$(part "$a"); if [ -f "$f" ] && [ ! -L "$f" ]; then echo $(($(wc -c <"$f"))); else echo 0; fi ;;
    check)  # check SHA256 OFFSET LENGTH: digest of what is there
        range "$(part "$a")" "$b" "$c" ;;
    free) free ;;
    alive) ;;
    put)  # put SHA256 OFFSET LENGTH: that many bytes follow
        f=$(part "$a"); [ -L "$f" ] && fail unsafe-store "$f"
        echo "$f" >"$beat.part" 2>/dev/null
        # The last push may have ended after it took the right to write away.
        [ ! -e "$f" ] || [ -w "$f" ] || chmod 600 "$f"
        said=$(dd bs=262144 iflag=fullblock,count_bytes count="$c" 2>/dev/null |
            dd of="$f" bs=262144 oflag=seek_bytes seek="$b" conv=notrunc iflag=fullblock 2>&1) || broke "$f" "$said"
        range "$f" "$b" "$c" ;;
    finish)  # finish SHA256 SIZE MODE, after every chunk of it was put or checked
        f=$(part "$a") o=$(object "$a")
        [ -f "$f" ] || : >"$f" || broke "$f"
        [ "$(wc -c <"$f")" -gt "$b" ] && dd of="$f" bs=1 seek="$b" count=0 2>/dev/null
        chmod "$c" "$f" || broke "$f"
        flushed "$f"
        good=$a
        [ "$degree" = media ] && good=$(proof "$f")
        [ "$good" = none ] && fail no-medium "$f"
        if [ "$(wc -c <"$f")" -eq "$b" ] && [ "$good" = "$a" ]; then
            folders "$store/objects" "$(printf %.2s "$a")"
            mv -f "$f" "$o" || broke "$o"
            rm -f "$f" "${f%.part}.journal" "$o.chunks"; flushed "${o%/*}"; flushed "$store/objects"
            echo yes
        else echo no; fi ;;
    begin)  # A release that is there already gets single links renamed in; a new one is made beside its place.
        [ -L "$old" ] && fail unsafe-store "$old"
        rm -rf "$new"; mkdir "$new" || broke "$new"
        if [ -d "$old" ]; then base=$old; else base=$new; fi
        echo yes ;;
    link)  # link SHA256, and the path on a line of its own, since it may hold spaces
        IFS= read -r path; p=$base/$path o=$(object "$a")
        case $path in */*) folders "$base" "${path%/*}" ;; esac
        if [ ! "$p" -ef "$o" ] || [ -L "$p" ]; then
            ln "$o" "$new/.link" 2>/dev/null || {
                cp "$o" "$new/.link" 2>/dev/null || broke "$p"
                flushed "$new/.link"; [ "$(digest <"$new/.link")" = "$a" ] || fail io "$p"; }
            mv -f "$new/.link" "$p" || broke "$p"
        fi
        echo yes ;;
    end)
        sync
        if [ "$base" = "$old" ]; then rm -rf "$new"; else mv "$new" "$old" || broke "$old"; fi
        flushed "$store/releases"
        rm -f "$beat" "$beat.part" "$beat.mark" "$store/staging/$release/probe"
        kill $dog 2>/dev/null
        rmdir "$store/staging/$release" 2>/dev/null
        echo "done"; exit 0 ;;
    *) fail bad-frame "$op" ;;
    esac
done
exit 1
"""
