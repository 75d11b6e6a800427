package ethdev

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"

	"paca/dataplane/dpdk"
	"paca/dataplane/mbuf"
	"paca/dataplane/port"
	"paca/dataplane/port/porttest"
)

// Network cards are not in this machine: what a driver says of them is.
func TestO23WhatCardsHave(t *testing.T) {
	all := dpdk.DevInfo{Driver: "net_i40e", MaxTxBuffers: 40}
	for _, w := range words {
		all.TxOffloadCapa |= w.tx
		all.RxOffloadCapa |= w.rx
	}
	noLRO := mbuf.Offloads(mbuf.AllOffloads &^ mbuf.ReceiveLarge)
	for name, c := range map[string]struct {
		change    func(*dpdk.DevInfo)
		has, uses mbuf.Offloads
	}{
		"all":               {func(*dpdk.DevInfo) {}, noLRO, noLRO &^ mbuf.ReceiveSegments},
		"no tunnels":        {func(i *dpdk.DevInfo) { i.TxOffloadCapa &^= dpdk.TxOffloadGRETnlTSO }, noLRO &^ mbuf.SendGRETSO, noLRO &^ (mbuf.SendGRETSO | mbuf.ReceiveSegments)},
		"UDP not":           {func(i *dpdk.DevInfo) { i.TxOffloadCapa &^= dpdk.TxOffloadUDPCksum }, noLRO &^ mbuf.SendL4Checksum, mbuf.SendIPv4Checksum | mbuf.SendOuterChecksum | mbuf.SendVLAN | mbuf.ReceiveIPv4Checksum | mbuf.ReceiveL4Checksum | mbuf.ReceiveOuterChecksum | mbuf.ReceiveVLAN},
		"one buffer":        {func(i *dpdk.DevInfo) { i.TxOffloadCapa &^= dpdk.TxOffloadMultiSegs }, noLRO &^ mbuf.SendSegments, noLRO &^ (mbuf.SendSegments | mbuf.SendTSO | mbuf.SendGRETSO | mbuf.ReceiveSegments)},
		"nothing":           {func(i *dpdk.DevInfo) { i.TxOffloadCapa, i.RxOffloadCapa = 0, 0 }, 0, 0},
		"virtio":            {func(i *dpdk.DevInfo) { i.Driver = "net_virtio" }, mbuf.AllOffloads &^ (mbuf.SendVLAN | mbuf.ReceiveVLAN), mbuf.AllOffloads &^ (mbuf.SendVLAN | mbuf.ReceiveVLAN)},
		"a word that's not": {func(i *dpdk.DevInfo) { i.TxOffloadCapa = 1 << 63 }, noLRO & (mbuf.ReceiveIPv4Checksum | mbuf.ReceiveL4Checksum | mbuf.ReceiveOuterChecksum | mbuf.ReceiveSegments | mbuf.ReceiveVLAN), mbuf.ReceiveIPv4Checksum | mbuf.ReceiveL4Checksum | mbuf.ReceiveOuterChecksum | mbuf.ReceiveVLAN},
	} {
		info := all
		c.change(&info)
		p := &Port{capas: info}
		rx, tx := p.asks(mbuf.AllOffloads)
		if got := p.Offloads(); got != (port.Offloads{Has: c.has, Uses: c.uses, Buffers: 40}) {
			t.Errorf("%s: %b, want %b and %b", name, got, c.has, c.uses)
		}
		if rx&^info.RxOffloadCapa != 0 || tx&^info.TxOffloadCapa != 0 {
			t.Errorf("%s: asks for %x, %x, which the device has not", name, rx, tx)
		}
		if p.prepares != (c.uses&sends != 0) {
			t.Errorf("%s: packets are prepared: %v", name, p.prepares)
		}
	}
}

// What a port does not want is not asked of the device: its fast functions stay.
func TestO23WantedOnly(t *testing.T) {
	all := dpdk.DevInfo{Driver: "net_ice"}
	for _, w := range words {
		all.TxOffloadCapa |= w.tx
		all.RxOffloadCapa |= w.rx
	}
	for _, w := range words {
		p := &Port{capas: all}
		rx, tx := p.asks(w.offload)
		uses := port.Usable(w.offload)
		if uses == 0 && (rx != 0 || tx != 0) || uses != 0 && (rx != w.rx || tx != w.tx) {
			t.Errorf("%b: asks for %x, %x", w.offload, rx, tx)
		}
	}
	p := &Port{capas: all}
	if rx, tx := p.asks(0); rx != 0 || tx != 0 || p.prepares || p.Offloads().Uses != 0 {
		t.Errorf("nothing is wanted, asks for %x, %x", rx, tx)
	}
}

