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
"$python" check.py
"$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-index --find-links wheels cavga
echo "installed: .venv/bin/cavga predict model.onnx PHOTOGRAPHS --output results"
"""

INSTALL_BAT = """\
@echo off
rem Makes .venv here and installs cavga into it from wheels.
setlocal
cd /d "%~dp0"
if not defined PYTHON set "PYTHON=py -@PYTHON@"
%PYTHON% check.py || exit /b 1
%PYTHON% -m venv .venv || exit /b 1
set PIP_DISABLE_PIP_VERSION_CHECK=1
.venv\\Scripts\\python -m pip install --quiet --no-index --find-links wheels cavga || exit /b 1
echo installed: .venv\\Scripts\\cavga predict model.onnx PHOTOGRAPHS --output results
"""

CHECK = '''\
"""Is this the Python that the bundle is for, and is every file as it was packed?"""

import hashlib
import pathlib
import sys

here = pathlib.Path(__file__).resolve().parent
found = "%d.%d" % sys.version_info[:2]
if found != "@PYTHON@":
    sys.exit("this bundle is for Python @PYTHON@ and this is %s: set PYTHON to the command that starts it" % found)
for line in (here / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
    expected, name = line.split("  ", 1)
    path = here / name
    if not path.is_file():
        sys.exit("%s is missing: copy the bundle again" % name)
    if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        sys.exit("%s was changed after it was packed: copy the bundle again" % name)
'''
