package main

import (
	"strconv"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
)

var customerRoutes = &noun{
	name:   "customer-route",
	one:    "customer route",
	short:  "Routes between the virtual subnets of a routing domain, and out of it",
	object: "customer_route",
	list:   listed(pacav1connect.ControlClient.ListCustomerRoutes),
	fields: []field{
		{name: "rdid", part: identity, help: "routing domain, a GUID"},
		{name: "vsid", part: identity, help: "virtual subnet in which the next hop lives", complete: vsids},
		{name: "prefix", part: identity, help: "destination"},
		{name: "next_hop", part: identity, help: "CA of the next hop; 0.0.0.0 or :: is on-link"},
		{name: "metric", part: free, help: "the lowest wins among routes for one prefix", without: "255"},
	},
	columns: []column{{"RDID", fixed}, {"VSID", number}, {"PREFIX", text}, {"NEXT HOP", text}, {"METRIC", number}},
	row: rowOf(func(r *pacav1.CustomerRoute) []string {
		return []string{r.Rdid, strconv.Itoa(int(r.Vsid)), r.Prefix, r.NextHop, strconv.FormatUint(uint64(r.Metric), 10)}
	}),
	examples: map[string]string{
		"add":  "pacactl customer-route add --rdid {11111111-2222-3333-4444-000000000000} --vsid 6001 --prefix 10.9.0.0/16 --next-hop 10.1.1.12",
		"set":  "pacactl customer-route set --vsid 6001 --prefix 0.0.0.0/0 --metric 10",
		"del":  "pacactl customer-route del --vsid 6001 --next-hop 10.1.1.12",
		"list": "pacactl customer-route list --vsid 6001",
		"show": "pacactl customer-route show --prefix 0.0.0.0/0",
	},
}