// What the virtual devices here have and use, of all that paca can make use of.
func TestO25WhatVirtualDevicesHave(t *testing.T) {
	ownNamespace(t)
	run(t, "ip link add pacaA type veth peer name pacaB")
	for device, want := range map[string]port.Offloads{
		"vdev:net_null0,no-rx=1": {},
		"tap:pacaT":              {Has: mbuf.SendSegments | mbuf.ReceiveSegments},
		"af_packet:pacaA":        {Has: mbuf.SendSegments | mbuf.ReceiveVLAN, Uses: mbuf.ReceiveVLAN},
		"memif:" + filepath.Join(t.TempDir(), "m.sock"): {Has: mbuf.SendSegments},
		"vhost-user:" + filepath.Join(t.TempDir(), "v.sock"): {
			Has:  mbuf.SendL4Checksum | mbuf.SendSegments | mbuf.ReceiveL4Checksum | mbuf.ReceiveLarge | mbuf.ReceiveSegments,
			Uses: mbuf.SendL4Checksum | mbuf.ReceiveL4Checksum | mbuf.ReceiveLarge | mbuf.ReceiveSegments,
		},
	} {
		pool := newPool(t, poolSize, mbuf.DefaultDataRoom)
		p := newPort(t, Config{Device: device, Pool: pool, Offloads: mbuf.AllOffloads})
		want.Buffers = 1<<16 - 1 // none of these drivers has a limit
		if got := p.Offloads(); got != want {
			t.Errorf("%s (%s): %b, want %b", device, p.Info().Driver, got, want)
		}
	}
}

// wire is a vhost-user port and the virtio-user port that is its VM's card.
func wire(t *testing.T, host, guest mbuf.Offloads) (p, far *Port, pool, farPool *dpdk.Mempool) {
	pool, farPool = newPool(t, poolSize, mbuf.DefaultDataRoom), newPool(t, poolSize, mbuf.DefaultDataRoom)
	path := filepath.Join(t.TempDir(), "vhost.sock")
	p = newPort(t, Config{Device: "vhost-user:" + path, Pool: pool, Offloads: host})
	far = newPort(t, Config{Device: "virtio-user:" + path, Pool: farPool, Offloads: guest})
	waitForLink(t, true, p, far)
	return p, far, pool, farPool
}

// The contract holds with everything asked for, on the guest's side too.
func TestContractVirtioOffloads(t *testing.T) {
	porttest.Run(t, func(t *testing.T) porttest.Subject {
		p, far, pool, farPool := wire(t, mbuf.AllOffloads, mbuf.AllOffloads)
		return between(t, far, p, farPool, pool, 2048)
	})
}

// What the two sides of a vhost-user socket agree on, by what each wants.
func TestO23Negotiation(t *testing.T) {
	const virtio = mbuf.SendL4Checksum | mbuf.SendSegments | mbuf.ReceiveL4Checksum | mbuf.ReceiveSegments
	for _, c := range []struct {
		host, guest         mbuf.Offloads
		hostUses, guestUses mbuf.Offloads
	}{
		{mbuf.AllOffloads, mbuf.AllOffloads, virtio | mbuf.SendTSO | mbuf.ReceiveLarge, virtio | mbuf.SendTSO | mbuf.ReceiveLarge},
		// A guest that takes no large frames is sent none.
		{mbuf.AllOffloads, mbuf.AllOffloads &^ mbuf.ReceiveLarge, virtio&^mbuf.SendSegments | mbuf.ReceiveLarge, virtio&^mbuf.ReceiveSegments | mbuf.SendTSO},
		// A host that wants none does not let the guest send any.
		{mbuf.AllOffloads &^ mbuf.ReceiveLarge, mbuf.AllOffloads, virtio&^mbuf.ReceiveSegments | mbuf.SendTSO, virtio&^mbuf.SendSegments | mbuf.ReceiveLarge},
		{0, mbuf.AllOffloads, 0, virtio&^mbuf.SendSegments | mbuf.ReceiveLarge},
		{mbuf.AllOffloads, 0, virtio&^mbuf.SendSegments | mbuf.ReceiveLarge, 0},
	} {
		t.Run(fmt.Sprintf("%b %b", c.host, c.guest), func(t *testing.T) {
			p, far, _, _ := wire(t, c.host, c.guest)
			if got := p.Offloads().Uses; got != c.hostUses {
				t.Errorf("vhost uses %b, want %b", got, c.hostUses)
			}
			if got := far.Offloads().Uses; got != c.guestUses {
				t.Errorf("virtio uses %b, want %b", got, c.guestUses)
			}
		})
	}
}

