# Every target works in a fresh clone with nothing but Go, make and a Debian base.

VERSION   := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PACKAGES  := ./schema/...,./changes/...,./outbox/...,./relay/...,./config/...
FUZZTIME  ?= 10s
# Most tests wait for a redis-server of their own, not for a processor: so more
# of them, and of packages, go on at a time than there are processors. The
# program that they run is built before they begin, once for all packages.
TESTED    := $(CURDIR)/bin/matchrelay-under-test
SIMULATED := $(CURDIR)/bin/simulation-under-test
CHECKER   := $(CURDIR)/bin/powerloss-under-test
TEST       = MATCHRELAY_TEST_PROGRAM='$(TESTED)' MATCHRELAY_TEST_SIMULATION='$(SIMULATED)' MATCHRELAY_TEST_POWERLOSS='$(CHECKER)' bin/verdict "make $@" go test -json -p 3 -parallel 8 -timeout 30m
# These wait longest, and begin first.
SLOWEST    = ./integration_test/torture ./integration_test ./integration_test/simulation ./relay ./cmd/matchrelay
PKG       ?= ./...
BENCH     ?= .
BENCHTIME ?= 5x
COUNT     ?= 1
SEEDS     ?= 10000
TORTURE   ?= 10m
EFFORT    ?= 30
FILES     ?= 500
KILLS     ?= 200

.DEFAULT_GOAL := help
.PHONY: help demo run build test race lint fuzz cover bench simulate torture powerloss damage kills mutants programs redis-server strace python3 c-compiler

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: build ## the main job with an outage in the middle, in under 30 s
	@bin/matchrelay demo

# REDIS_URL reaches the program through its environment. One with a password
# is better set in the environment of make, too (REDIS_URL=... make run), or in
# .env: everybody sees a command line.
run: build ## a processor that stays up; SOURCE=my-list.json REDIS_URL=redis://... for your own
	@exec bin/matchrelay run $(if $(SOURCE),--source "$$SOURCE",$(if $(REDIS_URL),,--dev))

build: ## bin/matchrelay
	@CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/matchrelay ./cmd/matchrelay

test: programs redis-server strace python3 c-compiler ## all tests, against a real redis-server, with the race detector
	CGO_ENABLED=1 $(TEST) -race $(SLOWEST) ./...

race: programs redis-server strace python3 c-compiler ## the tests of PKG twice, shuffled, with the race detector
	CGO_ENABLED=1 $(TEST) -race -shuffle=on -count=2 $(PKG)

lint: ## gofmt, vet, staticcheck, goimports; shellcheck if it is there; each platform compiles
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt -w these:" $$unformatted; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	@unsorted=$$(go tool goimports -l .); test -z "$$unsorted" || { echo "go tool goimports -w these:" $$unsorted; exit 1; }
	@set -e; for platform in linux/amd64 linux/arm64 linux/386 darwin/amd64 darwin/arm64; do \
		echo "build for $$platform"; \
		CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/} go build -o /dev/null ./cmd/matchrelay; \
	done
	@if command -v shellcheck >/dev/null; then shellcheck .ci/*; else echo "shellcheck is not installed: .ci is not checked"; fi

fuzz: ## every fuzz target for FUZZTIME (10s)
	@set -e; for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

cover: programs redis-server strace python3 ## statement coverage of the five packages, by all tests
	$(TEST) -coverpkg=$(PACKAGES) -coverprofile=coverage.out ./...
	@go tool cover -func=coverage.out | grep -v '100.0%$$' || true
	@echo "lines not covered: go tool cover -html=coverage.out"

bench: programs redis-server ## Go benchmarks, in benchstat's format; BENCH, PKG, BENCHTIME, COUNT choose
	MATCHRELAY_TEST_PROGRAM='$(TESTED)' go test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -count $(COUNT) -benchmem -timeout 60m -p 1 $(PKG)

simulate: ## the relay in virtual time against a model of Redis, for SEEDS (10000), FROM a seed on; STOP=1 ends at a failure
	SEEDS=$(SEEDS) FROM=$(FROM) $(if $(STOP),STOP=$(STOP)) go test -count=1 -timeout 0 -v -run TestSimulation_Keeps ./integration_test/simulation

torture: redis-server c-compiler ## everything at once, at random, for TORTURE (10m); SEED=n plays a plan again
	CGO_ENABLED=1 TORTURE=$(TORTURE) SEED=$(SEED) go test -race -count=1 -timeout 0 -v -run TestTorture_ ./integration_test/torture

powerloss: strace ## every state that a power cut could leave of an outbox's files; EFFORT=300 takes ten minutes
	POWERLOSS_EFFORT=$(EFFORT) go test -count=1 -timeout 0 -v -run TestPowerLoss_Keeps ./integration_test/powerloss

kills: redis-server ## Redis is killed under load, KILLS times at each pace; tells how many events came again
	KILLS=$(KILLS) go test -count=1 -timeout 0 -v -run TestKills_ ./integration_test

damage: programs redis-server ## FILES (500) damaged outbox files, and every command on each; FROM a seed on
	MATCHRELAY_TEST_PROGRAM='$(TESTED)' go test -count=1 -timeout 0 -v ./integration_test/damage -files $(FILES) $(if $(FROM),-from $(FROM))

mutants: redis-server strace ## faults brought in one by one: a test must catch each; MUTANTS="fsync lane.go" chooses by words
	@go run ./integration_test/mutants/try $(MUTANTS)

# What tests run, and what runs the tests.
programs:
	@go build -buildvcs=false -o '$(TESTED)' ./cmd/matchrelay
	@go build -buildvcs=false -o bin/verdict ./integration_test/verdict
	@go test -c -o '$(SIMULATED)' ./integration_test/simulation
	@go test -c -o '$(CHECKER)' ./integration_test/powerloss

redis-server:
	@.ci/need redis-server redis-server

# It lets syncs fail.
strace:
	@.ci/need strace strace

# A processor in another language is one in Python.
python3:
	@.ci/need python3 python3

# The race detector links C code.
c-compiler:
	@.ci/need "$$(go env CC)" gcc libc6-dev
