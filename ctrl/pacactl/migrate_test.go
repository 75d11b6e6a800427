package main

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"paca/ctrl/server/servertest"
	"paca/ctrl/store"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// tenant is a VM with four records among others that are not its own.
func tenant(t *testing.T) (*servertest.Host, string) {
	t.Helper()
	h := servertest.New()
	socket := serve(t, h)
	done(t, socket, "apply", "-f", "testdata/policy.toml")
	for _, args := range []string{
		"--vsid 6002 --ca 10.1.2.20 --mac 02:00:00:00:00:20 --pa 192.168.2.20 --vm-name vm20",
		"--vsid 6002 --ca fd00:1:2::20 --mac 02:00:00:00:00:20 --pa 192.168.2.20 --type dynamic",
		"--vsid 6002 --ca 0.0.0.0 --mac 02:00:00:00:00:20 --pa 192.168.2.20 --type l2-only",
		"--vsid 6002 --ca :: --mac 02:00:00:00:00:20 --pa 192.168.2.20 --type gateway-wildcard",
		"--vsid 6002 --ca 10.1.2.1 --mac 02:00:00:00:00:20 --pa 169.254.254.254", // the router, by some accident of the same MAC
		"--vsid 6002 --ca 10.1.2.21 --mac 02:00:00:00:00:21 --pa 192.168.2.20",   // another VM of that host
		"--vsid 6002 --ca 0.0.0.0 --mac 02:00:00:00:00:21 --pa 192.168.2.20 --type l2-only",
		"--vsid 6001 --ca 10.1.1.20 --mac 02:00:00:00:00:20 --pa 192.168.2.20", // the MAC in another virtual subnet
		"--vsid 6002 --ca 239.1.1.1 --mac ff:ff:ff:ff:ff:ff --pa 239.255.0.1",
	} {
		done(t, socket, append([]string{"lookup-record", "add"}, strings.Fields(args)...)...)
	}
	return h, socket
}

// pas is where each record of a host lives.
func pas(h *servertest.Host) map[policy.LookupRecord]string {
	all := map[policy.LookupRecord]string{}
	_, records := h.Export(policy.KindLookupRecord)
	for o := range records {
		r := o.(policy.LookupRecord)
		pa := r.PA.String()
		r.PA = netip.Addr{}
		all[r] = pa
	}
	return all
}

