# One door for chores. `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORK ?= work
E2E_CACHE ?= $(HOME)/.cache/green-code/e2e
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
VSIX := green-code-$(VERSION).vsix
TEST_VSIX := build/test/green-code.vsix
LOCKS := build/locks/requirements.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-python test-extension test-editor editor-tools test-arm64 trials lint format package bench bench-quick bench-editor check-gpu paper-dry-run corpus adapt train evaluate experiments clean

help:  ## list the chores
	@awk -F':.*## ' '/^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Set-up

LAB := daemon/green_code_lab

$(BIN)/green-code: pyproject.toml $(LAB)/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Green Code needs Python 3.10 or newer; set PYTHON=…" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --quiet --no-compile --editable '.[dev]' --editable ./$(LAB)  # what is imported is compiled then
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

clean:  ## remove what was built, not what was trained
	rm -rf bundled build dist *.vsix *.egg-info daemon/*.egg-info $(LAB)/*.egg-info

##@ Use

demo: $(READY)  ## complete real code at full depth, fast and exact, and show the joules
	$(BIN)/green-code demo
	@echo
	@echo "To use it in VS Code: make package, then: code --install-extension $(VSIX)"

##@ Checks

PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

test:  ## lint, both languages, the real editor
	$(MAKE) --jobs 2 lint test-extension editor-tools test-python $(TEST_VSIX)  # a download beside what computes
	$(MAKE) test-editor  # alone, because it types at a person's speed

test-all: lint test-extension test-editor $(READY)  ## the same with the slow Python tests, and more examples of each property
	$(PYTEST) -m "slow or not slow" --hypothesis-profile thorough

test-python: $(READY)  ## Python, without the slow tests
	$(PYTEST)

test-extension: node_modules/.stamp  ## the extension's unit tests
	npm run --silent test:unit

test-editor: $(TEST_VSIX)  ## the packaged extension in a real VS Code in a browser
	node extension/test/e2e/run.mjs --vsix $(TEST_VSIX) --python $(abspath $(BIN)/python)

editor-tools:  # what test-editor would install first; where that fails, it says so itself
	-@node extension/test/e2e/install.mjs >/dev/null

ARM64_TESTS := energy link lsp engine/test_without_torch.py

test-arm64: $(READY) $(LOCKS)  ## the product's tests with a Python for arm64, emulated (on Debian with qemu-user; many minutes)
	$(BIN)/python -m green_code.kernels.build --target linux-arm64 >/dev/null
	cd daemon && $(abspath $(BIN))/python -m tests.arm64 $(abspath build)/arm64 $(abspath $(LOCKS)) $(addprefix tests/,$(ARM64_TESTS)) --timeout 1800

SCALE ?= 1
SEED ?= 0
ONLY ?=

trials: $(READY) node_modules/.stamp  ## try to break it for most of an hour, into docs/reliability.md: make trials ONLY=kill SCALE=0.1
	cd daemon && $(abspath $(BIN))/python -m tests.trials --scale $(SCALE) --seed $(SEED) --only $(ONLY) $(if $(filter 1,$(SCALE)),--write)

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

##@ Packaging

package: $(VSIX)  ## the VSIX, with the daemon's wheel and the bundles inside

$(LOCKS): pyproject.toml daemon/release/locks.py | $(BIN)/green-code  # needs the package index
	$(BIN)/python daemon/release/locks.py $(@D) >/dev/null
	@touch $@

CONTENTS := $(shell git ls-files daemon/green_code daemon/release extension agent_models package.json package.nls*.json .vscodeignore LICENSE NOTICE CHANGELOG.md)

$(VSIX): $(READY) node_modules/.stamp $(LOCKS) $(CONTENTS)
	$(BIN)/python -m green_code.kernels.build --target all >/dev/null
	$(PACK)

$(TEST_VSIX): $(READY) node_modules/.stamp $(LOCKS) $(CONTENTS)  # with this machine's kernel alone: the others take minutes to compile
	@mkdir -p $(@D)
	$(PACK)

define PACK
rm -rf bundled build/lib build/bdist*
$(BIN)/python -m build --wheel --no-isolation --outdir bundled >/dev/null
cp build/locks/*.txt bundled
npm run --silent build
$(BIN)/python daemon/release/sbom.py --locks build/locks --dist dist --bundled bundled
npm run --silent package -- --out $@
$(BIN)/python daemon/release/sbom.py --check $@
endef

##@ Laboratory: train and measure

bench: $(READY)  ## beside transformers and llama.cpp, into docs/performance.md (on a quiet machine): make bench DATA=rows.jsonl
	$(BIN)/green-code bench $(if $(DATA),--data $(DATA))

bench-quick: $(READY)  ## the same in two minutes, into work/bench
	$(BIN)/green-code bench --quick --out $(WORK)/bench $(if $(DATA),--data $(DATA))

check-gpu: $(READY)  ## whether the GPU's decoder is right, quick and frugal, into docs/experiments/gpu.md; without a card on a stand-in
	for part in correctness speed energy training; do \
		$(BIN)/python -m green_code_lab.benchmark.gpu_check $$part --out $(WORK)/gpu || exit 1; done

paper-dry-run: $(READY)  ## the commands of docs/paper-models.md on random weights: make paper-dry-run ONLY="opt-2.7b --shape narrow"
	@mkdir -p $(WORK)
	$(BIN)/python -m green_code_lab.dry_run $(ONLY) --work $(WORK)

bench-editor: package  ## from key to suggestion in a real VS Code, into docs/editor.md (on a quiet machine)
	node extension/test/bench/run.mjs --vsix $(VSIX) --python $(abspath $(BIN)/python)

JDK_SOURCES ?= $(WORK)/openjdk-21-source/src.zip $(WORK)/openjfx-source/src.zip

$(WORK)/%-source/src.zip:  # from the Debian package of that name, unpacked and not installed
	@mkdir -p $(@D)/deb
	cd $(@D)/deb && apt-get download $*-source
	dpkg -x $(@D)/deb/$*-source_*.deb $(@D)/deb
	cp -L $$(find $(@D)/deb -name src.zip -size +1M | head -n 1) $@

EXCLUDE ?=

CORPUS_TOKENS ?= 1500000

corpus: $(BIN)/green-code $(JDK_SOURCES)  ## gather and encode code in ten languages (EXCLUDE=files of evaluation rows)
	$(BIN)/green-code adapt corpus --work $(WORK) --jdk $(JDK_SOURCES) --exclude $(EXCLUDE) --corpus-tokens $(CORPUS_TOKENS)

PREFILL_EXIT ?= 13

adapt: $(BIN)/green-code $(JDK_SOURCES)  ## exits for the default model, whose layers stay as they are, into agent_models/ (resumes)
	$(BIN)/green-code adapt --work $(WORK) --jdk $(JDK_SOURCES) --exclude $(EXCLUDE) --corpus-tokens $(CORPUS_TOKENS) --prefill-exit $(PREFILL_EXIT) --windows 1024

EXITS ?= 13

train: $(READY)  ## rollouts, agent, calibration and stops
	$(BIN)/green-code train --work $(WORK) --exits $(EXITS) --files 600

evaluate: $(READY)  ## score the default model: make evaluate DATA=rows.jsonl
	$(BIN)/green-code evaluate --data $(DATA)

QUICK := layers energy baselines drafts sessions paper quality propagation prefill-exits

experiments: $(READY)  ## the experiments in a cheap form, into work/experiments: make experiments DATA=rows.jsonl
	for name in $(QUICK); do \
		$(BIN)/green-code experiments $$name --quick --work $(WORK) --out $(WORK)/experiments $(if $(DATA),--data $(DATA)) || exit 1; done
