# proxy-observability. `make help` lists the targets; each sets up what it needs.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
PY := .venv/bin/python
STACK ?= dev
PORT_BASE ?= 3100

# $(call option,count,N) is --count="…" if N is set; else the program has the default.
option = $(if $($(2)),--$(1)="$($(2))")
port_base = --port-base="$(PORT_BASE)"
out = $(call option,out,OUT)
inspect = $(call option,inspect,INSPECT)
# GNU screen exports the number of its window as WINDOW.
ifneq ($(origin WINDOW),command line)
override WINDOW :=
endif

.PHONY: help setup demo demo-check drill audit discover preflight verify report reconcile what-if which render preview impact dashboards pictures test mutate check format bench docs wasm clean
help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

setup: .venv/installed ## Make .venv; find, download or build Prometheus and promtool, once.
	@$(PY) -m tools.find prometheus promtool >/dev/null

.venv/installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Name another with PYTHON=python3.11")'
	@echo "set-up: Python packages into .venv" >&2
	@start=$$(date +%s) && $(PYTHON) -m venv .venv \
	  && $(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt \
	  && echo "set-up: Python packages took $$(( $$(date +%s) - start )) s" >&2
	@touch $@

demo: setup ## Run the system until Ctrl-C, with a live table. INSPECT=passive|mixed PORT_BASE=
	@exec $(PY) -m lab.demo $(inspect) $(port_base) $(out)

demo-check: setup ## Compare three counts. N= BREAK=range|outcome|drop MIX=even INSPECT=passive|mixed
	@exec $(PY) -m lab.demo_check $(call option,count,N) $(call option,break,BREAK) \
	  $(call option,mix,MIX) $(inspect) $(port_base) $(out)

drill: $(if $(NAME),setup,.venv/installed) ## Break the lab, see the alert come and go. NAME=a,b|all; without, the list
	@$(if $(NAME),$(PY) -m tools.find alertmanager >/dev/null)
	@exec $(PY) -m lab.drill $(call option,name,NAME) $(port_base) $(out)

pictures: setup ## Take a picture of each board, calm and in drills, by Chromium. NAME=a,b|none DIR=
	@$(PY) -m tools.find alertmanager >/dev/null
	@exec $(PY) -m lab.pictures $(call option,name,NAME) $(call option,folder,DIR) $(port_base) $(out)

ifeq ($(PROMETHEUS_URL),)
audit: setup ## Compare counts in Prometheus. N= STOPS=envoy,vendor; or PROMETHEUS_URL= WINDOW=1h
	@exec $(PY) -m lab.audit $(call option,count,N) $(call option,break,BREAK) \
	  $(call option,mix,MIX) $(inspect) $(call option,stops,STOPS) $(call option,window,WINDOW) $(port_base) $(out)
else
export PROMETHEUS_URL
audit: .venv/installed
	@exec $(PY) -m books $(call option,window,WINDOW) $(out) \
	  --lab-only="$(strip $(foreach key,N STOPS BREAK MIX INSPECT,$(if $($(key)),$(key))))"
endif

discover: .venv/installed ## List crawlers' destinations. STACK=prod, or NAMESPACE= SELECTOR=; NAMES= SECONDS=
	@exec $(PY) -m discover --stack="$(STACK)" $(call option,namespace,NAMESPACE) \
	  $(call option,selector,SELECTOR) $(call option,context,CONTEXT) $(call option,names,NAMES) \
	  $(call option,seconds,SECONDS) $(call option,pods,PODS) $(out)

preflight: .venv/installed ## Say what in a cluster stands in the way of `up`. STACK=prod CONTEXT= OUT=dir
	@exec $(PY) -m preflight --stack="$(STACK)" $(call option,context,CONTEXT) $(out)

verify: .venv/installed ## Check what is deployed, and that it counts. STACK=prod CONTEXT=; or PROMETHEUS_URL=
	@exec $(PY) -m verify --stack="$(STACK)" $(call option,context,CONTEXT) $(out)

report: .venv/installed ## Write what a month cost: a page, CSV, FOCUS. MONTH=2026-11 STACK=prod OUT=dir
	@exec $(PY) -m money.report --stack "$(STACK)" $(call option,context,CONTEXT) \
	  $(call option,month,MONTH) $(out)

reconcile: .venv/installed ## Is an invoice right? VENDOR=vendor-a FILE=a.csv|API=1 MONTH=2026-11 STACK=prod OUT=
	@exec $(PY) -m money.reconcile --stack "$(STACK)" $(call option,context,CONTEXT) \
	  $(call option,vendor,VENDOR) $(call option,file,FILE) $(if $(API),--api) \
	  $(call option,month,MONTH) $(out)

what-if: .venv/installed ## Predict what a move of traffic costs. MOVE=vendor-a:vendor-b:30% TARGET= STACK=
	@exec $(PY) -m money.what_if --stack "$(STACK)" $(call option,context,CONTEXT) \
	  $(call option,move,MOVE) $(call option,target,TARGET) $(call option,month,MONTH) $(out)

# The address and the user come by the environment, so that no shell reads them.
which: export ADDRESS ?=
which: export PROXY_USER ?=
which: .venv/installed ## Name the vendor of an address or name. ADDRESS=10.2.9.1:3128 STACK=prod PROXY_USER=
	@exec $(PY) -m settings.which --stack "$(STACK)" $(out)

render: .venv/installed ## Write a stack's manifests as files. STACK= OUT= FORMAT=manifests SECRETS=names.txt
	@exec $(PY) -m render --stack "$(STACK)" $(call option,format,FORMAT) \
	  $(call option,secrets,SECRETS) $(out)

preview: .venv/installed ## Show what `pulumi up` would change, as a diff of manifests. STACK=prod
	@exec $(PY) -m render.preview --stack="$(STACK)"

impact: .venv/installed ## Say what an edit does to what runs. BASE=main|file STACK=prod CORE= GIB= OUT=dir
	@exec $(PY) -m impact --stack "$(STACK)" $(call option,base,BASE) $(call option,core,CORE) \
	  $(call option,gib,GIB) $(out)

dashboards: .venv/installed ## Write the boards as JSON, for any Grafana. STACK=prod OUT=dir
	@exec $(PY) -m dashboards --stack "$(STACK)" $(out)

test: setup ## Run tests; FULL=1: all. SUITE=unit|lua|wasm|program|rules|lab|mesh|api|engine
	@$(PY) -m tools.find alertmanager amtool >/dev/null
	@$(PY) -m tests.binaries operatorlab actionlint >/dev/null
	@$(PY) -m tests.clients.install
	@exec $(PY) -m tests.suites $(call option,suite,SUITE) $(out)

mutate: setup ## Change each alert, and check that a test fails; takes minutes. ONLY=alert
	@exec $(PY) -m tests.rules.mutants $(call option,only,ONLY) $(out)

check: .venv/installed ## Check format, lint and types.
	@exec $(PY) -m tests.linters $(out)

format: .venv/installed ## Format the code.
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

bench: setup ## Measure what attribution and monitoring cost. ONLY=name
	@exec $(PY) -m benchmarks $(call option,only,ONLY) $(out)

docs: .venv/installed ## Write the generated pages.
	@$(PY) -m settings.reference
	@$(PY) -m render.security
	@$(PY) -m tests.mesh.compatibility

wasm: .venv/installed ## Build the module of `inspect: passive`, as committed. OUT=dir
	@exec $(PY) -m wasm.build $(out)

clean: ## Remove what the targets made here, except the per-user cache of binaries.
	rm -rf tests/clients/node_modules .venv .demo rendered .pytest_cache .ruff_cache .mypy_cache .hypothesis
