package modes_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"paca/dataplane/fib"
	"paca/dataplane/fib/fibtest"
	"paca/dataplane/mbuf"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
)

// The straight way of most packets leads where the other one does: two workers get the
// same bursts, and one of them has buffers too small for it by a byte. What they send,
// drop, count and tell is the same, byte for byte and in the same order.
func TestStraightIsTheSame(t *testing.T) {
	mixed := wholePolicy()
	mixed.CustomerRoutes = defaults(vmGate2)
	mixed.Ports[blue3].MTU, mixed.Ports[blue3].DHCPGuard = 68, true
	away := vm{macBlue1, "10.1.1.19", "fd00:1::19"} // a CA of blue1's that lives on another host
	mixed.LookupRecords = append(mixed.LookupRecords, records(6001, away, paFar)...)
	mixed.ProviderAddresses = append(mixed.ProviderAddresses, policy.ProviderAddress{Prefix: prefix("192.168.1.11/24"), Port: "uplink"})
	sixth := sixPA()
	sixth.Ports[blue3].MTU = 80
	sixth.ProviderAddresses = append(sixth.ProviderAddresses, policy.ProviderAddress{Prefix: prefix(six("192.168.1.11") + "/64"), Port: "uplink", VLAN: 103})
	out, in := between(vmBlue1, vmBlue2, macBlue2, true), between(vmBlue2, vmBlue1, macBlue1, true)
	guarded := func(v6 bool) (frames [][]byte) {
		d := between(vmBlue3, vmBlue2, macBlue2, v6)
		d.size = 70
		frames = append(frames, d.frame())
		for _, server := range []uint16{67, 547} {
			d.sport, d.dport = server, 546
			frames = append(frames, d.frame())
		}
		return frames
	}
	out4, in4 := between(vmBlue1, vmBlue2, macBlue2, false), between(vmBlue2, vmBlue1, macBlue1, false)
	in.size, out.size, in4.size, out4.size = 60, 60, 60, 60
	sized := func(d datagram, size int) []byte { d.size = size; return d.frame() }
	to3 := between(vmBlue2, vmBlue3, macBlue3, false)
	cut := tunnel(6001, paFar, paHere, sized(in4, 64))
	cut[20] = 0x20 // a fragment, and one whole inside
	several := [][]byte{reseal(cut), tunnel(6001, paFar, "192.168.1.11", sized(in4, 60)),
		tunnel(6001, paFar, paHere, sized(to3, 68)), tunnel(6001, paFar, paHere, sized(to3, 69)), // all that it takes, and more
		tunnel(5001, paFar, paHere, sized(between(vmRed2, vmRed1, macRed1, false), 60)),
		tunnel(5001, paFar, paHere, sized(between(vmRed2, vmRed1, macBlue1, false), 60)),
		tunnel(6001, paFar, paHere, sized(between(vmBlue2, vmBlue4, vmBlue4.mac, false), 60)),
		tunnel(6002, paFar, paHere, sized(between(vmBlue6, vmBlue5, vmBlue5.mac, false), 60))}
	rewritten := rewritePolicy(1)
	rewritten.Ports[blue3].MTU = 68
	toPA := func(from, to pas, size int) []byte {
		return datagram{from: macRouter, to: macUplink, src: from.v4, dst: to.v4, size: size}.frame()
	}
	severalPAs := [][]byte{toPA(paBlue2, paBlue3, 68), toPA(paBlue2, paBlue3, 69), toPA(paAway, paBlue1, 60), toPA(paBlue6, paBlue5, 60),
		toPA(paBlue6, paBlue1, 60), toPA(paGreen2, paGreen1, 60), toPA(paGreen2, paBlue1, 60), toPA(paBlue1, paBlue3, 60), toPA(paBlue6, paBlue2, 60), // as others' VMs send it to each other

		tunnel(5001, paHost2, paHost1, sized(between(vmRed2, vmRed1, macRed1, false), 60))} // the other mode's
	swapped := datagram{from: macRouter, to: macUplink, src: paBlue2.v6, dst: paBlue1.v6}
	received := func(vsid uint32, from, to string, frames ...[]byte) (all [][]byte) {
		for _, f := range frames {
			all = append(all, tunnel(vsid, from, to, f))
		}
		return all
	}
	noTunnel := tunnel(6001, six(paFar), six(paHere), in.frame())
	noTunnel[20] = packet.ProtoUDP
	const caBlue1 = "10.1.1.21" // of blue1, too, but behind the PA of another uplink
	two := testPolicy()
	two.Ports[red1] = policy.Port{Name: "uplink2", Role: policy.Uplink, MAC: macRed1, MTU: 1500}
	two.LookupRecords = append(two.LookupRecords, policy.LookupRecord{VSID: 6001, CA: addr(caBlue1), MAC: macBlue1, PA: addr("192.168.3.10")})
	two.ProviderAddresses = append(two.ProviderAddresses, policy.ProviderAddress{Prefix: prefix("192.168.3.10/24"), Port: "uplink2", VLAN: 7})
	two.ProviderRoutes = append(two.ProviderRoutes, policy.ProviderRoute{Port: "uplink2", Prefix: prefix("192.168.0.0/16"), NextHop: addr("192.168.3.1")})
	by2 := datagram{from: macBlue1, to: macBlue2, src: caBlue1, dst: vmBlue2.v4, size: 60}.frame()
	to2 := tunnel(6001, paFar, "192.168.3.10", datagram{from: macBlue2, to: macBlue1, src: vmBlue2.v4, dst: caBlue1, size: 60}.frame())
	back2 := [][]byte{to2, tagged(7, to2), tagged(8, to2), tunnel(6001, paFar, paHere, sized(in4, 60)), tagged(7, tunnel(6001, paFar, paHere, sized(in4, 60)))}
	for _, c := range []struct {
		name   string
		set    *policy.Set
		far    []string // PAs
		rounds []func(testing.TB) (*rig, func())
		over6  bool    // tunnel traffic of rounds comes by way of IPv6
		often  []input // bursts are of one of those for the port, or of all
		rare   []input
	}{
		{"nvgre", mixed, []string{paFar}, []func(testing.TB) (*rig, func()){pairs, detours, alone}, false, []input{
			together(blue1, append(flows(64), out4.syn(1460, nil))...),
			together(blue1, append(flows6(64, out), out.syn(1440, nil))...),
			together(uplink, append(fabricFlows(t)[:16], several...)...),
			together(uplink, append(received(6001, paFar, paHere, flows6(64, in)...), tunnel(6001, paFar, "192.168.1.11", in.frame()))...),
			together(blue3, guarded(false)...),
			together(blue3, guarded(true)...),
		}, []input{
			together(blue1, odd6(out)...),
			together(blue1, append(flows6(8, between(away, vmBlue2, macBlue2, true)), between(away, vmBlue2, macBlue2, false).frame())...),
			together(uplink, received(6001, paFar, paHere, odd6(in)...)...),
		}},
		{"nvgre over IPv6", sixth, []string{six(paFar)}, []func(testing.TB) (*rig, func()){pairs, detours, alone}, true, []input{
			together(blue1, flows(64)...),
			together(blue1, flows6(64, out)...),
			together(uplink, received(6001, six(paFar), six(paHere), in4.frame(), in4.syn(1460, nil))...),
			together(uplink, append(received(6001, six(paFar), six(paHere), flows6(64, in)...), tunnel(6001, six(paFar), six("192.168.1.11"), in.frame()), noTunnel)...),
		}, []input{
			together(blue1, odd6(out)...),
			together(uplink, received(6001, six(paFar), six(paHere), odd6(in)...)...),
			together(uplink, lies6(tunnel(6001, six(paFar), six(paHere), in.frame()))...),
			together(uplink, lies6(tunnel(6001, six(paFar), six(paHere), in4.frame()))...),
		}},
		{"two uplinks", two, []string{paFar}, nil, false, []input{
			together(blue1, out4.frame(), by2, tagged(5, out4.frame()), tagged(5, by2), out.frame()),
			together(uplink, back2...),
			together(red1, back2...),
		}, nil},
		{"rewrite", rewritten, []string{paBlue2.v4, paBlue2.v6}, []func(testing.TB) (*rig, func()){rewriting}, false, []input{
			together(blue1, rewriteFlows(64, macBlue2, macBlue1, vmBlue1.v4, vmBlue2.v4)...),
			together(blue1, flows6(64, out)...),
			together(uplink, append(rewriteFlows(16, macUplink, macRouter, paBlue2.v4, paBlue1.v4), severalPAs...)...),
			together(uplink, flows6(64, swapped)...),
		}, []input{
			together(blue1, odd6(out)...),
			together(uplink, odd6(swapped)...),
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rng := random(t)
			settings := router(worker.Router{AnswerPing: true, ClampMSS: true})
			straight := newRigOf(t, mbuf.Headroom+mbuf.FrontLen, c.set, nvgre.Config{}, listening, settings)
			around := newRigOf(t, mbuf.Headroom+mbuf.FrontLen-1, c.set, nvgre.Config{}, listening, settings)
			book, compiler := straight.compile(c.set)

			rare, often := [nports][][]byte{}, [nports][][][]byte{}
			for _, x := range c.often {
				often[x.in] = append(often[x.in], x.frames)
			}
			for in := range often {
				often[in] = append(often[in], slices.Concat(often[in]...))
			}
			for _, x := range c.rare {
				rare[x.in] = append(rare[x.in], x.frames...)
			}
			for _, make := range c.rounds {
				of, round := make(t)
				of.remember = true
				round()
				for _, x := range of.inputs {
					for _, f := range x.frames {
						if c.over6 {
							f = over6(f)
						}
						rare[x.in] = append(rare[x.in], f)
					}
				}
			}
			same := 0
			for range 3000 {
				now := time.Duration(rng.IntN(int(time.Second)))
				straight.now += now
				around.now += now
				if rng.IntN(20) == 0 {
					for _, far := range c.far {
						compiler.SetPathMTU(addr(far), []uint16{0, 100, 106, 120, 126, 600}[rng.IntN(6)])
					}
					silent := rng.IntN(4) == 0
					f := compiler.Update(nil, book, fibtest.Devices(c.set), func(_, _ uint16, _ netip.Addr) (packet.MAC, fib.AdjState) {
						if silent {
							return packet.MAC{}, fib.AdjFailed
						}
						return macRouter, fib.AdjReady
					})
					straight.fib.Store(f)
					around.fib.Store(f)
				}
				in := []int{blue1, uplink, blue1, uplink, blue3, red1, rng.IntN(nports)}[rng.IntN(7)]
				var burst [][]byte
				pool := often[in][rng.IntN(len(often[in]))]
				for range 1 + rng.IntN(port.MaxBurst) {
					from := pool
					if rng.IntN(8) == 0 || len(from) == 0 {
						from = rare[in]
					}
					if len(from) == 0 {
						continue
					}
					f := from[rng.IntN(len(from))]
					if rng.IntN(8) == 0 {
						f = garble(rng, f)
					}
					if len(f) < mbuf.FrontLen {
						burst = append(burst, f)
					}
				}
				if len(burst) == 0 {
					continue
				}
				a, b := straight.trip(in, burst...), around.trip(in, burst...)
				for p := range a {
					if len(a[p]) != len(b[p]) {
						t.Fatalf("port %d sent %d and %d frames of a burst from %d: %x", p, len(a[p]), len(b[p]), in, burst)
					}
					for i := range a[p] {
						if string(a[p][i]) != string(b[p][i]) {
							t.Fatalf("port %d sent\n%x\n%x", p, a[p][i], b[p][i])
						}
						same++
					}
				}
				if a, b := straight.heard(), around.heard(); a != b {
					t.Fatalf("of a burst from %d, %x, the control plane was told\n%s\n%s", in, burst, a, b)
				}
			}
			for p, a := range straight.w.Count.Snapshot().Ports {
				if b := around.w.Count.Snapshot().Ports[p]; a != b {
					t.Errorf("port %d counts\n%+v\n%+v", p, a, b)
				}
			}
			straight.balance(0)
			around.balance(0)
			t.Log(same, "frames,", straight.drops(), straight.events())
		})
	}
}

