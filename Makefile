# What people and CI do with Slipway. `make` alone lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
# Arguments for a target: make logs ARGS="worker --follow", make test ARGS="tests/unit -x".
ARGS ?=
# How tests are shared out to processes, in the order of the files: the long ones are the first to begin. Two cores run
# three, since most of what they do is to wait for servers.
SPREAD := -n 3 --dist loadgroup --no-loadscope-reorder --durations=10

.PHONY: help install demo up down status logs doctor test soak cover lint bench

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

install: ## Install into .venv what requirements.lock says, if that is not done
	@infra/install.sh

demo: install ## Train, publish, roll out and ask a digit classifier; run again for its next version
	@$(BIN)/slipway demo $(ARGS)

up: install ## Start the local stack: what does not run is started
	@$(BIN)/slipway up

down: install ## Stop the local stack; all data stays
	@$(BIN)/slipway down

status: install ## Show the stack's programs and what is served
	@$(BIN)/slipway status $(ARGS)

logs: install ## Show the programs' logs (ARGS="worker --follow")
	@$(BIN)/slipway logs $(ARGS)

doctor: install ## Check this machine and all that Slipway talks to
	@$(BIN)/slipway doctor $(ARGS)

test: install ## Run the tests (ARGS="tests/unit" for some)
	@$(BIN)/pytest $(SPREAD) -m "not soak" $(ARGS)

soak: install ## Run the long tests: kills at every write and at random, network faults, outages, abuse, large memory
	@$(BIN)/pytest $(SPREAD) -m "soak and not alone" $(ARGS) || [ $$? = 5 ] # none was asked for
	@$(BIN)/pytest --capture=no -m "soak and alone" $(ARGS) || [ $$? = 5 ]

cover: install ## Print how much of each package the unit tests run, in lines
	@$(BIN)/pytest $(SPREAD) -m "not soak" --cov --cov-report=json tests/unit $(ARGS)
	@$(BIN)/python -m tests.helpers.coverage_by_package .coverage.json

lint: install ## Check style, types and the direction of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy --num-workers auto
	@$(BIN)/lint-imports

bench: install ## Measure the embedded model server
	@$(BIN)/python -m tests.benchmarks $(ARGS)
