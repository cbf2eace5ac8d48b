# shellcheck shell=bash disable=SC2034
# What the tests of front ends share; after tests/lib.sh.

compare=$SRC/tests/frontends/compare.sh

# compared NAME PLAIN MOUNT - the points of compare.sh as ours.
compared() {
	local line
	while IFS= read -r line; do
		case $line in
		ok*) pass "${line#ok * - }" ;;
		not\ ok*) fail "${line#not ok * - }" ;;
		'#'*) echo "$line" ;;
		esac
	done < <("$compare" --name "$@"; echo "status $?" >"$T/compare-status")
	[ -s "$T/compare-status" ] || fail "$1: compare.sh runs to its end"
}

# The front end, and a fetchd that does as it is told. An instance of either has a name.
fuse_driver=$BUILD/tests/frontends/fuse-driver
lib=$SRC/tests/lib

# start_fuse NAME STUBS MNT [OPTION]... - cache $T/cache, socket $T/fetchd.sock, log $T/NAME.log
start_fuse() {
	local name=$1 stubs=$2 mnt=$3
	shift 3
	mkdir -p "$mnt" "$T/cache/sha256"
	start "$name" "$fuse_driver" --foreground --cache "$T/cache" --socket "$T/fetchd.sock" "$@" \
		"$stubs" "$mnt"
	_ready "$name" 20 mountpoint "$mnt"
	defer umount_quietly "$mnt"
}

umount_quietly() {
	! mountpoint -q "$1" || umount -l "$1"
}

# start_fake MODE - blobs of $T/blobs; events go to $T/events.
start_fake() {
	fake_mode "$1"
	start fake python3 "$lib/fakefetchd.py" "$T/fetchd.sock" "$T/blobs" "$T/cache" "$T/mode" \
		"$T/events"
	_ready fake 20 test -S "$T/fetchd.sock"
}

fake_mode() {
	echo "$1" >"$T/mode.new"
	mv "$T/mode.new" "$T/mode"
}

# events WORD - how many of them.
events() {
	grep -c "^$1 " "$T/events" 2>/dev/null || true
}

forget_events() {
	: >"$T/events"
}

# empty_cache - everything is a miss again. The directory stays: it is held open.
empty_cache() {
	find "$T/cache/sha256" -type f -delete
}
