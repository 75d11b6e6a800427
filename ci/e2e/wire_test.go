package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"paca/ci/topo"
	"paca/dataplane/count"
)

// hostFile is a host1 for tests that speak for everyone else on the wire.
const hostFile = `
[host]
name = "host1"
[eal]
memory = "256MiB"
hugepages = "none"
[workers]
cores = [0]
idle = "adaptive"
[[port]]
name = "uplink0"
role = "uplink"
device = "%[4]s:uplink0"
[[port]]
name = "blue1"
role = "vm"
device = "%[4]s:blue1"
vsid = %[1]d
mac = "10:10:10:10:11:05"
[[port]]
name = "red1"
role = "vm"
device = "%[4]s:red1"
vsid = 5001
mac = "10:10:10:10:12:05"
[nvgre]
flow_id = "%[2]s"
[policy]
store = "memory"
seed = "policy.toml"
[control]
socket = "%[3]s"
[metrics]
listen = "127.0.0.1:9470"
`

// provider is one PA of host1 and the way out from it.
func provider(address string, vlan int, nextHop string) string {
	anywhere := "0.0.0.0/0"
	if strings.Contains(nextHop, ":") {
		anywhere = "::/0"
	}
	return fmt.Sprintf(`
[[provider_address]]
address = %q
port = "uplink0"
vlan = %d
[[provider_route]]
port = "uplink0"
prefix = %q
next_hop = %q
`, address, vlan, anywhere, nextHop)
}

func neighbor(address string) string {
	return fmt.Sprintf("\n[[neighbor]]\nport = \"uplink0\"\naddress = %q\nmac = %q\n", address, topo.RouterMAC1)
}

func subnet(vsid, domain int) string { return subnetOf(vsid, domain, 1, "nvgre") }

func subnetOf(vsid, domain, net int, mode string) string {
	return fmt.Sprintf(`
[[virtual_subnet]]
vsid = %d
rdid = "{11111111-2222-3333-4444-%012d}"
prefixes = ["10.1.%[3]d.0/24", "fd00:10:1:%[3]d::/64"]
mode = %[4]q
`, vsid, domain, net, mode)
}

func record(vsid int, ca, mac, pa string) string {
	return fmt.Sprintf("\n[[lookup_record]]\nvsid = %d\nca = %q\nmac = %q\npa = %q\n", vsid, ca, mac, pa)
}

const (
	blue1MAC = "10:10:10:10:11:05"
	blue2MAC = "10:10:10:10:11:07"
)

// The spec's byte vectors: what the VM sends in each of them, and what is on the
// wire then. FlowID and IP identification are taken from the packet that came,
// since each host chooses its own; nothing else is.
const vectorInner = "1010101011071010101011050800" +
	"45000020" + "12340000" + "40015291" + "0a01010b" + "0a01010c" + "0800598e" + "00010001" + "484e5621"

var vectors = []struct {
	name     string
	vsid     int
	vlan     int
	pa, peer string
	subnet   string // what host1's PA is in
	nextHop  string
	flowID   string // as configured
	wire     string
}{
	{
		name: "V1", vsid: 6001, pa: "192.168.1.10", peer: "192.168.2.20", subnet: "/24", nextHop: "192.168.1.1", flowID: "zero",
		wire: "02000000010102000000010a0800" + "4500004a00014000802f7615c0a8010ac0a80214" + "2000655800177100" + vectorInner,
	},
	{
		name: "V2", vsid: 6001, vlan: 103, pa: "192.168.1.10", peer: "192.168.2.20", subnet: "/24", nextHop: "192.168.1.1", flowID: "hash",
		wire: "02000000010102000000010a810000670800" + "4500004a00024000802f7614c0a8010ac0a80214" + "200065580017715a" + vectorInner,
	},
	{
		name: "V3", vsid: 0xFFFFFE, pa: "2001:db8:1::10", peer: "2001:db8:2::20", subnet: "/64", nextHop: "2001:db8:1::1", flowID: "zero",
		wire: "02000000010102000000010a86dd" + "6000000000362f80" + "20010db8000100000000000000000010" +
			"20010db8000200000000000000000020" + "20006558fffffe00" + vectorInner,
	},
}

