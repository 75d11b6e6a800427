package main

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
)

var providerAddresses = &noun{
	name:   "provider-address",
	one:    "provider address",
	short:  "Addresses of this host on the provider network",
	object: "provider_address",
	list:   listed(pacav1connect.ControlClient.ListProviderAddresses),
	fields: []field{
		{name: "address", part: identity, help: "the PA with its subnet's prefix length, like 192.168.1.10/24", selector: withoutLength},
		{name: "address", flag: "prefix-length", part: edited, help: "length of the prefix of the PA's subnet", edit: setLength},
		{name: "port", part: needed, help: "uplink that has the PA", complete: uplinks},
		{name: "vlan", part: free, help: "VLAN; 0 is untagged"},
		{name: "mac", part: free, help: "MAC of the PA, if not the uplink's own"},
	},
	columns: []column{{"ADDRESS", text}, {"PORT", text}, {"VLAN", number}, {"MAC", fixed}, {"STATE", fixed}, {"FROM", fixed}},
	row: rowOf(func(a *pacav1.ProviderAddress) []string {
		vlan, mac := "-", "-"
		if a.Vlan != 0 {
			vlan = strconv.Itoa(int(a.Vlan))
		}
		if a.Mac != "" {
			mac = a.Mac
		}
		return []string{a.Address, a.Port, vlan, mac, a.State, origin(a.HostFile)}
	}),
	examples: map[string]string{
		"add":  "pacactl provider-address add 192.168.1.12/24 --port uplink0 --vlan 7",
		"set":  "pacactl provider-address set 192.168.1.11 --prefix-length 25 --mac 02:00:00:00:01:11",
		"del":  "pacactl provider-address del 192.168.1.11",
		"list": "pacactl provider-address list --port uplink0",
		"show": "pacactl provider-address show 192.168.1.10",
	},
}

// withoutLength is a PA by itself, as lists are asked for it.
func withoutLength(s string) string {
	address, _, _ := strings.Cut(s, "/")
	return address
}

func setLength(m proto.Message, value string) error {
	if _, err := strconv.ParseUint(value, 10, 8); err != nil {
		return fmt.Errorf("--prefix-length: %q is not a number of bits", value)
	}
	a := m.(*pacav1.ProviderAddress)
	a.Address = withoutLength(a.Address) + "/" + value
	return nil
}

// origin says who gave the host an object.
func origin(hostFile bool) string {
	if hostFile {
		return "host file"
	}
	return "policy"
}
