// Package metrics shows the dataplane to Prometheus. Counters are read when
// someone scrapes, never copied beside the hot path, and a scrape never makes a
// worker wait.
//
// Names begin with paca_, are in base units, and end in _total only for counters.
// paca_drops_total has every reason of every port from the start, with zeroes, so
// that rate() sees the first drop, and paca_events_total every event. There are no labels per flow, VM or address:
// their number would grow with the tenants'.
//
// Floor 3. It reads dataplane/count and dataplane/port and steers nothing.
package metrics
