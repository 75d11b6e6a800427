package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"paca/ctrl/api"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// hop is a link of the fabric in the tests: a router is in front of it.
type hop struct {
	mtu    int
	silent bool // the router says nothing
	old    bool // or no MTU (RFC 1191)
	lies   bool // or one that is larger than what it dropped
}

// fabric answers a pathTest: what fits through all hops comes back after a while.
type fabric struct {
	t        *testing.T
	src, dst netip.Addr
	hops     []hop
	lose     int // so many packets first
	dead     bool
	deny     bool // a router says that it may not go there
	now      time.Time
	due      []answer
	sizes    []int
}

type answer struct {
	at    time.Time
	frame []byte
}

const hopDelay = 3 * time.Millisecond

// send takes a request off the test, judged by gopacket.
func (n *fabric) send(port uint16, frame []byte, size int) {
	n.t.Helper()
	frame = append(slices.Clone(frame), make([]byte, size-len(frame))...)
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil || port != 0 {
		n.t.Fatalf("port %d, gopacket cannot read %x: %v", port, frame[:60], e.Error())
	}
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if packet.MAC(eth.SrcMAC) != uplinkMAC || packet.MAC(eth.DstMAC) != routerMAC || p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q).VLANIdentifier != 7 {
		n.t.Errorf("sent %v > %v", eth.SrcMAC, eth.DstMAC)
	}
	var msg []byte
	var sum uint16
	if n.dst.Is4() {
		ip := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		icmp := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if ip.Flags&layers.IPv4DontFragment == 0 || !ip.SrcIP.Equal(n.src.AsSlice()) || !ip.DstIP.Equal(n.dst.AsSlice()) || icmp.TypeCode.Type() != layers.ICMPv4TypeEchoRequest {
			n.t.Errorf("sent %v", p)
		}
		msg = frame[18+20:]
		sum = packet.Checksum(msg, 0)
		if !packet.VerifyIPv4(packet.IPv4(frame[18:])) {
			n.t.Error("IPv4 checksum")
		}
	} else {
		ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		icmp := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		if !ip.SrcIP.Equal(n.src.AsSlice()) || !ip.DstIP.Equal(n.dst.AsSlice()) || icmp.TypeCode.Type() != layers.ICMPv6TypeEchoRequest {
			n.t.Errorf("sent %v", p)
		}
		msg = frame[18+40:]
		sum = packet.Checksum(msg, packet.PseudoHeader6(n.src.As16(), n.dst.As16(), packet.ProtoICMPv6, uint32(len(msg))))
	}
	if sum != 0 {
		n.t.Error("ICMP checksum")
	}
	n.sizes = append(n.sizes, size-18)
	if n.lose > 0 || n.dead {
		n.lose--
		return
	}
	if n.deny {
		n.reply(routerOf(n.dst), 3, 13, 1, 1, 0, frame[18:], hopDelay)
		return
	}
	for i, h := range n.hops {
		if size-18 <= h.mtu {
			continue
		}
		mtu := h.mtu
		switch {
		case h.silent:
			return
		case h.old:
			mtu = 0
		case h.lies:
			mtu = size
		}
		n.reply(routerOf(n.dst), 3, 4, 2, 0, uint32(mtu), frame[18:], time.Duration(i+1)*hopDelay)
		return
	}
	n.reply(n.dst, 0, 0, 129, 0, binary.BigEndian.Uint32(msg[4:]), msg[8:], time.Duration(len(n.hops)+1)*hopDelay)
}

func routerOf(pa netip.Addr) netip.Addr {
	if pa.Is4() {
		return router
	}
	return netip.MustParseAddr("2001:db8:1::1")
}

