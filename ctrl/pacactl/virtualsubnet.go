package main

import (
	"strconv"
	"strings"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
)

var virtualSubnets = &noun{
	name:   "virtual-subnet",
	one:    "virtual subnet",
	short:  "Broadcast domains of tenants, and how their packets cross the provider network",
	object: "virtual_subnet",
	list:   listed(pacav1connect.ControlClient.ListVirtualSubnets),
	fields: []field{
		{name: "vsid", part: identity, help: "number, 4096 to 16777214", complete: vsids},
		{name: "rdid", part: needed, help: "routing domain, a GUID"},
		{name: "prefixes", flag: "prefix", part: needed, help: "on-link prefixes"},
		{name: "mode", part: free, help: "nvgre or rewrite", without: "nvgre", words: []string{"nvgre", "rewrite"}},
		{name: "dhcp", part: free, help: "answer the VMs' DHCPv4 on their host, from their lookup records"},
		{name: "dns", part: free, help: "IPv4 name servers that DHCP tells of; '' is none", clears: true},
	},
	columns: []column{{"VSID", number}, {"MODE", fixed}, {"DHCP", fixed}, {"PREFIXES", text}, {"RDID", fixed}},
	row: rowOf(func(v *pacav1.VirtualSubnet) []string {
		dhcp := "no"
		if v.Dhcp {
			dhcp = "yes"
		}
		return []string{strconv.Itoa(int(v.Vsid)), v.Mode, dhcp, strings.Join(v.Prefixes, ", "), v.Rdid}
	}),
	examples: map[string]string{
		"add":  "pacactl virtual-subnet add 7001 --rdid {77777777-2222-3333-4444-000000000000} --prefix 10.7.1.0/24,fd00:7:1::/64",
		"set":  "pacactl virtual-subnet set 6001 --prefix 10.1.1.0/24,10.1.3.0/24\npacactl virtual-subnet set 6002 --dhcp --dns 10.1.2.53,192.0.2.53",
		"del":  "pacactl virtual-subnet del 6002",
		"list": "pacactl virtual-subnet list --mode nvgre",
		"show": "pacactl virtual-subnet show 6001",
	},
}
