"""The files of a bundle that run on the machine without network; @NAMES@ are filled in."""

README = """\
cavga @VERSION@ and the model model.onnx, for @PLATFORM@ and Python @PYTHON@; nothing is fetched from a network.
Install: run install.sh (Linux: `sh install.sh`) or install.bat (Windows); it checks SHA256SUMS and makes .venv here.
It takes Python @PYTHON@ with venv and pip; where it is not found by itself, set PYTHON to the command that starts it.
Predict: .venv/bin/cavga predict model.onnx PHOTOGRAPHS --output results (Windows: .venv\\Scripts\\cavga)
Scores, thresholds and decisions are then in results/predictions.jsonl, one line a photograph.
"""

INSTALL_SH = """\
#!/bin/sh
# Makes .venv here and installs cavga into it from wheels/.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-$(command -v python@PYTHON@ || command -v python3 || echo python@PYTHON@)}
"$python" -I check.py
"$python" -I -m venv --clear .venv
.venv/bin/python -I -m pip install --quiet --disable-pip-version-check --no-index --find-links wheels cavga
echo "installed: .venv/bin/cavga predict model.onnx PHOTOGRAPHS --output results"
"""

INSTALL_BAT = """\
@echo off
rem Makes .venv here and installs cavga into it from wheels.
setlocal
cd /d "%~dp0"
if not defined PYTHON set "PYTHON=py -@PYTHON@"
%PYTHON% -I check.py || exit /b 1
%PYTHON% -I -m venv --clear .venv || exit /b 1
set PIP_DISABLE_PIP_VERSION_CHECK=1
.venv\\Scripts\\python -I -m pip install --quiet --no-index --find-links wheels cavga || exit /b 1
echo installed: .venv\\Scripts\\cavga predict model.onnx PHOTOGRAPHS --output results
"""

CHECK = '''\
"""Is this the Python that the bundle is for, and does the folder hold what was packed and nothing else?"""

import sys

if not sys.flags.isolated:  # a file beside this one would be run in the place of a module of Python
    sys.exit("start this as: python -I check.py")

import hashlib
import os
import re
import stat

here = os.path.dirname(os.path.abspath(__file__))
found = "%d.%d" % sys.version_info[:2]
if found != "@PYTHON@":
    sys.exit("this bundle is for Python @PYTHON@ and this is %s: set PYTHON to the command that starts it" % found)


def is_link(path):
    return os.path.islink(path) or bool(getattr(os.lstat(path), "st_reparse_tag", 0))


def packed():
    """Name -> sha256 of each file."""
    path = os.path.join(here, "SHA256SUMS")
    if is_link(path) or not stat.S_ISREG(os.lstat(path).st_mode):
        sys.exit("SHA256SUMS is no plain file: copy the bundle again")
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [re.fullmatch("([0-9a-f]{64})  (.+)", line) for line in file.read().splitlines()]
    if not lines or None in lines:
        sys.exit("SHA256SUMS was changed after it was packed: copy the bundle again")
    return {line[2]: line[1] for line in lines}


def walk(folder):
    for name in sorted(os.listdir(os.path.join(here, folder))):
        path = folder + name
        if path == ".venv":  # of an earlier installation: it is made anew
            continue
        if os.path.isdir(os.path.join(here, path)) and not is_link(os.path.join(here, path)):
            for inner in walk(path + "/"):
                yield inner
        else:
            yield path


sums = packed()
for name in walk(""):
    if name not in sums and name != "SHA256SUMS":
        sys.exit("%s is not of this bundle: move it away" % ascii(name)[1:-1])
for name in sums:
    path = os.path.join(here, name)
    if not os.path.lexists(path):
        sys.exit("%s is missing: copy the bundle again" % name)
    if is_link(path) or not stat.S_ISREG(os.lstat(path).st_mode):
        sys.exit("%s is no plain file: copy the bundle again" % name)
    with open(path, "rb") as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != sums[name]:
        sys.exit("%s was changed after it was packed: copy the bundle again" % name)
'''
