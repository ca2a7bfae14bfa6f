#!/bin/sh
# Generates what is generated: the Go code of the adapter contract and of the messages of USP, and the documents that come from
# code. The results are committed; packaging/lint.sh checks that they are up to date.
set -eu
cd "$(dirname "$0")/.."
bin=$(pwd)/build/bin
mkdir -p "$bin"
GOBIN=$bin go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GOBIN=$bin go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
PATH=$bin:$PATH go generate ./...
# The versions of the tools are not part of the result.
sed -i -E '/^\/\/ (-|\t|versions).*protoc|^\/\/ versions:$/d' plugins/adapter/adapterpb/*.go ipc/usp/usppb/*.go
