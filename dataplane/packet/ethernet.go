package packet

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// MAC is an Ethernet address in wire order.
type MAC [6]byte

// Broadcast is the address of every station.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ErrMAC is what ParseMAC wraps.
var ErrMAC = errors.New("not an Ethernet address (want aa:bb:cc:dd:ee:ff)")

// ParseMAC reads aa:bb:cc:dd:ee:ff, aa-bb-cc-dd-ee-ff or aabbccddeeff, in
// either case.
func ParseMAC(s string) (m MAC, err error) {
	digits := s
	if len(s) == 17 && (s[2] == ':' || s[2] == '-') {
		digits = strings.ReplaceAll(s, s[2:3], "")
		for i := 2; i < len(s); i += 3 { // each separator in its place
			if s[i] != s[2] {
				digits = ""
			}
		}
	}
	if len(digits) != 12 {
		return MAC{}, fmt.Errorf("%q: %w", s, ErrMAC)
	}
	if _, err := hex.Decode(m[:], []byte(digits)); err != nil {
		return MAC{}, fmt.Errorf("%q: %w", s, ErrMAC)
	}
	return m, nil
}

func (m MAC) String() string {
	const digits = "0123456789abcdef"
	var s [17]byte
	for i, b := range m {
		s[3*i] = digits[b>>4]
		s[3*i+1] = digits[b&15]
		if i < 5 {
			s[3*i+2] = ':'
		}
	}
	return string(s[:])
}

// MarshalText and UnmarshalText let configuration and API files carry a MAC as
// text.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

func (m *MAC) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMAC(string(text))
	return err
}

// IsZero reports the all-zero address, which no station has.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsMulticast reports the group bit; broadcast has it too.
func (m MAC) IsMulticast() bool { return m[0]&1 != 0 }

func (m MAC) IsBroadcast() bool { return m == Broadcast }

// EtherTypes.
const (
	EtherTypeIPv4    uint16 = 0x0800
	EtherTypeARP     uint16 = 0x0806
	EtherTypeTEB     uint16 = 0x6558 // Transparent Ethernet Bridging, GRE's protocol for a bare frame
	EtherTypeVLAN    uint16 = 0x8100 // 802.1Q C-tag
	EtherTypeIPv6    uint16 = 0x86DD
	EtherTypeQinQ    uint16 = 0x88A8 // 802.1ad S-tag
	EtherTypeQinQOld uint16 = 0x9100 // stacked tags before 802.1ad
)

// Ethernet is an Ethernet II header; it may be longer than the header.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                      Destination address                      |
//	+                               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                               |                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               +
//	|                         Source address                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|           EtherType           |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Ethernet []byte

const (
	ethDst  = 0
	ethSrc  = 6
	ethType = 12

	EthernetLen = 14
)

// EthernetFields are the values of an untagged Ethernet header.
type EthernetFields struct {
	Dst, Src  MAC
	EtherType uint16
}

func (b Ethernet) Encode(f EthernetFields) {
	_ = b[EthernetLen-1]
	b.SetDst(f.Dst)
	b.SetSrc(f.Src)
	b.SetEtherType(f.EtherType)
}

func (b Ethernet) Dst() MAC { return MAC(b[ethDst : ethDst+6]) }
func (b Ethernet) Src() MAC { return MAC(b[ethSrc : ethSrc+6]) }

// EtherType is the field behind the addresses: that of the outer tag when the
// frame is tagged.
func (b Ethernet) EtherType() uint16 { return binary.BigEndian.Uint16(b[ethType:]) }

func (b Ethernet) SetDst(m MAC)          { *(*MAC)(b[ethDst : ethDst+6]) = m }
func (b Ethernet) SetSrc(m MAC)          { *(*MAC)(b[ethSrc : ethSrc+6]) = m }
func (b Ethernet) SetEtherType(t uint16) { binary.BigEndian.PutUint16(b[ethType:], t) }

// VLAN is one 802.1Q or 802.1ad tag. It begins where an untagged frame has its
// EtherType; the next tag or the EtherType of the payload follows it.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|              TPID             | PCP |D|          VID          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type VLAN []byte

const (
	vlanTPID = 0
	vlanTCI  = 2

	VLANLen = 4

	// VIDMask selects the VLAN identifier in a TCI.
	VIDMask uint16 = 0x0fff
)

// VLANFields are the values of a tag.
type VLANFields struct {
	TPID uint16
	TCI  uint16
}

func (b VLAN) Encode(f VLANFields) {
	b.SetTPID(f.TPID)
	b.SetTCI(f.TCI)
}

func (b VLAN) TPID() uint16 { return binary.BigEndian.Uint16(b[vlanTPID:]) }

// TCI is priority, drop-eligible bit and VLAN identifier together.
func (b VLAN) TCI() uint16 { return binary.BigEndian.Uint16(b[vlanTCI:]) }
func (b VLAN) VID() uint16 { return b.TCI() & VIDMask }

func (b VLAN) SetTPID(t uint16) { binary.BigEndian.PutUint16(b[vlanTPID:], t) }
func (b VLAN) SetTCI(t uint16)  { binary.BigEndian.PutUint16(b[vlanTCI:], t) }

// appendEthernet appends an Ethernet header, with one 802.1Q tag unless tci is 0.
func appendEthernet(dst []byte, to, from MAC, tci, etherType uint16) []byte {
	dst = append(dst, to[:]...)
	dst = append(dst, from[:]...)
	if tci != 0 {
		dst = binary.BigEndian.AppendUint16(dst, EtherTypeVLAN)
		dst = binary.BigEndian.AppendUint16(dst, tci)
	}
	return binary.BigEndian.AppendUint16(dst, etherType)
}