func TestW1_W2_W3_W6_W10_W11_W12_W13_W14Vectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			l := newLab(t, true)
			config := fmt.Sprintf(hostFile, v.vsid, v.flowID, l.socket(topo.Host1), "af_packet") + provider(v.pa+v.subnet, v.vlan, v.nextHop)
			if v.vlan == 0 {
				config += neighbor(v.nextHop)
			}
			l.write("host1.toml", config)
			l.write("policy.toml", subnet(v.vsid, 1)+record(v.vsid, "10.1.1.11", blue1MAC, v.pa)+record(v.vsid, "10.1.1.12", blue2MAC, v.peer))
			l.start(topo.Host1)
			vm, router := l.open(topo.Blue1, "eth0"), l.open(topo.Router, topo.ToHost1)

			inner := unhex(t, vectorInner)
			if err := vm.Send(inner); err != nil {
				t.Fatal(err)
			}
			got := nextTunnel(t, router, v.vlan)
			judgeVector(t, got, v.wire, v.vlan)

			ip := 14
			if v.vlan != 0 {
				ip += 4
			}
			id, flow := 0, int(got[len(got)-len(inner)-1])
			if !strings.Contains(v.pa, ":") {
				id = int(binary.BigEndian.Uint16(got[ip+4:]))
			}
			var differences []string
			ask(t, "judge.py", map[string]any{
				"got": hex.EncodeToString(got), "mac": []string{topo.Host1MAC, topo.RouterMAC1}, "pa": []string{v.pa, v.peer},
				"vlan": v.vlan, "vsid": v.vsid, "flow": flow, "id": id, "inner": vectorInner,
			}, &differences)
			for _, d := range differences {
				t.Errorf("scapy: %s", d)
			}
			judgeByTshark(t, l.dir, got, fmt.Sprintf("0x%06x%02x", v.vsid, flow), v.pa, v.peer, v.vlan)

			// W5: the same flow, the same FlowID; W12: another identification.
			if err := vm.Send(inner); err != nil {
				t.Fatal(err)
			}
			again := nextTunnel(t, router, v.vlan)
			if f := int(again[len(again)-len(inner)-1]); f != flow {
				t.Errorf("FlowID %d, then %d for the same flow", flow, f)
			}
			if !strings.Contains(v.pa, ":") && int(binary.BigEndian.Uint16(again[ip+4:])) == id {
				t.Errorf("two packets with IP identification %d", id)
			}
		})
	}
}

// judgeVector compares every byte with the vector; identification, FlowID and the
// checksum that follows from them are first made the packet's.
func judgeVector(t *testing.T, got []byte, wire string, vlan int) {
	t.Helper()
	want := unhex(t, wire)
	if len(got) != len(want) {
		t.Fatalf("%d bytes, want %d:\n got %x\nwant %x", len(got), len(want), got, want)
	}
	flow := len(want) - len(vectorInner)/2 - 1
	want[flow] = got[flow]
	ip := 14
	if vlan != 0 {
		ip = 18
	}
	if want[ip]>>4 == 4 {
		copy(want[ip+4:ip+6], got[ip+4:ip+6])
		want[ip+10], want[ip+11] = 0, 0
		binary.BigEndian.PutUint16(want[ip+10:], checksum(want[ip:ip+20]))
	}
	if !bytes.Equal(got, want) {
		t.Errorf("\n got %x\nwant %x", got, want)
	}
}

