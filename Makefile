# make help lists the targets. All of them work in the same environment, .venv, which the first one sets up.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: help train test notebooks lab bench lint format clean distclean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

train: $(READY) ## train on synthetic smears for 9.5 minutes
	$(RUN) train.py --data synthetic --minutes 9.5

test: $(READY) ## run every test, on up to four cores
	$(RUN) -m pytest -n auto --maxprocesses 4 --dist worksteal

notebooks: $(READY) ## run every lesson and compare its outputs with the committed ones
	$(RUN) notebooks/check_notebooks.py

lab: $(READY) ## open the lessons in JupyterLab
	$(RUN) -m pip install --quiet jupyterlab
	$(RUN) -m jupyter lab --notebook-dir notebooks

bench: $(READY) ## compare speed and memory with torchvision
	$(RUN) -m benchmarks.speed

lint: $(READY) ## check style and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m mypy train.py evaluate.py predict.py benchmarks docs/walkthrough.py notebooks/check_notebooks.py

format: $(READY) ## apply what ruff can fix
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

# Made again when what it depends on changes.
$(READY): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "Python 3.10 or newer is needed, $(PYTHON) is older: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	    { echo "Could not create a virtual environment; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(RUN) -m pip install --quiet --upgrade pip
	@echo "installing PyTorch and the rest into $(VENV), a few minutes"
	$(RUN) -m pip install --quiet --editable '.[dev]'
	@touch $@

clean: ## delete caches
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache

distclean: clean ## delete caches and the environment
	rm -rf $(VENV)
