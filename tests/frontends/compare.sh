#!/usr/bin/env bash
# Is the tree that a front end shows equal to the plain tree it stands for? Prints TAP.
#
# usage: compare.sh [--name NAME] [--sample N] PLAIN MOUNT
#	--name NAME	of the front end, put before each sentence
#	--sample N	read only N files by each of the rarer system calls
#
# Programs in PLAIN/exec, if there are any, are run in both. Works on any two trees.
set -u
export LC_ALL=C

lib=$(cd "$(dirname "$0")/../lib" && pwd)
name=
sample=0
while [ $# -gt 2 ]; do
	case $1 in
	--name) name="$2: "; shift 2 ;;
	--sample) sample=$2; shift 2 ;;
	*) echo "compare.sh: unknown option $1" >&2; exit 2 ;;
	esac
done
[ $# -eq 2 ] && [ -d "$1" ] && [ -d "$2" ] || {
	echo "usage: compare.sh [--name NAME] [--sample N] PLAIN MOUNT" >&2
	exit 2
}
plain=$(cd "$1" && pwd) mount=$(cd "$2" && pwd)
tmp=$(mktemp -d "${TMPDIR:-/var/tmp}/compare.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT

points=0 failed=0
# point SENTENCE FILE - passes when FILE, the differences, is empty.
point() {
	points=$((points + 1))
	if [ -s "$2" ]; then
		failed=1
		echo "not ok $points - $name$1"
		head -n 12 "$2" | cut -c 1-300 | sed 's/^/# /'
	else
		echo "ok $points - $name$1"
	fi
}

# both SENTENCE FUNCTION - runs it in each tree; its output must be equal.
both() {
	(cd "$plain" && "$2") >"$tmp/plain" 2>&1
	(cd "$mount" && "$2") >"$tmp/mount" 2>&1
	diff "$tmp/plain" "$tmp/mount" >"$tmp/diff"
	[ -s "$tmp/plain" ] || echo "no output to compare" >>"$tmp/diff"
	point "$1" "$tmp/diff"
}

# diff calls two FIFOs different from each other; types are compared elsewhere.
diff -r --no-dereference "$plain" "$mount" >"$tmp/diff" 2>&1
sed -E '/^File .* is a ([a-z ]+) while file .* is a \1$/d' "$tmp/diff" >"$tmp/real"
point "diff -r finds no difference" "$tmp/real"

rsync -aXAHnci --delete "$plain/" "$mount/" >"$tmp/out" 2>&1
point "rsync -aXAHnci from the plain tree has nothing to do" "$tmp/out"
rsync -aXAHnci --delete "$mount/" "$plain/" >"$tmp/out" 2>&1
point "rsync -aXAHnci from the mount has nothing to do" "$tmp/out"

tar_sum() {
	tar --create --format=posix --pax-option=exthdr.name=%d/%f,delete=atime,delete=ctime \
		--sort=name --numeric-owner --acls --xattrs --xattrs-include='*' . 2>"$tmp/tar-errors" |
		"$lib/tarsum"
	grep -v 'socket ignored$' "$tmp/tar-errors"
	return 0
}
both "tar with attributes and ACLs has the same checksum" tar_sum

acls() {
	find . ! -type l -print0 | sort -z | xargs -0 getfacl -np --
}
both "getfacl shows the same" acls

capabilities() {
	echo capabilities:
	find . -type f -print0 | sort -z | xargs -0 getcap -n --
}
both "getcap shows the same" capabilities

attributes() {
	find . -print0 | sort -z | xargs -0 getfattr -h -d -m - -e hex --
	echo end
}
both "getfattr shows the same" attributes

# Each as root and as a user who has nothing.
programs() {
	local program
	for program in exec/*; do
		echo "$program"
		"./$program" && echo "status 0" || echo "status $?"
		setpriv --reuid 65534 --regid 65534 --clear-groups "./$program" && echo "status 0" ||
			echo "status $?"
	done
}
if [ -d "$plain/exec" ]; then
	both "programs run, with the same rights and output" programs
fi

python3 "$lib/comparetrees" --sample "$sample" "$plain" "$mount" >"$tmp/calls"
code=$?
while IFS= read -r line; do
	if [[ $line =~ ^(not\ )?ok\ [0-9]+\ -\ (.*)$ ]]; then
		points=$((points + 1))
		echo "${BASH_REMATCH[1]}ok $points - $name${BASH_REMATCH[2]}"
	else
		printf '%s\n' "$line"
	fi
done <"$tmp/calls"
if [ $code -gt 1 ] || ! grep -q '^ok' "$tmp/calls"; then
	points=$((points + 1))
	echo "not ok $points - ${name}comparetrees runs to its end"
fi
echo "1..$points"
[ $failed -eq 0 ] && [ $code -eq 0 ]
