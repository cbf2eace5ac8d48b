# shellcheck shell=bash
# What the lint tests share. They look at the source tree; only flags come from $BUILD.
. "$(dirname "$0")/../lib.sh"
cd "$SRC" || exit 1

# sources PATTERN... - files of the tree that match, also new ones; no build directories.
sources() {
	if git rev-parse --git-dir >/dev/null 2>&1; then
		git ls-files -co --exclude-standard -- "$@" | while IFS= read -r file; do
			[ ! -f "$file" ] || printf '%s\n' "$file"
		done | sort -u
	else # an unpacked release
		local pattern
		for pattern; do
			find . -path './build*' -prune -o -type f -path "./$pattern" -printf '%P\n'
		done | sort -u
	fi
}

# compile_flags - what the Makefile compiles with, one a line; the macros that single
# programs get are added with a value that compiles.
compile_flags() {
	{
		echo 'include Makefile'
		# shellcheck disable=SC2016 # for make to expand
		printf 'lint-flags:\n\t@printf "%%s\\n" $(DEFS) $(DEFAULT_INCLUDES) $(AM_CPPFLAGS) $(AM_CFLAGS) $(FUSE_CFLAGS) $(CMOCKA_CFLAGS)\n'
	} | make -s -C "$BUILD" -f - lint-flags
	printf '%s\n' '-DTEST_DATA="x"' '-DFUZZ_CORPUS="x"' "-I$BUILD" "-I$SRC"
}

# clean SENTENCE COMMAND... - passes when the command succeeds and prints nothing.
clean() {
	local sentence=$1 text code
	shift
	text=$("$@" 2>&1)
	code=$?
	if [ "$code" -eq 0 ] && [ -z "$text" ]; then
		pass "$sentence"
	else
		fail "$sentence" "$text" "exit status $code: $1"
	fi
}

# same_release TOOL VERSION - each release of these tools formats and finds in its own way; the tree
# is kept clean for those of Debian 12.
same_release() {
	local version
	version=$("$1" --version | grep -oE '[0-9]+(\.[0-9]+)*' | head -n 1)
	case $version in
	"$2" | "$2".*) ;;
	*) skip_all "this is $1 $version, and the tree follows $1 $2" ;;
	esac
}