// reply is an ICMP message to the test's source.
func (n *fabric) reply(from netip.Addr, type4, code4, type6, code6 uint8, rest uint32, body []byte, after time.Duration) {
	frame := append(uplinkMAC[:], routerMAC[:]...)
	frame = append(frame, 0x81, 0, 0, 7)
	if from.Is4() {
		if type4 != 0 {
			body = body[:28] // what RFC 792 asks for
		}
		ip := make([]byte, packet.IPv4Len+packet.ICMPLen+len(body))
		copy(ip[packet.IPv4Len+packet.ICMPLen:], body)
		packet.ICMPv4(ip[packet.IPv4Len:]).Encode(packet.ICMPFields{Type: type4, Code: code4, Rest: rest})
		packet.IPv4(ip).Encode(packet.IPv4Fields{TotalLen: uint16(len(ip)), TTL: 64, Protocol: packet.ProtoICMP, Src: from.As4(), Dst: n.src.As4()})
		frame = append(append(frame, 8, 0), ip...)
	} else {
		if type6 < 128 {
			body = body[:min(len(body), 1280-48)] // RFC 4443
		}
		ip := make([]byte, packet.IPv6Len+packet.ICMPLen+len(body))
		copy(ip[packet.IPv6Len+packet.ICMPLen:], body)
		packet.ICMPv6(ip[packet.IPv6Len:]).Encode(packet.ICMPFields{Type: type6, Code: code6, Rest: rest}, from.As16(), n.src.As16())
		packet.IPv6(ip).Encode(packet.IPv6Fields{PayloadLen: uint16(len(ip) - packet.IPv6Len), NextHeader: packet.ProtoICMPv6, HopLimit: 64, Src: from.As16(), Dst: n.src.As16()})
		frame = append(append(frame, 0x86, 0xdd), ip...)
	}
	n.due = append(n.due, answer{n.now.Add(after), frame})
}

// run takes a test through its whole life and says how long that was.
func (n *fabric) run(test *pathTest, f *fib.FIB) time.Duration {
	n.t.Helper()
	start := n.now
	for range 1000 {
		next := test.step(n.now, f, n.send)
		if test.over {
			return n.now.Sub(start)
		}
		if len(n.due) > 0 && !n.due[0].at.After(next) {
			a := n.due[0]
			n.due = n.due[1:]
			n.now = a.at
			frame := a.frame
			if len(frame) > 1298 { // what a worker has room for
				frame = frame[:1298]
				shorten(frame)
			}
			var l packet.Layout
			if fault := packet.Parse(frame, &l); fault != packet.OK {
				n.t.Fatal(fault)
			}
			test.hear(n.now, frame, &l)
			continue
		}
		n.now = next
	}
	n.t.Fatal("the test does not end")
	return 0
}

var (
	testPA6 = netip.MustParseAddr("2001:db8:1::10")
	farPA6  = netip.MustParseAddr("2001:db8:2::20")
)