// checksum is RFC 1071 at its plainest: the tests do not borrow the code they
// judge.
func checksum(header []byte) uint16 {
	sum := 0
	for i := 0; i < len(header); i += 2 {
		sum += int(header[i])<<8 | int(header[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// judgeByTshark has tshark take the packet apart.
func judgeByTshark(t *testing.T, dir string, frame []byte, key, src, dst string, vlan int) {
	t.Helper()
	capture := filepath.Join(dir, "judged.pcap")
	file, err := os.Create(capture)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(topo.WritePcap(file, [][]byte{frame}), file.Close()); err != nil {
		t.Fatal(err)
	}
	family := "ip"
	if strings.Contains(src, ":") {
		family = "ipv6"
	}
	fields := []struct{ name, want string }{
		{"frame.protocols", "eth:ethertype:" + map[bool]string{true: "vlan:ethertype:"}[vlan != 0] + family + ":gre:eth:ethertype:ip:icmp:data"},
		{"vlan.id", map[bool]string{true: fmt.Sprint(vlan)}[vlan != 0]},
		{family + ".src", src}, // the first: the outer one
		{family + ".dst", dst},
		{map[string]string{"ip": "ip.ttl", "ipv6": "ipv6.hlim"}[family], "128"},
		{"gre.flags_and_version", "0x2000"},
		{"gre.proto", "0x6558"},
		{"gre.key", key},
		{"eth.src", topo.Host1MAC},
		{"eth.dst", topo.RouterMAC1},
		{"icmp.checksum.status", "1"},
		{"data.data", "484e5621"},
		{"_ws.malformed", ""},
		{"_ws.expert.message", ""},
	}
	args := []string{"-r", capture, "-T", "fields", "-E", "separator=;", "-E", "occurrence=f",
		"-o", "ip.check_checksum:TRUE", "-Y", "not ip.checksum.status == Bad"}
	for _, f := range fields {
		args = append(args, "-e", f.name)
	}
	out, err := exec.CommandContext(t.Context(), "tshark", args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	got := strings.Split(strings.TrimRight(string(out), "\n"), ";")
	if len(got) != len(fields) {
		t.Fatalf("tshark found a wrong IP checksum, or answered %q", out)
	}
	for i, f := range fields {
		if f.name == "_ws.expert.message" && strings.HasPrefix(got[i], "No response seen") {
			continue // there is one packet in the capture
		}
		if got[i] != f.want {
			t.Errorf("tshark: %s = %q, want %q", f.name, got[i], f.want)
		}
	}
}

// testCase is one frame that frames.py made.
type testCase struct {
	Rule, Name, Frame string
	Out, Reason       string // one of them
	Port              string // of the VM that sends it, if not blue1
	Fragment          bool   // of IPv4: DPDK's af_packet driver has the kernel put them together first
}

// Every frame in its own subtest, against one pacad that lives through them all.
// Behind each goes a good one: once that has arrived, the first was dealt with,
// and had it crossed, it would have come before.
func TestW7_W20_W21_W22_W23_W24_W25_W26_W27_W28_W29_W30_L1_L31Frames(t *testing.T) {
	t.Run("af_packet", func(t *testing.T) {
		l := newLabWith(t, topo.Options{Silent: true, Subnet2: true})
		l.frames("af_packet", func(name string) *topo.Wire {
			if name == "uplink0" {
				return l.open(topo.Router, topo.ToHost1)
			}
			return l.open(name, "eth0")
		})
	})
	// paca makes the interfaces, so the host's own veths make room for them.
	t.Run("tap", func(t *testing.T) {
		l := newLabWith(t, topo.Options{Silent: true, Subnet2: true})
		for _, iface := range []string{"uplink0", "blue1", "red1", "blue3"} {
			if out, err := l.output(topo.Host1, "ip", "link", "delete", iface); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		l.frames("tap", func(name string) *topo.Wire { return l.open(topo.Host1, name) })
	})
}

// allFrames are those of frames.py.
type allFrames struct{ Fabric, Guest, Last []testCase }

func makeFrames(t *testing.T) allFrames {
	t.Helper()
	var frames allFrames
	ask(t, "frames.py", nil, &frames)
	if len(frames.Fabric) < 50 || len(frames.Guest) < 50 || len(frames.Last) == 0 {
		t.Fatalf("frames.py made %d, %d and %d frames", len(frames.Fabric), len(frames.Guest), len(frames.Last))
	}
	return frames
}

// beyondFrames are the reasons that a single frame cannot cause, and why not.
var beyondFrames = map[count.Reason]string{
	count.MultiSegment:        "ports of these kinds hand over packets in one piece",
	count.ChecksumUnsupported: "ports of these kinds leave no checksum to be done",
	count.GSOUnsupported:      "ports of these kinds leave nothing to be cut",
	count.TxFull:              "a port's queue must be full",
	count.NoBuffer:            "the pool must be empty",
	count.PortDown:            "the frame must be in the queue of a port while that is plugged out",
	count.WorkerQueue:         "a worker must be behind, and have a peer",
	count.Storm:               "it takes many frames: TestL31StormLimit",
	count.NeighborQueue:       "it takes many frames: TestL16SilentNextHop",
	count.NeighborFailed:      "it takes time: TestL16SilentNextHop",
	count.OtherSubnet:         "the host must be set to external routers: TestL18ExternalRouter",
	count.ModeMissing:         "every mode is there",
	count.Headroom:            "every buffer that a port receives into has room for the outer header",
	count.ControlQueue:        "the control plane must be behind",
}

// Every reason has a frame that lands on its counter, or one why it cannot have.
func TestEveryReasonHasAFrame(t *testing.T) {
	frames := makeFrames(t)
	made := map[string]bool{}
	for _, c := range slices.Concat(frames.Fabric, frames.Guest, frames.Last) {
		made[c.Reason] = true
	}
	for r := count.Kept + 1; r < count.NumReasons; r++ {
		switch why := beyondFrames[r]; {
		case why == "" && !made[r.Name()]:
			t.Errorf("no frame of frames.py is dropped as %s", r)
		case why != "" && made[r.Name()]:
			t.Errorf("a frame can be dropped as %s, though %s", r, why)
		}
	}
}

// frames runs the cases of frames.py against a pacad whose ports are all of one
// kind but for that of a VM that is not virtualized, a tap; open takes hold of
// their far ends.
func (l *lab) frames(kind string, open func(port string) *topo.Wire) {
	t := l.t
	guarded := strings.Replace(fmt.Sprintf(hostFile, 6001, "hash", l.socket(topo.Host1), kind),
		"mac = \""+blue1MAC+"\"\n", "mac = \""+blue1MAC+"\"\ndhcp_guard = true\nrouter_guard = true\n", 1)
	guarded = strings.Replace(guarded, "[nvgre]", "[nvgre]\ncontrol_messages = \"off\"", 1)
	l.write("host1.toml", guarded+fmt.Sprintf(`
[[port]]
name = "blue3"
role = "vm"
device = "%s:blue3"
vsid = 6002
mac = "10:10:10:10:13:05"
`, kind)+
		strings.Replace(provider("192.168.1.10/24", 0, "192.168.1.1"), "0.0.0.0/0", "192.168.0.0/16", 1)+neighbor("192.168.1.1")+
		"\n[[provider_address]]\naddress = \"192.168.1.33/24\"\nport = \"uplink0\"\n"+
		provider("2001:db8:1::10/64", 0, "2001:db8:1::1")+neighbor("2001:db8:1::1"))
	policy := subnet(6001, 1) + subnet(5001, 2) + subnetOf(6002, 1, 2, "nvgre") + subnetOf(6003, 1, 3, "rewrite") + subnetOf(6004, 1, 4, "nvgre")
	for _, r := range []struct{ ca, mac, pa string }{
		{"10.1.1.11", blue1MAC, "192.168.1.10"}, {"10.1.1.12", blue2MAC, "192.168.2.20"},
		{"fd00:10:1:1::11", blue1MAC, "192.168.1.10"}, {"fd00:10:1:1::12", blue2MAC, "192.168.2.20"},
		{"10.1.1.21", blue1MAC, "2001:db8:1::10"}, {"10.1.1.22", blue2MAC, "2001:db8:2::20"},
		{"fd00:10:1:1::21", blue1MAC, "2001:db8:1::10"}, {"fd00:10:1:1::22", blue2MAC, "2001:db8:2::20"},
		{"10.1.1.31", blue1MAC, "192.168.2.20"}, {"10.1.1.32", "02:00:00:00:09:01", "192.168.1.10"},
	} {
		policy += record(6001, r.ca, r.mac, r.pa)
	}
	policy += record(5001, "10.1.1.11", "10:10:10:10:12:05", "192.168.1.10") +
		record(6002, "0.0.0.0", "10:10:10:10:13:05", "192.168.1.10") + "type = \"l2-only\"\n" +
		record(6002, "10.1.2.12", "10:10:10:10:13:07", "192.168.2.20") + record(6002, "10.1.2.33", "02:00:00:00:09:02", "172.16.0.1") +
		record(6003, "10.1.3.11", "10:10:10:10:15:07", "192.168.3.33") + record(6003, "10.1.3.13", "10:10:10:10:15:05", "192.168.1.33") + `
[[customer_route]]
rdid = "{11111111-2222-3333-4444-000000000001}"
vsid = 6003
prefix = "203.0.113.0/24"
next_hop = "10.1.3.11"
[[port]]
name = "green"
role = "vm"
device = "tap:green"
vsid = 6003
mac = "10:10:10:10:15:05"
[[port]]
name = "plain"
role = "vm"
device = "tap:plain"
mac = "10:10:10:10:14:05"
`
	l.write("policy.toml", policy)
	l.start(topo.Host1)
	wires := map[string]*topo.Wire{}
	for _, port := range []string{"uplink0", "blue1", "red1", "blue3"} {
		wires[port] = open(port)
	}
	wires["plain"], wires["green"] = l.open(topo.Host1, "plain"), l.open(topo.Host1, "green")
	blue, router := wires["blue1"], wires["uplink0"]
	if kind == "af_packet" {
		if out, err := l.output(topo.Blue1, "ip", "link", "set", "eth0", "mtu", "1500"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	frames := makeFrames(t)

	check := func(t *testing.T, c, good testCase, in *topo.Wire, next func(*testing.T) []byte) {
		l.t = t
		defer func() {
			if t.Failed() {
				t.Logf("frame: %s", c.Frame)
			}
		}()
		for _, w := range wires {
			w.Drain() // what an earlier case that failed left
		}
		before := l.drops(topo.Host1)
		own := in
		if c.Port != "" {
			own = wires[c.Port]
		}
		if err := errors.Join(own.Send(unhex(t, c.Frame)), in.Send(unhex(t, good.Frame))); err != nil {
			t.Fatal(err)
		}
		want := map[string]int{}
		if c.Reason != "" {
			want[c.Reason] = 1
		} else if got := hex.EncodeToString(next(t)); got != c.Out {
			t.Errorf("\ncame out %s\n    want %s", got, c.Out)
		}
		if got := hex.EncodeToString(next(t)); got != good.Out {
			t.Errorf("a frame that is to be dropped crossed as\n%s", got)
			next(t) // the good one
		}
		l.expectDrops(topo.Host1, before, want)
		for name, w := range wires {
			if stray := nextUnlike(w, 0, isControl); stray != nil {
				t.Errorf("came out at %s: %x", name, stray)
			}
		}
	}

	toVM := func(t *testing.T) []byte {
		t.Helper()
		frame := nextUnlike(blue, time.Second, nothing)
		if frame == nil {
			t.Fatal("nothing arrived at the VM")
		}
		return frame
	}
	for _, c := range frames.Fabric {
		if kind == "af_packet" && c.Fragment {
			continue
		}
		t.Run("fabric/"+c.Rule+" "+c.Name, func(t *testing.T) { check(t, c, frames.Fabric[0], router, toVM) })
	}

	// What a VM sent is what is inside the tunnel packet.
	toFabric := func(t *testing.T) []byte {
		t.Helper()
		frame := nextTunnel(t, router, 0)
		if frame[12] == 0x86 {
			return frame[14+40+8:]
		}
		return frame[14+20+8:]
	}
	for _, c := range frames.Guest {
		if kind == "af_packet" && c.Fragment {
			continue
		}
		t.Run("guest/"+c.Rule+" "+c.Name, func(t *testing.T) { check(t, c, frames.Guest[0], blue, toFabric) })
	}
	for _, c := range frames.Last {
		t.Run("last/"+c.Rule+" "+c.Name, func(t *testing.T) { check(t, c, frames.Fabric[0], router, toVM) })
	}
	l.t = t
}

// L15: two VMs of one virtual subnet on one host meet without the wire.
func TestL12_L15SameHost(t *testing.T) {
	l := newLab(t, true)
	const thirdMAC = "10:10:10:10:12:05"
	config := fmt.Sprintf(hostFile, 6001, "hash", l.socket(topo.Host1), "af_packet") +
		provider("192.168.1.10/24", 0, "192.168.1.1") + neighbor("192.168.1.1")
	l.write("host1.toml", strings.Replace(config, "vsid = 5001", "vsid = 6001", 1))
	l.write("policy.toml", subnet(6001, 1)+
		record(6001, "10.1.1.11", blue1MAC, "192.168.1.10")+record(6001, "10.1.1.13", thirdMAC, "192.168.1.10"))
	l.start(topo.Host1)
	one, other, router := l.open(topo.Blue1, "eth0"), l.open(topo.Red1, "eth0"), l.open(topo.Router, topo.ToHost1)

	frame := unhex(t, vectorInner)
	copy(frame[14+16:], []byte{10, 1, 1, 13})
	frame[14+10], frame[14+11] = 0, 0
	binary.BigEndian.PutUint16(frame[14+10:], checksum(frame[14:34]))
	if err := one.Send(frame); err != nil {
		t.Fatal(err)
	}
	copy(frame, []byte{0x10, 0x10, 0x10, 0x10, 0x12, 0x05}) // L12: the record's MAC, whatever the VM wrote
	if got := nextUnlike(other, time.Second, nothing); !bytes.Equal(got, frame) {
		t.Errorf("arrived\n%x, want\n%x", got, frame)
	}
	if got := nextUnlike(router, 100*time.Millisecond, isControl); got != nil {
		t.Errorf("went over the wire too: %x", got)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func nothing([]byte) bool { return false }

// isControl tells the provider side's own talk, ARP and ICMPv6.
func isControl(frame []byte) bool {
	if len(frame) >= 18 && frame[12] == 0x81 {
		frame = frame[4:]
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0806:
		return true
	case 0x86dd:
		return frame[14+6] == 58
	}
	return false
}

// nextUnlike is the next frame that is none of those to be passed over, or nil
// when none comes in time.
func nextUnlike(w *topo.Wire, wait time.Duration, passOver func([]byte) bool) []byte {
	for {
		frame, err := w.Recv(wait)
		if err != nil {
			return nil
		}
		if !passOver(frame) {
			return frame
		}
	}
}

// nextTunnel is the next tunnel packet at the router, which until then answers
// ARP for its address there in the VLAN of the question, as a router would.
func nextTunnel(t *testing.T, router *topo.Wire, vlan int) []byte {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		frame, err := router.Recv(time.Until(deadline))
		if err != nil {
			break
		}
		if !isControl(frame) {
			return frame
		}
		if answer := answerARP(frame, vlan); answer != nil {
			if err := router.Send(answer); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Fatal("no tunnel packet arrived at the router")
	return nil
}

// answerARP answers a request for 192.168.1.1 that came in the right VLAN.
func answerARP(frame []byte, vlan int) []byte {
	arp := frame[14:]
	if vlan != 0 {
		if frame[12] != 0x81 || int(binary.BigEndian.Uint16(frame[14:])) != vlan {
			return nil
		}
		arp = frame[18:]
	}
	gateway := netip.MustParseAddr("192.168.1.1").As4()
	if len(arp) < 28 || arp[7] != 1 || !bytes.Equal(arp[24:28], gateway[:]) {
		return nil
	}
	answer := bytes.Clone(frame)
	mac := []byte{2, 0, 0, 0, 1, 1}
	copy(answer, frame[6:12])
	copy(answer[6:], mac)
	said := answer[len(frame)-len(arp):]
	said[7] = 2
	copy(said[8:], mac)
	copy(said[14:], gateway[:])
	copy(said[18:], arp[8:18])
	return answer
}
