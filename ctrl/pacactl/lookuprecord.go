package main

import (
	"strconv"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
)

var lookupRecords = &noun{
	name:   "lookup-record",
	one:    "lookup record",
	short:  "Which CA lives behind which PA",
	object: "lookup_record",
	list:   listed(pacav1connect.ControlClient.ListLookupRecords),
	fields: []field{
		{name: "vsid", part: identity, help: "virtual subnet of the CA", complete: vsids},
		{name: "ca", part: identity, help: "customer address; 0.0.0.0 or :: with type gateway-wildcard and l2-only; or a broadcast or multicast address"},
		{name: "mac", part: identity, help: "MAC of the VM, or of the group"},
		{name: "pa", part: needed, help: "provider address of the VM's host; of a group, a multicast group of the provider network"},
		{name: "type", part: final, help: "static, dynamic, gateway-wildcard or l2-only", without: "static",
			words: []string{"static", "dynamic", "gateway-wildcard", "l2-only"}},
		{name: "use_vm_mac", part: free, help: "keep the VM's MAC on the wire; only in rewrite subnets"},
		{name: "vm_name", part: free, help: "label without effect"},
		{name: "customer_id", part: free, help: "label without effect"},
		{name: "context", part: free, help: "label without effect"},
	},
	columns: []column{{"VSID", number}, {"CA", text}, {"MAC", fixed}, {"PA", text}, {"MODE", fixed}, {"GOES TO", text}},
	row: rowOf(func(r *pacav1.LookupRecord) []string {
		return []string{strconv.Itoa(int(r.Vsid)), r.Ca, r.Mac, r.Pa, r.Mode, destination(r)}
	}),
	examples: map[string]string{
		"add": "pacactl lookup-record add --vsid 6001 --ca 10.1.1.13 --mac 10:10:10:10:11:13 --pa 192.168.2.20 --vm-name blue3\n" +
			"pacactl lookup-record add --vsid 6001 --ca 239.1.2.3 --mac 01:00:5e:01:02:03 --pa 239.255.0.1",
		"set":  "pacactl lookup-record set --vsid 6001 --ca 10.1.1.12 --pa 192.168.3.30",
		"del":  "pacactl lookup-record del --vsid 6001 --ca 10.1.1.12\npacactl lookup-record del --pa 192.168.2.20 --dry-run",
		"list": "pacactl lookup-record list --vsid 6001,5001 --pa 192.168.2.20",
		"show": "pacactl lookup-record show --vsid 6001 --ca 10.1.1.11 -o yaml",
	},
}

// destination says where packets for a record go.
func destination(r *pacav1.LookupRecord) string {
	switch {
	case r.Port != "":
		return "port " + r.Port
	case r.NextHop != "":
		return r.NextHop + " " + r.NextHopState
	case r.NextHopState != "":
		return r.NextHopState
	}
	return "-"
}
