#!/bin/sh
# Makes the Go code from the .proto files. The plugins are this module's own
# tools, so that everyone gets the same code; protoc is Debian's
# protobuf-compiler. An argument names another directory to write to.
set -eu
cd "$(dirname "$0")"
out=${1:-.}
plugins=$(mktemp -d)
trap 'rm -rf "$plugins"' EXIT
for p in protoc-gen-go protoc-gen-connect-go; do
	ln -s "$(go tool -n "$p")" "$plugins/$p"
done
PATH="$plugins:$PATH" protoc -I . \
	--go_out="$out" --go_opt=paths=source_relative \
	--connect-go_out="$out" --connect-go_opt=paths=source_relative \
	paca/v1/control.proto
