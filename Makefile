# Two commands matter: `make serve` and `make test`. `make` alone lists the rest.
SHELL   := /bin/bash
PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
UV      ?= uv
LOCKER   = $(UV) pip compile --universal --python-version 3.11 --fork-strategy fewest \
           --no-emit-index-url --no-header --quiet
COMPOSE  = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

.DEFAULT_GOAL := help
.PHONY: help serve demo setup test check format bench openapi clients fuzz fuzz-api chaos soak audit sbom lock system \
        docker docker-gpu up down clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.runtime ## Set up, migrate, check the model, serve on 127.0.0.1:8000
	$(BIN)/timbre serve

demo: $(VENV)/.runtime ## Enroll, verify and identify voices on a server of its own
	$(BIN)/timbre demo

setup: $(VENV)/.dev ## Set up training and the tools, nothing else

test: system check ## Set up, check and run every test
	$(BIN)/python -m pytest

check: $(VENV)/.dev ## Lint, types, layers: ruff, mypy --strict, import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.dev ## Put the source into ruff's form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.dev ## Run the benchmarks behind the performance claims
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

openapi: $(VENV)/.runtime ## Write the OpenAPI description to openapi.json
	$(BIN)/timbre openapi openapi.json

clients: $(VENV)/.dev system ## Build the typed clients for Python and TypeScript into dist/
	mkdir -p build dist
	$(BIN)/timbre openapi build/openapi.json
	$(BIN)/python clients/generate.py build/openapi.json python
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist clients/python
	cd clients/typescript && npm ci --loglevel=error
	$(BIN)/python clients/generate.py build/openapi.json typescript
	cd clients/typescript && npm run build --silent && npm pack --silent --pack-destination ../../dist

fuzz-api: $(VENV)/.dev ## Try the API with random requests for ten minutes (Schemathesis)
	$(BIN)/python -m tests.api.fuzzing

fuzz: $(VENV)/.dev ## Try 20,000 broken recordings on the service, then the sniffing by its coverage
	$(BIN)/python -m tests.hostile.fuzz

chaos: $(VENV)/.dev system ## Kill the service 2,000 times, and take its disk, database and clock away
	$(BIN)/python -m tests.chaos.crashes
	$(BIN)/python -m tests.chaos.outages

soak: $(VENV)/.dev system ## 100,000 calls on eight processes of two hosts that stop and lose each other (root)
	$(BIN)/python -m tests.soak.run

audit: $(VENV)/.dev ## Ask a database of advisories about every pinned dependency
	$(BIN)/python -m supply.audit requirements.lock requirements-gpu.lock requirements-dev.lock

sbom: $(VENV)/.dev ## Write what the service is made of to build/sbom.json (CycloneDX)
	$(BIN)/python -m supply.sbom

lock: ## Pin the dependencies of pyproject.toml anew (needs uv)
	$(LOCKER) pyproject.toml -o requirements.lock
	$(LOCKER) --extra gpu -c requirements.lock pyproject.toml -o requirements-gpu.lock
	$(LOCKER) --extra training --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

docker: ## Build the image timbre:latest (CPU)
	docker build -t timbre:latest $(DOCKER_BUILD_FLAGS) .

docker-gpu: ## Build the image timbre:gpu (CUDA libraries inside)
	docker build -t timbre:gpu --build-arg TIMBRE_EXTRAS=gpu $(DOCKER_BUILD_FLAGS) .

up: ## Start the service and PostgreSQL with Docker compose
	$(COMPOSE) up -d --build

down: ## Stop them; the volumes stay
	$(COMPOSE) down

clean: ## Remove the environment and the caches; data/ stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find app training tests alembic benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------- set-up, each step once

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11, 3.12 or 3.13." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "Timbre needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "The module venv is incomplete: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@

# PostgreSQL's server programs for the tests, Node for the TypeScript client; a clock that can be set and hosts of
# their own (network namespaces) for the tests of outages.
system:
	@missing=; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	[[ -n "$$TIMBRE_TEST_POSTGRES_URL" ]] || command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 \
	  || missing="$$missing postgresql"; \
	if [[ $$(uname -s) = Linux ]]; then \
	  ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing="$$missing libfaketime"; \
	  PATH=$$PATH:/usr/sbin:/sbin; \
	  command -v ip >/dev/null || missing="$$missing iproute2"; \
	  command -v iptables >/dev/null || missing="$$missing iptables"; \
	fi; \
	[[ -n "$$missing" ]] || exit 0; \
	if [[ $$(id -u) = 0 ]]; then as_root=; else as_root="sudo -n"; fi; \
	if command -v apt-get >/dev/null && $$as_root true 2>/dev/null; then \
	  echo "Installing $$missing"; \
	  $$as_root apt-get update -qq && \
	  $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else \
	  echo "The tests need these system packages: $$missing" >&2; \
	  echo "Install them (Debian, Ubuntu: sudo apt-get install $$missing) and run make test again." >&2; exit 1; \
	fi
