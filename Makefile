# The Python interpreter. Each version has its own environment in .venv.
PYTHON ?= $(eval PYTHON := $$(or $$(shell sh .ci/setup --find),$$(error no Python)))$(PYTHON)
VENV = $(eval VENV := .venv/$$(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null))$(VENV)
RUN = $(VENV)/bin/python

# Arguments for pytest, such as ARGS="-k streams".
ARGS ?=

SHELL_SCRIPTS = $(shell grep -rlsE -m1 --exclude=Makefile '^\#! ?(/bin/|/usr/bin/env )(ba)?sh' .ci files openwrt tests)

# Some tests create network namespaces, which needs root. Afterwards the user gets the files that they have created.
SUDO := $(if $(filter 0,$(shell id -u))$(UNPRIVILEGED),,sudo)
HYPOTHESIS = .venv/hypothesis
# Which Home Assistant to test with: the pinned one, or the newest.
HOMEASSISTANT ?= pinned
TEST_ENVIRONMENT = env PATH="$$PATH:/usr/sbin:/sbin" $${CI:+CI="$$CI"} \
	PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY="$(CURDIR)/$(HYPOTHESIS)"

# Most tests wait most of the time.
TESTS_AT_ONCE = 3

# Readings are separated by empty lines.
LAST_READING = awk -v RS= "{ last = \$$0 } END { print last }"

.DEFAULT_GOAL := help
.PHONY: help run test test-architectures test-homeassistant lint format bench bench-peers fuzz soak capture ipk sdk luci clean may-be-root ready ready-to-test

help: ## List the targets
	@echo "make TARGET [PYTHON=python3.X] [ARGS='for pytest']"
	@sed -n 's/^\([^:. ]*\):.* ## /\1|/p' Makefile | while IFS='|' read -r target text; do printf '  %-20s %s\n' "$$target" "$$text"; done

run: ready ## Run the service on the bundled capture of one day, and show its last reading; with ALL=1 all readings
	@bash -o pipefail -c '$(VENV)/bin/inverter-capture run tests/captures/day.toml | $(if $(ALL),cat,$(LAST_READING))' || \
	test $$? = 141 # by SIGPIPE: make run | head

test: may-be-root lint ## Run the linters and every test, as root or with sudo; without: UNPRIVILEGED=1
	@mkdir -p $(HYPOTHESIS)
	@$(SUDO) $(TEST_ENVIRONMENT) $(RUN) -m pytest -n $(TESTS_AT_ONCE) --dist worksteal $(ARGS); status=$$?; \
	$(if $(SUDO),sudo chown -R "$$(id -u):$$(id -g)" $(HYPOTHESIS);) exit $$status

test-homeassistant: ready-to-test ## Run the service with a real Home Assistant; HOMEASSISTANT=newest takes the newest
	@if [ "$(HOMEASSISTANT)" = newest ]; then sh .ci/setup --newest-homeassistant .venv/homeassistant-newest; \
	else sh .ci/setup "$$(sh .ci/setup --find 3.13)" .venv/homeassistant-3.13 homeassistant; fi
	@$(SUDO) $(TEST_ENVIRONMENT) HOMEASSISTANT=$(HOMEASSISTANT) $(RUN) -m pytest $(ARGS) tests/homeassistant/checks.py

test-architectures: ready-to-test ## Decode on 32-bit and big-endian processors, too: with QEMU, and Debian's Python, 50 MB for each
	@sh .ci/setup --install debootstrap qemu-user-static
	@$(SUDO) $(TEST_ENVIRONMENT) $(RUN) -m tests.architectures; status=$$?; \
	$(if $(SUDO),sudo chown -R "$$(id -u):$$(id -g)" .venv/architectures;) exit $$status

lint: ready-to-test ## Run ruff, mypy, import-linter, shellcheck and ESLint
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache
	@shellcheck $(SHELL_SCRIPTS)
	@.venv/eslint/node_modules/.bin/eslint --config .ci/eslint.mjs openwrt tests/luci

format: ready-to-test ## Format the Python files, and fix what ruff can fix
	@$(VENV)/bin/ruff check --fix --exit-zero
	@$(VENV)/bin/ruff format

bench: ready-to-test ## Measure speed, memory and delivery, as a table; with sudo when not root
	@$(SUDO) $(TEST_ENVIRONMENT) unshare --net $(RUN) -m tests.bench

bench-peers: ready-to-test ## The same, and beside it tcpdump, tshark, scapy and, where SUNSNIFF names its binary, sunsniff
	@sh .ci/setup --install tshark
	@$(RUN) -m pip -qq install --target .venv/peers --upgrade scapy
	@$(SUDO) $(TEST_ENVIRONMENT) PYTHONPATH=.venv/peers $(if $(SUNSNIFF),SUNSNIFF="$(SUNSNIFF)") unshare --net $(RUN) -m tests.bench peers

fuzz: ready-to-test ## Feed every parser with broken input for a minute, or with SECONDS=86400 for a day
	@$(RUN) -m tests.fuzz --seconds $(or $(SECONDS),60)

soak: ready-to-test ## Run the whole service under every fault and attack for ten minutes, or for so many SECONDS
	@$(SUDO) $(TEST_ENVIRONMENT) $(RUN) -m tests.soak --seconds $(or $(SECONDS),600)

capture: ready-to-test ## Regenerate the bundled capture
	@$(RUN) -m tests.dongle tests/captures/day.pcap

ipk: ## Build packages for OpenWrt 23.05 and 24.10 and this machine's architecture in dist, without OpenWrt's build system
	@python=$$(sh .ci/setup --find 3.11) && sh .ci/setup "$$python" .venv/3.11 ipk && .venv/3.11/bin/python openwrt/tools/ipk.py dist

sdk: ## Build all packages for OpenWrt, in an unpacked OpenWrt SDK: make sdk SDK=DIR
	@openwrt/tools/sdk "$(SDK)"

luci: ready ## Update the translations of the LuCI app
	@$(RUN) -m openwrt.tools.luci_translations

clean: ## Remove all that these targets have created, also the environments
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find inverter_capture tests -name __pycache__ -prune -exec rm -rf {} +

may-be-root:
	@test -z "$(SUDO)" || command -v sudo >/dev/null || { echo "make test needs root or sudo: to install Debian packages that" \
	"are missing, and for tests that make network namespaces. Without: make test UNPRIVILEGED=1, which skips those tests" >&2; exit 1; }

ready:
	@sh .ci/setup "$(PYTHON)" "$(VENV)"

ready-to-test:
	@sh .ci/setup "$(PYTHON)" "$(VENV)" test
