package count

// Event is what a worker did with packets besides passing them on or dropping
// them.
type Event uint8

// The events. To add one: a constant here, its row in events below.
const (
	Routed            Event = iota
	LoopedBack              // E10b
	Held                    // E10b
	BroadcastSent           // E2
	BroadcastReceived       // E2
	MulticastSent           // E3
	MulticastReceived       // E3
	Replicated              // E4
	Fragments
	ICMPSent
	Clamped
	Stray // E8, E9
	NoChecksum
	FabricError
	Checksums
	Segments
	Coalesced
	ToHost
	FromHost

	NumEvents // not an event
)

// Events are how often each happened.
type Events [NumEvents]uint32

// events names and explains every Event. Names are label values of the metric
// paca_events_total and never change once released.
var events = [NumEvents]struct{ name, help string }{
	Routed:            {"routed", "packets routed from one virtual subnet to another (L12)"},
	LoopedBack:        {"looped_back", "packets from a VM delivered to a VM of this host (L15)"},
	Held:              {"held", "packets that waited for a next hop's MAC (L16)"},
	BroadcastSent:     {"broadcast_sent", "broadcasts from VMs that were carried (A21)"},
	BroadcastReceived: {"broadcast_received", "broadcasts from the fabric that were delivered (L25)"},
	MulticastSent:     {"multicast_sent", "multicasts from VMs that were carried (A20, A21)"},
	MulticastReceived: {"multicast_received", "multicasts from the fabric that were delivered (L25)"},
	Replicated:        {"replicated", "copies made of broadcasts and multicasts, beyond the frame itself (A21)"},
	Fragments:         {"fragments", "fragments made of packets from VMs, beyond the packet itself (M7)"},
	ICMPSent:          {"icmp_sent", "packets from VMs answered by an ICMP message of the router (L11, L14, M6)"},
	Clamped:           {"mss_clamped", "TCP SYNs whose maximum segment size was lowered (M13)"},
	Stray:             {"stray", "tunnel packets without a local match, told to the control plane (L24)"},
	NoChecksum:        {"udp6_no_checksum", "UDP over IPv6 without a checksum from VMs of a rewrite subnet, carried as it is (R10)"},
	FabricError:       {"fabric_error", "ICMP errors of the fabric about rewritten packets, passed on to the VMs that sent those (R18)"},
	Checksums:         {"checksums", "TCP and UDP checksums that were left to be computed, and computed in software (R23)"},
	Segments:          {"segments", "frames from cutting larger ones in software, beyond the first of each (M12, O9)"},
	Coalesced:         {"coalesced", "TCP segments from the fabric that became part of a longer frame, for a VM that takes such (R22)"},
	ToHost:            {"to_host", "frames from an uplink given to the host's kernel (W20, W24)"},
	FromHost:          {"from_host", "frames from the host's kernel given to an uplink"},
}

// Name is the event's stable name in lower snake case.
func (e Event) Name() string { return events[e].name }

// Help is one line on what the event means, with the rule it comes from.
func (e Event) Help() string { return events[e].help }
