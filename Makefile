# The targets that people use; `make help` lists them.
GO         ?= go
BIN        := bin/darkroom
GOLANGCI   := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
# Packages that run Beam are tested without the race detector: Beam's own code has races that are not ours.
BEAM       := ./transforms/... ./pipelines/... ./runners/...
# Decoding takes ten times as long under the race detector, which is kept for the packages of it that have concurrency.
PIXELS     := ./internal/pixels/...
PLAIN       = $(shell $(GO) list ./... | grep -v -E '/(transforms|pipelines|runners|e2e|bench|internal/pixels)(/|$$)')
# The race detector needs a C compiler; Darkroom does not.
RACE       := $(if $(shell command -v gcc || command -v clang),-race,)
FUZZTIME   ?= 20s
# libvips and all its codecs in one library, as npm packages it; where Darkroom looks for it.
LIBVIPS    := 1.3.4
LIBVIPS_IN  = $(shell if [ "$$(id -u)" = 0 ]; then echo /usr/local/lib/darkroom/libvips; \
	elif [ "$$(uname)" = Darwin ]; then echo "$$HOME/Library/Caches/darkroom/libvips"; \
	else echo "$${XDG_CACHE_HOME:-$$HOME/.cache}/darkroom/libvips"; fi)
PLATFORM    = $(shell $(GO) env GOOS)-$(subst amd64,x64,$(shell $(GO) env GOARCH))
# A round of the soak for each seed: its faults, their moments and its input follow from it.
SEEDS      ?= 1 2 3 4 5 6 7 8 9 10
EVENTS     ?= 50000
STARTS     ?= 50

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: build
build: ## Build bin/darkroom.
	CGO_ENABLED=0 $(GO) build -o $(BIN) .

.PHONY: up
up: build ## Run everything on this machine.
	$(BIN) up

.PHONY: libvips
libvips: ## Fetch libvips into the user's cache folder, for faster pixels; as root for all users. Needs npm; on Debian, apt-get install libvips42 does too.
	npm install --prefix "$(LIBVIPS_IN)" --no-save --ignore-scripts --no-audit --no-fund @img/sharp-libvips-$(PLATFORM)@$(LIBVIPS)

.PHONY: test
test: build ## Run all tests: unit, pipelines on Prism, conformance, HTTP, end to end.
	$(if $(RACE),,@echo "no C compiler: the tests run without the race detector")
	$(GO) test $(RACE) $(PLAIN)
	$(GO) test $(PIXELS)
	$(if $(RACE),$(GO) test $(RACE) -short ./internal/pixels/pool ./internal/pixels/vips)
	$(GO) test $(BEAM)
	$(if $(RACE),$(GO) test $(RACE) ./transforms/analyze)
	DARKROOM_BIN=$(CURDIR)/$(BIN) $(GO) test -count=1 ./e2e/...

.PHONY: test-stack
test-stack: build ## Run the tests on the real engines: Kafka, Cassandra, Debezium, Flink, Spark. Needs Java 17 and Maven.
	DARKROOM_STACK_TEST=1 DARKROOM_BIN=$(CURDIR)/$(BIN) $(GO) test -count=1 -timeout 30m -v ./e2e/stack

.PHONY: soak
soak: build ## Start a stream 50 times (STARTS), then throw each fault at 50,000 uploads (EVENTS) for each of ten seeds (SEEDS="1 2 …"). Two hours.
	DARKROOM_STACK_STARTS=$(STARTS) DARKROOM_STACK_TEST=1 DARKROOM_BIN=$(CURDIR)/$(BIN) \
	  $(GO) test -count=1 -timeout 30m -v -run '^TestEveryStartIsExact$$' ./e2e/stack
	@for seed in $(SEEDS); do \
	  echo "== DARKROOM_STACK_SEED=$$seed DARKROOM_STACK_EVENTS=$(EVENTS)"; \
	  DARKROOM_STACK_SEED=$$seed DARKROOM_STACK_EVENTS=$(EVENTS) DARKROOM_STACK_TEST=1 DARKROOM_BIN=$(CURDIR)/$(BIN) \
	    $(GO) test -count=1 -timeout 30m -v -run '^TestExactThroughCrashes$$' ./e2e/stack || exit 1; done

# The images that Pillow is tested with, many of them broken or hostile.
PILLOW     := pillow==11.3.0 --hash=sha256:3828ee7586cd0b2091b6209e5ad53e20d0649bbe87164a459d0676e035e8f523
CORPUS     := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/darkroom/corpus
.PHONY: test-corpus
test-corpus: corpus ## Throw a corpus of odd and hostile images at the pool of pixel processes. Needs pip.
	DARKROOM_TEST_CORPUS=1 $(GO) test -count=1 -run '^TestCorpus$$' ./internal/pixels/pool

.PHONY: corpus
corpus: $(CORPUS)/pillow-11.3.0 ## Fetch the corpus of odd and hostile images that the pool of pixel processes is tested with. Needs pip.

$(CORPUS)/pillow-11.3.0:
	@mkdir -p $(CORPUS) && dir=$$(mktemp -d $(CORPUS)/fetch.XXXXXX) && trap 'rm -rf "$$dir"' EXIT && \
	  echo '$(PILLOW)' >"$$dir/requirements.txt" && \
	  python3 -m pip download -q --no-binary :all: --no-deps -r "$$dir/requirements.txt" -d "$$dir" && \
	  tar -xzf "$$dir"/pillow-*.tar.gz -C "$$dir" pillow-11.3.0/Tests/images && mv "$$dir"/pillow-11.3.0 $@

# An input that reaches new code is shortened in 100 tries: Go's default is a minute for each, and leaves no other time.
.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (20s).
	@$(GO) list ./... | while read -r p; do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	    echo "== $$p $$f"; $(GO) test -run=NONE -fuzz="^$$f$$" -fuzztime=$(FUZZTIME) \
	      -fuzzminimizetime=100x $$p || exit 1; done; done

.PHONY: bench
bench: build ## Run the benchmarks; the figures go to docs/BENCHMARKS.md by hand, with the command.
	CGO_ENABLED=0 DARKROOM_BIN=$(CURDIR)/$(BIN) $(GO) run ./bench $(BENCH)

.PHONY: bench-stream
bench-stream: build ## Measure a windowed sum on Kafka Streams, native Flink, and our pipelines on Flink and Prism. Needs a JDK 17 and Maven.
	DARKROOM_BIN=$(CURDIR)/$(BIN) $(GO) run ./bench stream $(BENCH)

.PHONY: bench-pixels
bench-pixels: build ## Measure deriving sizes and formats against vipsthumbnail, sharp, libvips from C and imaging. Needs libvips-tools, npm and a C compiler.
	DARKROOM_BIN=$(CURDIR)/$(BIN) $(GO) run ./bench pixels $(BENCH)

.PHONY: generate
generate: ## Generate the HTTP types from the OpenAPI documents.
	$(GO) generate ./...

.PHONY: lint
lint: ## Check formatting, vet and the linters.
	$(GO) vet ./...
	$(GO) run $(GOLANGCI) run

.PHONY: clean
clean: ## Remove what the build made (not the data in .darkroom).
	rm -rf bin
