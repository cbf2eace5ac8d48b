# shellcheck shell=bash
# What the measuring programs share; on top of tests/lib.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
trap '_planned=0; _finish' EXIT # these print figures, not TAP

# figure NAME VALUE UNIT [OPERATOR GOAL]
figure() {
	local goal=- verdict=-
	if ! [[ $2 =~ ^[0-9.]+$ ]]; then
		set -- "$1" none "${@:3}"
		verdict=short goal=${*:4}
	elif [ $# -gt 3 ]; then
		goal="$4 $5"
		verdict=$(awk -v v="$2" -v op="$4" -v g="$5" \
			'BEGIN { print ((op == "<=" ? v + 0 <= g + 0 : op == "<" ? v + 0 < g + 0 : v + 0 >= g + 0) ? "met" : "short") }')
	fi
	printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$goal" "$verdict"
}

ratio() {
	awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'
}

# median - of the numbers on standard input.
median() {
	sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

say() {
	echo "bench: $*" >&2
}

must() {
	"$@" >"$T/must.log" 2>&1 || {
		cat "$T/must.log" >&2
		say "failed: $*"
		exit 1
	}
}
