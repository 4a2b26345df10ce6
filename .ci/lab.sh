#!/bin/sh
# Install JupyterLab beside the project's environment and give it that environment as its kernel.
# usage: PYTHON=python3 sh .ci/lab.sh .venv
set -eu

venv=$1
sh .ci/tool.sh "$venv/lab" jupyterlab jupytext
"$venv/bin/python" -m ipykernel install --prefix "$venv/lab" --name python3 \
	--display-name "Evidence book" >/dev/null
