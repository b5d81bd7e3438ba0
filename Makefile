# Every target sets up what it needs; a fresh machine needs Python 3.11 (or newer) with venv.
# The system's Python if it will do: distributions build it with profile-guided optimisation, version managers without,
# and then forecasts and plans take half as long again.
PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-lab test lint bench-plan bench-convergence bench-dataplane bench-robustness bench-forecast bench-routing lock charts clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: $(STAMP) ## create .venv with the locked versions

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "foremesh needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@echo "compiling forecasts and the path search, so that the first plan does not wait for them: about a minute"
	@$(BIN)/python -c 'import foremesh.offline'
	@touch $@

demo: setup ## plan three clouds, simulate a day of them, write out/ (any machine with Python)
	@$(BIN)/foremesh demo -f manifests/examples/three-clouds --out out $(DEMO_ARGS)

demo-lab: setup ## the main job on real parts, in namespaces (Linux, root)
	@tests/lab/install-packages
	@PYTHONPATH=tests $(BIN)/python -m lab.demo $(DEMO_ARGS)

test: setup ## every test this machine can run; skips say why
	@tests/lab/install-packages
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(PYTEST_ARGS)

lint: setup ## ruff, mypy, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-plan: setup ## how long people wait for a plan (BENCH_ARGS=--quick)
	@PYTHONPATH=tests:benchmarks $(BIN)/python benchmarks/bench_plan.py $(BENCH_ARGS)

bench-convergence: setup ## how fast paths heal, beside babeld, OSPF and static routes (Linux, root; BENCH_ARGS=--quick)
	@tests/lab/install-packages
	@tests/lab/install-packages benchmarks/convergence/packages.txt
	@PYTHONPATH=tests:benchmarks $(BIN)/python benchmarks/bench_convergence.py $(BENCH_ARGS)

bench-dataplane: setup ## what moves lose, what a circuit carries, what an agent costs (Linux, root; BENCH_ARGS=--quick)
	@tests/lab/install-packages
	@PYTHONPATH=tests:benchmarks $(BIN)/python benchmarks/bench_dataplane.py $(BENCH_ARGS)

bench-robustness: setup ## 1,000 random config changes and kills, and what they leave behind (Linux, root; BENCH_ARGS=--quick)
	@tests/lab/install-packages
	@PYTHONPATH=tests:benchmarks $(BIN)/python benchmarks/bench_robustness.py $(BENCH_ARGS)

bench-routing: setup ## path search: exact beside HiGHS, fast beside NetworkX (BENCH_ARGS="--quick --parts full")
	@PYTHONPATH=tests:benchmarks $(BIN)/python benchmarks/bench_routing.py $(BENCH_ARGS)

bench-forecast: setup ## what forecasts are worth and cost, beside Prophet and statsforecast (BENCH_ARGS=--quick; FOREMESH_SHARED: recorded files)
	@$(BIN)/pip install --quiet --require-hashes -r requirements/bench.txt
	@PYTHONPATH=tests:benchmarks $(BIN)/python benchmarks/bench_forecast.py $(BENCH_ARGS)

charts: setup ## regenerate charts/foremesh-crds and the schemas for files from crds/
	$(BIN)/python charts/generate.py

lock: ## resolve the newest allowed versions into requirements/*.txt (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml requirements/build.in -o requirements/dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dask pyproject.toml -c requirements/dev.txt -o requirements/operator.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra bench pyproject.toml -c requirements/dev.txt -o requirements/bench.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/agent.in -c requirements/dev.txt -o requirements/agent.txt

clean: ## remove what the targets made here
	rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
