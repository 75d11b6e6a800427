package respond

import (
	"slices"
	"testing"

	"paca/dataplane/count"
	"paca/dataplane/packet"
)

const (
	pa     = "192.168.1.10"
	paVLAN = "192.168.3.10"   // in VLAN 103, with a MAC of its own
	pa6    = "2001:db8:1::10" // in VLAN 104
	fabric = "192.168.1.1"
	router = "2001:db8:1::1"
)

// A13: requests for this host's PAs are answered, in their VLAN, with its
// priority bits, and learned from.
func TestA13Answers(t *testing.T) {
	for _, c := range []struct {
		name           string
		dst            packet.MAC
		tci            uint16
		mac            packet.MAC
		sender, target string
	}{
		{"untagged", packet.Broadcast, 0, macUplink, fabric, pa},
		{"unicast", macUplink, 0, macUplink, fabric, pa},
		{"priority tag", packet.Broadcast, 5 << 13, macUplink, fabric, pa},
		{"VLAN, MAC of the PA", packet.Broadcast, 103, macPA, "192.168.3.1", paVLAN},
		{"VLAN and priority", packet.Broadcast, 7<<13 | 103, macPA, "192.168.3.1", paVLAN},
		{"probe of another machine (P14)", packet.Broadcast, 0, macUplink, "0.0.0.0", pa},
	} {
		t.Run("ARP "+c.name, func(t *testing.T) {
			before := arp(c.dst, macFabric, c.tci, 1, macFabric, c.sender, c.target)
			v, after := fromFabric(t, uplinkPort, slices.Clone(before))
			checkVerdict(t, v, Verdict{Reply: true, Learn: true}, before, after)
			checkARPReply(t, after, c.tci, c.mac, c.target, macFabric, c.sender)
		})
	}
	for _, c := range []struct {
		name        string
		tci         uint16
		from        string
		dstMAC, dst string
		flags       uint8
	}{
		{"VLAN", 104, router, macFabric.String(), router, packet.NDSolicited | packet.NDOverride},
		{"VLAN and priority", 3<<13 | 104, router, macFabric.String(), router, packet.NDSolicited | packet.NDOverride},
		{"from link-local", 104, "fe80::1", macFabric.String(), "fe80::1", packet.NDSolicited | packet.NDOverride},
		{"probe of another machine (P14)", 104, "::", "33:33:00:00:00:01", "ff02::1", packet.NDOverride},
	} {
		t.Run("ND "+c.name, func(t *testing.T) {
			before := ns(macFabric, c.tci, c.from, pa6)
			v, after := fromFabric(t, uplinkPort, slices.Clone(before))
			checkVerdict(t, v, Verdict{Reply: true, Learn: true}, before, after)
			checkNA(t, after, c.tci, macUplink, pa6, c.dstMAC, c.dst, c.flags)
		})
	}
}

