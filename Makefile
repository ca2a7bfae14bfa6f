# Two commands do everything on a fresh Debian 12 or Ubuntu machine with Go and root:
#
#   make run     installs what is missing, builds, and shows the main job at work
#   make test    installs what is missing, and runs every layer of tests
.DEFAULT_GOAL := help
SHELL := /bin/sh

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.1.0-dev)
RUN_DIR ?= ./run
FUZZ_TIME ?= 5m
TAGS := grpcnotrace
MVN := mvn -q -B
export CGO_ENABLED ?= 0

HOST_SOURCES := $(shell find plugins/osgi/host -path '*/target' -prune -o -type f -print)
BUNDLE_SOURCES := $(shell find test/bundles -path '*/target' -prune -o -type f -print)

.PHONY: help
help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: deps-run build java build/demo ## Install what is missing, build, and show a device managed over D-Bus (RUN_DIR=./run)
	@build/demo --dir '$(RUN_DIR)'

.PHONY: test
test: deps-test build java ## Install what is missing and run every layer of tests
	$(MVN) -f plugins/osgi/host/pom.xml verify
	status=0; \
	CGO_ENABLED=1 go test -race -timeout $(TEST_TIME) -parallel 4 $$(go list ./... | grep -v -x -E '$(OUTSIDE)') || status=1; \
	go test -timeout $(TEST_TIME) -parallel 4 $$(go list ./... | grep -x -E '$(OUTSIDE)') || status=1; \
	exit $$status

# Tests that stand outside: what they test are programs of their own, in which -race sees nothing.
OUTSIDE := .*/test/(e2e|device|conformance)
TEST_TIME := 28m

.PHONY: test-all
test-all: export SMMD_TEST_LONG = 1
test-all: TEST_TIME := 4h
test-all: lint test ## The long form of test, lint, and FUZZ_TIME=5m of fuzzing for each parser
	packaging/fuzz.sh $(FUZZ_TIME)

.PHONY: conformance
conformance: deps-test build java ## Try each requirement of the specifications, print the table and write docs/conformance.md
	SMMD_CONFORMANCE_TABLE='$(CURDIR)/docs/conformance.md' go test -count=1 -timeout $(TEST_TIME) ./test/conformance; \
	status=$$?; cat docs/conformance.md; exit $$status

.PHONY: build
build: build/smmd build/smmctl ## Build build/smmd and its other name build/smmctl

.PHONY: build/smmd
build/smmd:
	@mkdir -p build
	go build -tags $(TAGS) -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/smmd

build/smmctl: build/smmd
	@ln -sf smmd $@

.PHONY: build/demo
build/demo:
	go build -o $@ ./test/demo

.PHONY: java
java: build/osgi/osgi-host.jar test/bundles/target/.built ## Build the OSGi host and the bundles of the tests, fetch the frameworks

build/osgi/osgi-host.jar: $(HOST_SOURCES)
	@mkdir -p build/osgi
	$(MVN) -f plugins/osgi/host/pom.xml -DskipTests -DskipITs package
	@cp plugins/osgi/host/target/frameworks/*.jar build/osgi/
	@cp plugins/osgi/host/target/osgi-host.jar $@.new && mv $@.new $@

test/bundles/target/.built: $(BUNDLE_SOURCES)
	$(MVN) -f test/bundles/pom.xml package
	@touch $@

.PHONY: proto
proto: ## Generate the Go code of the .proto files and the documents that come from code
	@packaging/deps.sh lint
	packaging/generate.sh

.PHONY: lint
lint: ## Check formatting, imports, generated files, scripts
	@packaging/deps.sh lint
	packaging/lint.sh

.PHONY: clean
clean: ## Remove what was built
	rm -rf build run plugins/osgi/host/target test/bundles/target

.PHONY: deps-run deps-test
deps-run:
	@packaging/deps.sh run
deps-test:
	@packaging/deps.sh test
