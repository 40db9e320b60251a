# make train: an environment, a synthetic set, a trained model.   make test: the same environment, every test.
# make lab: the lessons in JupyterLab.   make notebooks: every lesson run from scratch, and compared with what is committed.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: train test notebooks lab bench lint clean

train: $(READY)
	$(RUN) train.py --data synthetic --minutes 9.5

test: $(READY)
	$(RUN) -m pytest -n auto --maxprocesses 4 --dist worksteal

notebooks: $(READY)
	$(RUN) notebooks/execute.py

lab: $(READY)
	$(RUN) -m pip install --quiet jupyterlab
	$(RUN) -m jupyter lab --notebook-dir notebooks

bench: $(READY)
	$(RUN) -m benchmarks

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m mypy train.py evaluate.py predict.py benchmarks docs/walkthrough.py notebooks/execute.py

# Made again when what it depends on changes.
$(READY): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "Python 3.10 or newer is needed, $(PYTHON) is older: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	    { echo "Could not make a virtual environment; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(RUN) -m pip install --quiet --upgrade pip
	@echo "installing PyTorch and the rest into $(VENV), a few minutes"
	$(RUN) -m pip install --quiet --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache
