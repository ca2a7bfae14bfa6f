#!/bin/sh
# Makes a package in build/, of what is built and for this processor unless said otherwise.
#
#   packaging/package.sh [deb|rpm|apk|ipk]     default deb
#
#   GOARCH, GOARM, GOMIPS   another processor, as go build takes it
#   PACKAGE_ARCH            its name in the package; needed for ipk, where it is the device's (mips_24kc, aarch64_cortex-a53 …)
#   VERSION                 of the package; it begins with a digit
set -eu
cd "$(dirname "$0")/.."

format=${1:-deb}
case $format in
deb | rpm | apk | ipk) ;;
*)
	echo "usage: $0 [deb|rpm|apk|ipk]" >&2
	exit 2
	;;
esac
if [ ! -f build/osgi/osgi-host.jar ]; then
	echo "$0: build/osgi/osgi-host.jar is missing: run make java" >&2
	exit 1
fi

if [ -z "${VERSION:-}" ]; then
	VERSION=$(git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//') || true
	[ -n "$VERSION" ] || VERSION=0.1.0-dev+$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
fi
GOARCH=${GOARCH:-$(go env GOARCH)}
PACKAGE_ARCH=${PACKAGE_ARCH:-$GOARCH${GOARM:-}}
export VERSION PACKAGE_ARCH

mkdir -p build/package
CGO_ENABLED=0 GOOS=linux GOARCH=$GOARCH go build -tags grpcnotrace -trimpath -ldflags "-s -w -X main.version=$VERSION" \
	-o build/package/smmd ./cmd/smmd
# The tool is for this machine, whatever the package is for.
env -u GOARCH -u GOARM -u GOMIPS go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.0 \
	package --config packaging/nfpm.yaml --packager "$format" --target build/
