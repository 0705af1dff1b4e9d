# One command for each need. PYTHON names the interpreter that the venv is made with (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
LLM ?= loopback
# run, demo: N8N=1 brings up n8n, too. test: N8N=0 leaves out what needs it.
N8N ?=
# test-last-release: another release than the last, by tag or commit.
RELEASE ?=
# lock: uv (pip install uv); no address of an index is written, so that any will do.
UV ?= uv
LOCKING := --universal --generate-hashes --no-annotate --no-emit-index-url --custom-compile-command "make lock" --quiet
# coverage: the folders or files of tests.
TESTS ?= tests/unit tests/state tests/scenarios
# audit: STRICT=1 does not pass where the libraries could not be looked up.
STRICT ?=
# test: BROWSER=0 leaves out what drives a real Chromium.
BROWSER ?=

# Some containers set it: each of the hundreds of processes that tests start would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run demo picture test test-decisions test-decisions-1 test-decisions-2 test-decisions-3 test-conversations test-conversations-1 test-conversations-2 test-conversations-3 test-pages test-faults test-faults-1 test-faults-2 test-flows test-flows-scenarios test-last-release check check-unit check-unit-1 check-unit-2 check-state check-schema audit lint types unit coverage fix schema lock bench clean

help:
	@echo "make run     start HybridFlow with an embedded PostgreSQL on port 8000 (N8N=1: and n8n)"
	@echo "make demo    the whole job on loopback, no account needed (N8N=1: through n8n;"
	@echo "             LLM=anthropic|openai: with a real one)"
	@echo "make test    everything, six rows at once: lint, types, SQL, unit, state, scenario, fault, property"
	@echo "             and n8n tests, every benchmark on a small scale, every command of the guides (N8N=0:"
	@echo "             without those that need n8n; BROWSER=0: without those in a real Chromium; those over"
	@echo "             the real PostgREST run where it is there)"
	@echo "make test-last-release"
	@echo "             the state tests of the last release on the current schema, for its routers go on"
	@echo "             with it (a part of make test; RELEASE=v0.2.0: of another release)"
	@echo "make check   the inner loop: lint, types, unit tests, most state tests over one transport"
	@echo "make check-schema  after a change of the schema, besides: plans, migrations, upgrades"
	@echo "make coverage  which lines the tests of decisions and of conversations pass (TESTS=...: of others)"
	@echo "make audit   bandit over the code, pip-audit over the libraries (STRICT=1: an error, too, where"
	@echo "             nothing could be looked up)"
	@echo "make fix     format and repair what a tool can repair"
	@echo "make schema  write database/schema.sql and the schemas of n8n_workflows/"
	@echo "make picture write README's picture: the demo's page in a real Chromium"
	@echo "make lock    write requirements.txt and requirements-dev.txt from pyproject.toml (needs uv;"
	@echo "             UPGRADE=1: with the newest versions of what is not named there)"
	@echo "make bench   measure ingest beside a bare endpoint and pgbench (others: benchmarks/README.md)"
	@echo "make clean   remove the venv and the caches (not the data)"

.venv/run.done: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/dev.done: .venv/run.done requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

run: .venv/run.done
	@exec $(BIN)/python -m scripts.serve $(if $(filter 1,$(N8N)),--n8n)

demo: .venv/run.done
	@exec $(BIN)/python -m scripts.demo --llm $(LLM) $(if $(filter 1,$(N8N)),--n8n)

test: .venv/dev.done
	$(if $(filter 0,$(BROWSER)),,$(BIN)/python -m tests.console.chromium)
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m compileall -q router scripts loopback benchmarks  # else every row does it for itself
	$(if $(filter 0,$(N8N)),,$(BIN)/python -m scripts.n8n install && $(BIN)/python -m scripts.n8n check && $(BIN)/python -m tests.supabase_cli && $(BIN)/python -m tests.real_postgrest)
	$(MAKE) --no-print-directory --jobs=6 $(if $(filter 0,$(N8N)),,test-flows test-flows-scenarios) test-faults-1 test-conversations test-decisions test-faults-2 test-last-release $(if $(filter 0,$(BROWSER)),,test-pages) types audit

# Rows that run beside one another, six at once: they wait for other programs more than they compute, so there are more
# of them than cores. The longest come first, above all those that wait most: late, they would wait alone.

test-decisions: test-decisions-3 test-decisions-1 test-decisions-2

