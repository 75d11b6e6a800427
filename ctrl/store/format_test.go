package store

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// What the release with format 1 has stored is in force again after an upgrade,
// unchanged but for what that release did not know.
func TestFormat1(t *testing.T) {
	old := []struct {
		key, value string
		is         policy.Object
	}{
		{"\x02p", "\x01\xf1\x2e\x02\x00\x00\x00\x00\x01\xb2\x0b\x05tap:x",
			policy.Port{Name: "p", Role: policy.VM, VSID: 6001, MAC: packet.MAC{2, 0, 0, 0, 0, 1}, MTU: 1458, Device: "tap:x",
				DynamicIPLimit: policy.DefaultDynamicIPLimit, StormLimit: policy.DefaultStormLimit}},
		{"\x02u", "\x00\x00\x00\x00\x00\x00\x00\x00\xdc\x0b\x05tap:u", policy.Port{Name: "u", Role: policy.Uplink, MTU: 1500, Device: "tap:u"}},
		{"\x05\x00\x00\x17\x71", "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\x04\x0a\x01\x01\x00\x18",
			policy.VirtualSubnet{VSID: 6001, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24")}, Mode: policy.Rewrite}},
	}
	path := filepath.Join(t.TempDir(), "policy.db")
	db := must(bbolt.Open(path, 0o600, options()))
	h := head{format: 1, revision: 41}
	err := db.Update(func(tx *bbolt.Tx) error {
		in := must(tx.CreateBucket(bucket))
		for _, o := range old {
			h.add([]byte(o.key), []byte(o.value))
			if err := in.Put([]byte(o.key), []byte(o.value)); err != nil {
				return err
			}
		}
		return in.Put(headKey, h.append(nil))
	})
	if err != nil || db.Close() != nil {
		t.Fatal(err)
	}
	before := must(os.ReadFile(path))
	s := must(Open("bolt:" + path)).(*bolt)
	expect(t, s, 41, old[0].is, old[1].is, old[2].is)
	if string(must(os.ReadFile(path))) != string(before) || s.readHead().format != 1 {
		t.Error("looking at it changed the file")
	}

	// The first change makes it the new format's, which the old release refuses;
	// what was not changed is still what that wrote.
	guarded := old[0].is.(policy.Port)
	guarded.DHCPGuard = true
	if r, err := s.Commit([][]policy.Change{puts(guarded)}); r != 42 || err != nil {
		t.Fatal(r, err)
	}
	if f := s.readHead().format; f != policy.Format {
		t.Errorf("format %d after a change, want %d", f, policy.Format)
	}
	s.Close()
	again := must(Open("bolt:" + path))
	defer again.Close()
	expect(t, again, 42, guarded, old[1].is, old[2].is)
}
