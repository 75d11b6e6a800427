// Package count is where every packet's end is written down: the one list of
// drop reasons, which hot path, CLI, trace and Prometheus all use, and the
// per-worker counters that one goroutine writes and anyone reads.
//
// Floor 1. It imports nothing of paca.
package count

// Reason says why a packet was dropped. The zero value, Kept, means that it was
// not.
type Reason uint8

// The reasons, in the order in which a packet meets them. To add one: a
// constant here, its row in reasons below.
const (
	Kept Reason = iota

	// Any port.
	Runt
	IPVersion
	IPHeader
	IPLength
	IPv6Extension
	VLANTags
	MultiSegment
	ChecksumUnsupported
	GSOUnsupported
	TxFull
	NoBuffer
	PortDown

	// From a VM.
	PortNoVSID
	SourceMAC
	SourceCA
	Learning
	DHCPGuard
	RouterGuard
	NotIP
	ARPMalformed
	ARPSelf
	ARPUnknown
	NDInvalid
	NDSelf
	NDUnknown
	Storm
	Broadcast
	Multicast
	NoReceiver
	RouterCA
	TTLExceeded
	LookupFailed
	OtherSubnet
	NoLocalPort
	PASource
	PAFamily
	ModeMissing
	ModeMixed
	RewriteGateway
	RewriteARP
	ProviderRoute
	NeighborQueue
	NeighborFailed
	MTUExceeded
	Headroom
	ShortFragment

	// From the fabric.
	WorkerQueue
	OuterVLAN
	OuterOther
	OuterChecksum
	OuterFragment
	GREVersion
	GREReserved
	GREOther
	GREOptions
	VSIDReserved
	VSIDUnknown
	InnerRunt
	InnerTagged
	InnerNotIP
	InnerMalformed
	InnerBroadcast
	InnerUnknown
	InnerMAC
	InnerSpoofed
	NVEControl
	OuterECN
	RewriteSource
	PAForeign
	PADuplicate
	ControlQueue

	NumReasons // not a reason
)

