# Everything a user needs from a fresh clone: `make demo`, `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test processes chaos parity lint clean

$(VENV)/.base: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: $(VENV)/.base
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

$(VENV)/.parity: $(VENV)/.test
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[parity]'
	@touch $@

demo: $(VENV)/.base  ## train a small BERT for about three minutes, then fill in some blanks
	$(BIN)/python train.py --config=configs/demo.py --workdir=runs/demo
	$(BIN)/python generate.py --workdir=runs/demo \
	  --prompt='Return the number [MASK] items in the list.' \
	  --prompt='If True, the [MASK] is returned.' \
	  --prompt='Raises a ValueError if the input [MASK] not valid.' \
	  --prompt='This function [MASK] used to compute the mean.'
	@echo "Next, words of your own: $(BIN)/python generate.py --workdir=runs/demo --prompt='An array [MASK] integers.'"
	@echo "Curves: runs/demo/metrics.jsonl, or: $(BIN)/pip install tensorboard && $(BIN)/tensorboard --logdir=runs/demo/tensorboard"
	@echo "Report: runs/demo/report.html"

test: $(VENV)/.test  ## all tests that need no PyTorch
	$(BIN)/python -m pytest -q -n auto --maxprocesses=4 --dist loadfile --no-loadscope-reorder

processes: $(VENV)/.test  ## runs of several processes and all that takes long, once each
	CHAOS=1 $(BIN)/python -m pytest -q tests/test_processes.py tests/interop/test_processes.py \
	  tests/parallel/test_elastic.py tests/parallel/test_sharding.py tests/models/test_transformer.py \
	  tests/data/test_sources.py

chaos: $(VENV)/.test  ## the faults of `make test`, some hundred times each, all families and meshes, plans of all experiments
	CHAOS=1 $(BIN)/python -m pytest -q tests/faults tests/sweeps tests/models/test_every_family.py tests/configs/test_fits.py

parity: $(VENV)/.parity  ## models against PyTorch's
	$(BIN)/python -m pytest -q --override-ini=addopts= tests/parity

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) build *.egg-info
