#!/bin/sh
# Checks what a machine can check: formatting, vet, staticcheck and the direction of imports (.golangci.yml), go.mod, generated files,
# shell scripts.
set -eu
cd "$(dirname "$0")/.."
bin=$(pwd)/build/bin
mkdir -p "$bin"
[ -x "$bin/golangci-lint" ] || GOBIN=$bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
"$bin/golangci-lint" run ./...
go mod tidy -diff
shellcheck packaging/*.sh test/machine/*.sh .ci/run

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
cp -r plugins/adapter/adapterpb ipc/usp/usppb docs "$before"
packaging/generate.sh
if ! diff -r "$before/adapterpb" plugins/adapter/adapterpb || ! diff -r "$before/usppb" ipc/usp/usppb || ! diff -r "$before/docs" docs; then
	echo "generated files are out of date: commit what 'make proto' makes of them" >&2
	exit 1
fi
echo "lint is clean"