// tcp is a TCP frame with n bytes of payload, whose checksum is left to be computed.
func tcp(n int) []byte {
	f := append(porttest.Frame(0, 18)[:14], make([]byte, 40+n)...)
	f[12], f[13] = 8, 0
	ip := f[14:]
	copy(ip, []byte{0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 1, 1, 11, 10, 1, 1, 12})
	binary.BigEndian.PutUint16(ip[2:], uint16(40+n))
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(ip[i])<<8 | uint32(ip[i+1])
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	copy(ip[20:], []byte{0xc0, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0})
	for i := range n {
		ip[40+i] = byte(i)
	}
	return f
}

// A large frame crosses the wire whole, either way, and says what is left to do: its
// segment size and that its checksum is not there.
func TestO28LargeFramesCross(t *testing.T) {
	p, far, pool, farPool := wire(t, mbuf.AllOffloads, mbuf.AllOffloads)
	for _, c := range []struct {
		name         string
		from, to     *Port
		pool, toPool *dpdk.Mempool
	}{
		{"from the guest", far, p, farPool, pool},
		{"to the guest", p, far, pool, farPool},
	} {
		f := tcp(40000)
		m := segments(t, c.pool, f, 2000)
		m.SetFlags(mbuf.TxTCPSegment | mbuf.TxIPv4)
		m.SetTxOffload(mbuf.TxOffload{L2Len: 14, L3Len: 20, L4Len: 20, SegmentSize: 1418})
		if c.from.Tx(0, []*mbuf.Mbuf{m}) != 1 {
			t.Fatalf("%s: not taken", c.name)
		}
		pkts := make([]*mbuf.Mbuf, 1)
		if !within(func() bool { return c.to.Rx(0, pkts) == 1 }) {
			t.Fatalf("%s: not received", c.name)
		}
		got := pkts[0].AppendTo(nil)
		copy(got[50:52], f[50:52]) // the seed of its checksum is the driver's business
		if !bytes.Equal(got, f) {
			t.Errorf("%s: %d bytes in %d buffers, want the %d that were sent", c.name, len(got), pkts[0].Segments(), len(f))
		}
		if flags := pkts[0].Flags(); flags&mbuf.RxLRO == 0 || flags&mbuf.RxL4ChecksumMask != mbuf.RxL4ChecksumNone || pkts[0].TxOffload().SegmentSize != 1418 {
			t.Errorf("%s: flags %#x, %+v", c.name, flags, pkts[0].TxOffload())
		}
		c.toPool.Free(pkts)
	}
}

// segments makes one packet of a frame, in buffers of size bytes.
func segments(t *testing.T, pool *dpdk.Mempool, f []byte, size int) *mbuf.Mbuf {
	t.Helper()
	pkts := make([]*mbuf.Mbuf, (len(f)+size-1)/size)
	if !pool.Alloc(pkts) {
		t.Fatal("no buffers")
	}
	for i, m := range pkts {
		m.SetData(f[i*size : min(len(f), (i+1)*size)])
		if i > 0 {
			pkts[0].JoinAfter(pkts[i-1], m)
		}
	}
	return pkts[0]
}

// A packet whose headers do not lie in its first buffer cannot be prepared: it is lost
// and counted, and what is behind it is sent.
func TestTxErrorsOfPackets(t *testing.T) {
	p, far, pool, farPool := wire(t, mbuf.AllOffloads, mbuf.AllOffloads)
	before := farPool.Available()
	f := tcp(1000)
	pkts := []*mbuf.Mbuf{segments(t, farPool, f, 2000), segments(t, farPool, f, 30), segments(t, farPool, f, 2000)}
	for _, m := range pkts {
		m.SetFlags(mbuf.TxTCPChecksum | mbuf.TxIPv4)
		m.SetTxOffload(mbuf.TxOffload{L2Len: 14, L3Len: 20, L4Len: 20})
	}
	if n := far.Tx(0, pkts); n != 3 {
		t.Fatalf("%d of 3 taken", n)
	}
	got := 0
	within(func() bool {
		frames := receiveFrom(p, pool)
		got += len(frames)
		return got == 2
	})
	if errs := far.Stats().TxErrors; got != 2 || errs != 1 {
		t.Errorf("%d of 2 good packets sent, %d errors", got, errs)
	}
	if n := before - farPool.Available(); n > 2 {
		t.Errorf("%d buffers gone", n)
	}
}

func BenchmarkTxPrepares(b *testing.B) {
	pool := newPool(b, 511, mbuf.DefaultDataRoom)
	for _, prepares := range []bool{false, true} {
		b.Run(fmt.Sprint(prepares), func(b *testing.B) {
			p := newPort(b, Config{Device: fmt.Sprintf("vdev:net_null%d,no-rx=1", serial.Add(1)), Pool: pool})
			p.prepares = prepares
			pkts := make([]*mbuf.Mbuf, 32)
			for b.Loop() {
				pool.Alloc(pkts)
				p.Tx(0, pkts)
			}
		})
	}
}
