package packet

import (
	"errors"
	"testing"
)

func TestParseMAC(t *testing.T) {
	want := MAC{0x0a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f}
	for _, s := range []string{"0a:1b:2c:3d:4e:5f", "0A-1B-2C-3D-4E-5F", "0a1b2c3d4e5F"} {
		if got, err := ParseMAC(s); err != nil || got != want {
			t.Errorf("ParseMAC(%q) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", "0a:1b:2c:3d:4e", "0a:1b:2c:3d:4e:5g", "0a:1b-2c:3d-4e:5f", "0a1b2c3d4e5", "0a1b2c3d4e5f6",
		"0a:1b2c:3d4e:5f:", ":0a1b2c3d4e5f:::::", "0a.1b.2c.3d.4e.5f", "0a:1b:2c:3d:4e:5f:60",
	} {
		if got, err := ParseMAC(s); !errors.Is(err, ErrMAC) || got != (MAC{}) {
			t.Errorf("ParseMAC(%q) = %v, %v, want ErrMAC", s, got, err)
		}
	}
	text, err := want.MarshalText()
	if err != nil || string(text) != "0a:1b:2c:3d:4e:5f" {
		t.Errorf("MarshalText = %q, %v", text, err)
	}
	var m MAC
	if err := m.UnmarshalText(text); err != nil || m != want {
		t.Errorf("UnmarshalText = %v, %v", m, err)
	}
}

func TestMACKinds(t *testing.T) {
	for _, tt := range []struct {
		mac                        MAC
		zero, multicast, broadcast bool
	}{
		{MAC{}, true, false, false},
		{MAC{2, 0, 0, 0, 0, 1}, false, false, false},
		{MAC{0x33, 0x33, 0xff, 0, 0, 1}, false, true, false},
		{Broadcast, false, true, true},
	} {
		if tt.mac.IsZero() != tt.zero || tt.mac.IsMulticast() != tt.multicast || tt.mac.IsBroadcast() != tt.broadcast {
			t.Errorf("%v: zero %v, multicast %v, broadcast %v", tt.mac, tt.mac.IsZero(), tt.mac.IsMulticast(), tt.mac.IsBroadcast())
		}
	}
}

func TestVLANTag(t *testing.T) {
	tag := VLAN(unhex("88a8 6067"))
	if tag.TPID() != EtherTypeQinQ || tag.TCI() != 0x6067 || tag.VID() != 103 {
		t.Errorf("tag reads as %#x %#x %d", tag.TPID(), tag.TCI(), tag.VID())
	}
}

// Setters change their field and nothing else.
func TestSetters(t *testing.T) {
	ip := IPv6(unhex("6abcdef1 0008 11 40" + hexAddrs6))
	ip.SetTrafficClass(0x5a)
	if ip.Version() != 6 || ip.TrafficClass() != 0x5a || ip.FlowLabel() != 0xcdef1 {
		t.Errorf("traffic class: %x", ip[:4])
	}
	ip.SetFlowLabel(0xfff12345) // the high 12 bits are not the label's
	if ip.Version() != 6 || ip.TrafficClass() != 0x5a || ip.FlowLabel() != 0x12345 {
		t.Errorf("flow label: %x", ip[:4])
	}
	gre := make(NVGRE, NVGRELen)
	gre.Encode(NVGREFields{VSID: 6001, FlowID: 0x5a})
	if gre.Key() != 0x0017715a {
		t.Errorf("FlowID: %x", gre)
	}
}
