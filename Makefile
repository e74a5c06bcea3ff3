# Everything happens in .venv; nothing but Python 3.11+ and make has to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo test coverage test-all test-base test-faults audit sbom results clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## make .venv with everything a contributor needs

# Installed again only when what is to be installed changed. torch and its CUDA libraries are about 5 GB.
$(STAMP): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is %s" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[train,dev]'
	@touch $(STAMP)

demo: $(STAMP)  ## train and evaluate on the bundled photographs, report in runs/demo
	$(BIN)/cavga demo --output runs/demo

# Tests of a file mostly stay in one process, which then trains what they share once; the other takes what is left.
test: $(STAMP)  ## style, types, weaknesses (bandit) and tests; about 5 minutes on two cores
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src
	$(if $(COVERAGE),COVERAGE_CORE=$$($(CORE))) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' \
		--numprocesses 2 --dist worksteal $(if $(COVERAGE),--cov --cov-report=term)

# Counting lines doubles the time of the tests before Python 3.12, which can watch each line once.
CORE := $(BIN)/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")'

coverage: COVERAGE := 1
coverage: test  ## the same, and at least 90 % of the lines have to be run; twice the time

test-all: $(STAMP)  ## the slow tests too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-base: $(STAMP)  ## prediction without torch, in a fresh environment; two minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.base_install

# In an environment of their own: the dependencies of pip-audit and cyclonedx-bom are none of ours.
AUDIT := .venv-audit
AUDIT_STAMP := $(AUDIT)/.installed

$(AUDIT_STAMP): Makefile
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit cyclonedx-bom
	@touch $(AUDIT_STAMP)

# --strict: where the database cannot be reached, pip-audit alone would say that nothing was found.
audit: $(STAMP) $(AUDIT_STAMP)  ## known weaknesses of what is installed; needs a network that reaches the advisory database
	$(BIN)/python -m pip freeze --exclude-editable > $(AUDIT)/installed.txt
	$(AUDIT)/bin/pip-audit --strict --disable-pip --no-deps --requirement $(AUDIT)/installed.txt

sbom: $(STAMP) $(AUDIT_STAMP)  ## sbom.json: everything that is installed in .venv, as CycloneDX
	$(AUDIT)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
		--output-file sbom.json $(BIN)/python

test-faults: $(STAMP)  ## damaged files and requests, odd names, signals, full disks, overload: half an hour on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.faults

results: $(STAMP)  ## write docs/results/, docs/claims.md, docs/reliability.md and the table of docs/benchmarks.md from the committed rows
	$(BIN)/python -m docs.generate.results
	$(BIN)/python -m docs.generate.claims
	$(BIN)/python -m docs.generate.reliability
	$(BIN)/python -m docs.generate.methods

clean:  ## remove what make created
	rm -rf $(VENV) $(AUDIT) sbom.json runs .pytest_cache .mypy_cache .ruff_cache
