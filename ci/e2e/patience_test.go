package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"paca/ci/topo"
)

// What one frame cannot cause: many frames, time, or another setting do.

// quietHost is a host1 with the examples' Blue and Red, for tests that speak for
// everyone else on the wire.
func (l *lab) quietHost(change func(config, policy string) (string, string)) {
	l.t.Helper()
	config := fmt.Sprintf(hostFile, 6001, "hash", l.socket(topo.Host1), "af_packet") +
		provider("192.168.1.10/24", 0, "192.168.1.1") + neighbor("192.168.1.1")
	policy := subnet(6001, 1) + subnetOf(6002, 1, 2, "nvgre") + subnet(5001, 2) +
		record(6001, "10.1.1.11", blue1MAC, "192.168.1.10") + record(6001, "10.1.1.12", blue2MAC, "192.168.2.20") +
		record(6002, "10.1.2.12", "10:10:10:10:13:07", "192.168.2.20")
	config, policy = change(config, policy)
	l.write("host1.toml", config)
	l.write("policy.toml", policy)
	l.start(topo.Host1)
}

// Packets for a next hop that says nothing: a few wait, the others are dropped at
// once, and in the end those that waited.
func TestL16SilentNextHop(t *testing.T) {
	l := newLab(t, true)
	l.quietHost(func(config, policy string) (string, string) {
		return config, strings.Replace(policy, "192.168.2.20", "192.168.1.77", 1)
	})
	config := "192.168.1.77/32"
	l.pacactl(topo.Host1, "provider-route", "add", "--port", "uplink0", "--prefix", config, "--next-hop", "0.0.0.0")
	vm := l.open(topo.Blue1, "eth0")
	before := l.drops(topo.Host1)
	const sent = 20
	for range sent {
		if err := vm.Send(unhex(t, vectorInner)); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]int{}
	for deadline := time.Now().Add(8 * time.Second); time.Now().Before(deadline) && got["neighbor_queue"]+got["neighbor_failed"] < sent; time.Sleep(20 * time.Millisecond) {
		got = l.drops(topo.Host1)
		for reason, n := range before {
			got[reason] -= n
		}
	}
	if got["neighbor_queue"] == 0 || got["neighbor_failed"] == 0 || got["neighbor_queue"]+got["neighbor_failed"] != sent {
		t.Errorf("dropped %v, want some as neighbor_queue and the others as neighbor_failed", got)
	}
}

// A VM that does nothing but broadcast is heard so often and no more; its other
// frames go.
func TestL31StormLimit(t *testing.T) {
	l := newLab(t, true)
	l.quietHost(func(config, policy string) (string, string) {
		return strings.Replace(config, "mac = \""+blue1MAC+"\"\n", "mac = \""+blue1MAC+"\"\nstorm_limit = 40\n", 1), policy
	})
	vm, router := l.open(topo.Blue1, "eth0"), l.open(topo.Router, topo.ToHost1)
	storm := unhex(t, "ffffffffffff"+vectorInner[12:])
	copy(storm[14+16:], []byte{255, 255, 255, 255})
	copy(storm[14+10:], []byte{0, 0})
	sum := checksum(storm[14:34])
	storm[24], storm[25] = byte(sum>>8), byte(sum)
	before := l.drops(topo.Host1)["storm"]
	const sent = 200
	began := time.Now()
	for range sent {
		if err := vm.Send(storm); err != nil {
			t.Fatal(err)
		}
	}
	if err := vm.Send(unhex(t, vectorInner)); err != nil {
		t.Fatal(err)
	}
	// The last of them is for one VM.
	heard := 0
	for {
		frame := nextTunnel(t, router, 0)
		if frame[14+28] == 0x10 {
			break
		}
		heard++
	}
	most := 12 + int(40*time.Since(began).Seconds()) // a quarter of a second's at once
	if heard < 10 || heard > most {
		t.Errorf("%d broadcasts of %d are heard, want 10 to %d", heard, sent, most)
	}
	l.until("the others are counted", func() bool { return l.drops(topo.Host1)["storm"]-before == sent-heard })
}

// With external routers, paca neither claims the router CA nor routes: what is for
// another subnet goes to the record of the router, or nowhere.
func TestL18ExternalRouter(t *testing.T) {
	l := newLab(t, true)
	l.quietHost(func(config, policy string) (string, string) { return config, policy })
	l.pacactl(topo.Host1, "global", "set", "--use-external-router=true")
	vm, router := l.open(topo.Blue1, "eth0"), l.open(topo.Router, topo.ToHost1)
	before := l.drops(topo.Host1)
	out := unhex(t, vectorInner)
	copy(out[14+16:], []byte{10, 1, 2, 12})
	out[24], out[25] = 0, 0
	sum := checksum(out[14:34])
	out[24], out[25] = byte(sum>>8), byte(sum)
	whoIs := unhex(t, "ffffffffffff"+"101010101105"+"0806"+"0001080006040001"+"101010101105"+"0a01010b"+"000000000000"+"0a010101")
	for _, frame := range [][]byte{out, whoIs} {
		if err := vm.Send(frame); err != nil {
			t.Fatal(err)
		}
	}
	l.expectDrops(topo.Host1, before, map[string]int{"other_subnet": 1, "arp_unknown": 1})

	// A VM of the tenant's is the router.
	l.pacactl(topo.Host1, "lookup-record", "add", "--vsid", "6001", "--ca", "10.1.1.1", "--mac", "10:10:10:10:11:01", "--pa", "192.168.2.20")
	if err := vm.Send(whoIs); err != nil {
		t.Fatal(err)
	}
	answer := nextUnlike(vm, time.Second, nothing)
	if len(answer) < 42 || string(answer[22:28]) != "\x10\x10\x10\x10\x11\x01" {
		t.Fatalf("who has 10.1.1.1 is answered by %x", answer)
	}
	if err := vm.Send(out); err != nil {
		t.Fatal(err)
	}
	carried := nextTunnel(t, router, 0)
	inner := carried[14+28:]
	copy(out, "\x10\x10\x10\x10\x11\x01")
	if string(inner) != string(out) || carried[14+20+6] != 6001&0xff {
		t.Errorf("carried\n%x, want\n%x", carried, out)
	}
}
