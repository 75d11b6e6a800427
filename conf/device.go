package conf

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

var pciAddress = regexp.MustCompile(`^([0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]$`)

const deviceKinds = "a PCI address, tap:NAME, af_packet:IFACE, af_xdp:IFACE, vhost-user:PATH, virtio-user:PATH, memif:PATH or vdev:STRING"

// device checks the form of a port's device. Whether it can be opened, only
// opening it tells.
func device(v any) (string, error) {
	s, err := text(v)
	if err != nil {
		return s, err
	}
	if pciAddress.MatchString(s) {
		return s, nil
	}
	kind, arg, found := strings.Cut(s, ":")
	if !found {
		return s, fmt.Errorf("%q is not a device; use %s", s, deviceKinds)
	}
	switch kind {
	case "tap", "af_packet", "af_xdp":
		return s, checkInterface(arg)
	case "vhost-user":
		return s, checkPathOptions(arg, map[string]func(string) bool{"client": flag})
	case "virtio-user":
		return s, checkPathOptions(arg, nil)
	case "memif":
		return s, checkPathOptions(arg, map[string]func(string) bool{
			"id":   func(v string) bool { _, err := strconv.ParseUint(v, 10, 32); return err == nil },
			"role": func(v string) bool { return v == "server" || v == "client" },
		})
	case "vdev":
		if arg == "" {
			return s, fmt.Errorf("%q names no virtual device; write one of DPDK's, like vdev:net_null0", s)
		}
		return s, nil
	}
	return s, fmt.Errorf("device kind %q is unknown; use %s", kind, deviceKinds)
}

// checkInterface judges the name of a Linux network interface.
func checkInterface(name string) error {
	switch {
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n,"):
		return fmt.Errorf("%q is not an interface name; use one as ip link shows it", name)
	case len(name) > 15:
		return fmt.Errorf("interface name %q is longer than Linux allows; use at most 15 bytes", name)
	}
	return nil
}

// flag judges an option that takes no value.
func flag(v string) bool { return v == "" }

// checkPathOptions judges PATH[,option[=value]...].
func checkPathOptions(arg string, known map[string]func(string) bool) error {
	path, rest, more := strings.Cut(arg, ",")
	if err := checkSocketPath(path); err != nil {
		return err
	}
	for more {
		var option string
		option, rest, more = strings.Cut(rest, ",")
		name, value, _ := strings.Cut(option, "=")
		check, ok := known[name]
		if !ok {
			return fmt.Errorf("device option %q is unknown; remove it", option)
		}
		if !check(value) {
			return fmt.Errorf("device option %q has a wrong value; see the device kinds", option)
		}
	}
	return nil
}

// deviceIdentity is what two ports cannot share: several memif interfaces may
// use one socket, and one PCI address has two spellings.
func deviceIdentity(s string) string {
	if pciAddress.MatchString(s) {
		if strings.Count(s, ":") == 1 {
			s = "0000:" + s
		}
		return strings.ToLower(s)
	}
	kind, arg, _ := strings.Cut(s, ":")
	switch kind {
	case "vhost-user", "virtio-user":
		path, _, _ := strings.Cut(arg, ",")
		return kind + ":" + filepath.Clean(path)
	case "af_packet", "af_xdp":
		return "interface:" + arg
	}
	return s
}
