# Everything sets itself up: a virtual environment in .venv, pinned dependencies, real weights.
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
EXTRAS := dev,docs,notebooks,cluster
# One thread a worker: two processes of two threads each are four times slower on two cores.
TEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n 2

.PHONY: install demo lint docs tutorials test check bench clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo "Installing into $(VENV): about two minutes, once."
	python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	touch $(STAMP)

demo: install
	$(VENV)/bin/retrieval-lens demo

test: install
	$(PY) -c "import retrieval_lens.models as m; m.checkpoint_folder('smollm2-135m')"
	$(TEST)

# All that .ci/run does, on a machine that has a browser.
check: lint docs test

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(PY) retrieval_lens
	$(VENV)/bin/lint-imports

docs: install
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

# Outputs of the notebooks, made anew.
tutorials: install
	$(PY) tutorials/runner.py tutorials/*.ipynb

bench: install
	$(PY) benchmarks/trace.py
	$(PY) benchmarks/ablate.py
	$(PY) benchmarks/predict.py
	$(PY) benchmarks/rag.py
	$(PY) benchmarks/explorer.py

clean:
	rm -rf $(VENV) site demo
