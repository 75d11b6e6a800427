package policy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"

	"paca/dataplane/packet"
)

// Format is the version of what AppendObject writes and of Keys. A store keeps
// it beside the objects and refuses what is newer.
//
// Format 2 added the switches and limits of ports and the DHCP of virtual
// subnets. An object without them is written as in format 1, so that what a
// store has kept need not be written anew to be read: newer marks the others.
//
// Format 3 added the offloads that a port does without, format 4 the number of its
// queues, likewise.
const Format = 4

// newer is set in a port's role and in a virtual subnet's mode when what format 2
// added follows. In the switches there, without says that what format 3 added
// follows that, and numbered what format 4 did.
const newer = 0x80

// What a VM port of format 1 has. This never changes, whatever the defaults do.
const (
	format1DynamicIPLimit = 8
	format1StormLimit     = 1000
)

// Switches of a port, in format 2.
const (
	macSpoofing = 1 << iota
	dhcpGuard
	routerGuard
	without
	numbered
)

// format1 is the port as format 1 could say it.
func (p Port) format1() Port {
	p.MACSpoofing, p.DHCPGuard, p.RouterGuard, p.DynamicIPLimit, p.StormLimit, p.Uplink, p.NoOffload, p.Queues = false, false, false, 0, 0, "", 0, 0
	if p.Role == VM {
		p.DynamicIPLimit, p.StormLimit = format1DynamicIPLimit, format1StormLimit
	}
	return p
}

// ErrEncoding is the cause of every error of DecodeObject.
var ErrEncoding = errors.New("not an object of policy")

// AppendObject appends what is in a valid object besides its Key. Addresses and
// MACs are in network order, numbers are varints, texts have their length in
// front.
func AppendObject(b []byte, o Object) []byte {
	switch o := o.(type) {
	case Global:
		b = append(b, bit(o.UseExternalRouter, 1))
	case Port:
		role := byte(o.Role)
		if o != o.format1() {
			role |= newer
		}
		b = append(b, role)
		b = binary.AppendUvarint(b, uint64(o.VSID))
		b = append(b, o.MAC[:]...)
		b = binary.AppendUvarint(b, uint64(o.MTU))
		b = appendText(b, o.Device)
		if role&newer != 0 {
			b = append(b, bit(o.MACSpoofing, macSpoofing)|bit(o.DHCPGuard, dhcpGuard)|bit(o.RouterGuard, routerGuard)|bit(o.NoOffload != 0, without)|bit(o.Queues != 0, numbered))
			b = binary.AppendUvarint(b, uint64(o.DynamicIPLimit))
			b = binary.AppendUvarint(b, uint64(o.StormLimit))
			b = appendText(b, o.Uplink)
			if o.NoOffload != 0 {
				b = append(b, byte(o.NoOffload))
			}
			if o.Queues != 0 {
				b = binary.AppendUvarint(b, uint64(o.Queues))
			}
		}
	case ProviderAddress:
		b = append(b, byte(o.Prefix.Bits()))
		b = appendText(b, o.Port)
		b = binary.AppendUvarint(b, uint64(o.VLAN))
		b = append(b, o.MAC[:]...)
	case ProviderRoute:
		b = binary.AppendUvarint(b, uint64(o.Metric))
	case VirtualSubnet:
		b = append(b, o.RDID[:]...)
		extended := o.DHCP || len(o.DNS) > 0
		b = append(b, byte(o.Mode)|bit(extended, newer))
		b = binary.AppendUvarint(b, uint64(len(o.Prefixes)))
		for _, p := range o.Prefixes {
			b = appendPrefix(b, p)
		}
		if extended {
			b = append(b, bit(o.DHCP, 1))
			b = binary.AppendUvarint(b, uint64(len(o.DNS)))
			for _, a := range o.DNS {
				b = appendAddr(b, a)
			}
		}
	case CustomerRoute:
		b = binary.AppendUvarint(b, uint64(o.Metric))
	case LookupRecord:
		var flags byte
		if o.UseVMMAC {
			flags |= useVMMAC
		}
		hasLabels := o.VMName != "" || o.CustomerID != "" || o.Context != ""
		if hasLabels {
			flags |= labelled
		}
		b = append(b, byte(o.Type), flags)
		b = appendAddr(b, o.PA)
		if hasLabels {
			b = appendText(appendText(appendText(b, o.VMName), o.CustomerID), o.Context)
		}
	}
	return b
}

