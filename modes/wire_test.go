package modes_test

import (
	"encoding/binary"
	"testing"

	"paca/dataplane/packet"
	"paca/modes/nvgre"
)

// W17: over IPv6 the flow label is one flow's, as FlowID is, and says more.
func TestW17FlowLabel(t *testing.T) {
	set := testPolicy()
	for i := range set.LookupRecords[:2] { // 10.1.1.11 and 10.1.1.12
		set.LookupRecords[i].PA = addr([]string{"2001:db8:1::10", "2001:db8:2::20"}[i])
	}
	set.ProviderAddresses = append(set.ProviderAddresses, set.ProviderAddresses[0])
	set.ProviderAddresses[1].Prefix = prefix("2001:db8:1::10/64")
	set.ProviderRoutes = append(set.ProviderRoutes, set.ProviderRoutes[0])
	set.ProviderRoutes[1].Prefix, set.ProviderRoutes[1].NextHop = prefix("::/0"), addr("2001:db8:1::1")
	labels := func(c nvgre.Config) map[uint32]bool {
		r := newRig(t, set, c)
		seen := map[uint32]bool{}
		for port := range uint16(200) {
			f := append(unhex(inner1), make([]byte, 8)...)
			f[23] = packet.ProtoUDP
			binary.BigEndian.PutUint16(f[34:], port)
			var label uint32
			for i := range 2 {
				got := r.only(r.trip(blue1, f), uplink)[0]
				ip := packet.IPv6(got[14:])
				if i > 0 && ip.FlowLabel() != label {
					t.Fatal("the flow label of one flow changes")
				}
				label = ip.FlowLabel()
			}
			seen[label] = true
		}
		r.balance(0)
		return seen
	}
	if n := len(labels(nvgre.Config{})); n < 190 {
		t.Errorf("200 flows have %d labels", n)
	}
	if none := labels(nvgre.Config{ZeroFlowID: true}); len(none) != 1 || !none[0] {
		t.Errorf("labels %v with ZeroFlowID", none)
	}
}

// W27: whatever the FlowID, the same frame arrives.
func TestW27FlowIDIgnored(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	for id := range 256 {
		f := fromFabric()
		f[41] = byte(id)
		if got := r.only(r.trip(uplink, f), blue1)[0]; string(got) != string(fromFabric()[42:]) {
			t.Fatalf("FlowID %d: %x", id, got)
		}
	}
	r.balance(0)
}

// A11: a guest that looks for routers hears of none.
func TestA11NoAdvertisement(t *testing.T) {
	r := newRig(t, testPolicy(), nvgre.Config{})
	src, dst := addr("fd00:1::11").As16(), addr("ff02::2").As16()
	solicitation := append(unhex("333300000002 101010101105 86dd 6000000000083aff"), append(src[:], dst[:]...)...)
	solicitation = append(solicitation, 133, 0, 0, 0, 0, 0, 0, 0)
	packet.ICMPv6(solicitation[54:]).Encode(packet.ICMPFields{Type: 133}, src, dst)
	if out := r.trip(blue1, solicitation); len(out[blue1]) > 0 {
		t.Errorf("answered by %x", out[blue1][0])
	}
	r.balance(0)
}
