package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"paca/ci/topo"
)

// O23, O24, O28: two hosts whose network card is a vhost-user socket, the one at its one
// end and the other at the other: it leaves checksums out and takes large frames, and
// knows no GRE. Blue in rewrite and Red in nvgre cross it, between VMs whose kernels
// compute checksums themselves and look at each that arrives.
func TestO23_O24_O28VirtioWire(t *testing.T) {
	l := newLab(t, false)
	w := world{kind: "tap", subnets: map[int]string{6001: "mode = \"rewrite\"", 6002: "mode = \"rewrite\""}, hosts: map[string]string{}}
	for _, vm := range l.VMs() {
		if own, ok := ownPAs[vm.Name]; ok {
			w.unknown = append(w.unknown, vm.Name)
			w.policy += record(vm.VSID, vm.CA4, vm.MAC, own.v4) + record(vm.VSID, vm.CA6, vm.MAC, own.v6)
			w.hosts[vm.Host] += "[[provider_address]]\naddress = \"" + own.v4 + "/16\"\nport = \"uplink0\"\n" +
				"[[provider_address]]\naddress = \"" + own.v6 + "/32\"\nport = \"uplink0\"\n"
		}
	}
	l.write("policy.toml", w.policyFile(l))
	for _, h := range []struct{ host, kind string }{{topo.Host1, "vhost-user"}, {topo.Host2, "virtio-user"}} {
		// No router is between them: the PAs are of one link.
		l.write(h.host+".toml", strings.NewReplacer("af_packet:uplink0", h.kind+":"+l.dir+"/uplink", topo.PA1+"/24", topo.PA1+"/16", topo.PA2+"/24", topo.PA2+"/16").
			Replace(w.hostFile(l, h.host)))
		l.start(h.host)
	}
	for _, vm := range l.VMs() {
		if err := l.Adopt(vm, tapOf(vm)); err != nil {
			t.Fatal(err)
		}
		if vm.Tenant == "Blue" {
			l.do(vm.Name, "ip", "link", "set", "eth0", "mtu", "1500")
		}
	}
	for _, host := range []string{topo.Host1, topo.Host2} {
		l.until(host+" uses what its card does", func() bool {
			used := l.offloads(host, "uplink0")
			return used["send: TCP segmentation"] && used["send: TCP and UDP checksums"] && used["receive: TCP that was not cut"] && !used["send: TCP segmentation inside GRE"]
		})
		for name, used := range l.offloads(host, l.VMs()[0].Name) {
			if used {
				t.Errorf("%s: a tap does %s", host, name)
			}
		}
	}
	for _, pair := range [][2]string{{topo.Blue1, topo.Blue2}, {topo.Red1, topo.Red2}} {
		vm := l.vm(pair[1])
		for _, ca := range []string{vm.CA4, vm.CA6} {
			if out, err := l.output(pair[0], "ping", "-c", "3", "-i", "0.05", "-W", "2", ca); err != nil {
				t.Errorf("%s: %v\n%s", pair[0], err, out)
			}
			l.transfer(t, pair[0], pair[1], ca)
		}
	}
}

// offloads is what pacactl says of a port: which are used, by name.
func (l *lab) offloads(host, port string) map[string]bool {
	l.t.Helper()
	var answer struct {
		Ports []struct {
			Offloads []struct {
				Name string
				Used bool
			}
		}
	}
	if err := json.Unmarshal([]byte(l.pacactl(host, "port", "list", "--name", port, "-o", "json")), &answer); err != nil {
		l.t.Fatal(err)
	}
	used := map[string]bool{}
	for _, p := range answer.Ports {
		for _, o := range p.Offloads {
			used[o.Name] = o.Used
		}
	}
	return used
}