func TestL40Migrate(t *testing.T) {
	h, socket := tenant(t)
	before := pas(h)
	revision, _, _ := h.Get(policy.Global{}.Key())
	dry := done(t, socket, "migrate", "--vsid", "6002", "--ca", "fd00:1:2:0::20", "--to", "192.168.3.30", "--dry-run")
	const lines = `~  lookup-record  vsid=6002 ca=0.0.0.0 mac=02:00:00:00:00:20       pa=192.168.2.20 -> 192.168.3.30
~  lookup-record  vsid=6002 ca=10.1.2.20 mac=02:00:00:00:00:20     pa=192.168.2.20 -> 192.168.3.30
~  lookup-record  vsid=6002 ca=:: mac=02:00:00:00:00:20            pa=192.168.2.20 -> 192.168.3.30
~  lookup-record  vsid=6002 ca=fd00:1:2::20 mac=02:00:00:00:00:20  pa=192.168.2.20 -> 192.168.3.30
`
	if want := lines + "4 records would change, revision 11\n"; dry != want || revision != 11 {
		t.Errorf("a dry run at revision %d says\n%s\nwant\n%s", revision, dry, want)
	}
	for r, pa := range pas(h) {
		if before[r] != pa {
			t.Errorf("a dry run moved %v to %s", r, pa)
		}
	}
	out := done(t, socket, "migrate", "--vsid", "6002", "--ca", "10.1.2.20", "--to", "192.168.3.30")
	if want := lines + "4 records changed, revision 12\n"; out != want {
		t.Errorf("says\n%s\nwant\n%s", out, want)
	}
	after := pas(h)
	for r, was := range before {
		want := was
		if r.VSID == 6002 && r.MAC == (packet.MAC{2, 0, 0, 0, 0, 0x20}) && was != policy.RouterPA.String() {
			want = "192.168.3.30"
		}
		if after[r] != want {
			t.Errorf("%v is at %s, want %s", r, after[r], want)
		}
	}
	// All of it in one set: whoever watches sees no VM in two places.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := h.Watch(ctx, revision)
	if err != nil {
		t.Fatal(err)
	}
	for event, err := range events {
		if err != nil || event.Revision != store.Revision(revision+1) || len(event.Changes) != 4 {
			t.Errorf("event %+v, %v", event, err)
		}
		break
	}

	// Half of it moved: the rest follows.
	done(t, socket, "lookup-record", "set", "--vsid", "6002", "--ca", "10.1.2.20", "--pa", "192.168.2.20")
	out = done(t, socket, "-o", "json", "migrate", "--vsid", "6002", "--ca", "10.1.2.20", "--to", "192.168.3.30")
	var answer struct {
		Changed string
		Applied []any
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.Changed != "1" || len(answer.Applied) != 1 {
		t.Errorf("%v, %s", err, out)
	}
}

func TestL40MigrateRefusals(t *testing.T) {
	_, socket := tenant(t)
	for _, tt := range []struct {
		code int
		args string
		says string
	}{
		{1, "--vsid 6002 --ca 10.1.2.99 --to 192.168.3.30", "there is no such lookup record: 10.1.2.99 of VSID 6002"},
		{1, "--vsid 6001 --ca 10.1.2.20 --to 192.168.3.30", "there is no such lookup record: 10.1.2.20 of VSID 6001"},
		{1, "--vsid 7777 --ca 10.1.2.20 --to 192.168.3.30", "there is no such lookup record: 10.1.2.20 of VSID 7777"},
		{1, "--vsid 6002 --ca 10.1.2.20 --to 192.168.2.20", "nothing moves: 10.1.2.20 of VSID 6002 is behind 192.168.2.20 already"},
		{1, "--vsid 6002 --ca 10.1.2.1 --to 192.168.3.30", "nothing moves: 10.1.2.1 of VSID 6002 is the distributed router, which every host has (P21)"},
		{1, "--vsid 6002 --ca 239.1.1.1 --to 192.168.3.30", "nothing moves: 239.1.1.1 of VSID 6002 is a group, and no VM (A20)"},
		{1, "--vsid 6002 --ca 0.0.0.0 --to 192.168.3.30", "nothing moves: 2 VMs of VSID 6002 have a record of 0.0.0.0; choose one by another of its addresses"},
		{1, "--vsid 6002 --ca 10.1.2.20 --to 239.1.1.1", "pa: 239.1.1.1 is a multicast group, and CA 0.0.0.0 is not (A20)"},
		{1, "--vsid 6002 --ca 10.1.2.20 --to 192.168.3.30 --expected-revision 3", "expected 3"},
		{1, "--vsid 4095 --ca 10.1.2.20 --to 192.168.3.30", "vsid 4095 is not in 4096 to 16777214 (W4)"},
		{2, "--vsid 6002 --ca 10.1.2.20", `required flag(s) "to" not set`},
		{2, "--vsid 6002 --ca blue1 --to 192.168.3.30", `--ca "blue1" is not an IP address`},
		{2, "--vsid 6002 --ca 10.1.2.20 --to host3", `--to "host3" is not an IP address`},
		{2, "10.1.2.20 --vsid 6002 --ca 10.1.2.20 --to 192.168.3.30", "unknown command"},
	} {
		if got := refused(t, tt.code, socket, append([]string{"migrate"}, strings.Fields(tt.args)...)...); !strings.Contains(got, tt.says) {
			t.Errorf("%s: says %s, want %s", tt.args, got, tt.says)
		}
	}
	// Nobody answers for a VM whose PA is its own (R6).
	if got := refused(t, 1, socket, "migrate", "--vsid", "5001", "--ca", "10.1.1.11", "--to", "192.168.1.10"); !strings.Contains(got, "(R6)") {
		t.Errorf("says %s", got)
	}
}

// What the VM has when it moves is what moves: a record that comes while its records
// are looked at, or after, is not left behind.
func TestL40MigrateSeesWhatMoves(t *testing.T) {
	for nth := range int32(2) {
		h, _ := tenant(t)
		learned := policy.LookupRecord{VSID: 6002, CA: netip.MustParseAddr("10.1.2.22"), MAC: packet.MAC{2, 0, 0, 0, 0, 0x20}, PA: netip.MustParseAddr("192.168.2.20"), Type: policy.Dynamic}
		socket := serve(t, &moving{Host: h, nth: 1 + nth, move: policy.Change{Verb: policy.Add, Object: learned}})
		out := done(t, socket, "migrate", "--vsid", "6002", "--ca", "10.1.2.20", "--to", "192.168.3.30")
		if !strings.Contains(out, "ca=10.1.2.22 ") || strings.Count(out, "~") != 5 || !strings.HasSuffix(out, "5 records changed, revision 13\n") {
			t.Errorf("says\n%s", out)
		}
		learned.PA = netip.Addr{}
		if got := pas(h)[learned]; got != "192.168.3.30" {
			t.Errorf("it is at %s", got)
		}
	}
}
