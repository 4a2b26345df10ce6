#!/bin/sh
# Compile requirements.in into requirements.txt: every version pinned, every file hashed, valid for
# Python 3.11 and later on every platform. usage: sh .ci/lock.sh [--upgrade]
set -eu

command -v uv >/dev/null 2>&1 || {
	echo "lock: uv is needed for this one task: https://docs.astral.sh/uv/" >&2
	exit 1
}
uv pip compile requirements.in --output-file requirements.txt \
	--universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate \
	--custom-compile-command "make lock" --quiet "$@"
echo "lock: requirements.txt has $(grep -c '==' requirements.txt) packages"