// pathFIB has a way to farPA and farPA6 over a port of an MTU.
func pathFIB(t *testing.T, mtu int) *fib.FIB {
	set := &policy.Set{
		VirtualSubnets: []policy.VirtualSubnet{{VSID: 6001, RDID: policy.RDID{1}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24")}}},
		LookupRecords: []policy.LookupRecord{
			{VSID: 6001, CA: netip.MustParseAddr("10.1.1.12"), MAC: packet.MAC{2, 12}, PA: farPA},
			{VSID: 6001, CA: netip.MustParseAddr("10.1.1.13"), MAC: packet.MAC{2, 13}, PA: farPA6},
		},
		ProviderAddresses: []policy.ProviderAddress{
			{Prefix: netip.PrefixFrom(benchPA, 16), Port: "uplink", VLAN: 7},
			{Prefix: netip.PrefixFrom(testPA6, 32), Port: "uplink", VLAN: 7},
		},
		Ports: []policy.Port{{Name: "uplink", Role: policy.Uplink, MAC: uplinkMAC, MTU: mtu}},
	}
	return fibtest.Compile(t, set, func(uint16, uint16, netip.Addr) (packet.MAC, fib.AdjState) { return routerMAC, fib.AdjReady })
}

func TestM10PathTest(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name    string
		v6      bool
		mtu     int // of the port
		size    int // asked for
		net     fabric
		largest int
		sizes   []int // sent, if it matters
		took    time.Duration
		reason  string // of the last size that did not pass
	}{
		{name: "all of it", mtu: 1500, net: fabric{hops: []hop{{mtu: 1500}}}, largest: 1500, sizes: []int{1500}, took: 2 * hopDelay},
		{name: "a router tells", mtu: 1500, net: fabric{hops: []hop{{mtu: 1400}}}, largest: 1400, sizes: []int{1500, 1400}, took: s, reason: "next hop after 192.168.1.1 takes 1400 bytes"},
		{name: "two routers tell", mtu: 1500, net: fabric{hops: []hop{{mtu: 1400}, {mtu: 1300}}}, largest: 1300, sizes: []int{1500, 1400, 1300}, took: s},
		{name: "a router tells of less than the floor", mtu: 1500, net: fabric{hops: []hop{{mtu: 400}}}, largest: 400, sizes: []int{1500, 400}, took: s},
		{name: "old routers", mtu: 1500, net: fabric{hops: []hop{{mtu: 1006, old: true}}}, largest: 1006, took: s, reason: "too big, says 192.168.1.1"},
		{name: "a router that lies", mtu: 1500, net: fabric{hops: []hop{{mtu: 1006, lies: true}}}, largest: 1006, took: s},
		{name: "nobody tells", mtu: 1500, net: fabric{hops: []hop{{mtu: 1400, silent: true}}}, largest: 1400, took: 12 * s, reason: "no answer"},
		{name: "nobody tells of a jumbo path", mtu: 9000, net: fabric{hops: []hop{{mtu: 1500, silent: true}}}, largest: 1500, took: 15 * s},
		{name: "one tells, one does not", mtu: 9000, net: fabric{hops: []hop{{mtu: 4352}, {mtu: 1500, silent: true}}}, largest: 1500, took: 15 * s},
		{name: "nobody answers", mtu: 1500, net: fabric{dead: true}, largest: 0, sizes: []int{1500, 1500, 576, 576}, took: 2 * s, reason: "no answer"},
		{name: "a router denies", mtu: 1500, net: fabric{deny: true}, largest: 0, sizes: []int{1500, 576}, took: s, reason: "192.168.1.1 says that it does not get there (ICMP type 3, code 13)"},
		{name: "one packet is lost", mtu: 1500, net: fabric{hops: []hop{{mtu: 1500}}, lose: 1}, largest: 1500, sizes: []int{1500, 1500}, took: s},
		{name: "a port smaller than the floor", mtu: 500, net: fabric{hops: []hop{{mtu: 400, silent: true}}}, largest: 0, sizes: []int{500, 500}, took: 2 * s},
		{name: "one size, passes", mtu: 1500, size: 1400, net: fabric{hops: []hop{{mtu: 1400}}}, largest: 1400, sizes: []int{1400}, took: s},
		{name: "one size, too big", mtu: 1500, size: 1401, net: fabric{hops: []hop{{mtu: 1400}}}, largest: 0, sizes: []int{1401}, took: s, reason: "takes 1400 bytes"},
		{name: "one size, larger than the port's", mtu: 1500, size: 1501, net: fabric{hops: []hop{{mtu: 9000}}}, largest: 0, sizes: []int{}, reason: "larger than the port's mtu of 1500"},
		{name: "one size, the least", mtu: 1500, size: 68, net: fabric{hops: []hop{{mtu: 1400}}}, largest: 68, sizes: []int{68}, took: s},

		{name: "IPv6, all of it", v6: true, mtu: 1500, net: fabric{hops: []hop{{mtu: 1500}}}, largest: 1500, sizes: []int{1500}, took: s},
		{name: "IPv6, a router tells", v6: true, mtu: 1500, net: fabric{hops: []hop{{mtu: 1400}}}, largest: 1400, sizes: []int{1500, 1400}, took: s, reason: "next hop after 2001:db8:1::1 takes 1400 bytes"},
		{name: "IPv6, nobody tells", v6: true, mtu: 1500, net: fabric{hops: []hop{{mtu: 1400, silent: true}}}, largest: 1400, took: 12 * s},
		{name: "IPv6, nobody answers", v6: true, mtu: 1500, net: fabric{dead: true}, largest: 0, sizes: []int{1500, 1500, 1280, 1280}, took: 2 * s},
		{name: "IPv6, a router denies", v6: true, mtu: 1500, net: fabric{deny: true}, largest: 0, sizes: []int{1500, 1280}, took: s, reason: "(ICMP type 1, code 1)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := tt.net
			n.t, n.now, n.src, n.dst = t, time.Unix(1000, 0), benchPA, farPA
			if tt.v6 {
				n.src, n.dst = testPA6, farPA6
			}
			test := newPathTest(n.src, n.dst, 0, tt.mtu, tt.size, 0xfedc)
			took := n.run(test, pathFIB(t, tt.mtu))
			if test.low != tt.largest {
				t.Errorf("%d bytes pass, want %d", test.low, tt.largest)
			}
			if took > tt.took {
				t.Errorf("took %v", took)
			}
			if tt.sizes != nil && !slices.Equal(n.sizes, tt.sizes) && len(n.sizes)+len(tt.sizes) > 0 {
				t.Errorf("sent %d, want %d", n.sizes, tt.sizes)
			}
			if test.attempts != len(n.sizes) || len(test.probes) > testSizes || len(test.probes) == 0 {
				t.Errorf("%d attempts, %d packets, %d sizes", test.attempts, len(n.sizes), len(test.probes))
			}
			reason := ""
			for _, p := range test.probes {
				if (p.roundTrip == 0) != (p.reason != "") || p.roundTrip == 0 && p.size <= test.low {
					t.Errorf("%+v", p)
				}
				if p.reason != "" {
					reason = p.reason
				}
			}
			if !strings.Contains(reason, tt.reason) || tt.reason == "" && tt.largest == tt.mtu && reason != "" {
				t.Errorf("reason %q, want %q", reason, tt.reason)
			}
		})
	}
}

