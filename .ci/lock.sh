#!/bin/sh
# Compile requirements.in into requirements.txt: every version pinned, every file hashed, valid for
# Python 3.11 and later on every platform. usage: PYTHON=python3 sh .ci/lock.sh .venv/lock [--upgrade]
set -eu

tool=$1
shift

if command -v uv >/dev/null 2>&1; then
	uv=uv
else
	sh .ci/tool.sh "$tool" uv
	uv=$tool/bin/uv
fi
before=$(mktemp)
trap 'rm -f "$before"' EXIT
grep '==' requirements.txt >"$before" || true
"$uv" pip compile requirements.in --output-file requirements.txt \
	--universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate \
	--custom-compile-command "make lock" --quiet "$@"
echo "lock: requirements.txt has $(grep -c '==' requirements.txt) packages"
# a package that came, went or has another version
grep '==' requirements.txt | diff "$before" - | sed -n 's/^\([<>]\) \([^ ]*\).*/lock: \1 \2/p' || true
