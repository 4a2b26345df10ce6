#!/bin/sh
# Make the virtual environment and install requirements.txt into it, when its digest changed.
# usage: PYTHON=python3 sh .ci/setup.sh .venv
set -eu

venv=$1
python=${PYTHON:-python3}
stamp=$venv/.requirements.sha256

fail() {
	echo "$*" >&2
	exit 1
}

if [ ! -x "$venv/bin/python" ]; then
	command -v "$python" >/dev/null 2>&1 ||
		fail "setup: there is no $python here. Install Python 3.11 or later, or say which: make PYTHON=/path/to/python"
	"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
		fail "setup: $("$python" --version 2>&1) is too old, Python 3.11 or later is needed. Say which: make PYTHON=/path/to/python"
	"$python" -c 'import venv, ensurepip' 2>/dev/null ||
		fail "setup: this Python cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv"
	echo "setup: making $venv with $("$python" --version 2>&1)"
	"$python" -m venv --clear "$venv"
fi

# the environment belongs to its place and its Python as much as to the list of requirements
wanted=$("$venv/bin/python" - <<'PROGRAM'
import hashlib, pathlib, sys
text = pathlib.Path("requirements.txt").read_bytes()
print(hashlib.sha256(text + f"{sys.version_info[:2]} {sys.prefix}".encode()).hexdigest())
PROGRAM
)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && exit 0

start=$(date +%s)
echo "setup: installing requirements.txt (a few minutes the first time)"
rm -f "$stamp"
log=$venv/install.log
"$venv/bin/python" -m pip install --no-input --require-hashes --requirement requirements.txt >"$log" 2>&1 || {
	tail -n 25 "$log" >&2
	fail "setup: the installation failed; everything it said is in $log"
}
# chapters and notebooks can import the package from any folder
"$venv/bin/python" - <<'PROGRAM'
import pathlib, sysconfig
pathlib.Path(sysconfig.get_path("purelib"), "evidence-book.pth").write_text(f"{pathlib.Path.cwd()}\n")
PROGRAM
# matplotlib lists the fonts once; it would say so in the first chapter that draws
"$venv/bin/python" -c 'import matplotlib.font_manager' >/dev/null 2>&1 || true
echo "$wanted" >"$stamp"
echo "setup: done in $(($(date +%s) - start)) s"