// reasons names and explains every Reason. Names are label values of the
// metric paca_drops_total and never change once released.
var reasons = [NumReasons]struct{ name, help string }{
	Kept: {"kept", "not dropped"},

	Runt:                {"runt", "frame shorter than the headers it claims to have"},
	IPVersion:           {"ip_version", "IP version field contradicts the EtherType"},
	IPHeader:            {"ip_header", "IPv4 header length below 20 bytes or beyond the packet (W21)"},
	IPLength:            {"ip_length", "IP length beyond the frame or below the header (W21)"},
	IPv6Extension:       {"ipv6_extension", "IPv6 extension headers malformed or more than are followed"},
	VLANTags:            {"vlan_tags", "more than two VLAN tags"},
	MultiSegment:        {"multi_segment", "packet of several buffer segments where one is required"},
	ChecksumUnsupported: {"checksum_unsupported", "its checksum was left to be done, and is not one of TCP or UDP (R23)"},
	GSOUnsupported:      {"gso_unsupported", "it was left to be cut, and cannot be: not plain data of TCP or UDP, or into more pieces than anyone needs (M12, O9)"},
	TxFull:              {"tx_full", "the output port's queue did not take the packet"},
	NoBuffer:            {"no_buffer", "no packet buffer left in the pool"},
	PortDown:            {"port_down", "from or for a port that is plugged out, or that policy does not know yet"},

	PortNoVSID:     {"port_no_vsid", "frame from a VM port without a VSID: not virtualized (L1)"},
	SourceMAC:      {"source_mac", "source MAC is not the port's (L2)"},
	SourceCA:       {"source_ca", "no lookup record for the port's VSID, source CA and source MAC (L3)"},
	Learning:       {"learning", "from a VM whose CA is being learned: its next frames pass if it may have it (A16)"},
	DHCPGuard:      {"dhcp_guard", "DHCP server's message from a port with dhcp_guard (L31)"},
	RouterGuard:    {"router_guard", "router advertisement or redirect from a port with router_guard (L31)"},
	NotIP:          {"not_ip", "neither IPv4, IPv6 nor ARP (L5)"},
	ARPMalformed:   {"arp_malformed", "ARP packet that is not Ethernet and IPv4, or of an unknown operation"},
	ARPSelf:        {"arp_self", "ARP announcement or probe of the VM's own CA: nothing to answer (A7)"},
	ARPUnknown:     {"arp_unknown", "ARP request for a CA without a record in the VSID: silence (A5, A6)"},
	NDInvalid:      {"nd_invalid", "neighbor discovery message that RFC 4861 says to discard (A10)"},
	NDSelf:         {"nd_self", "neighbor discovery of the VM's own CA: nothing to answer (A7)"},
	NDUnknown:      {"nd_unknown", "neighbor solicitation for a CA without a record in the VSID: silence (A5)"},
	Storm:          {"storm", "broadcasts and multicasts that would become more packets per second than the port's storm_limit"},
	Broadcast:      {"broadcast", "broadcast that is not of the sender's own virtual subnet (A22, A24)"},
	Multicast:      {"multicast", "multicast of a scope that does not leave its sender"},
	NoReceiver:     {"no_receiver", "broadcast or multicast, and nobody else is in the virtual subnet (A21)"},
	RouterCA:       {"router_ca", "addressed to the router CA itself (L11)"},
	TTLExceeded:    {"ttl_exceeded", "TTL or hop limit used up between virtual subnets, and no ICMP error may be sent for it (L14, M9)"},
	LookupFailed:   {"lookup_failed", "no lookup record and no customer route for the destination CA (L7, L9)"},
	OtherSubnet:    {"other_subnet", "destination in another virtual subnet, and no external router has a record (L18)"},
	NoLocalPort:    {"no_local_port", "destination VM is of this host, but no port has its VSID and MAC (L15)"},
	PASource:       {"pa_source", "PA of the source VM's record is not assigned on this host (P13)"},
	PAFamily:       {"pa_family", "source and destination PA are of different IP families (W14)"},
	ModeMissing:    {"mode_missing", "virtual subnet's mode is not the packet's, or not one this host carries (R4)"},
	ModeMixed:      {"mode_mixed", "one of source and destination is in a rewrite subnet, the other is not (R4)"},
	RewriteGateway: {"rewrite_gateway", "for an address without a record, by a gateway in a rewrite subnet: that address has no PA (R25)"},
	RewriteARP:     {"rewrite_arp", "ARP or neighbor discovery for a VM of another host in a rewrite subnet, which carries none (R19)"},
	ProviderRoute:  {"provider_route", "no provider route to the destination PA (L16)"},
	NeighborQueue:  {"neighbor_queue", "PA next hop not resolved yet and its queue is full (L16)"},
	NeighborFailed: {"neighbor_failed", "PA next hop did not answer in time (L16)"},
	MTUExceeded:    {"mtu_exceeded", "packet larger than the path carries, and no ICMP error may be sent for it (M5, M9)"},
	Headroom:       {"headroom", "no room in the buffer for the outer header (O29)"},
	ShortFragment:  {"short_fragment", "first fragment too short to hold the transport's checksum, which must be rewritten (R13)"},

	WorkerQueue:    {"worker_queue", "the worker that its flow is given to is behind: the queue to it was full"},
	OuterVLAN:      {"outer_vlan", "for a local PA, but not in its VLAN (W20)"},
	OuterOther:     {"outer_other", "not tunnel traffic for a local PA (W20)"},
	OuterChecksum:  {"outer_checksum", "outer IPv4 header checksum wrong (W21)"},
	OuterFragment:  {"outer_fragment", "fragment of a tunnel packet (W22)"},
	GREVersion:     {"gre_version", "GRE version is not 0 (W23)"},
	GREReserved:    {"gre_reserved", "reserved GRE bits 1, 4 or 5 set (W23)"},
	GREOther:       {"gre_other", "GRE without key or not Transparent Ethernet Bridging (W24)"},
	GREOptions:     {"gre_options", "GRE checksum or sequence number present (W25)"},
	VSIDReserved:   {"vsid_reserved", "VSID below 4096 or 0xFFFFFF (W26)"},
	VSIDUnknown:    {"vsid_unknown", "no virtual subnet of that VSID here (L21)"},
	InnerRunt:      {"inner_runt", "inner frame shorter than an Ethernet header (W28)"},
	InnerTagged:    {"inner_tagged", "inner frame carries a VLAN tag (W28)"},
	InnerNotIP:     {"inner_not_ip", "inner frame is neither IPv4, IPv6 nor ARP (W29)"},
	InnerMalformed: {"inner_malformed", "inner packet truncated or contradicting itself (W30)"},
	InnerBroadcast: {"inner_broadcast", "inner broadcast or multicast that nobody here receives, or whose sender is not behind the outer source PA (L22, L25)"},
	InnerUnknown:   {"inner_unknown", "no local VM with that VSID and destination CA behind the outer destination PA (L21)"},
	InnerMAC:       {"inner_mac", "inner destination MAC is not the record's (L21)"},
	InnerSpoofed:   {"inner_spoofed", "inner source CA does not live behind the outer source PA (L22)"},
	NVEControl:     {"nve_control", "NVE control message that is malformed, not believed, or not wanted (N10, N12)"},
	OuterECN:       {"outer_ecn", "congestion marked on the outer header of an inner packet that cannot carry the mark (W16, RFC 6040)"},
	RewriteSource:  {"rewrite_source", "for a VM's own PA, but from no PA of a VM of its routing domain on another host (R5)"},
	PAForeign:      {"pa_foreign", "ARP or ND on the provider side that concerns no PA of this host (A13)"},
	PADuplicate:    {"pa_duplicate", "another machine claims a PA of this host, or it was found to have it (P14)"},
	ControlQueue:   {"control_queue", "for the control plane, which has too many: its queue was full, or the port had its share"},
}

// Name is the reason's stable name in lower snake case.
func (r Reason) Name() string { return reasons[r].name }

// Help is one line on what the reason means, with the rule it comes from.
func (r Reason) Help() string { return reasons[r].help }

// String is Name.
func (r Reason) String() string { return r.Name() }

// ReasonOf finds a reason by its name.
func ReasonOf(name string) (Reason, bool) {
	for r := Kept + 1; r < NumReasons; r++ {
		if reasons[r].name == name {
			return r, true
		}
	}
	return Kept, false
}
