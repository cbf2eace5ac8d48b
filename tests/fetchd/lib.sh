# shellcheck shell=bash disable=SC2034
# What the tests of fetchd share; after tests/lib.sh.

lib=$SRC/tests/lib

# stub_tree FILE... - $T/stubs, a stub tree of $T/plain, and its blobs as an OCI layout, $T/layout.
stub_tree() {
	mkdir -p "$T/layout/blobs"
	"$lib/stubtree" "$T/plain" "$T/stubs" "$T/layout/blobs/sha256" ||
		give_up "the stub tree is made"
}

# random FILE BYTES - a file of $T/plain.
random() {
	mkdir -p "$(dirname "$T/plain/$1")"
	head -c "$2" /dev/urandom >"$T/plain/$1"
}

sum() {
	sha256sum <"$T/plain/$1" | cut -d ' ' -f 1
}

# start_badserver - over the blobs of $T/layout; sets $BAD to HOST:PORT; log in $T/requests.
start_badserver() {
	mkfifo "$T/bad.stdin"
	# Its end of the pipe keeps it running until the test ends.
	exec {bad_stdin}<>"$T/bad.stdin"
	python3 "$lib/badserver.py" --blobs "$T/layout/blobs/sha256" --log "$T/requests" \
		<"$T/bad.stdin" >"$T/bad.out" 2>"$T/bad.log" &
	PID["bad"]=$!
	defer stop bad
	wait_until 20 test -s "$T/bad.out" || give_up "the bad server starts" "$(cat "$T/bad.log")"
	read -r bad_port bad_other <"$T/bad.out"
	BAD=127.0.0.1:$bad_port
	BAD_OTHER=127.0.0.1:$bad_other
}

# requests FILE - GETs of the blob of $T/plain/FILE.
requests() {
	grep -c "\"GET\".*$(sum "$1")" "$T/requests" || true
}

# opened ARG... - runs openers; $results has its lines, sorted, without their times; $slowest ms.
opened() {
	results=$("$lib/openers" "$@")
	slowest=$(awk '{ print $2 }' <<<"$results" | sort -n | tail -n 1)
	results=$(awk '{ print $1, $3 }' <<<"$results" | sort | uniq -c | sed 's/^ *//; s/ *$//')
}

# mount_tree MNT SOURCE [OPTION]... - $T/stubs at MNT.
mount_tree() {
	local where=$1 source=$2
	shift 2
	mount_thin "$T/stubs" "$where" --source "$source" "$@"
}
