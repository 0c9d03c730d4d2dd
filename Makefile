# The commands of this book. Each makes .venv and installs requirements.txt first, where that is not done yet.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
# in the order in which they start; the long ones first, and no two neighbours that wait for the same fine-tuning
NOTEBOOKS := 03_nonlinear_advantage 07_random_init 05_linear_ft 08_attention_only 04_disentanglement 06_ntk_localization \
	02_task_vectors 01_miniature 09_claims
# so many notebooks run at a time and share the processor's cores; they share what they compute through the store
JOBS ?= 2
THREADS := $(shell $(PYTHON) -c "import os; print(max(1, (os.cpu_count() or 1) // $(JOBS)))")
GROWN := ViT-Mini-4 ViT-Mini-L-8
EXECUTED := $(NOTEBOOKS:%=book/executed/%.ipynb)
# what decides a notebook's outputs; the gallery reads them only
LIBRARY := $(filter-out tangent_lib/report/gallery.py,$(wildcard tangent_lib/*.py tangent_lib/report/*.py tangent_lib/report/*.html \
	tangent_lib/miniature/*.py tangent_lib/miniature/*.gz tangent_lib/miniature/*/*.json tangent_lib/miniature/*/*.safetensors \
	data_manifests/* book/tangent.mplstyle))
RECORDED := $(wildcard book/recorded/*.json)
PAGES := _config.yml _toc.yml $(wildcard book/*.md book/*.bib book/_ext/*.py book/_static/*)

STRIP := $(BIN)/nbstripout --keep-count --extra-keys "metadata.widgets metadata.papermill cell.metadata.papermill \
	cell.metadata.execution metadata.language_info"

export ARGS
$(if $(filter-out all,$(MODELS)),$(error MODELS=$(MODELS) is not known: leave it out, or give all))

.DELETE_ON_ERROR:
.PHONY: help report test lint pretrain record record-grown outputs clean FORCE

help: ## explain the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

report: .venv/.installed $(if $(filter all,$(MODELS)),record-grown) ## run the notebooks, build the book; ARGS="-p seeds 0,1" or MODELS=all
	@$(MAKE) --no-print-directory -j$(JOBS) _build/html/index.html
	@echo "the book: $(CURDIR)/_build/html/index.html"

test: .venv/.installed ## unit tests, docstring examples, and the notebooks against their committed outputs
	$(BIN)/python -m pytest tests tangent_lib
	@echo "==> the notebooks, from an empty store"
	store=$$(mktemp -d) && trap 'rm -rf "$$store"' EXIT && \
	TANGENT_STORE="$$store" $(MAKE) --no-print-directory -k -j$(JOBS) $(NOTEBOOKS:%=check-%)

check-%: notebooks/%.ipynb
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest -o addopts="" $< --nbval-lax --nbval-current-env --nbval-cell-timeout=14400

lint: .venv/.installed ## ruff on library, tests and notebooks; notebooks hold no outputs but the checked ones
	$(BIN)/ruff check .
	$(STRIP) --verify notebooks/*.ipynb

outputs: $(EXECUTED) ## after a report: take the outputs of the checked cells over into notebooks/, to be committed
	@test -z "$$ARGS" || { echo "the outputs to commit are those of a run without ARGS"; exit 1; }
	for name in $(NOTEBOOKS); do cp book/executed/$$name.ipynb notebooks/$$name.ipynb; done
	$(STRIP) notebooks/*.ipynb
	touch $(EXECUTED)

pretrain: .venv/.installed ## train ViT-Mini-8 anew from captions (20 minutes on 2 cores); ARGS="--model ViT-Mini-4" another one
	$(BIN)/python -m tangent_lib.miniature.pretrain $(ARGS)

record: .venv/.installed ## compute the recorded results of ViT-Mini-8 over five seeds anew (3 hours on 2 cores); ARGS="--sections ..."
	$(BIN)/python -m tangent_lib.recorded $(ARGS)
	$(BIN)/python -m tangent_lib.report.overview

record-grown: .venv/.installed
	for model in $(GROWN); do $(BIN)/python -m tangent_lib.recorded --model $$model --seeds 0 --sections non-linear,xi_grids,linear || exit 1; done

clean: ## remove the book and the executed notebooks; results in runs/store stay
	rm -rf _build book/executed

.venv/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

book/executed/.args: FORCE # written anew only when ARGS are others than in the run before
	@mkdir -p $(@D); printf '%s\n' "$$ARGS" | cmp -s - $@ || printf '%s\n' "$$ARGS" > $@

book/executed/%.ipynb: notebooks/%.ipynb $(LIBRARY) $(RECORDED) .venv/.installed book/executed/.args
	@mkdir -p $(@D)
	@echo "==> notebook $* (one of $(words $(NOTEBOOKS)))"
	OMP_NUM_THREADS=$(THREADS) $(BIN)/papermill $< $(@D)/.$*.ipynb --log-output --no-progress-bar $(ARGS)
	@mv $(@D)/.$*.ipynb $@

book/executed/gallery.md: $(EXECUTED) tangent_lib/report/gallery.py
	$(BIN)/python -m tangent_lib.report.gallery

_build/html/index.html: $(EXECUTED) book/executed/gallery.md $(PAGES)
	@echo "==> the book"
	$(BIN)/jupyter-book build . --quiet -W --keep-going
	@touch $@
