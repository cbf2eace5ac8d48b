# shellcheck shell=bash
# shellcheck disable=SC2034 # code and others are for the tests
# What the tests of intinode-serve share: one request each, and what came back.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# req METHOD PATH [CURL OPTION]... - sets $code; headers are in $T/headers, the body in $T/body.
req() {
	local method=$1 path=$2
	shift 2
	case $method in HEAD) set -- -I "$@" ;; *) set -- -X "$method" "$@" ;; esac
	code=$(curl -s -m 60 --path-as-is -o "$T/body" -D "$T/headers" -w '%{http_code}' "$@" "$SERVE_SCHEME://$SERVE$path")
}

# header NAME - of the last answer (behind a 100 Continue).
header() {
	tr -d '\r' <"$T/headers" | awk -v name="$(tr '[:upper:]' '[:lower:]' <<<"$1"):" '
		/^HTTP\// { value = "" }
		tolower($1) == name { sub(/^[^:]*: */, ""); value = $0 }
		END { print value }'
}

# error - the code of the error JSON of the last answer.
error() {
	json errors.0.code <"$T/body" 2>/dev/null || echo "no error JSON"
}

# expect CODE SENTENCE / expect CODE ERROR SENTENCE - of the last answer.
expect() {
	local got=$code wanted=$1
	[ $# -eq 2 ] || {
		got="$code $(error)" wanted="$1 $2"
		shift
	}
	is "$got" "$wanted" "$2"
}

digest_of() { # FILE [256|512]
	echo "sha${2:-256}:$("sha${2:-256}sum" <"$1" | cut -d ' ' -f 1)"
}

# put_blob REPOSITORY FILE - in one request; prints its digest.
put_blob() {
	local digest
	digest=$(digest_of "$2")
	curl -sf -m 60 -o /dev/null -X POST -H 'Expect:' -H 'Content-Type: application/octet-stream' \
		--data-binary "@$2" "http://$SERVE/v2/$1/blobs/uploads/?digest=$digest" && echo "$digest"
}

# make_manifest CONFIG_DIGEST CONFIG_SIZE [MORE JSON MEMBERS] - prints an image manifest.
make_manifest() {
	printf '{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"%s","digest":"%s","size":%d},"layers":[]%s}' \
		application/vnd.oci.image.manifest.v1+json application/vnd.oci.image.config.v1+json \
		"$1" "$2" "${3:+,$3}"
}

MANIFEST=application/vnd.oci.image.manifest.v1+json
INDEX=application/vnd.oci.image.index.v1+json

# stored DIGEST - its file in the store, in the form it has.
stored() {
	local hex=${1#*:} path
	path=$T/store/blobs/${1%%:*}/${hex:0:2}/$hex
	[ ! -e "$path.zst" ] || path=$path.zst
	echo "$path"
}

# is_packed DIGEST - waits until its content is at rest as zstd, and only that.
is_packed() {
	local hex=${1#*:}
	local path=$T/store/blobs/${1%%:*}/${hex:0:2}/$hex
	wait_until 60 test -e "$path.zst" -a ! -e "$path"
}
