package policy

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"paca/dataplane/packet"
)

// encodable is an object of each kind and shape.
func encodable() []Object {
	s := goodSet()
	all := []Object{
		Global{}, Global{UseExternalRouter: true},
		Port{Name: "Ünï", Role: Host, MTU: math.MaxUint16, Device: strings.Repeat("d", 300)},
		Port{Name: "host1", Role: Host, Uplink: "up1"},
		Port{Name: "host2", Role: Host, Uplink: "up1", NoOffload: OffloadsOf(VLANTag)},
		Port{Name: "up1", Role: Uplink, NoOffload: 1<<NumOffloads - 1},
		Port{Name: "vm0", Role: VM, Queues: math.MaxUint32},
		Port{Name: "vm1", Role: VM, MACSpoofing: true, RouterGuard: true, DynamicIPLimit: 1, StormLimit: math.MaxUint32},
		Port{Name: "vm2", Role: VM, DHCPGuard: true, DynamicIPLimit: DefaultDynamicIPLimit, StormLimit: DefaultStormLimit},
		Port{Name: "vm3", Role: VM, DynamicIPLimit: DefaultDynamicIPLimit, StormLimit: DefaultStormLimit},
		VirtualSubnet{VSID: MinVSID, RDID: blue, Prefixes: prefixes("10.1.1.0/24"), DHCP: true},
		VirtualSubnet{VSID: MinVSID, RDID: blue, Prefixes: prefixes("10.1.1.0/24"), DNS: []netip.Addr{addr("10.1.1.53"), addr("8.8.8.8")}},
		LookupRecord{VSID: MinVSID, CA: addr("239.1.2.3"), MAC: packet.MAC{1, 0, 0x5e, 1, 2, 3}, PA: addr("ff0e::1")},
		CustomerRoute{RDID: blue, VSID: MaxVSID, Prefix: prefix("::/0"), NextHop: addr("::"), Metric: math.MaxUint32},
		LookupRecord{VSID: MinVSID, CA: addr("fd00::2"), MAC: mac(1), PA: addr("2001:db8::1"), Type: Dynamic, UseVMMAC: true, Context: "c"},
		LookupRecord{VSID: MinVSID, CA: addr("10.1.1.2"), MAC: mac(1), PA: addr("10.0.0.1"), VMName: strings.Repeat("n", 200), CustomerID: "i"},
	}
	for _, c := range changesOf(s) {
		all = append(all, c.Object)
	}
	return all
}

func TestEncoding(t *testing.T) {
	for _, o := range encodable() {
		b := AppendObject([]byte("before"), o)[len("before"):]
		got, err := DecodeObject(o.Key(), b)
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("%+v read back as %+v, %v", o, got, err)
		}
		// Nothing may be missing, nothing left over, in value or Key.
		for n := range b {
			if got, err := DecodeObject(o.Key(), b[:n]); !errors.Is(err, ErrEncoding) {
				t.Errorf("%d of %d bytes of %+v read as %+v, %v", n, len(b), o, got, err)
			}
		}
		if got, err := DecodeObject(o.Key(), append(b, 0)); !errors.Is(err, ErrEncoding) {
			t.Errorf("%+v with a byte more read as %+v, %v", o, got, err)
		}
		if o.Kind() == KindPort {
			continue // whose Key is any name
		}
		k := o.Key()
		for n := range k {
			if got, err := DecodeObject(k[:n], b); !errors.Is(err, ErrEncoding) {
				t.Errorf("%d of %d bytes of the Key of %+v read as %+v, %v", n, len(k), o, got, err)
			}
		}
		if got, err := DecodeObject(k+"\x00", b); !errors.Is(err, ErrEncoding) {
			t.Errorf("%+v with a byte more in its Key read as %+v, %v", o, got, err)
		}
	}
	// A number has one form, and fits.
	all := encodable()
	route := all[slices.IndexFunc(all, func(o Object) bool { return o.Kind() == KindCustomerRoute })]
	for _, b := range []string{"\xff\x81\x00", "\x80\x00", "\x80\x80\x80\x80\x10", strings.Repeat("\xff", 9) + "\x01", strings.Repeat("\xff", 20)} {
		if o, err := DecodeObject(route.Key(), []byte(b)); !errors.Is(err, ErrEncoding) {
			t.Errorf("metric %x read as %v, %v", b, o, err)
		}
	}
	for _, k := range []Key{"", "\x00", Key([]byte{byte(numKinds)}), "\xff"} {
		if o, err := DecodeObject(k, nil); !errors.Is(err, ErrEncoding) {
			t.Errorf("Key %q read as %v, %v", k, o, err)
		}
		if o, ok := NewBook().Get(k); ok || o != nil {
			t.Errorf("a Book has %v for Key %q", o, k)
		}
	}
}

