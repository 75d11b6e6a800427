#!/usr/bin/env bash
# Installs the Debian packages that building, testing and the demo need, and those
# that are named as arguments, if they are missing. With nothing missing it touches
# neither apt nor sudo.
set -euo pipefail

packages=(
	gcc libc6-dev make pkg-config     # cgo
	protobuf-compiler                 # is the API's generated code current?
	libdpdk-dev dpdk                  # DPDK 22.11 with its drivers, testpmd
	iproute2 ethtool procps           # namespaces and what is in them
	iputils-ping iperf3 traceroute curl busybox
	tcpdump tshark python3-scapy      # judges that did not write what they judge
	"$@"
)

missing=()
for p in "${packages[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
done
if [ ${#missing[@]} -eq 0 ]; then
	exit 0
fi
if ! command -v apt-get >/dev/null; then
	echo "deps: this is not Debian; install what corresponds to: ${missing[*]}" >&2
	exit 1
fi

sudo=()
if [ "$(id -u)" -ne 0 ]; then
	sudo=(sudo)
fi
apt() { "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" </dev/null; }

echo "deps: installing ${missing[*]}"
# Package lists may be absent (images without them) or older than the mirror.
apt install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
	apt update
	apt install -y --no-install-recommends "${missing[@]}" >/dev/null
}
