package ci

// state is what paca makes of a rule.
type state int

const (
	implemented   state = iota // shown by tests that carry its number in their names
	different                  // deliberately; why says what paca does instead
	notApplicable              // why says what there is not
)

// rule is one rule of the specification of HNV, in a line of our own words.
type rule struct {
	id, line string
	state    state
	why      string
}

// rules are those of the sections on the wire format (W), forwarding (L), ARP, ND,
// DHCP and broadcast (A), MTU (M) and messages between hosts (N), without gaps but
// for those of the numbering.
var rules = []rule{
	{id: "W1", line: "outer Ethernet, IPv4 or IPv6 with protocol 47, 8 bytes of GRE, the tenant's Ethernet frame"},
	{id: "W2", line: "GRE begins with 20 00 65 58: a key, no checksum, no sequence number, Ethernet inside"},
	{id: "W3", line: "the key is VSID in the upper 24 bits, FlowID in the lower 8"},
	{id: "W4", line: "VSIDs are 4096 to 16777214"},
	{id: "W5", line: "FlowID is constant for one inner flow and spreads over many; 0 if not made"},
	{id: "W6", line: "the inner frame has no frame check sequence"},
	{id: "W7", line: "VLAN tags of the VM, one or two of any kind, are taken off before encapsulation"},
	{id: "W8", line: "of the inner frames that GRE could carry, those with IPv4, IPv6 or ARP are"},
	{id: "W9", line: "CA and PA families are independent: four combinations"},
	{id: "W10", line: "outer MACs: the uplink's, or the PA's own, and that of the next hop"},
	{id: "W11", line: "an outer VLAN tag if the source PA has a VLAN, else none"},
	{id: "W12", line: "outer IPv4 header of 20 bytes, TTL 128, right lengths and checksum, identification counted up; hop limit 128"},
	{id: "W13", line: "outer IPv4 says DF and is never a fragment"},
	{id: "W14", line: "outer addresses are the PAs of the source's and of the destination's record"},
	{id: "W15", line: "the key's VSID is the destination's, after routing too"},
	{id: "W16", line: "DSCP and ECN go out, congestion marks come in (RFC 6040); outer and inner TTL are independent"},
	{id: "W17", line: "the fabric may spread by key or flow label: IPv6 outer headers have a flow label from the flow's hash"},
	{id: "W18", line: "broadcast goes to a PA multicast group, or as one unicast copy to each host"},
	{id: "W19", line: "outer headers take 42 bytes of the PA's MTU, 62 over IPv6"},
	{id: "W20", line: "tunnel traffic is protocol 47 for a PA of this host in its VLAN; all else goes the ordinary way"},
	{id: "W21", line: "a truncated or lying outer header is dropped; the inner length is the outer IP header's word, not the frame's"},
	{id: "W22", line: "outer fragments are dropped"},
	{id: "W23", line: "GRE version and bits 1, 4, 5 must be 0; bits 6 to 12 are ignored"},
	{id: "W24", line: "GRE that is not NVGRE is not the tenants': the host's kernel gets it"},
	{id: "W25", line: "a GRE checksum or sequence number is dropped"},
	{id: "W26", line: "reserved VSIDs in the key are dropped"},
	{id: "W27", line: "FlowID means nothing on receipt"},
	{id: "W28", line: "an inner frame below 14 bytes or with a VLAN tag is dropped"},
	{id: "W29", line: "an inner frame that is neither IPv4, IPv6 nor ARP is dropped"},
	{id: "W30", line: "after the wire's rules come those of policy (L20 to L25)"},

	{id: "L1", line: "a VM port without a VSID is not virtualized"},
	{id: "L2", line: "a VM speaks with its port's MAC, unless MAC spoofing is allowed"},
	{id: "L3", line: "port VSID, source CA and source MAC match a record; exceptions for L2Only and wildcard records"},
	{id: "L4", line: "ARP and neighbor discovery are dealt with by section A"},
	{id: "L5", line: "what is neither IP nor ARP is dropped"},
	{id: "L6", line: "broadcast and multicast are dealt with by section A"},
	{id: "L7", line: "one table of routes for each routing domain: longest prefix, then metric; the frame's destination MAC plays no part", state: different,
		why: "a CA with a record of its own is reached by it, whatever the routes (L8): one look-up for what is known; routes decide for the rest"},
	{id: "L8", line: "2012: the record of the destination itself comes before any route, and packets within a host are not looked up", state: different,
		why: "the first holds; as in R2, every packet of a VM is looked up"},
	{id: "L9", line: "the route's next hop needs a record in the route's VSID, else the lookup failed"},
	{id: "L10", line: "without a record for the CA, an L2Only record with the frame's destination MAC serves"},
	{id: "L11", line: "the router CA does not answer ping"},
	{id: "L12", line: "the record's MAC becomes the destination; between subnets the router's becomes the source; addresses stay"},
	{id: "L13", line: "a failed lookup is counted, dropped, and told to who watches"},
	{id: "L14", line: "TTL goes down between subnets and nowhere else; at its end, time exceeded from the router CA"},
	{id: "L15", line: "to a VM of this host without the wire, else by the subnet's mode"},
	{id: "L16", line: "provider route, next hop, its MAC by ARP or ND in the PA's VLAN"},
	{id: "L17", line: "routing domains never meet"},
	{id: "L18", line: "with an external router, paca neither claims the router CA nor routes"},
	{id: "L20", line: "names of the fields that a received packet is judged by"},
	{id: "L21", line: "a received packet needs a record: its VSID, CA, MAC and PA, and a port"},
	{id: "L22", line: "the inner source lives, in the routing domain, behind the outer source PA, or behind a gateway there"},
	{id: "L23", line: "a frame is delivered to ports of its VSID alone"},
	{id: "L24", line: "no local match: dropped, told to the sender; never sent on"},
	{id: "L25", line: "received broadcast goes to the local ports of its VSID and to no other host"},
	{id: "L30", line: "the VSID is the port's, whatever the packet says"},
	{id: "L31", line: "switches per port: MAC spoofing, DHCP guard, router guard, all off at first"},
	{id: "L32", line: "a limit per port of learned addresses"},
	{id: "L40", line: "a VM moves by a change of its records' PA, all at once, and no other CA notices"},

	{id: "A1", line: "ARP and ND requests are answered from records and flood nothing"},
	{id: "A2", line: "the answer has the VM's own MAC, for distant VMs too"},
	{id: "A3", line: "for the router CA the router record's MAC, or one that is the same on all hosts"},
	{id: "A4", line: "fields of the ARP reply"},
	{id: "A5", line: "nobody's CA: silence, or with L2Only records in the subnet a flood"},
	{id: "A6", line: "a CA of another subnet is not answered for"},
	{id: "A7", line: "a VM that announces its own CA gets no answer; one that announces another's does"},
	{id: "A8", line: "unicast requests are carried to the VM that is asked, its answer back"},
	{id: "A9", line: "fields of the neighbor advertisement"},
	{id: "A10", line: "neighbor discovery that RFC 4861 calls invalid is dropped"},
	{id: "A11", line: "the router sends no advertisements"},
	{id: "A12", line: "another's address cannot be had by gratuitous ARP; learned addresses move"},
	{id: "A13", line: "provider side: PAs are answered for, in their VLAN, and probed for duplicates"},
	{id: "A14", line: "a VM whose CA policy knows can have it by DHCP from its own host; nothing crosses the fabric"},
	{id: "A15", line: "a tenant's own DHCP server works between L2Only records"},
	{id: "A16", line: "an address that a VM with an L2Only record comes to use becomes a Dynamic record, and is told"},
	{id: "A17", line: "Dynamic records go with VM or lease, and yield to Static ones"},
	{id: "A20", line: "a record may map a group CA to a PA multicast group: one copy goes there"},
	{id: "A21", line: "else one copy for each PA with VMs of the subnet, and one for each local port"},
	{id: "A22", line: "broadcast and multicast stay in their virtual subnet"},
	{id: "A23", line: "2012: broadcast and multicast are dropped", state: notApplicable, why: "that is 2012; paca carries them as R2 does (A20, A21)"},
	{id: "A24", line: "subnet-directed broadcast is broadcast only from inside the subnet"},

	{id: "M1", line: "a VM's MTU is its PAs' less 42, over IPv6 62"},
	{id: "M2", line: "the VM is told its MTU by its virtual NIC", state: different,
		why: "by DHCP (A14), which every guest understands, and by ICMP when it sends too much (M6)"},
	{id: "M3", line: "jumbo frames on the PA's NIC: no reduction"},
	{id: "M4", line: "Linux guests that do not take the MTU they are told"},
	{id: "M5", line: "the inner IP packet is measured against the path's MTU less 42 or 62"},
	{id: "M6", line: "too big and not to be fragmented: ICMP 3/4, or Packet Too Big, with what would fit", state: different,
		why: "as it says, but no IPv6 guest can be told of less than 1280 (RFC 8200): behind a path that carries less than 1322, from IPv6 PAs 1342, it cannot use IPv6 with large packets"},
	{id: "M7", line: "too big and allowed: the inner packet is fragmented, the outer never"},
	{id: "M8", line: "such errors come from the router CA and the router's MAC, and quote enough"},
	{id: "M9", line: "no error about an error, a later fragment, a group; and so many a second"},
	{id: "M10", line: "a path's MTU is learned from the fabric's ICMP about our own tunnel packets"},
	{id: "M11", line: "MTUs below 68 or 1280 are not believed; what was learned ages", state: different,
		why: "of IPv4, none below 576 is: less the outer headers, guests could not be told, and who forges one would have every packet cut to shreds"},
	{id: "M12", line: "of a super-packet, the segments are measured", state: notApplicable, why: "VMs are offered no segmentation, so there are no super-packets"},
	{id: "M13", line: "by setting, the MSS of SYNs is lowered to what fits"},
	{id: "M14", line: "rewrite: ICMP of the fabric is translated (R18)", state: notApplicable, why: "there is no rewrite mode yet"},

	{id: "N1", line: "control messages are NVGRE packets with an ICMP message inside"},
	{id: "N2", line: "REDIRECT is ICMP 5/10, ICMPv6 137/1"},
	{id: "N3", line: "UNREACHABLE is ICMP 3/10, ICMPv6 1/1"},
	{id: "N4", line: "from the receiving host's PA to the sending host's; TTL 128"},
	{id: "N5", line: "inner MACs and addresses are the hosts'; of a REDIRECT the destination is the new PA"},
	{id: "N6", line: "they quote the packet they are about, at least GRE, Ethernet and IP header"},
	{id: "N7", line: "REDIRECT for what is sent to a VM that moved, until the sender knows; so many a second"},
	{id: "N8", line: "UNREACHABLE for what no policy fits"},
	{id: "N9", line: "their VSID is that of the packet they are about"},
	{id: "N10", line: "believed only from the PA that policy has for the VM in question"},
	{id: "N11", line: "a REDIRECT is told to who watches"},
	{id: "N12", line: "a setting: off, notify (at first) or act"},
}

// numbered are the highest rules of the sections that have no table here, but may
// be named by tests: policy, rewrite, cmdlets, counters, gateways, offloads.
var numbered = map[byte]int{'P': 26, 'R': 25, 'C': 8, 'E': 14, 'G': 13, 'O': 35}
