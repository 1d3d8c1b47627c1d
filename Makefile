# One door for chores. `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORK ?= work
E2E_CACHE ?= $(HOME)/.cache/green-code/e2e
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
VSIX := green-code-$(VERSION).vsix

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-python test-extension test-editor lint format package bench bench-quick bench-editor corpus adapt train evaluate experiments clean

help:  ## list the chores
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up -----------------------------------------------------------------------------------------------

$(BIN)/green-code: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Green Code needs Python 3.10 or newer; set PYTHON=…" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

KERNELS := daemon/green_code/kernels
KERNEL := $(KERNELS)/lib/.built
READY := $(BIN)/green-code $(KERNEL)

$(KERNEL): $(wildcard $(KERNELS)/*.c $(KERNELS)/*.h) $(KERNELS)/build.py | $(BIN)/green-code
	$(BIN)/python -m green_code.kernels.build >/dev/null
	@touch $@

node_modules/.stamp: package.json package-lock.json
	@node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 20 || (major === 20 && minor >= 11) ? 0 : 1)' \
		|| { echo "Green Code needs Node 20.11 or newer; found: $$(node --version 2>/dev/null || echo none)" >&2; exit 1; }
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@

setup: $(READY) node_modules/.stamp  ## virtual environment, default model, CPU kernel and node modules

# --- use --------------------------------------------------------------------------------------------------

demo: $(READY)  ## complete real code at full depth, fast and exact, and show the joules
	$(BIN)/green-code demo
	@echo
	@echo "To use it in VS Code: make package, then: code --install-extension $(VSIX)"

# --- checks -----------------------------------------------------------------------------------------------

test: lint test-python test-extension test-editor  ## everything: lint, both languages, the real editor

test-python: $(READY)
	$(BIN)/python -m pytest

test-extension: node_modules/.stamp
	npm run --silent test:unit

test-editor: package  ## the packaged extension in a real VS Code in a browser
	node extension/test/e2e/run.mjs --vsix $(VSIX) --python $(abspath $(BIN)/python)

lint: $(BIN)/green-code node_modules/.stamp  ## ruff, mypy, import-linter, tsc, eslint
	$(BIN)/ruff check daemon
	$(BIN)/ruff format --check daemon
	$(BIN)/mypy
	$(BIN)/lint-imports
	npm run --silent compile
	npm run --silent lint

format: $(BIN)/green-code  ## ruff format and its safe fixes
	$(BIN)/ruff format daemon
	$(BIN)/ruff check --fix daemon

# --- packaging --------------------------------------------------------------------------------------------

package: $(VSIX)  ## the VSIX, with the daemon's wheel and the bundles inside

$(VSIX): $(READY) node_modules/.stamp $(shell git ls-files daemon/green_code extension agent_models package.json package.nls*.json .vscodeignore LICENSE NOTICE CHANGELOG.md)
	rm -rf bundled build
	$(BIN)/python -m green_code.kernels.build --target all >/dev/null
	$(BIN)/python -m build --wheel --outdir bundled >/dev/null
	npm run --silent build
	npm run --silent package -- --out $(VSIX)

bench: $(READY)  ## beside transformers and llama.cpp, into docs/performance.md (on a quiet machine): make bench DATA=rows.jsonl
	$(BIN)/python -m green_code.benchmark $(if $(DATA),--data $(DATA))

bench-quick: $(READY)  ## the same in two minutes, into work/bench
	$(BIN)/python -m green_code.benchmark --quick --out $(WORK)/bench $(if $(DATA),--data $(DATA))

bench-editor: package  ## from key to suggestion in a real VS Code, into docs/editor.md (on a quiet machine)
	node extension/test/bench/run.mjs --vsix $(VSIX) --python $(abspath $(BIN)/python)

# --- training ---------------------------------------------------------------------------------------------

JDK_SOURCES ?= $(WORK)/openjdk-21-source/src.zip $(WORK)/openjfx-source/src.zip

$(WORK)/%-source/src.zip:  # from the Debian package of that name, unpacked and not installed
	@mkdir -p $(@D)/deb
	cd $(@D)/deb && apt-get download $*-source
	dpkg -x $(@D)/deb/$*-source_*.deb $(@D)/deb
	cp -L $$(find $(@D)/deb -name src.zip -size +1M | head -n 1) $@

EXCLUDE ?=

corpus: $(BIN)/green-code $(JDK_SOURCES)  ## gather and encode 2 × 16 M tokens to train on (EXCLUDE=files of evaluation rows)
	$(BIN)/green-code adapt corpus --work $(WORK) --jdk $(JDK_SOURCES) --exclude $(EXCLUDE)

PLATEAU ?= 11

adapt: $(BIN)/green-code $(JDK_SOURCES)  ## LITE-adapt the default model into agent_models/ (resumes)
	$(BIN)/green-code adapt --work $(WORK) --jdk $(JDK_SOURCES) --exclude $(EXCLUDE) --plateau $(PLATEAU)

EXITS ?= 13

train: $(READY)  ## rollouts, agent and calibration
	$(BIN)/green-code train --work $(WORK) --exits $(EXITS) --files 600

evaluate: $(READY)  ## score the default model: make evaluate DATA=rows.jsonl
	$(BIN)/green-code evaluate --data $(DATA)

experiments: $(READY)  ## the experiments in a cheap form (recipes on tiny-random), into work/experiments: make experiments DATA=rows.jsonl
	$(BIN)/python -m green_code.experiments layers --work $(WORK) --limit 12 --out $(WORK)/experiments $(if $(DATA),--data $(DATA))
	$(BIN)/python -m green_code.experiments energy --window-seconds 0.5 --out $(WORK)/experiments
	$(BIN)/python -m green_code.experiments baselines --window-seconds 0.5 --out $(WORK)/experiments
	$(BIN)/python -m green_code.experiments drafts --work $(WORK) --limit 6 --out $(WORK)/experiments $(if $(DATA),--data $(DATA))
	$(BIN)/python -m green_code.experiments sessions --work $(WORK) --limit 2 --out $(WORK)/experiments
	$(BIN)/python -m green_code.experiments snippets --work $(WORK) --limit 2 --out $(WORK)/experiments
	$(BIN)/python -m green_code.experiments paper --work $(WORK) --limit 4 --out $(WORK)/experiments
	$(BIN)/python -m green_code.experiments quality --work $(WORK) --limit 4 --out $(WORK)/experiments $(if $(DATA),--data $(DATA))
	$(BIN)/python -m green_code.experiments propagation --work $(WORK) --limit 2 --out $(WORK)/experiments $(if $(DATA),--data $(DATA))
	$(BIN)/python -m green_code.experiments plateaus --work $(WORK) --limit 2 --out $(WORK)/experiments $(if $(DATA),--data $(DATA))
	test ! -e $(WORK)/rollouts/heldout || $(BIN)/python -m green_code.experiments rewards --work $(WORK) --updates 8 --out $(WORK)/experiments
	rm -rf $(WORK)/tiny  # its corpus is this repository's own code, which changes
	$(BIN)/green-code adapt corpus --model tiny-random --from daemon --work $(WORK)/tiny --out $(WORK)/tiny/bundle
	$(BIN)/python -m green_code.experiments recipes --model tiny-random --work $(WORK)/tiny --tokens 8192 --trials 2 --trial-tokens 4096 --rows 4 --out $(WORK)/experiments

clean:  ## remove what was built, not what was trained
	rm -rf bundled build dist *.vsix *.egg-info daemon/*.egg-info
