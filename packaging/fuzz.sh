#!/bin/sh
# Fuzzes every parser that reads bytes from outside, each for the time given: packaging/fuzz.sh 20m
set -eu
cd "$(dirname "$0")/.."
time=${1:-1m}
go list ./... | while read -r pkg; do
	dir=$(go list -f '{{.Dir}}' "$pkg")
	grep -ho 'func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null | sed 's/func //' | while read -r name; do
		echo "fuzzing $name of $pkg for $time"
		# An input is made smaller ten times and not for a minute: that would be most of the time.
		go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 10x "$pkg" </dev/null
	done
done
