#!/bin/sh
# Install a tool into a virtual environment of its own, so that the pinned one stays as it is.
# usage: PYTHON=python3 sh .ci/tool.sh .venv/lab jupyterlab jupytext
set -eu

folder=$1
shift
stamp=$folder/.installed

[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$*" ] && exit 0
echo "setup: installing $* into $folder"
"${PYTHON:-python3}" -m venv --clear "$folder"
"$folder/bin/python" -m pip install --no-input --quiet "$@"
echo "$*" >"$stamp"