test-decisions-1: .venv/dev.done
	$(BIN)/python -m pytest --part=1/2 tests/state tests/properties

test-decisions-2: .venv/dev.done
	$(BIN)/python -m pytest --part=2/2 tests/state tests/properties

test-decisions-3: .venv/dev.done
	$(BIN)/python -m pytest tests/unit tests/doubles

test-conversations: test-conversations-1 test-conversations-2 test-conversations-3

test-conversations-1: .venv/dev.done
	$(BIN)/python -m pytest -m "not n8n" --part=1/3 tests/scenarios

test-conversations-2: .venv/dev.done
	$(BIN)/python -m pytest -m "not n8n" --part=2/3 tests/scenarios

test-conversations-3: .venv/dev.done
	$(BIN)/python -m pytest -m "not n8n" --part=3/3 tests/scenarios

test-pages: .venv/dev.done
	$(BIN)/python -m pytest -m "not n8n" tests/console

test-faults: test-faults-1 test-faults-2

test-faults-1: .venv/dev.done
	$(BIN)/python -m pytest -m "not n8n" --part=1/2 tests/faults tests/guides tests/benchmarks tests/n8n

test-faults-2: .venv/dev.done
	$(BIN)/python -m pytest -m "not n8n" --part=2/2 tests/faults tests/guides tests/benchmarks tests/n8n

test-flows: .venv/dev.done
	$(BIN)/python -m pytest -m n8n tests/n8n tests/guides tests/benchmarks

# The conversations once more, answered by an n8n of this row's own; its editor is driven, too.
test-flows-scenarios: .venv/dev.done
	$(BIN)/python -m pytest -m n8n tests/scenarios tests/faults $(if $(filter 0,$(BROWSER)),,tests/console)

test-last-release: .venv/dev.done
	$(BIN)/python -m tests.last_release $(if $(RELEASE),--release $(RELEASE))

# The state tests take longest, so they go before the unit tests, which in two parts take what is left.
check: .venv/dev.done
	$(MAKE) --no-print-directory --jobs=3 check-state check-unit lint types

check-unit: check-unit-1 check-unit-2

check-unit-1: .venv/dev.done
	nice -n 5 $(BIN)/python -m pytest --part=1/2 -m "not apart" tests/unit

check-unit-2: .venv/dev.done
	nice -n 5 $(BIN)/python -m pytest --part=2/2 -m "not apart" tests/unit

check-state: .venv/dev.done
	$(BIN)/python -m pytest tests/state -m "not twice and not own_database and not apart"

# What make check leaves out of them, over one transport: plans, migrations, upgrades, counted rows.
check-schema: .venv/dev.done
	$(BIN)/python -m pytest tests/state -m "not twice and (own_database or apart)"

# Shown, and no test of anything. Programs that tests start are counted, too.
coverage: .venv/dev.done
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not n8n and not twice" $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered
	$(BIN)/coverage html --quiet

audit: .venv/dev.done
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive router scripts
	$(BIN)/python -m scripts.audit $(if $(filter 1,$(STRICT)),--strict)

lint: .venv/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m scripts.build_schema --check
	$(BIN)/python -m tests.changed_sql database/schema database/supabase/optional

types: .venv/dev.done
	$(BIN)/mypy

fix: .venv/dev.done
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m scripts.build_schema
	$(BIN)/python -m scripts.n8n schema

schema: .venv/run.done
	$(BIN)/python -m scripts.build_schema
	$(BIN)/python -m scripts.n8n schema

# The picture of README.md: the demo in a real Chromium, light and dark.
picture: .venv/dev.done
	$(BIN)/python -m tests.console.picture

lock:
	$(UV) pip compile pyproject.toml $(LOCKING) $(if $(filter 1,$(UPGRADE)),--upgrade) --output-file requirements.txt
	$(UV) pip compile pyproject.toml --extra local-speech $(LOCKING) $(if $(filter 1,$(UPGRADE)),--upgrade) --output-file requirements-local-speech.txt
	$(UV) pip compile pyproject.toml --group dev $(LOCKING) $(if $(filter 1,$(UPGRADE)),--upgrade) --output-file requirements-dev.txt

bench: .venv/dev.done
	$(BIN)/python -m benchmarks.ingest

clean:
	rm -rf .venv .mypy_cache .ruff_cache .sqlfluff_cache .pytest_cache .hypothesis .coverage* htmlcov