// bit is b if on, else nothing.
func bit(on bool, b byte) byte {
	if on {
		return b
	}
	return 0
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// DecodeObject is the object that has Key k and of which AppendObject wrote b.
// It takes nothing that those two would not write, and does not validate.
func DecodeObject(k Key, b []byte) (Object, error) {
	id, r := reader{b: string(k)}, reader{b: string(b)}
	var o Object
	switch kind := Kind(id.byte()); kind {
	case KindGlobal:
		o = Global{UseExternalRouter: r.upTo(1) == 1}
	case KindPort:
		role := r.byte()
		p := Port{Name: id.bytes(len(id.b)), Role: Role(role &^ newer), VSID: VSID(r.upTo(math.MaxUint32)), MAC: r.mac(),
			MTU: int(r.upTo(math.MaxUint16)), Device: r.text()}.format1()
		if role&newer != 0 {
			switches := r.byte()
			p.MACSpoofing, p.DHCPGuard, p.RouterGuard = switches&macSpoofing != 0, switches&dhcpGuard != 0, switches&routerGuard != 0
			p.DynamicIPLimit, p.StormLimit, p.Uplink = uint32(r.upTo(math.MaxUint32)), uint32(r.upTo(math.MaxUint32)), r.text()
			if switches&without != 0 {
				p.NoOffload = Offloads(r.byte())
				r.bad = r.bad || p.NoOffload == 0
			}
			if switches&numbered != 0 {
				p.Queues = uint32(r.upTo(math.MaxUint32))
				r.bad = r.bad || p.Queues == 0
			}
			r.bad = r.bad || switches&^(macSpoofing|dhcpGuard|routerGuard|without|numbered) != 0 || p == p.format1()
		}
		o = p
	case KindProviderAddress:
		o = ProviderAddress{Prefix: r.prefixOf(id.addr()), Port: r.text(), VLAN: uint16(r.upTo(math.MaxUint16)), MAC: r.mac()}
	case KindProviderRoute:
		o = ProviderRoute{Port: id.upToZero(), Prefix: id.prefix(), NextHop: id.addr(), Metric: uint32(r.upTo(math.MaxUint32))}
	case KindVirtualSubnet:
		vs := VirtualSubnet{VSID: id.vsid(), RDID: RDID([]byte(r.bytes(16)))}
		mode := r.byte()
		vs.Mode = Mode(mode &^ newer)
		for n := r.upTo(uint64(len(r.b))); n > 0 && !r.bad; n-- {
			vs.Prefixes = append(vs.Prefixes, r.prefix())
		}
		if mode&newer != 0 {
			vs.DHCP = r.upTo(1) == 1
			for n := r.upTo(uint64(len(r.b))); n > 0 && !r.bad; n-- {
				vs.DNS = append(vs.DNS, r.addr())
			}
			r.bad = r.bad || !vs.DHCP && len(vs.DNS) == 0
		}
		o = vs
	case KindCustomerRoute:
		o = CustomerRoute{RDID: RDID([]byte(id.bytes(16))), VSID: id.vsid(), Prefix: id.prefix(), NextHop: id.addr(), Metric: uint32(r.upTo(math.MaxUint32))}
	case KindLookupRecord:
		rec := LookupRecord{VSID: id.vsid(), CA: id.addr(), MAC: id.mac(), Type: RecordType(r.byte())}
		flags := r.byte()
		rec.UseVMMAC = flags&useVMMAC != 0
		rec.PA = r.addr()
		if flags&labelled != 0 {
			rec.VMName, rec.CustomerID, rec.Context = r.text(), r.text(), r.text()
		}
		r.bad = r.bad || flags&^(useVMMAC|labelled) != 0 || flags&labelled != 0 && rec.VMName+rec.CustomerID+rec.Context == ""
		o = rec
	default:
		return nil, fmt.Errorf("policy: kind %d: %w", uint8(kind), ErrEncoding)
	}
	if id.bad || r.bad || id.b != "" || r.b != "" {
		return nil, fmt.Errorf("policy: %v %x = %x: %w", k.Kind(), string(k), b, ErrEncoding)
	}
	return o, nil
}

// subnetKey reads the Key of a virtual subnet.
func subnetKey(k Key) (VSID, bool) {
	r := reader{b: string(k[1:])}
	v := r.vsid()
	return v, !r.bad && r.b == ""
}

// recordKey reads the Key of a lookup record.
func recordKey(k Key) (place, bool) {
	r := reader{b: string(k[1:])}
	id := identityOf(r.vsid(), r.addr(), r.mac())
	return id, !r.bad && r.b == ""
}

// reader takes an encoding apart from the front. Once something is short or
// odd, it is bad and what it returns means nothing.
type reader struct {
	b   string
	bad bool
}

func (r *reader) bytes(n int) string {
	if n > len(r.b) {
		r.b, r.bad = "", true
		return string(make([]byte, n))
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

func (r *reader) byte() byte { return r.bytes(1)[0] }

func (r *reader) vsid() VSID { return VSID(binary.BigEndian.Uint32([]byte(r.bytes(4)))) }

func (r *reader) mac() packet.MAC { return packet.MAC([]byte(r.bytes(6))) }

// upTo is a varint in its shortest form.
func (r *reader) upTo(limit uint64) uint64 {
	var v uint64
	for shift := 0; ; shift += 7 {
		c := r.byte()
		if shift > 63 || shift == 63 && c > 1 || shift > 0 && c == 0 {
			r.bad = true
		}
		v |= uint64(c&0x7f) << min(shift, 63)
		if c < 0x80 || r.bad {
			break
		}
	}
	if v > limit {
		r.bad = true
	}
	if r.bad {
		return 0
	}
	return v
}

func (r *reader) text() string { return r.bytes(int(r.upTo(uint64(len(r.b))))) }

func (r *reader) upToZero() string {
	s := r.bytes(max(0, strings.IndexByte(r.b, 0)))
	r.bad = r.bad || r.byte() != 0
	return s
}

func (r *reader) addr() netip.Addr {
	switch r.byte() {
	case 4:
		return netip.AddrFrom4([4]byte([]byte(r.bytes(4))))
	case 16:
		return netip.AddrFrom16([16]byte([]byte(r.bytes(16))))
	}
	r.bad = true
	return netip.Addr{}
}

func (r *reader) prefix() netip.Prefix { return r.prefixOf(r.addr()) }

// prefixOf is a with the length that r has next.
func (r *reader) prefixOf(a netip.Addr) netip.Prefix {
	bits := r.byte()
	p := netip.PrefixFrom(a, int(bits))
	r.bad = r.bad || !p.IsValid()
	return p
}
