# The commands of this book. Each makes .venv and installs requirements.txt first, where that is not done yet.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
# so many jobs run at a time and share the cores that they may use; they share what they compute through the store
CORES := $(or $(shell $(PYTHON) -I tangent_lib/runtime/cores.py),1)
JOBS ?= $(if $(filter 1,$(CORES)),1,2)
$(if $(shell test "$(JOBS)" -ge 1 2>/dev/null && echo yes),,$(error JOBS=$(JOBS) is not a number of jobs: give one from 1 up))
THREADS := $(or $(filter-out 0,$(shell expr $(CORES) / $(JOBS))),1)
WORKFLOW := $(BIN)/python -m snakemake --snakefile workflow/Snakefile --profile workflow/profiles/local --cores $$(($(JOBS) * $(THREADS)))
CONFIG = --config threads=$(THREADS) $(if $(ARGS),pages="$$ARGS ")  # the space: Snakemake strips quotes at the end of a value

STRIP := $(BIN)/python -m nbstripout --keep-count --extra-keys "metadata.widgets metadata.papermill cell.metadata.papermill \
	cell.metadata.execution metadata.language_info"

# kernels are this environment's own, whatever a user has installed elsewhere; a home may be read-only, a user without a name
unexport JUPYTER_PATH
export ARGS
export JUPYTER_PREFER_ENV_PATH := 1
export LOGNAME := $(or $(LOGNAME),$(USER),$(shell id -u))
ifeq ($(shell mkdir -p "$$HOME" 2>/dev/null && test -w "$$HOME" && echo yes),)
export HF_HOME := $(or $(HF_HOME),$(HOME)/.cache/huggingface)
export HOME := $(CURDIR)/runs/home
$(shell mkdir -p runs/home)
endif
$(if $(filter-out all,$(MODELS)),$(error MODELS=$(MODELS) is not known: leave it out, or give all))

.DELETE_ON_ERROR:
.PHONY: help report check test gauntlet mutants lint pretrain record outputs clean

help: ## explain the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

report: .venv/.installed ## run the notebooks, build the book; ARGS="-p seeds 0,1" or MODELS=all
	@$(WORKFLOW) $(if $(MODELS),--configfile workflow/miniatures.yaml) $(CONFIG)
	@echo "the book: $$PWD/_build/html/index.html"

check: lint ## the fast sibling of test: linter, contract of the layers, unit tests and examples that need no training
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest -n $(JOBS) -m "not slow" tests tangent_lib

test: lint ## linter, unit tests, docstring examples, and the notebooks against their committed outputs
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest -n $(JOBS) tests tangent_lib
	@echo "==> the notebooks, from an empty store"
	@store=$$(mktemp -d) && trap 'rm -rf "$$store"' EXIT && TANGENT_STORE="$$store" $(WORKFLOW) checks --forceall --config threads=$(THREADS)

gauntlet: .venv/.installed ## bad and odd inputs, kills, crowds and full disks: what is taken rightly, refused, or wrong
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python tests/gauntlet/run_gauntlet.py tests/gauntlet/results.json

mutants: .venv/.installed ## wrong programs that the tests must notice; ARGS="editing.py" those of one file
	$(BIN)/python tests/mutants.py $(ARGS)

lint: .venv/.installed ## ruff on library, tests and notebooks; notebooks hold no outputs but the checked ones
	$(BIN)/python -m ruff check .
	$(STRIP) --verify notebooks/*.ipynb

outputs: ## after a report: take the outputs of the checked cells over into notebooks/, to be committed
	@test -z "$$ARGS" || { echo "the outputs to commit are those of a run without ARGS"; exit 1; }
	@$(MAKE) --no-print-directory report
	cp book/executed/*.ipynb notebooks/
	$(STRIP) notebooks/*.ipynb
	touch book/executed/*.ipynb

pretrain: .venv/.installed ## train ViT-Mini-8 anew from captions (20 minutes on 2 cores); ARGS="--model ViT-Mini-4" another one
	$(BIN)/python -m tangent_lib.cli pretrain $(ARGS)

record: .venv/.installed ## compute the recorded results of ViT-Mini-8 over five seeds anew (3 hours on 2 cores); ARGS="--sections ..."
	$(BIN)/python -m tangent_lib.cli record $(ARGS)
	$(BIN)/python -m tangent_lib.report.overview

clean: ## remove the book and the executed notebooks; results in runs/store stay
	rm -rf _build book/executed

.venv/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
