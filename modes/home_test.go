package modes_test

import (
	"testing"

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
	r.balance(0)
}
