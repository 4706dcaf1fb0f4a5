# make demo: the main job, from nothing. make test: the whole suite. make bench: the performance table (BENCHFLAGS=--full for
# the long one). All need Python >= 3.11 and a package registry.
PYTHON ?= python3
VENV := .venv
BENCH := .venv-bench
RUN := TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/python

# The suite runs in so many parts, two at a time, each a process of its own: TensorFlow keeps what a process has compiled. The
# first parts are the shortest and go last, so that both processes end together.
PARTS := 8

.PHONY: demo test lint readme bench bench-test clean

demo: $(VENV)/installed
	$(RUN) -m training.demo

test: $(VENV)/installed lint
	seq $(PARTS) -1 1 | TF_CPP_MIN_LOG_LEVEL=3 xargs -P 2 -I PART $(VENV)/bin/python -m pytest --splits $(PARTS) --group PART tests

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .

readme: $(VENV)/installed
	$(RUN) -m training.readme

bench: $(BENCH)/installed
	TF_CPP_MIN_LOG_LEVEL=3 $(BENCH)/bin/python -m benchmarks $(BENCHFLAGS)

bench-test: $(BENCH)/installed
	TF_CPP_MIN_LOG_LEVEL=3 $(BENCH)/bin/python -m pytest tests/benchmarks

$(BENCH)/installed: requirements-bench.txt requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	touch $@

$(VENV)/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "keras_gen needs Python >= 3.11; this is " + sys.version.split()[0] + ". Name another with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

clean:
	rm -rf $(VENV) $(BENCH) runs
