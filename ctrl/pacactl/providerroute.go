package main

import (
	"strconv"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
)

var providerRoutes = &noun{
	name:   "provider-route",
	one:    "provider route",
	short:  "Routes of the provider network",
	object: "provider_route",
	list:   listed(pacav1connect.ControlClient.ListProviderRoutes),
	fields: []field{
		{name: "port", part: identity, help: "uplink that the route leaves by", complete: uplinks},
		{name: "prefix", part: identity, help: "destination"},
		{name: "next_hop", part: identity, help: "router; 0.0.0.0 or :: is on-link"},
		{name: "metric", part: free, help: "the lowest wins among routes for one prefix"},
	},
	columns: []column{{"PORT", text}, {"PREFIX", text}, {"NEXT HOP", text}, {"METRIC", number}, {"FROM", fixed}},
	row: rowOf(func(r *pacav1.ProviderRoute) []string {
		return []string{r.Port, r.Prefix, r.NextHop, strconv.FormatUint(uint64(r.Metric), 10), origin(r.HostFile)}
	}),
	examples: map[string]string{
		"add":  "pacactl provider-route add --port uplink0 --prefix 192.168.4.0/24 --next-hop 192.168.1.2",
		"set":  "pacactl provider-route set --prefix 192.168.2.0/24 --metric 20",
		"del":  "pacactl provider-route del --prefix 192.168.2.0/24",
		"list": "pacactl provider-route list",
		"show": "pacactl provider-route show --port uplink0",
	},
}
