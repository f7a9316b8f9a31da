# Each target works first, alone, on a fresh clone. Needed before: make and Python 3.11, 3.12 or 3.13.
# Another Python: make run PYTHON=python3.12    Another port: make ui PORT=3001

SUITABLE = import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c '$(SUITABLE)' >/dev/null 2>&1 && echo $$p && break; done)
SETUP = $(if $(PYTHON),$(PYTHON) scripts/setup_venv.py,$(error No Python 3.11, 3.12 or 3.13 with venv \
	found; install one (Debian: apt install python3-venv), or name it: make PYTHON=/path/to/python))
BIN = .venv/bin
PORT ?= 3000
SERVICE_PORT ?= 8080

# What another environment put on the path does not belong into .venv.
unexport PYTHONPATH PYTHONHOME

# Peers of the benchmark; `make bench ROWS=cold,unchanged REPETITIONS=1` does a part of it.
PEERS = bench/.venv/requirements.txt
FEAST = bench/.venv-feast/installed
BENCH = $(if $(ROWS),--rows $(ROWS)) $(if $(REPETITIONS),--repetitions $(REPETITIONS))

# `make bench-search ROWS=indexes HOME_OF=.ml_assets` takes the vectors of that home; ROWS=million takes long.
# `make bench-search ROWS=quality BEIR="scifact cranfield"` takes these folders of benchmarks, with the settings of
# SET="ML_ASSETS_EMBEDDING_DIMENSIONS=256".
BENCH_SEARCH = $(if $(ROWS),--rows $(ROWS)) $(if $(HOME_OF),--home $(HOME_OF)) $(if $(VECTORS),--vectors $(VECTORS)) \
	$(if $(BEIR),--beir $(BEIR)) $(if $(SET),--set $(SET))

.PHONY: run test coverage test-quick test-servers ui lint test-install bench bench-search bench-churn bench-serving bench-answers bench-training \
	bench-promotion bench-databases bench-extraction bench-features bench-nearest bench-drift bench-drift-year bench-metrics bench-setup serve clean

run: ## bring everything up to date: documents, search, models
	@$(SETUP)
	@$(BIN)/ml-assets run

ui: ## the Dagster UI on the same data
	@$(SETUP)
	@$(BIN)/ml-assets ui --port $(PORT)

serve: ## answer over HTTP on the same data; make serve SERVICE_PORT=8081
	@$(SETUP)
	@$(BIN)/ml-assets serve --port $(SERVICE_PORT)

