package main

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

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
		{name: "mac_spoofing", part: free, help: "the VM may send from other MACs than its own"},
		{name: "dhcp_guard", part: free, help: "drop what the VM says as a DHCP server"},
		{name: "router_guard", part: free, help: "drop the VM's router advertisements and redirects"},
		{name: "dynamic_ip_limit", part: free, help: "addresses that may be learned from the VM, 0 to 4096; without it 8"},
		{name: "storm_limit", part: free, help: "packets that broadcasts and multicasts from the VM may become in a second, 0 is any number; without it 1000"},
		{name: "queues", part: free, help: "receive queues, 1 to 1024; without it one for each worker, or as many as the device has"},
		{name: "uplink", part: free, help: "with role host: the uplink whose other traffic it carries; without it the only one", complete: uplinks},
		{name: "offload", part: free, help: "what the device may do though software could: words with =on or =off; all are on without it", words: offloads},
	},
	columns: []column{{"NAME", text}, {"ROLE", fixed}, {"VSID", number}, {"LINK", fixed}, {"RX", number}, {"TX", number},
		{"MISSED", number}, {"DROPPED", number}, {"SWITCHES", text}, {"DEVICE", text}},
	row: rowOf(func(p *pacav1.Port) []string {
		vsid, link := "-", "down"
		if p.Vsid != 0 {
			vsid = strconv.Itoa(int(p.Vsid))
		}
		if p.LinkUp {
			link = "up"
		}
		return []string{p.Name, p.Role, vsid, link, decimal(p.RxPackets), decimal(p.TxPackets),
			decimal(p.GetDeviceStats().GetRxMissed()), decimal(p.DroppedPackets), switches(p), p.Device}
	}),
	more: offloadSheet,
	examples: map[string]string{
		"add": "pacactl port add blue-vm3 --role vm --device vhost-user:/run/paca/blue-vm3.sock --vsid 6001 --mac 10:10:10:10:11:13 --dhcp-guard --router-guard\n" +
			"pacactl port add host0 --role host --device tap:paca0 --uplink uplink0\n" +
			"pacactl port add blue-vm4 --role vm --device vhost-user:/run/paca/blue-vm4.sock --vsid 6001 --mac 10:10:10:10:11:14 --offload tso=off",
		"set":  "pacactl port set blue-vm2 --vsid 6002\npacactl port set blue-vm1 --mac-spoofing --dynamic-ip-limit 0 --storm-limit 200",
		"del":  "pacactl port del blue-vm2",
		"list": "pacactl port list --role vm",
		"show": "pacactl port show blue-vm1",
	},
}

// switches says what a VM's port may do that others may not, or the other way round,
// and behind what a host port stands.
func switches(p *pacav1.Port) string {
	var on []string
	for _, s := range []struct {
		on   bool
		word string
	}{{p.MacSpoofing, "mac-spoofing"}, {p.DhcpGuard, "dhcp-guard"}, {p.RouterGuard, "router-guard"}, {p.Peer != "", "with " + p.Peer}} {
		if s.on {
			on = append(on, s.word)
		}
	}
	if on == nil {
		return "-"
	}
	return strings.Join(on, " ")
}

// offloads are the words of flag --offload.
var offloads = []string{"tso", "gre_tso", "tx_checksum", "outer_checksum", "rx_checksum", "multi_segment", "vlan"}

// offloadSheet is what became of a port's offloads (O23).
func offloadSheet(m proto.Message) string {
	var rows [][]string
	for _, o := range m.(*pacav1.Port).Offloads {
		used := "yes"
		if !o.Used {
			used = "no"
			if o.Reason != "" {
				used += ": " + o.Reason
			}
		}
		device, software := "no", "-"
		if o.Device {
			device = "yes"
		}
		if o.Software != "" {
			software = o.Software
		}
		rows = append(rows, []string{o.Name, o.Word, device, used, software})
	}
	if rows == nil {
		return ""
	}
	return "\n" + layOut([]column{{"OFFLOAD", fixed}, {"WORD", fixed}, {"DEVICE", fixed}, {"USED", text}, {"SOFTWARE", text}}, rows)
}
