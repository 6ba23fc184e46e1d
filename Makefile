# `make` alone lists the targets.  A machine needs python3 (3.10 or newer), make and access to a
# package index; nothing else.
PRESET ?= mini
PYTHON ?= python3
ARGS ?=
# cpu: PyTorch without CUDA; empty: what the package index has for this machine
TORCH ?=
BIN := $(CURDIR)/.venv/bin
UV := $(shell command -v uv || echo $(CURDIR)/.uv/bin/uv)
STAMP := .venv/.installed
# PyTorch's own index has versions such as 2.13.0+cpu, which `===` would exclude
PINS := $(if $(TORCH),.venv/constraints.txt,constraints.txt)
INSTALL := $(UV) pip install --quiet --python $(BIN)/python -c $(PINS) $(addprefix --torch-backend=,$(TORCH))
export PATH := $(BIN):$(PATH)
# two thread pools that spin on two cores are many times slower than one that waits
export OMP_WAIT_POLICY := passive

.DEFAULT_GOAL := help
.PHONY: help install reproduce test check render recheck readme lab docs browser browse evidence bench stream faults wheel hooks clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(STAMP)  ## make .venv with everything pinned in constraints.txt (TORCH=cpu: without CUDA)

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit("mfsr_nb needs Python 3.10 or newer, this is "+sys.version.split()[0]+": make PYTHON=python3.11 install" if sys.version_info < (3,10) else 0)'
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv

# facenet-pytorch carries the weights of MTCNN; its own pins are too old for any current torch
# JupyterLab of this environment saves notebooks clean, whether there is git or not
$(STAMP): constraints.txt settings.ini setup.py pyproject.toml tools/jupyter_server_config.py | $(UV)
	test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	@sed 's/===/==/' constraints.txt > .venv/constraints.txt
	$(INSTALL) -e '.[dev]'
	$(INSTALL) --no-deps facenet-pytorch
	@mkdir -p .venv/etc/jupyter
	@cp tools/jupyter_server_config.py .venv/etc/jupyter/
	@touch $@

reproduce: $(STAMP)  ## the main job: the paper's tables on the embedded face world (PRESET=mini, smoke, gpu, paper)
	mfsr_reproduce --preset $(PRESET) $(ARGS)

test: $(STAMP)  ## check the form of the project and run every notebook as a test (NB="nbs/paper/08_dcr.ipynb ...")
	@bad=0; python tools/check.py || bad=1; python tools/check.py --test $(NB) || bad=1; exit $$bad

check: $(STAMP)  ## only the quick part of test: library and README in step, outputs clean, style, links (NB=...)
	python tools/check.py $(NB)

render: $(STAMP)  ## execute notebooks again in a real kernel, outputs saved in place (NB=...)
	python tools/render.py $(NB)

recheck: $(STAMP)  ## execute the results pages and the front page: they must show what the registry gives (NB=...)
	python tools/render.py --compare $(or $(NB),nbs/results/*.ipynb nbs/index.ipynb)

readme: $(STAMP)  ## README.md from nbs/index.ipynb
	python tools/readme.py

lab: $(STAMP)  ## JupyterLab on the notebooks (ARGS="--no-browser --port 8889")
	jupyter lab --notebook-dir=nbs $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

docs: $(STAMP)  ## the documentation site, into _docs (Quarto where it is installed, otherwise Sphinx)
	python tools/docs.py $(ARGS)

browser: $(STAMP)  ## Playwright for `make browse`; Chromium or Chrome come from the system
	$(INSTALL) playwright

browse: $(STAMP)  ## open every page of _docs without a network: console, links, formulas, phones, search
	python tools/browse.py $(ARGS)

evidence: $(STAMP)  ## compute the runs of the plan that results/ lacks; hours, and it continues (ARGS="--dry-run")
	python tools/evidence.py $(ARGS)

bench: $(STAMP)  ## measure speed and memory, each against a tool in common use
	python tools/bench.py $(ARGS)

stream: $(STAMP)  ## time and memory of a data set of 3.3 million images
	python tools/stream.py $(ARGS)

faults: $(STAMP)  ## kill, fill, damage and exchange: what the commands do (root, Linux)
	python tools/faults.py $(ARGS)

wheel: $(STAMP)  ## build the package, install it alone with the newest dependencies, and use it
	python tools/wheel_check.py --uv $(UV)

hooks: $(STAMP)  ## nbdev's git hooks: merges of notebooks, trust after a pull
	nbdev_install_hooks

clean:  ## remove everything that can be made again (.venv, runs, site)
	rm -rf .venv .uv runs _docs _proc build dist *.egg-info nbs/_quarto.yml nbs/nbdev.yml nbs/sidebar.yml
