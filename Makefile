# Everything a person or CI does with paca. `make` alone explains itself.

SHELL       := bash
.SHELLFLAGS := -o pipefail -c

GO       ?= go
PREFIX   ?= /usr/local
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 20s
KEEP     ?= 0
STRICT   ?= 0
QUICK    ?= 0
UPDATE   ?= 0
SUDO     := $(if $(filter 0,$(shell id -u)),,sudo)

# Packages with goroutines that meet; the race detector runs over these too.
RACE = ./conf/... ./ctrl/... ./modes/... \
       ./dataplane/count/... ./dataplane/fib/... ./dataplane/neigh/... ./dataplane/policy/... \
       ./dataplane/respond/... ./dataplane/worker/... ./dataplane/port/memport/...

STAMP = -ldflags '-X main.version=$(VERSION)'

.DEFAULT_GOAL := help
.PHONY: help deps demo demo-down build test e2e fuzz perf bench instructions pgo bounds lint man fmt check install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install the Debian packages that are missing
	@ci/deps.sh

build: deps ## bin/pacad (needs DPDK) and bin/pacactl (does not)
	@mkdir -p bin
	$(GO) build $(STAMP) -o bin/pacad ./ctrl/pacad
	CGO_ENABLED=0 $(GO) build $(STAMP) -o bin/pacactl ./ctrl/pacactl

demo: build ## two hosts, two tenants, real packets, shown and judged; KEEP=1 leaves it running
	@$(GO) build -o bin/demo ./ci/demo
	@$(SUDO) bin/demo $(if $(filter-out 0,$(KEEP)),-keep)

demo-down: ## remove every trace of the demo
	@mkdir -p bin && $(GO) build -o bin/demo ./ci/demo
	@$(SUDO) bin/demo -down

test: deps ## all tests: unit, contract, fuzz corpora, race, DPDK, namespaces (as root); STRICT=1 fails on a skip
	@mkdir -p bin && $(GO) build -o bin/tally ./ci/tally
	@{ bad=0; \
	   echo "== unit, contract, fuzz corpora, DPDK"; \
	   $(GO) test -json -count=1 $$($(GO) list ./... | grep -v '^paca/ci') || bad=1; \
	   echo "== again with the race detector"; \
	   $(GO) test -json -count=1 -race $(RACE) || bad=1; \
	   echo "== programs in network namespaces, the project's own laws"; \
	   $(GO) test -json -count=1 -p 1 ./ci/... || bad=1; \
	   exit $$bad; } 2>&1 | \
	 bin/tally -conformance docs/conformance.md $(if $(filter-out 0,$(STRICT)),-strict)

e2e: deps ## only the tests with pacad in network namespaces
	$(SUDO) env "PATH=$$PATH" $(GO) test -count=1 -v ./ci/e2e/...

fuzz: ## every fuzz target for FUZZTIME (20s) each
	@$(GO) test -list '^Fuzz' ./... | awk '/^Fuzz/ { f[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, f[i]; n = 0 }' | \
	while read -r pkg target; do \
		echo "== $$pkg $$target"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	done

# What QUICK=1 leaves: one round, the ends of sweeps, and nothing that takes minutes.
PERF = $(if $(filter-out 0,$(QUICK)),-quick -out bin/results -command "make perf QUICK=1" \
       nvgre-egress nvgre-ingress rewrite records cores churn latency profile,-out perf/results -command "make perf")

perf: build ## how fast it is beside testpmd and OVS-DPDK, into perf/results, in half an hour; QUICK=1: bin/results, 3 minutes
	@ci/deps.sh openvswitch-switch-dpdk linux-perf
	$(GO) build -o bin/pacaperf ./perf/pacaperf
	$(SUDO) bin/pacaperf $(PERF)

bench: deps ## Go benchmarks with allocations; perf/README.md compares with others
	$(GO) test -run '^$$' -bench . -benchmem ./...

instructions: ## what an ordinary packet takes, by source line in bin/instructions.txt; UPDATE=1 makes it the figure to hold
	@mkdir -p bin
	$(GO) test ./modes -run '^TestInstructions$$' -count=1 -v -lines $(CURDIR)/bin/instructions.txt $(if $(filter-out 0,$(UPDATE)),-update)

bounds: instructions ## bounds checks that are left in the lines which ordinary packets run through
	@$(GO) build -gcflags='paca/...=-d=ssa/check_bce' ./modes/... 2>&1 | sed 's|^\./||' | \
	awk 'NR == FNR { if (split($$1, at, ":") == 4) kind[at[1] ":" at[2]] = kind[at[1] ":" at[2]] " " $$3; next } \
		($$2 in kind) && !seen[$$2]++ { print $$0 "   //" kind[$$2] }' - bin/instructions.txt | sort -k2,2V

# Calls are counted as they are made, so nothing is inlined. The same code gives the same file.
pgo: ## ctrl/pacad/default.pgo, which tells the compiler what to inline, from the calls that ordinary packets make
	$(GO) test ./modes -gcflags=paca/...=-l -run '^TestInstructions$$' -count=1 -profile $(CURDIR)/ctrl/pacad/default.pgo

lint: deps ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

man: ## docs/man, from the commands themselves
	$(GO) test ./ctrl/pacactl -run '^TestManPages$$' -count=1 -update

fmt: ## format all Go code
	gofmt -w .

check: lint test ## lint and test

install: build ## programs to PREFIX (/usr/local), examples and man pages beside them
	install -D -m 0755 bin/pacad $(DESTDIR)$(PREFIX)/sbin/pacad
	install -D -m 0755 bin/pacactl $(DESTDIR)$(PREFIX)/bin/pacactl
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/paca/examples conf/examples/*.toml
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man1 docs/man/*.1

clean: ## remove what was built
	rm -rf bin
