package modes_test

import (
	"net/netip"
	"testing"

	"paca/dataplane/count"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/modes/nvgre"
)

// A host whose VMs live behind several PAs gets a copy for each, and each VM the one
// for its own.
func TestA21_L25OneCopyForEachVM(t *testing.T) {
	set := testPolicy()
	set.ProviderAddresses = append(set.ProviderAddresses, policy.ProviderAddress{Prefix: prefix("192.168.1.11/24"), Port: "uplink"})
	for i := range set.LookupRecords {
		if r := &set.LookupRecords[i]; r.MAC == macBlue3 {
			r.PA = addr("192.168.1.11")
		}
	}
	r := newRig(t, set, nvgre.Config{})
	for last, want := range map[byte]int{10: blue1, 11: blue3} {
		f := fromFabric()
		f[33] = last
		copy(f[42:], packet.Broadcast[:])
		if got := r.only(r.trip(uplink, reseal(f)), want); len(got) != 1 {
			t.Errorf("%d copies for PA .%d", len(got), last)
		}
	}
	// Whose VMs live behind neither hears nothing.
	set.ProviderAddresses = append(set.ProviderAddresses, policy.ProviderAddress{Prefix: prefix("192.168.1.12/24"), Port: "uplink"})
	r2 := newRig(t, set, nvgre.Config{})
	f := fromFabric()
	f[33] = 12
	copy(f[42:], packet.Broadcast[:])
	r2.dropped(r2.trip(uplink, reseal(f)), uplink, 1, count.InnerBroadcast)
	r2.balance(0)
	r.balance(0)
}

// Of several PAs that a VM lives behind, frames that no record is for have the first.
func TestA21FirstOfSeveralPAs(t *testing.T) {
	set := wholePolicy()
	for i := range 8 {
		pa := netip.AddrFrom4([4]byte{192, 168, 1, byte(11 + i)})
		set.ProviderAddresses = append(set.ProviderAddresses, policy.ProviderAddress{Prefix: netip.PrefixFrom(pa, 24), Port: "uplink"})
		set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{VSID: 6001, CA: netip.AddrFrom4([4]byte{10, 1, 1, byte(200 + i)}), MAC: macBlue1, PA: pa})
	}
	d := toGroup("fe80::1", "ff02::1")
	for range 10 {
		r := newRig(t, set, nvgre.Config{})
		for _, f := range r.trip(blue1, d.frame())[uplink] {
			if w := unwrap(t, f); w.from != paHere {
				t.Errorf("from %s", w.from)
			}
		}
		r.balance(0)
	}
}

// A VM's broadcasts leave from the PA of its own record, to the PAs of that family: a
// VM behind both gets one.
func TestA21_W14OneFamilyForEachVM(t *testing.T) {
	const far6, here6 = "2001:db8:2::20", "2001:db8:1::10"
	set := dual(0, 0)
	set.ProviderRoutes = append(set.ProviderRoutes, policy.ProviderRoute{Port: "uplink", Prefix: prefix("::/0"), NextHop: addr("2001:db8:1::1")})
	for i := range set.LookupRecords { // IPv6 CAs behind IPv6 PAs, and blue3 there altogether
		if r := &set.LookupRecords[i]; r.CA.Is6() || r.MAC == macBlue3 {
			switch r.PA {
			case addr(paHere):
				r.PA = addr(here6)
			case addr(paFar):
				r.PA = addr(far6)
			}
		}
	}
	r := newRig(t, set, nvgre.Config{})
	for _, c := range []struct {
		src, dst string
		pas      []string
		here     string
	}{
		{"10.1.1.11", "255.255.255.255", []string{paFar, "192.168.2.21"}, paHere},
		{"fd00:1::11", "ff02::1", []string{far6}, here6},
		{"fe80::1", "ff02::1", []string{paFar, "192.168.2.21"}, paHere}, // of no record
	} {
		d := toGroup(c.src, c.dst)
		out := r.trip(blue1, d.frame())
		r.copies(out, d.frame(), 6001, []int{blue3}, c.pas...)
		for _, f := range out[uplink] {
			if w := unwrap(t, f); w.from != c.here {
				t.Errorf("from %s, want %s", w.from, c.here)
			}
		}
	}
	if d := r.drops(); len(d) != 0 {
		t.Errorf("drops %v", d)
	}
	// From there: through each PA to those who live behind it.
	d := toGroup("10.1.1.12", "255.255.255.255")
	d.from = macBlue2
	r.copies(r.trip(uplink, tunnel(6001, paFar, paHere, d.frame())), d.frame(), 6001, []int{blue1})
	d = toGroup("fd00:1::12", "ff02::1")
	d.from = macBlue2
	r.copies(r.trip(uplink, tunnel(6001, far6, here6, d.frame())), d.frame(), 6001, []int{blue1, blue3})
	r.balance(0)
}