// What is no answer to the test changes nothing of it.
func TestM10PathTestHearsOnlyItsOwn(t *testing.T) {
	for name, change := range map[string]func(ip, msg []byte){
		"another's echo reply":         func(_, msg []byte) { msg[5]++ },
		"a number that was never sent": func(_, msg []byte) { msg[7]++ },
		"one that was given up":        func(_, msg []byte) { msg[7]-- },
		"from somebody else":           func(ip, _ []byte) { ip[15]++ },
		"to somebody else":             func(ip, _ []byte) { ip[19]++ },
		"an echo request":              func(_, msg []byte) { msg[0] = 8 },
		"a timestamp reply":            func(_, msg []byte) { msg[0] = 14 },
		"an error that quotes nothing": func(_, msg []byte) { msg[0], msg[1] = 3, 4 },
	} {
		n := fabric{t: t, now: time.Unix(1000, 0), src: benchPA, dst: farPA, hops: []hop{{mtu: 1500}}}
		test := newPathTest(benchPA, farPA, 0, 1500, 0, 0xfedc)
		f := pathFIB(t, 1500)
		n.lose = testTries
		for len(n.due) == 0 { // the first size is given up, the second on its way
			n.now = test.step(n.now, f, n.send)
		}
		frame := n.due[0].frame
		change(frame[18:], frame[38:])
		var l packet.Layout
		if fault := packet.Parse(frame, &l); fault != packet.OK {
			t.Fatal(name, fault)
		}
		if before := *test; test.hear(n.now, frame, &l) || test.size != before.size {
			t.Errorf("%s is heard", name)
		}
	}
}

// A way that is not ready is said, and not waited for.
func TestM10PathTestWithoutWay(t *testing.T) {
	b := newBench(t) // whose next hop is not known yet
	n := fabric{t: t, now: b.now}
	test := newPathTest(benchPA, farPA, 0, 1500, 0, 1)
	if took := n.run(test, b.fib.Load()); took != 0 || len(n.sizes) != 0 || test.low != 0 || test.probes[0].reason != "no way there: incomplete" {
		t.Errorf("took %v: %+v", took, test.probes)
	}
}

