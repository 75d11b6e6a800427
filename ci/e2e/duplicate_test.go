package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"paca/ci/topo"
)

// A machine of the fabric has a PA of host 1, by a kernel that answers probes as
// kernels do: host 1 finds out, says so, and sends nothing from that PA, neither
// tunnel packets nor ARP. What is fine on host 2 stays so. That an address which
// nobody claims any more comes back is shown where time is made up.
func TestP14_A13DuplicateAddress(t *testing.T) {
	l := newLab(t, false)
	if out, err := l.output(topo.Router, "ip", "address", "add", topo.PA1+"/32", "dev", topo.ToHost1); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l.run(world{})
	log := func() string {
		text, _ := os.ReadFile(filepath.Join(l.dir, topo.Host1+".log"))
		return string(text)
	}
	l.until("host 1 says that its PA is another machine's", func() bool {
		return strings.Contains(log(), "another machine has a provider address of this host")
	})
	if !strings.Contains(log(), topo.PA1) || !strings.Contains(log(), topo.RouterMAC1) {
		t.Errorf("host 1 says\n%s", log())
	}
	l.until("the metrics tell of it", func() bool {
		text, err := l.output(topo.Host1, "curl", "-s", "-S", "--max-time", "5", "http://127.0.0.1:9470/metrics")
		return err == nil && strings.Contains(text, "\npaca_provider_address_duplicates_total 1\n") && strings.Contains(text, `paca_provider_addresses{state="duplicate"} 1`)
	})
	before := l.drops(topo.Host1)["pa_duplicate"]
	wire := l.open(topo.Router, topo.ToHost1)
	if out, err := l.output(topo.Blue1, "ping", "-q", "-c", "5", "-i", "0.2", "-W", "1", "10.1.1.12"); err == nil {
		t.Errorf("a VM of host 1 gets answers\n%s", out)
	}
	if n := l.drops(topo.Host1)["pa_duplicate"] - before; n < 5 {
		t.Errorf("%d packets dropped as pa_duplicate, want 5", n)
	}
	for {
		frame, err := wire.Recv(0)
		if err != nil {
			break
		}
		if net.HardwareAddr(frame[6:12]).String() == topo.Host1MAC {
			t.Errorf("host 1 sent %x", frame)
		}
	}
}