test: lint ## lint, then the tests
	@$(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder $(PYTEST)

coverage: ## the tests, and the lines that none of them runs: it takes a third longer
	@$(SETUP) --dev
	@$(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder --cov --cov-report=term:skip-covered $(PYTEST)

test-quick: ## the tests that start no server, process, model or Dagster: under a minute
	@$(SETUP) --dev
	@$(BIN)/pytest -n 2 -q -m "not slow" $(PYTEST)

lint: ## formatting, rules, types, who may import whom, and how large a room is
	@$(SETUP) --dev
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy
	@said=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$said"; exit 1; }
	@$(BIN)/python scripts/check_layout.py

test-servers: ## the server mode without Docker, driven and killed; ONLY=chroma:indexes:5 chooses, POSTGRES=18 too
	@$(SETUP) --dev
	@$(BIN)/python -m ml_assets_tests.servers $(ONLY) $(if $(POSTGRES),--postgres $(POSTGRES))

test-install: ## resolve every extra on every Python, and install the wheel afresh; needs the network
	@$(PYTHON) scripts/check_install.py

bench: ## measure ml_assets beside plain encoding, LangChain, LlamaIndex and CocoIndex
	@$(SETUP)
	@$(MAKE) --no-print-directory bench-setup || echo "The peers cannot be installed, and are skipped" >&2
	@$(BIN)/python -m bench $(BENCH)

bench-search: ## measure every index, and hybrid search beside LangChain's EnsembleRetriever
	@$(SETUP) --dev
	@$(MAKE) --no-print-directory bench-setup || echo "The peers cannot be installed, and are skipped" >&2
	@$(BIN)/python -m bench.search $(BENCH_SEARCH)

bench-churn: ## measure what churn costs, on the chunks of a home: make bench-churn HOME_OF=.ml_assets
	@$(SETUP) --dev
	@$(BIN)/python -m bench.search.churn $(HOME_OF) $(if $(FAISS),--faiss $(FAISS))

bench-databases: ## measure 1 % of the rows of SQLite, PostgreSQL and MariaDB changed, beside files: make bench-databases DOCUMENTS=100000
	@$(SETUP) --dev
	@$(BIN)/python -m bench.databases $(DOCUMENTS)

bench-extraction: ## measure a folder of PDF, cold, unchanged and 1 % changed: make bench-extraction DOCUMENTS=2000
	@$(SETUP) --dev
	@$(BIN)/python -m bench.extraction $(DOCUMENTS)

bench-features: ## measure joins, the online store and caches beside Feast, which is installed apart
	@$(SETUP) --dev
	@$(MAKE) --no-print-directory $(FEAST) || echo "Feast cannot be installed, and is skipped" >&2
	@$(BIN)/python -m bench.features $(if $(REPETITIONS),--repetitions $(REPETITIONS))

$(FEAST): # without our pins, with which pip would take a Feast of 2019
	$(if $(PYTHON),$(PYTHON),$(error No Python 3.11, 3.12 or 3.13)) -m venv --clear bench/.venv-feast
	bench/.venv-feast/bin/pip install --quiet --disable-pip-version-check 'feast[duckdb]==0.67.0'
	@touch $@

bench-nearest: ## measure the nearest documents after 1 % changed, on a home of random ones: make bench-nearest DOCUMENTS=77000
	@$(SETUP) --dev
	@$(BIN)/python -m bench.nearest $(DOCUMENTS) $(if $(REPETITIONS),--repetitions $(REPETITIONS))

bench-serving: ## measure the service over HTTP, with wrk, beside LangChain and MLflow; HOME_OF=.ml_assets names a home
	@$(SETUP) --dev
	@$(MAKE) --no-print-directory bench-setup || echo "The peers cannot be installed, and are skipped" >&2
	@$(BIN)/python -m bench.serving $(if $(HOME_OF),--home $(HOME_OF))

bench-answers: ## measure citations and refusals on judged questions: make bench-answers HOME_OF=.ml_assets
	@$(SETUP)
	@$(BIN)/python -m bench.answers $(if $(HOME_OF),--home $(HOME_OF))

bench-training: ## measure models on files of yours: make bench-training TRAIN=train.parquet TEST=test.parquet
	@$(SETUP) --dev
	@$(BIN)/python -m bench.training $(TRAIN) $(TEST) $(if $(SPLITS),--splits $(SPLITS))

bench-promotion: ## measure how often a champion changes by chance: make bench-promotion TRAIN=tweets.parquet
	@$(SETUP) --dev
	@$(BIN)/python -m bench.promotion $(TRAIN) $(if $(TRIES),--tries $(TRIES)) $(if $(VECTORS),--vectors $(VECTORS))

bench-drift: ## measure how often drift is found, and falsely: make bench-drift DOCUMENTS=tweets.parquet VECTORS=vectors.npy
	@$(SETUP) --dev
	@$(BIN)/python -m bench.drift $(DOCUMENTS) $(VECTORS) $(if $(TRIALS),--trials $(TRIALS))

bench-drift-year: ## measure a year of drift, day by day, in one run: make bench-drift-year DAYS=365
	@$(SETUP) --dev
	@$(BIN)/python -m bench.drift_year $(if $(DAYS),--days $(DAYS))

bench-metrics: ## measure metrics in ClickHouse and PostgreSQL: make bench-metrics POINTS=1000000 ROWS=100000
	@$(SETUP)
	@$(BIN)/python -m bench.metrics $(if $(POINTS),--points $(POINTS)) $(if $(ROWS),--rows $(ROWS)) \
		$(if $(TIMESERIES),--timeseries $(TIMESERIES))

bench-setup: $(PEERS) ## the peers, in an environment of their own

$(PEERS): bench/requirements.txt
	$(if $(PYTHON),$(PYTHON),$(error No Python 3.11, 3.12 or 3.13)) -m venv --clear bench/.venv
	@# torch first, so that the index that was asked for decides which build it is.
	bench/.venv/bin/pip install --quiet --disable-pip-version-check $$(grep ^torch== $<)
	bench/.venv/bin/pip install --quiet --disable-pip-version-check -r $<
	@cp $< $@

clean: ## remove .venv; the data under .ml_assets stays
	rm -rf .venv .venv.lock .venv-setup.log