func TestA13_P14ProviderVerdicts(t *testing.T) {
	learned := Verdict{Learn: true}
	duplicate := Verdict{Drop: count.PADuplicate, Learn: true}
	foreign := refused(count.PAForeign)
	request := func(tci uint16, sender, target string) []byte {
		return arp(packet.Broadcast, macFabric, tci, 1, macFabric, sender, target)
	}
	reply := func(tci uint16, sha packet.MAC, sender, target string) []byte {
		return arp(macUplink, sha, tci, 2, sha, sender, target)
	}
	group := packet.MAC{3, 0, 0, 0, 0, 1}
	for _, c := range []struct {
		name  string
		in    uint16
		frame []byte
		want  Verdict
	}{
		{"ARP reply to us", uplinkPort, reply(0, macFabric, fabric, pa), learned},
		{"ARP reply to us in the VLAN", uplinkPort, reply(103, macFabric, "192.168.3.1", paVLAN), learned},
		{"ARP announcement of a stranger", uplinkPort, request(0, fabric, fabric), learned},
		{"ARP announcing reply", uplinkPort, reply(0, macFabric, fabric, fabric), learned},
		{"ARP for a stranger", uplinkPort, request(0, fabric, "192.168.1.99"), foreign},
		{"ARP reply to a stranger", uplinkPort, reply(0, macFabric, fabric, "192.168.1.99"), foreign},
		{"A13 other uplink", otherUplink, request(0, fabric, pa), foreign},
		{"A13 untagged for the VLAN", uplinkPort, request(0, "192.168.3.1", paVLAN), foreign},
		{"A13 tagged for the untagged", uplinkPort, request(103, fabric, pa), foreign},
		{"A13 other VLAN", uplinkPort, request(104, "192.168.3.1", paVLAN), foreign},
		{"A13 two tags", uplinkPort, double(request(7, "192.168.3.1", paVLAN), 103), foreign},
		{"our own ARP, come back", uplinkPort, arp(packet.Broadcast, macUplink, 0, 1, macUplink, pa, fabric), foreign},
		{"our own probe, come back", uplinkPort, arp(packet.Broadcast, macUplink, 0, 1, macUplink, "0.0.0.0", pa), foreign},
		{"our own announcement, come back", uplinkPort, arp(packet.Broadcast, macPA, 103, 1, macPA, paVLAN, paVLAN), foreign},
		{"P14 announcement", uplinkPort, request(0, pa, pa), duplicate},
		{"P14 request", uplinkPort, request(0, pa, fabric), duplicate},
		{"P14 reply", uplinkPort, reply(0, macFabric, pa, pa), duplicate},
		{"P14 in the VLAN, from our uplink's MAC", uplinkPort, reply(103, macUplink, paVLAN, paVLAN), duplicate},
		{"PA in another VLAN is another's", uplinkPort, request(105, pa, pa), learned},
		{"ARP from a group", uplinkPort, arp(packet.Broadcast, macFabric, 0, 1, group, fabric, pa), refused(count.ARPMalformed)},
		{"ARP from everyone", uplinkPort, reply(0, packet.Broadcast, fabric, pa), refused(count.ARPMalformed)},
		{"ARP operation", uplinkPort, arp(packet.Broadcast, macFabric, 0, 8, macFabric, fabric, pa), refused(count.ARPMalformed)},
		{"ARP hardware", uplinkPort, mod(request(0, fabric, pa), func(f []byte) { f[15] = 6 }), refused(count.ARPMalformed)},

		{"NA to us", uplinkPort, na(macFabric, macFabric, 104, router, pa6, router, packet.NDSolicited), learned},
		{"NA to all", uplinkPort, na(macFabric, macFabric, 104, router, "ff02::1", router, packet.NDOverride), learned},
		{"NA to a stranger", uplinkPort, na(macFabric, macFabric, 104, router, "2001:db8:1::99", router, packet.NDSolicited), foreign},
		{"NA in another VLAN", uplinkPort, na(macFabric, macFabric, 105, router, pa6, router, packet.NDSolicited), foreign},
		{"NS for a stranger", uplinkPort, ns(macFabric, 104, router, "2001:db8:1::99"), foreign},
		{"NS on the other uplink", otherUplink, ns(macFabric, 104, router, pa6), foreign},
		{"NS untagged", uplinkPort, ns(macFabric, 0, router, pa6), foreign},
		{"NS in two tags", uplinkPort, double(ns(macFabric, 7, router, pa6), 104), foreign},
		{"our own NS, come back", uplinkPort, ns(macUplink, 104, pa6, router), foreign},
		{"our own probe by NS, come back", uplinkPort, ns(macUplink, 104, "::", pa6), foreign},
		{"our own NA, come back", uplinkPort, na(macUplink, macUplink, 104, pa6, "ff02::1", pa6, packet.NDOverride), foreign},
		{"P14 NA", uplinkPort, na(macFabric, macFabric, 104, pa6, "ff02::1", pa6, packet.NDOverride), duplicate},
		{"P14 NS", uplinkPort, ns(macFabric, 104, pa6, router), duplicate},
		{"A10 hop limit", uplinkPort, mod(ns(macFabric, 104, router, pa6), func(f []byte) { f[25] = 1 }), refused(count.NDInvalid)},
		{"A10 checksum", uplinkPort, mod(na(macFabric, macFabric, 104, router, pa6, router, 0), func(f []byte) { f[60]++ }), refused(count.NDInvalid)},
		{"NA of a group", uplinkPort, na(macFabric, group, 104, router, pa6, router, packet.NDSolicited), refused(count.NDInvalid)},
		{"NS from a group", uplinkPort, ns(group, 104, router, pa6), refused(count.NDInvalid)},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, after := fromFabric(t, c.in, slices.Clone(c.frame))
			checkVerdict(t, v, c.want, c.frame, after)
		})
	}
}

// P14: for a PA that is another machine's nobody is answered here; what is heard of
// it goes to the control plane.
func TestP14DuplicateIsNotAnsweredFor(t *testing.T) {
	shared := testFIB(t)
	f := *shared
	f.PAs = slices.Clone(shared.PAs)
	for i := range f.PAs {
		f.PAs[i].Duplicate = true
	}
	for _, frame := range [][]byte{
		arp(packet.Broadcast, macFabric, 0, 1, macFabric, fabric, pa),
		arp(packet.Broadcast, macFabric, 0, 1, macFabric, "0.0.0.0", pa),
		arp(packet.Broadcast, macFabric, 103, 1, macFabric, "192.168.3.1", paVLAN),
		ns(macFabric, 104, router, pa6),
		ns(macFabric, 104, "::", pa6),
	} {
		m := buffer(t, slices.Clone(frame))
		var l packet.Layout
		if fault := packet.Parse(m.Data(), &l); fault != packet.OK {
			t.Fatal(fault)
		}
		checkVerdict(t, provider(&f, uplinkPort, m, &l), Verdict{Drop: count.PADuplicate, Learn: true}, frame, m.Data())
	}
}
