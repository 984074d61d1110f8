# The two commands of the README are `make demo` and `make test`; `make help` lists all.
.DEFAULT_GOAL := help
VENV ?= .venv
BIN := $(VENV)/bin
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
# In CI a skipped test is a failure: everything a test needs can be installed there.
PYTEST := $(BIN)/pytest $(if $(CI),--fail-on-skip)
NBVAL := $(BIN)/pytest -q -p nbval --nbval --nbval-current-env --nbval-sanitize-with tests/notebooks/sanitize.cfg
# Those whose lab the profile chooses; the others speak of the deployment layer, on the simulator.
LAB_NOTEBOOKS := $(shell grep -l 'labkit.Lab()' notebooks/*.ipynb)
# What consoles and screens look like differs from real machine to machine: they only have to work.
LOOKS := notebooks/07_shell_and_screen.ipynb
# JupyterLab refuses to run as root unless told.
ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
LAB_ARGS ?=
# What the widgets' bundles are made of: an installation makes them anew when it has changed.
SCRIPTS := $(wildcard widgets/js/*.json widgets/js/*.mjs widgets/js/src/*) widgets/hatch_build.py
# While you work, properties are tried with few examples, and what takes long is left to CI.
export THOROUGH ?= $(CI)
QUICK = not ssh and not browser and not slow and not vm$(if $(THOROUGH),, and not thorough)

.PHONY: help demo lab test test-all check units notebooks notebooks-real notebooks-save test-engine test-js test-ssh test-vm test-browser test-slow wheel-image docs benchmarks format clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

demo: $(VENV)/.run ## Create real VM disks and a real network, show them, delete them
	@.ci/setup apt "real VM disks and machines" qemu-img=qemu-utils qemu-system-x86_64=qemu-system-x86 || true
	@$(BIN)/labkit demo

lab: $(VENV)/.notebook ## Open JupyterLab on the first network
	$(BIN)/jupyter lab $(ROOT) --ServerApp.root_dir=$(CURDIR) $(LAB_ARGS) notebooks/05_first_network.ipynb

test: $(VENV)/.dev check units test-js notebooks ## The quick suite: checks, units, simulator, real qemu-img, notebooks

test-all: export THOROUGH := 1
test-all: test test-ssh test-vm notebooks-real test-browser test-slow ## Everything: real SSH, real machines, a real browser

check: $(VENV)/.dev ## Style, types and floors
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

units: $(VENV)/.dev ## Units, simulator and real qemu-img
	@.ci/setup apt "tests with real disk images and packets" qemu-img=qemu-utils tcpdump=tcpdump || true
	$(PYTEST) -q -n 2 -m "$(QUICK)"

notebooks: $(VENV)/.dev ## The tutorial notebooks on the simulator, their outputs compared
	LABKIT_PROFILE=sim $(NBVAL) -n 2 --dist loadfile $(NOTEBOOKS)

notebooks-real: $(VENV)/.dev ## The same notebooks, and the same outputs, on real machines
	@.ci/setup apt "real machines" qemu-img=qemu-utils qemu-system-x86_64=qemu-system-x86
	LABKIT_PROFILE=local $(NBVAL) $(filter-out $(LOOKS),$(LAB_NOTEBOOKS))
	LABKIT_PROFILE=local $(subst --nbval ,--nbval-lax ,$(NBVAL)) $(LOOKS)

test-engine: $(VENV)/.dev ## The engine contract on real machines
	@.ci/setup apt "real machines" qemu-img=qemu-utils qemu-system-x86_64=qemu-system-x86
	$(PYTEST) -q tests/engine/test_engine_real.py --timeout 180

notebooks-save: $(VENV)/.dev ## Execute the tutorial notebooks and save their outputs
	LABKIT_PROFILE=sim $(BIN)/python tests/notebooks/save.py $(NOTEBOOKS)

test-js: $(VENV)/.dev ## The widgets' JavaScript without a browser, and the sizes of its bundles
	$(BIN)/node --test tests/js/*.test.mjs
	@$(BIN)/node widgets/js/sizes.mjs

test-ssh: $(VENV)/.dev ## Tests with a real OpenSSH server on loopback
	@.ci/setup apt "tests over SSH" qemu-img=qemu-utils sshd=openssh-server ssh=openssh-client
	$(PYTEST) -q -n 2 -m ssh

test-vm: $(VENV)/.dev ## Tests that boot real machines (minutes; the image is built from Debian packages)
	@.ci/setup apt "real machines" qemu-img=qemu-utils qemu-system-x86_64=qemu-system-x86
	$(PYTEST) -q -m "vm and not slow and not browser" --timeout 600

test-browser: $(VENV)/.dev ## Tests with a real JupyterLab in a real browser
	@.ci/setup apt "tests in a browser" chromium=chromium qemu-img=qemu-utils qemu-system-x86_64=qemu-system-x86
	$(PYTEST) -q -m browser

test-slow: $(VENV)/.dev ## Tests that take long, such as a fresh installation
	@.ci/setup apt "tests of the Binder image" qemu-img=qemu-utils
	$(PYTEST) -q -m "slow and not ssh and not browser"

wheel-image: $(VENV)/.dev ## Pack the built micro image as a wheel, with licences, into dist
	$(BIN)/python tools/wheel_image.py dist

docs: $(VENV)/.dev ## Write the API reference to build/docs
	$(BIN)/pdoc -o build/docs labkit labkit_widgets

benchmarks: $(VENV)/.dev ## Measure against named rivals; prints ratios (minutes)
	@.ci/setup apt "benchmarks" qemu-img=qemu-utils qemu-system-x86_64=qemu-system-x86 sshd=openssh-server ssh=openssh-client zstd=zstd
	for file in benchmarks/[a-z]*.py; do $(BIN)/python $$file $(if $(ROUNDS),--rounds $(ROUNDS)) || exit 1; done

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.run: pyproject.toml $(SCRIPTS)
	@.ci/setup venv $(VENV)
	@touch $@

$(VENV)/.notebook: pyproject.toml $(SCRIPTS)
	@.ci/setup venv $(VENV) notebook,plots
	@touch $@ $(VENV)/.run

$(VENV)/.dev: pyproject.toml $(SCRIPTS)
	@.ci/setup venv $(VENV) dev
	@touch $@ $(VENV)/.run $(VENV)/.notebook
