package main

import (
	"strconv"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
)

var ports = &noun{
	name:   "port",
	one:    "port",
	short:  "Ports of the host, plugged in and out while it runs",
	object: "port",
	list:   listed(pacav1connect.ControlClient.ListPorts),
	fields: []field{
		{name: "name", part: identity, help: "name", complete: portNames},
		{name: "role", part: needed, help: "uplink, vm or host", words: []string{"uplink", "vm", "host"}},
		{name: "device", part: needed, help: "PCI address or kind:argument, like vhost-user:/run/paca/vm1.sock"},
		{name: "mtu", part: free, help: "largest IP packet in bytes", without: "1500"},
		{name: "vsid", part: free, help: "virtual subnet of the VM; 0 is none", complete: vsids},
		{name: "vm_mac", flag: "mac", part: free, help: "MAC of the VM's network card"},
	},
	columns: []column{{"NAME", text}, {"ROLE", fixed}, {"VSID", number}, {"LINK", fixed}, {"RX", number}, {"TX", number},
		{"MISSED", number}, {"DROPPED", number}, {"DEVICE", text}},
	row: rowOf(func(p *pacav1.Port) []string {
		vsid, link := "-", "down"
		if p.Vsid != 0 {
			vsid = strconv.Itoa(int(p.Vsid))
		}
		if p.LinkUp {
			link = "up"
		}
		return []string{p.Name, p.Role, vsid, link, decimal(p.RxPackets), decimal(p.TxPackets),
			decimal(p.GetDeviceStats().GetRxMissed()), decimal(p.DroppedPackets), p.Device}
	}),
	examples: map[string]string{
		"add":  "pacactl port add blue-vm3 --role vm --device vhost-user:/run/paca/blue-vm3.sock --vsid 6001 --mac 10:10:10:10:11:13",
		"set":  "pacactl port set blue-vm2 --vsid 6002",
		"del":  "pacactl port del blue-vm2",
		"list": "pacactl port list --role vm",
		"show": "pacactl port show blue-vm1",
	},
}