// From the API's call to its answer, through control plane and worker, while one
// more waits.
func TestM10TestPath(t *testing.T) {
	b := ready(t)
	n := fabric{t: t, src: benchPA, dst: farPA, hops: []hop{{mtu: 1400}}}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	type outcome struct {
		test *pathTest
		err  error
	}
	outcomes := make(chan outcome, 2)
	for _, size := range []int{0, 1200} {
		go func() {
			test, err := b.c.testPath(ctx, farPA, netip.Addr{}, size)
			outcomes <- outcome{test, err}
		}()
	}
	largest := 0
	for done := 0; done < 2; {
		select {
		case o := <-outcomes:
			if done++; o.err != nil {
				t.Fatal(o.err)
			}
			largest = max(largest, o.test.low)
		case <-time.After(time.Millisecond):
		}
		for _, frame := range b.pass(time.Millisecond) {
			if packet.Ethernet(frame[4:]).EtherType() == packet.EtherTypeIPv4 && frame[18+9] == packet.ProtoICMP {
				n.now = b.now
				n.send(0, frame, len(frame))
			}
		}
		for ; len(n.due) > 0; n.due = n.due[1:] {
			b.hear(n.due[0].frame)
		}
	}
	if largest != 1400 {
		t.Errorf("%d bytes pass, want 1400", largest)
	}
	if b.limit() != 0xffff {
		t.Error("a test of a path changes what is known of it")
	}
}

