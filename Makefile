# Every target sets up what it needs in .venv. Start with: make demo
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: help demo test check format docs dashboard bench bench-truth bench-labels faults mutants test-oldest test-wheel docs-site constraints clean

help:  ## every target, with what it does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(READY)  ## plant shortcuts in drawn scenes, train, audit, show the findings beside the truth
	$(BIN)/camaudit demo

test: $(READY) chromium  ## all tests, browser tests too
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(READY)  ## lint, format, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## put imports and lines of code in order
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(READY)  ## rewrite the blocks of the pages that are made from code
	$(BIN)/python -m tests.docs

docs-site: .venv/site  ## the pages as a site with an API reference, in build/site; strict about links
	$(BIN)/python -m tests.docs.site_pages
	$(BIN)/zensical build --strict --config-file mkdocs.yml

dashboard: $(READY)  ## the demo's findings, on http://127.0.0.1:8501
	$(BIN)/camaudit dashboard data/runs/demo

bench: $(READY)  ## speed side by side with the peers and with forward-only inference
	$(BIN)/python -m tests.benchmarks

bench-truth: $(READY)  ## findings against planted truth: drawn scenes, photographs, and what a million targets cost
	$(BIN)/python -m tests.benchmarks.truth.bench_truth
	$(BIN)/python -m tests.benchmarks.truth.bench_outcomes
	$(BIN)/python -m tests.benchmarks.truth.regimes
	$(BIN)/python -m tests.benchmarks.truth.real_regime
	$(BIN)/python -m tests.benchmarks.truth.photographs
	PYTHONPATH=tests/support $(BIN)/python -m tests.benchmarks.truth.bench_silence
	PYTHONPATH=tests/support $(BIN)/python -m tests.benchmarks.truth.simulated
	$(BIN)/python -m tests.benchmarks --only million --rounds 3 --out build/million.json

bench-labels: $(READY)  ## weak labels: what each step of refinement gives on photographs, and networks that learn from them
	$(BIN)/python -m tests.benchmarks.labels.bench_refine
	$(BIN)/python -m tests.benchmarks.labels.bench_distill

faults: $(READY)  ## what a run survives: 100 kills, 1,000 flipped bits, 10,000 mutated images, within half an hour
	PYTHONPATH=tests:tests/support $(BIN)/python -m faults.campaign

mutants: .venv/mutation  ## small random changes to the code: whether tests catch each; ARGS='--room stats --count 80 --seed 1'
	$(BIN)/python -m tests.mutation $(ARGS)

test-oldest:  ## library, pipeline and store with the oldest versions that are promised, in .venv-oldest
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check -c constraints-oldest.txt -e '.[test]'
	.venv-oldest/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder $(OLDEST)

# Not the pages, for Streamlit's oldest is its newest; nor what asks other packages, which have floors of their own.
OLDEST := tests/audit tests/pipelines tests/faults/store tests/faults/inputs

test-wheel: $(READY)  ## build the package, install it alone into build/bare, and run the demo from there
	rm -rf build/wheel build/bare build/lib
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	$(PYTHON) -m venv build/bare
	build/bare/bin/pip install --quiet --disable-pip-version-check -c constraints.txt build/wheel/*.whl
	cd build/bare && PYTHONPATH= bin/camaudit demo --out runs/demo --scenes planted && bin/camaudit report runs/demo

.venv/site: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[site]'
	touch $@

.venv/mutation: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutation]'
	touch $@

constraints: $(READY)  ## note the versions that are installed now
	(head -n 1 constraints.txt; $(BIN)/pip freeze --exclude-editable) > constraints.new
	mv constraints.new constraints.txt

clean:  ## forget the environment; data stays
	rm -rf .venv .venv-oldest build *.egg-info

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Expected Python 3.11 or newer: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[timm,huggingface,clip,lrp,peers,test,check]'
	touch $(READY)

# Browser tests skip without it, saying so.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	|| echo 'No Chromium: the browser tests will be skipped. Install it, as with: apt-get install chromium'
