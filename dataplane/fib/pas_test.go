package fib

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"unsafe"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// PAs of this host come and go with the VMs that have them to themselves, some of
// them before others in order, some with another VLAN: after each change everything
// is as a Compile has it, older versions are what they were, and what records and
// ways have nothing to do with the change is shared.
func TestPAsComeAndGo(t *testing.T) {
	r := random(t)
	set := outerPolicy("192.168.2.20", 1500)
	set.VirtualSubnets = append(set.VirtualSubnets,
		policy.VirtualSubnet{VSID: 7001, RDID: policy.RDID{7}, Prefixes: []netip.Prefix{prefix("10.7.0.0/16"), prefix("fd07::/64")}, Mode: policy.Rewrite})
	const vms, far = 24, 60
	var pas []policy.ProviderAddress
	for i := range vms {
		mac := packet.MAC{2, 7, 5: byte(i)}
		set.Ports = append(set.Ports, policy.Port{Name: fmt.Sprintf("vm%d", i), Role: policy.VM, VSID: 7001, MAC: mac, MTU: 1500})
		rec := policy.LookupRecord{VSID: 7001, CA: addr4(0x0a070010 + uint32(i)), MAC: mac, PA: addr4(0xc0a80105 + 3*uint32(i)), UseVMMAC: i%3 == 0}
		length := 24
		if i%4 == 3 {
			rec.CA, rec.PA = netip.AddrFrom16([16]byte{0: 0xfd, 1: 7, 15: byte(16 + i)}), netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 5: 1, 15: byte(5 + 3*i)})
			length = 64
		}
		set.LookupRecords = append(set.LookupRecords, rec)
		pas = append(pas, policy.ProviderAddress{Prefix: netip.PrefixFrom(rec.PA, length), Port: "uplink0"})
	}
	for i := range far {
		set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{VSID: 7001, CA: addr4(0x0a070100 + uint32(i)), MAC: packet.MAC{2, 8, 4: 7, 5: byte(i)}, PA: addr4(0xc0a81000 + uint32(i))})
	}
	b, d, c := bookOf(set), devicesOf(set), NewCompiler()
	f := c.Compile(b, d, hopMAC)
	type version struct {
		f       *FIB
		content []string
	}
	var versions []version
	shared, steps := 0, 0
	for range 200 {
		var changes []policy.Change
		for _, i := range r.Perm(vms)[:r.IntN(4)] {
			pa := pas[i]
			_, here := b.Get(pa.Key())
			switch k := r.IntN(8); {
			case here && k > 0:
				changes = append(changes, policy.Change{Verb: policy.Delete, Object: pa})
			case k == 1:
				pa.VLAN = 103
				fallthrough
			default:
				changes = append(changes, policy.Change{Verb: policy.Put, Object: pa})
			}
			if rec := set.LookupRecords[1+i]; r.IntN(8) == 0 {
				rec.UseVMMAC = r.IntN(2) == 0
				changes = append(changes, policy.Change{Verb: policy.Put, Object: rec})
			}
		}
		if i := r.IntN(far); r.IntN(3) == 0 {
			rec := set.LookupRecords[1+vms+i]
			rec.PA = addr4(0xc0a82000 + uint32(r.IntN(1<<12)))
			if r.IntN(2) == 0 { // a way of its own
				rec.PA = addr4(0xc0a80180 + uint32(r.IntN(64)))
			}
			changes = append(changes, policy.Change{Verb: policy.Put, Object: rec})
		}
		if i := r.IntN(vms); r.IntN(4) == 0 {
			d = maps.Clone(d)
			name := fmt.Sprintf("vm%d", i)
			if _, open := d[name]; open {
				delete(d, name)
			} else {
				d[name] = Device{Index: uint16(2 + i)}
			}
		}
		applied, err := b.Apply(changes)
		if err != nil {
			continue
		}
		columns := make([]int, len(f.adjs))
		for s := range f.adjs {
			columns[s] = len(f.adjs[s])
		}
		g := c.Update(applied, b, d, hopMAC)
		for s := range f.adjs {
			if len(f.adjs[s]) != columns[s] {
				t.Fatal("the version before has more ways than it had")
			}
		}
		now := content(g)
		same(t, now, content(NewCompiler().Compile(b, d, hopMAC)))
		if steps++; unsafe.SliceData(g.remotes) == unsafe.SliceData(f.remotes) {
			shared++
		}
		versions = append(versions, version{g, now})
		f = g
	}
	for _, v := range versions {
		same(t, content(v.f), v.content)
	}
	c.audit(t)
	t.Logf("%d updates, %d of which share all PAs of the fabric", steps, shared)
	if steps < 100 || shared < steps/2 {
		t.Error("the PAs of the fabric are made anew for PAs of this host")
	}
}