func TestM10TestPathRefusals(t *testing.T) {
	b := ready(t)
	for _, tt := range []struct {
		pa, source, want string
		code             pacav1.ErrorCode
	}{
		{"192.168.1.10", "", "192.168.1.10 is a provider address of this host", pacav1.ErrorCode_ERROR_CODE_INVALID},
		{"192.168.9.9", "", "no lookup record has provider address 192.168.9.9", pacav1.ErrorCode_ERROR_CODE_NOT_FOUND},
		{"192.168.2.20", "192.168.1.11", "192.168.1.11 is not a provider address of this host", pacav1.ErrorCode_ERROR_CODE_NOT_FOUND},
		{"2001:db8::1", "", "no provider address on an open port in the family of 2001:db8::1", pacav1.ErrorCode_ERROR_CODE_NOT_FOUND},
	} {
		var source netip.Addr
		if tt.source != "" {
			source = netip.MustParseAddr(tt.source)
		}
		_, err := b.c.testPath(t.Context(), netip.MustParseAddr(tt.pa), source, 0)
		if err == nil || !strings.Contains(err.Error(), tt.want) || api.Detail(err).GetCode() != tt.code {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := b.c.testPath(ctx, farPA, netip.Addr{}, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody takes turns: %v", err)
	}
	b.c.testing <- struct{}{}
	if _, err := b.c.testPath(ctx, farPA, netip.Addr{}, 0); err == nil || !strings.Contains(err.Error(), "another path is being tested") {
		t.Errorf("while another runs: %v", err)
	}
}

// Echo requests come from a PA that is no VM's own: what comes from one that is, to
// another such, the VM there answers, and the VM here gets that (R5).
func TestM10_R5TestOfRewrittenPath(t *testing.T) {
	vms := func(set *policy.Set, pas ...string) *policy.Set {
		for i, pa := range pas {
			set.LookupRecords = append(set.LookupRecords, policy.LookupRecord{VSID: 7001, CA: netip.AddrFrom4([4]byte{10, 7, 0, byte(10 + i)}), MAC: packet.MAC{2, 7, byte(i)}, PA: netip.MustParseAddr(pa)})
		}
		set.VirtualSubnets = append(set.VirtualSubnets, policy.VirtualSubnet{VSID: 7001, RDID: policy.RDID{7}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.7.0.0/24")}, Mode: policy.Rewrite})
		return set
	}
	begin := func(set *policy.Set, pa, source string) (*pathTest, error) {
		c := newBench(t).c
		c.fib.Store(fibtest.Compile(t, set, func(uint16, uint16, netip.Addr) (packet.MAC, fib.AdjState) { return packet.MAC{2, 9}, fib.AdjReady }))
		from, _ := netip.ParseAddr(source)
		return c.beginTest(netip.MustParseAddr(pa), from, 0)
	}
	two := vms(benchPolicy(), "192.168.1.9", "192.168.2.21")
	two.ProviderAddresses = append([]policy.ProviderAddress{{Prefix: netip.MustParsePrefix("192.168.1.9/24"), Port: two.ProviderAddresses[0].Port}}, two.ProviderAddresses...)
	for _, pa := range []string{"192.168.2.20", "192.168.2.21"} {
		if test, err := begin(two, pa, ""); err != nil || test.src != benchPA {
			t.Errorf("to %s: %+v, %v", pa, test, err)
		}
	}
	if test, err := begin(two, "192.168.2.20", "192.168.1.9"); err != nil || test.src != netip.MustParseAddr("192.168.1.9") {
		t.Errorf("from a VM's own: %+v, %v", test, err)
	}
	if _, err := begin(two, "192.168.2.21", "192.168.1.9"); err == nil || api.Detail(err).GetCode() != pacav1.ErrorCode_ERROR_CODE_INVALID {
		t.Errorf("from one VM to another: %v", err)
	}
}

// What pacactl mtu shows: the port's limit, what was learned, and where there is no
// way.
func TestM1_M10PathMTUs(t *testing.T) {
	b := ready(t)
	far := netip.MustParseAddr("192.168.2.21")
	set := benchPolicy()
	set.VirtualSubnets = append(set.VirtualSubnets,
		policy.VirtualSubnet{VSID: 5001, RDID: policy.RDID{2}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24")}},
		policy.VirtualSubnet{VSID: 7001, RDID: policy.RDID{3}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24")}, Mode: policy.Rewrite})
	set.LookupRecords = append(set.LookupRecords,
		policy.LookupRecord{VSID: 7001, CA: netip.MustParseAddr("10.1.1.12"), MAC: packet.MAC{2, 12}, PA: netip.MustParseAddr("192.168.2.30")},
		policy.LookupRecord{VSID: 7001, CA: netip.IPv4Unspecified(), MAC: packet.MAC{2, 13}, PA: netip.MustParseAddr("192.168.2.31"), Type: policy.L2Only},
		policy.LookupRecord{VSID: 5001, CA: netip.MustParseAddr("10.1.1.12"), MAC: packet.MAC{2, 12}, PA: far},
		policy.LookupRecord{VSID: 5001, CA: netip.MustParseAddr("10.1.1.13"), MAC: packet.MAC{2, 13}, PA: farPA},
		policy.LookupRecord{VSID: 5001, CA: netip.MustParseAddr("10.1.1.14"), MAC: packet.MAC{2, 14}, PA: farPA6})
	h := &host{book: fibtest.Book(t, set), control: b.c}
	h.slots[0] = &slot{asked: policy.Port{Name: "uplink"}}
	compiler := fib.NewCompiler()
	h.fib.Store(compiler.Compile(h.book, fibtest.Devices(set), b.c.resolve))
	b.tell(0, tooBig(benchPA, farPA, packet.ProtoGRE, 6001, 1400))
	compiler.SetPathMTU(farPA, 1400)
	h.fib.Store(compiler.Update(nil, h.book, fibtest.Devices(set), b.c.resolve))
	var got []string
	for _, m := range (*report)(h).PathMTUs() {
		m.AgeSeconds = 0 // the test's time is not ours
		got = append(got, strings.Join(strings.Fields(m.String()), " "))
	}
	want := []string{
		`vsid:5001 pa:"192.168.2.20" source_pa:"192.168.1.10" limit:1358 limited_by:"path" port:"uplink" port_mtu:1500 path_mtu:1400`,
		`vsid:5001 pa:"192.168.2.21" source_pa:"192.168.1.10" limit:1458 limited_by:"port" port:"uplink" port_mtu:1500`,
		`vsid:5001 pa:"2001:db8:2::20" limited_by:"no way: no-source"`,
		`vsid:6001 pa:"192.168.2.20" source_pa:"192.168.1.10" limit:1358 limited_by:"path" port:"uplink" port_mtu:1500 path_mtu:1400`,
		`vsid:7001 pa:"192.168.2.30" source_pa:"192.168.1.10" limit:1500 limited_by:"port" port:"uplink" port_mtu:1500`,
		`vsid:7001 pa:"192.168.2.31" source_pa:"192.168.1.10" limit:1500 limited_by:"port" port:"uplink" port_mtu:1500`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