// What a store has kept can be read for ever: these bytes never change under
// one Format. Those of format 1 are still what such objects are written as; what
// they do not say is what that release did.
func TestFormats(t *testing.T) {
	for _, c := range []struct {
		o          Object
		key, value string
	}{
		// Format 4.
		{Port{Name: "u", Role: Uplink, MTU: 1, Queues: 300}, "\x02u", "\x80\x00\x00\x00\x00\x00\x00\x00\x01\x00\x10\x00\x00\x00\xac\x02"},
		{Port{Name: "u", Role: Uplink, MTU: 1, NoOffload: OffloadsOf(TSO), Queues: 2}, "\x02u", "\x80\x00\x00\x00\x00\x00\x00\x00\x01\x00\x18\x00\x00\x00\x01\x02"},

		// Format 3.
		{Port{Name: "u", Role: Uplink, MTU: 1, NoOffload: OffloadsOf(GRETSO, RxChecksum)}, "\x02u", "\x80\x00\x00\x00\x00\x00\x00\x00\x01\x00\x08\x00\x00\x00\x12"},

		// Format 2.
		{Port{Name: "p", Role: VM, VSID: 6001, MAC: mac(1), MTU: 1458, Device: "tap:x", MACSpoofing: true, RouterGuard: true, DynamicIPLimit: 3, StormLimit: 300},
			"\x02p", "\x81\xf1\x2e\x02\x00\x00\x00\x00\x01\xb2\x0b\x05tap:x\x05\x03\xac\x02\x00"},
		{Port{Name: "p", Role: VM, MTU: 1, DHCPGuard: true}, "\x02p", "\x81\x00\x00\x00\x00\x00\x00\x00\x01\x00\x02\x00\x00\x00"},
		{Port{Name: "h", Role: Host, MTU: 1, Uplink: "u"}, "\x02h", "\x82\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01u"},
		{VirtualSubnet{VSID: 6001, RDID: blue, Prefixes: prefixes("10.1.1.0/24"), Mode: Rewrite, DHCP: true, DNS: []netip.Addr{addr("8.8.8.8")}},
			"\x05\x00\x00\x17\x71", "\x01" + strings.Repeat("\x00", 15) + "\x81\x01\x04\x0a\x01\x01\x00\x18\x01\x01\x04\x08\x08\x08\x08"},

		// Format 1.
		{Port{Name: "h", Role: Host, MTU: 1}, "\x02h", "\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00"},
		{Global{UseExternalRouter: true}, "\x01", "\x01"},
		{Port{Name: "p", Role: VM, VSID: 6001, MAC: mac(1), MTU: 1458, Device: "tap:x", DynamicIPLimit: 8, StormLimit: 1000}, "\x02p", "\x01\xf1\x2e\x02\x00\x00\x00\x00\x01\xb2\x0b\x05tap:x"},
		{ProviderAddress{Prefix: prefix("192.168.1.10/24"), Port: "u", VLAN: 5, MAC: mac(2)}, "\x03\x04\xc0\xa8\x01\x0a", "\x18\x01u\x05\x02\x00\x00\x00\x00\x02"},
		{ProviderRoute{Port: "u", Prefix: prefix("10.0.0.0/8"), NextHop: addr("192.168.1.1"), Metric: 300}, "\x04u\x00\x04\x0a\x00\x00\x00\x08\x04\xc0\xa8\x01\x01", "\xac\x02"},
		{VirtualSubnet{VSID: 6001, RDID: blue, Prefixes: prefixes("10.1.1.0/24"), Mode: Rewrite}, "\x05\x00\x00\x17\x71", "\x01" + strings.Repeat("\x00", 15) + "\x01\x01\x04\x0a\x01\x01\x00\x18"},
		{CustomerRoute{RDID: blue, VSID: 6001, Prefix: prefix("0.0.0.0/0"), NextHop: addr("10.1.1.254"), Metric: 255},
			"\x06\x01" + strings.Repeat("\x00", 15) + "\x00\x00\x17\x71\x04\x00\x00\x00\x00\x00\x04\x0a\x01\x01\xfe", "\xff\x01"},
		{LookupRecord{VSID: 6001, CA: addr("10.1.1.11"), MAC: mac(1), PA: addr("192.168.1.10"), Type: Dynamic, UseVMMAC: true, VMName: "v"},
			"\x07\x00\x00\x17\x71\x04\x0a\x01\x01\x0b\x02\x00\x00\x00\x00\x01", "\x01\x0c\x04\xc0\xa8\x01\x0a\x01v\x00\x00"},
	} {
		if k, v := string(c.o.Key()), string(AppendObject(nil, c.o)); k != c.key || v != c.value {
			t.Errorf("%+v is %q = %q\nwant %q = %q", c.o, k, v, c.key, c.value)
		}
		if o, err := DecodeObject(Key(c.key), []byte(c.value)); err != nil || !reflect.DeepEqual(o, c.o) {
			t.Errorf("%q = %q is %+v, %v\nwant %+v", c.key, c.value, o, err, c.o)
		}
	}
}

func TestRandomEncoding(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 20_000 {
		o := randomObject(r)
		if wrong(o) {
			continue
		}
		if got, err := DecodeObject(o.Key(), AppendObject(nil, o)); err != nil || !reflect.DeepEqual(got, o) {
			t.Fatalf("seed %d: %+v read back as %+v, %v", seed, o, got, err)
		}
	}
}

// Whatever is read is written as it was read: there is one encoding.
func FuzzDecodeObject(f *testing.F) {
	for _, o := range encodable() {
		f.Add([]byte(o.Key()), AppendObject(nil, o))
	}
	f.Fuzz(func(t *testing.T, k, b []byte) {
		o, err := DecodeObject(Key(k), b)
		if err != nil {
			if o != nil || !errors.Is(err, ErrEncoding) {
				t.Errorf("%v, %v", o, err)
			}
			return
		}
		if again := AppendObject(nil, o); string(o.Key()) != string(k) || !bytes.Equal(again, b) {
			t.Errorf("%+v is %x = %x\nwas read from %x = %x", o, string(o.Key()), again, k, b)
		}
		NewBook().Get(Key(k))
		NewBook().Apply([]Change{{Put, o}, {Delete, o}})
	})
}