// heard is all that the control plane was told.
func (r *rig) heard() string {
	var b strings.Builder
	for c := r.w.Punt.Peek(); c != nil; c = r.w.Punt.Peek() {
		fmt.Fprintf(&b, "%d from port %d, of %d bytes: %x\n", c.Kind, c.Port, c.Len, c.Bytes())
		r.w.Punt.Pop()
	}
	return b.String()
}

// flows6 is n small packets of TCP and UDP over IPv6, each a flow of its own.
func flows6(n int, d datagram) (frames [][]byte) {
	for i := range n {
		if i%4 == 0 {
			frames = append(frames, d.with(&layers.TCP{SrcPort: layers.TCPPort(1024 + i), DstPort: 443, ACK: true, Window: 1 << 15}))
			continue
		}
		d.sport, d.dport, d.size = uint16(1024+i), 4789, 48+i%12
		frames = append(frames, d.frame())
	}
	return frames
}

// odd6 is IPv6 of all kinds from one CA to another, most of it not plain, and what looks
// plain and is not.
func odd6(d datagram) (frames [][]byte) {
	for i := range uint64(100) {
		packets, _ := samples(i, nil, addr(d.src), addr(d.dst), true)
		for _, p := range packets {
			frames = append(frames, framed(d.to, d.from, p))
		}
	}
	d.size = 60
	frames = append(frames, lies6(d.frame())...)
	frames = append(frames, lies6(d.with(&layers.TCP{SrcPort: 443, DstPort: 1024, ACK: true}))...)
	for _, typ := range []uint8{1, 2, 3, 4, 128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 143} {
		d.ttl = 255
		about := addr(d.dst).As16()
		frames = append(frames, d.icmp6(typ, "\x00\x00\x00\x00"+string(about[:])))
		if typ >= 130 {
			frames = append(frames, extended(d.icmp6(typ, "\x00\x00\x00\x00"+string(about[:])), "\x3a\x00\x05\x02\x00\x00\x01\x00")) // router alert
		}
	}
	plain := d.frame()
	frames = append(frames, extended(plain, "\x11\x00\x01\x04\x00\x00\x00\x00"))
	jumbo := extended(plain, "\x11\x00\xc2\x04\x00\x00\x00\x1c")
	jumbo[18], jumbo[19] = 0, 0
	frames = append(frames, jumbo)
	for _, a := range []string{"::", "::1", "::ffff:10.1.1.12", "fe80::1", "ff02::1", "ff02::16", "ff02::1:2", "ff05::1", vmBlue5.v6, vmBlue6.v6, router1.v6, d.src, d.dst} {
		for _, at := range []int{22, 38} {
			f, b := slices.Clone(plain), addr(a).As16()
			copy(f[at:], b[:])
			frames = append(frames, f)
			if b[0] == 0xff {
				f = slices.Clone(f)
				copy(f, []byte{0x33, 0x33, b[12], b[13], b[14], b[15]})
				frames = append(frames, f)
			}
		}
	}
	return frames
}

