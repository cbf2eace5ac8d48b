# shellcheck shell=bash
# shellcheck disable=SC2034 # output, ROOTFS and others are for the tests
# Helpers of the scenario tests (tests/AREA/NAME.test):
#
#	#!/usr/bin/env bash
#	# timeout: 120		seconds, default 300
#	# long			only with scripts/check --long
#	# sanitizers: thread	also with ThreadSanitizer; "no": never in a sanitizer build
#	. "$(dirname "$0")/../lib.sh"
#	start_serve
#	run curl -sf "http://$SERVE/v2/"
#	is "$status" 0 "the server answers"
#	done_testing
#
# A test file prints TAP. $BUILD is the build directory, $SRC the source tree, $T a private
# directory of the test that can hold the layers of an overlay and goes away at the end, with
# every process and mount that was made through these helpers, newest first.
set -u
shopt -s nullglob

SRC=${SRC:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
BUILD=${BUILD:-$SRC/build}
export SRC BUILD
export PATH="$BUILD:$PATH:/usr/sbin:/sbin"
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

# ---- points ----

_points=0
_planned=
_failed=0

# plan N - at the top; or done_testing at the end.
plan() {
	_planned=$1
	echo "1..$1"
}

done_testing() {
	[ -n "$_planned" ] || echo "1..$_points"
	_planned=$_points
}

pass() {
	_points=$((_points + 1))
	echo "ok $_points - $1"
}

# fail SENTENCE [DETAIL]...
fail() {
	local detail
	_points=$((_points + 1))
	_failed=$((_failed + 1))
	echo "not ok $_points - $1"
	shift
	for detail; do
		diag "$detail"
	done
	return 1
}

diag() {
	printf '%s\n' "$*" | sed 's/^/# /'
}

skip() { # SENTENCE WHY
	_points=$((_points + 1))
	echo "ok $_points - $1 # SKIP $2"
}

skip_all() { # WHY - instead of the whole file
	echo "1..0 # SKIP $1"
	_planned=0
	exit 0
}

# give_up WHY - the rest of the file makes no sense.
give_up() {
	fail "$1" "${@:2}"
	done_testing
	exit 1
}

# ok SENTENCE COMMAND... - passes when the command succeeds.
ok() {
	local sentence=$1 text code
	shift
	text=$("$@" 2>&1)
	code=$?
	if [ "$code" -eq 0 ]; then
		pass "$sentence"
	else
		fail "$sentence" "command: $*" "exit status $code" "$text"
	fi
}

# nok SENTENCE COMMAND... - passes when the command fails.
nok() {
	local sentence=$1 text
	shift
	if text=$("$@" 2>&1); then
		fail "$sentence" "succeeded: $*" "$text"
	else
		pass "$sentence"
	fi
}

# is GOT WANTED SENTENCE
is() {
	if [ "$1" = "$2" ]; then
		pass "$3"
	else
		fail "$3" "got:    $1" "wanted: $2" "${status+last run: exit status $status}" "${errput:+its errors: $errput}"
	fi
}

isnt() {
	if [ "$1" != "$2" ]; then
		pass "$3"
	else
		fail "$3" "got: $1"
	fi
}

# like TEXT REGEX SENTENCE - extended regular expression of bash.
like() {
	if [[ $1 =~ $2 ]]; then
		pass "$3"
	else
		fail "$3" "text: $1" "does not match: $2"
	fi
}

unlike() {
	if [[ $1 =~ $2 ]]; then
		fail "$3" "text: $1" "matches: $2"
	else
		pass "$3"
	fi
}

# at_most GOT LIMIT SENTENCE, at_least GOT LIMIT SENTENCE - whole numbers.
at_most() {
	if [ "$1" -le "$2" ]; then pass "$3"; else fail "$3" "got $1, at most $2"; fi
}

at_least() {
	if [ "$1" -ge "$2" ]; then pass "$3"; else fail "$3" "got $1, at least $2"; fi
}

# run COMMAND... - sets $status, $output and $errput.
run() {
	output=$("$@" 2>"$T/.errput")
	status=$?
	errput=$(cat "$T/.errput")
	return 0
}

# ---- cleaning up ----

_deferred=()

# defer COMMAND... - runs at the end of the test, newest first.
defer() {
	_deferred+=("$(printf '%q ' "$@")")
}

_finish() {
	local code=$? i
	trap '' INT TERM HUP
	for ((i = ${#_deferred[@]} - 1; i >= 0; i--)); do
		eval "${_deferred[i]}"
	done
	cd / && rm -rf --one-file-system "$T" 2>/dev/null || {
		chattr -R -f -i "$T"
		rm -rf --one-file-system "$T" 2>&1 | head -n 5
		[ ! -e "$T" ] || code=1
	}
	if [ -z "$_planned" ]; then
		echo "1..$_points"
		echo "not ok $((_points + 1)) - the test ran to its end"
		code=1
	fi
	[ "$_failed" -eq 0 ] || code=1
	exit "$code"
}

T=${TMPDIR:-/var/tmp}/it.$$.$RANDOM # no capital letters: podman takes such paths for names
mkdir -m 755 "$T" || exit 1
trap _finish EXIT
trap 'exit 1' INT TERM HUP
# In a container the disk is an overlay itself, which cannot hold an upper layer.
if [ "$(stat -f -c %T "$T")" = overlayfs ] && [ "$(id -u)" -eq 0 ]; then
	mount -t tmpfs -o mode=755 intinode-test "$T" && defer umount -l "$T"
fi
cd "$T" || exit 1

# ---- waiting ----

POLL_S=0.03

# wait_until SECONDS COMMAND... - poll until it succeeds; fails at the deadline.
wait_until() {
	local end=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "${EPOCHREALTIME/[.,]/}" -lt "$end" ] || return 1
		sleep "$POLL_S"
	done
}

# now_ms - milliseconds, for differences.
now_ms() {
	local now=${EPOCHREALTIME/[.,]/}
	echo "${now%???}"
}

free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# ---- processes ----

# start NAME COMMAND... - in the background; its pid is in ${PID[NAME]}, its output in $T/NAME.log.
declare -A PID
start() {
	local name=$1
	shift
	"$@" </dev/null >>"$T/$name.log" 2>&1 &
	PID[$name]=$!
	defer stop "$name"
}

# stop NAME [SIGNAL] - and wait until it is gone; after 10 s it is killed.
stop() {
	local pid=${PID[$1]:-}
	[ -n "$pid" ] || return 0
	unset "PID[$1]"
	kill "-${2:-TERM}" "$pid" 2>/dev/null
	if ! wait_until 10 _is_gone "$pid"; then
		diag "$1 did not stop within 10 s: killed"
		kill -KILL "$pid" 2>/dev/null
	fi
	wait "$pid" 2>/dev/null
}

_is_gone() {
	local line
	read -r line <"/proc/$1/stat" || return 0
	[[ $line == *") Z "* ]]
}

# _ready NAME SECONDS COMMAND... - or the test ends with the log of NAME.
_ready() {
	local name=$1 seconds=$2 end
	shift 2
	end=$(($(now_ms) + seconds * 1000))
	until "$@" >/dev/null 2>&1; do
		if _is_gone "${PID[$name]}" || [ "$(now_ms)" -gt "$end" ]; then
			give_up "$name starts" "not ready: $*" "$(tail -n 30 "$T/$name.log")"
		fi
		sleep "$POLL_S"
	done
}

# start_serve [OPTION]... - intinode-serve on a free port; sets $SERVE to HOST:PORT. The store,
# $T/store, is kept over a stop serve and another start_serve, and so is the port.
SERVE=
SERVE_SCHEME=http # https for a server with [tls] settings
start_serve() {
	[ -n "$SERVE" ] || SERVE=127.0.0.1:$(free_port)
	mkdir -p "$T/store"
	start serve "$BUILD/intinode-serve" --listen "$SERVE" --store "$T/store" "$@"
	# Any answer will do: some tests' servers want a password first.
	_ready serve 20 curl -sk -o /dev/null "${SERVE_SCHEME:-http}://$SERVE/v2/"
}

# A command that starts it elsewhere, as in another network.
fetchd_in=()

# start_fetchd [OPTION]... - intinode-fetchd with cache, state and run directories in $T/fetchd;
# they are kept over a stop fetchd and another start_fetchd. Sets and exports INTINODE_SOCKET.
start_fetchd() {
	[ -d "$T/fetchd" ] || defer _fetchd_clean
	mkdir -p "$T/fetchd/cache" "$T/fetchd/state" "$T/fetchd/run"
	export INTINODE_SOCKET=$T/fetchd/run/fetchd.sock
	start fetchd "${fetchd_in[@]}" "$BUILD/intinode-fetchd" --cache "$T/fetchd/cache" --state "$T/fetchd/state" \
		--run "$T/fetchd/run" "$@"
	_ready fetchd 20 control '{"op":"ping"}'
}

# What a fetchd leaves on purpose: image mounts, the holder of its descriptors, immutable files.
_fetchd_clean() {
	local where pid
	while read -r _ where _; do
		[[ $where != "$T/"* ]] || umount -l "$where"
	done < <(tac /proc/mounts)
	for pid in $(pgrep -f -- "--keep $T/fetchd/run/keep.sock"); do
		kill -KILL "$pid"
	done
	chattr -R -i "$T/fetchd/cache" 2>/dev/null
	return 0
}

# control REQUEST - send one line to fetchd, print its answer; fails unless that is ok.
control() {
	python3 - "$INTINODE_SOCKET" "$1" <<-'END'
		import json, socket, sys
		s = socket.socket(socket.AF_UNIX)
		s.settimeout(60)
		s.connect(sys.argv[1])
		s.sendall(sys.argv[2].encode() + b"\n")
		line = s.makefile().readline()
		print(line, end="")
		sys.exit(not json.loads(line)["ok"])
	END
}

# fetched FIELD - a counter of fetchd: files, bytes, wire_bytes, errors.
fetched() {
	control '{"op":"status"}' | json "fetched.$1"
}

# json PATH - a value of the JSON on standard input: a.b.0
json() {
	python3 -c '
import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1].split("."):
    value = value[int(key)] if isinstance(value, list) else value[key]
print(value if isinstance(value, str) else json.dumps(value))' "$1"
}

# mount_thin REF MNT [OPTION]... - intinode mount, and unmounted at the end.
mount_thin() {
	local ref=$1 where=$2
	shift 2
	mkdir -p "$where"
	defer _unmount "$where"
	"$BUILD/intinode" mount "$@" "$ref" "$where"
}

_unmount() {
	! mountpoint -q "$1" || "$BUILD/intinode" umount "$1" >/dev/null 2>&1 || umount -l "$1"
}

# ---- images ----

# rootfs - path of a tree with base system, python3 and nginx, made once by scripts/check.
# Shared: read it, or copy it.
rootfs() {
	local dir=${INTINODE_TEST_CACHE:-/var/tmp/intinode-tests}/rootfs
	[ -d "$dir" ] || return 1
	echo "$dir"
}

need_rootfs() {
	ROOTFS=$(rootfs) || skip_all "there is no root file system: scripts/check main makes one, as root"
}

need_root() {
	[ "$(id -u)" -eq 0 ] || skip_all "needs root"
}

# need COMMAND... - of the system.
need() {
	local name
	for name; do
		command -v "$name" >/dev/null || skip_all "$name is not installed"
	done
}

# need_overlay - a kernel whose overlayfs has data-only layers (6.6), and the right to mount.
need_overlay() {
	local d=$T/.overlay
	need_root
	mkdir -p "$d/a" "$d/b" "$d/m"
	mount -t overlay probe -o "ro,metacopy=on,redirect_dir=on,lowerdir=$d/a::$d/b" "$d/m" 2>/dev/null ||
		skip_all "this kernel ($(uname -r)) has no data-only layers in overlayfs, or no right to mount"
	umount "$d/m"
}

need_fuse() {
	[ -e /dev/fuse ] || skip_all "there is no /dev/fuse"
	need_root
}

# make_oci DIR TAG TREE... - an OCI image layout in DIR; each tree is a layer.
make_oci() {
	python3 "$SRC/tests/make-oci" "$@"
}

# push_tree TREE REFERENCE - TREE as a one-layer image to docker://REFERENCE, by skopeo.
push_tree() {
	local dir
	dir=$(mktemp -d "$T/oci.XXXXXX") || return
	make_oci "$dir" image "$1" && copy "oci:$dir:image" "docker://$2" || return
	rm -rf "$dir"
}

# copy SRC DST [OPTION]... - skopeo, with a registry that speaks plain HTTP at either end.
copy() {
	skopeo --insecure-policy copy -q --src-tls-verify=false --dest-tls-verify=false "$@"
}

# podman_ ARG... - podman with its storage in $T; needs no daemon and touches nothing outside.
podman_() {
	local first=$1
	shift
	case $first in pull | push | login) set -- --tls-verify=false "$@" ;; esac
	[ -d "$T/podman" ] || {
		mkdir -p "$T/podman/root" "$T/podman/run"
		printf '{"default":[{"type":"insecureAcceptAnything"}]}\n' >"$T/podman/policy.json"
		defer _podman_clean
	}
	# A sandbox often refuses new control groups and higher limits.
	case $first in
	run)
		set -- --network none --pull never \
			--ulimit nofile=1000:1000 --ulimit nproc=1000:1000 "$@"
		;;
	esac
	case $first in pull | push) set -- --signature-policy="$T/podman/policy.json" "$@" ;; esac
	podman --root "$T/podman/root" --runroot "$T/podman/run" --tmpdir "$T/podman/tmp" \
		--storage-driver vfs --cgroup-manager cgroupfs --events-backend none --runtime runc "$first" "$@"
}

_podman_clean() {
	umount "$T/podman/root/vfs" "$T/podman/root" 2>/dev/null
	find /sys/fs/cgroup -maxdepth 3 -type d -name libpod_parent -exec rmdir {} + 2>/dev/null
	return 0
}

# start_dockerd [OPTION]... - a docker daemon of its own, in $T; talk to it with docker_.
start_dockerd() {
	mkdir -p "$T/docker"
	start dockerd dockerd --host "unix://$T/docker/sock" --data-root "$T/docker/root" \
		--exec-root "$T/docker/exec" --pidfile "$T/docker/pid" --bridge none --iptables=false \
		--ip6tables=false --storage-driver vfs --insecure-registry 127.0.0.0/8 "$@"
	_ready dockerd 60 docker_ version
}

docker_() {
	docker --host "unix://$T/docker/sock" --config "$T/docker/config" "$@"
}