// extended is an IPv6 frame with a hop-by-hop header.
func extended(f []byte, header string) []byte {
	f = slices.Concat(f[:54], []byte(header), f[54:])
	f[20] = packet.ProtoHopByHop
	binary.BigEndian.PutUint16(f[18:], uint16(len(f)-54))
	return f
}

// lies6 is a plain frame of IPv6 whose header does not tell the truth, and such as are
// seldom.
func lies6(f []byte) (frames [][]byte) {
	set := func(at int, values ...byte) {
		for _, v := range values {
			f := slices.Clone(f)
			f[at] = v
			frames = append(frames, f)
		}
	}
	set(13, 0x00, 0x06)                                                                  // of another EtherType
	set(14, 0x40, 0x45, 0x50, 0x00, 0x6f)                                                // version
	set(15, 0x10, 0x20, 0x30, 0xc0)                                                      // ECN
	set(18, 1, 0xff)                                                                     // payload length, more than there is
	set(19, 0, 1, 3, 4, 7, 8, 9, 19, 20, 21, byte(len(f)-54-1), byte(len(f)-54+1), 0xff) // likewise, and less
	set(20, 0, 1, 4, 6, 17, 33, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 135, 136, 253)  // next header
	set(21, 0, 1, 254, 255)                                                              // hop limit
	none := slices.Clone(f)
	none[60], none[61] = 0, 0 // UDP's checksum
	frames = append(frames, none)
	for n := range f {
		frames = append(frames, f[:n])
	}
	return append(frames, slices.Concat(f, make([]byte, 5)))
}

// over6 is a tunnel packet between the IPv6 PAs that stand for its IPv4 ones in sixPA, if
// it is one.
func over6(f []byte) []byte {
	if len(f) < 34 || f[12] != 8 || f[13] != 0 || f[14] != 0x45 || f[23] != packet.ProtoGRE {
		return f
	}
	to6 := ether(packet.MAC(f), packet.MAC(f[6:]), packet.EtherTypeIPv6)
	to6 = append(to6, 0x60|f[15]>>4, f[15]<<4, 0, 0)
	to6 = binary.BigEndian.AppendUint16(to6, binary.BigEndian.Uint16(f[16:])-20)
	to6 = append(to6, packet.ProtoGRE, f[22])
	for _, pa := range [][]byte{f[26:30], f[30:34]} {
		a, _ := netip.AddrFromSlice(pa)
		to6 = append(to6, addr(six(a.String())).AsSlice()...)
	}
	return append(to6, f[34:]...)
}
