package daemon

import (
	"strings"
	"testing"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/dataplane/mbuf"
	"paca/dataplane/policy"
	"paca/dataplane/port"
)

// Every offload has its row, and every word stands for some.
func TestO23EveryOffloadHasItsWord(t *testing.T) {
	var all mbuf.Offloads
	words := map[policy.Offload]bool{}
	for _, f := range offloads {
		if all&f.is != 0 || f.is == 0 || f.is&(f.is-1) != 0 {
			t.Errorf("%s is %b", f.name, f.is)
		}
		all |= f.is
		words[f.word] = true
		if (f.useless == "") != (f.uplink && f.vm) {
			t.Errorf("%s: uplink %v, vm %v, useless %q", f.name, f.uplink, f.vm, f.useless)
		}
	}
	if all != mbuf.AllOffloads || len(words) != int(policy.NumOffloads) {
		t.Errorf("rows for %b by %d words, want %b by %d", all, len(words), mbuf.Offloads(mbuf.AllOffloads), policy.NumOffloads)
	}
}

// An operator's word takes what it stands for away, and what has no use without that
// (O23).
func TestO23Wanted(t *testing.T) {
	for _, c := range []struct {
		role policy.Role
		no   policy.Offloads
		want mbuf.Offloads // of a device that has everything
	}{
		{policy.Host, 0, 0},
		{policy.VM, 0, mbuf.SendIPv4Checksum | mbuf.SendL4Checksum | mbuf.SendTSO | mbuf.SendSegments | mbuf.ReceiveL4Checksum | mbuf.ReceiveLarge | mbuf.ReceiveSegments},
		{policy.VM, policy.OffloadsOf(policy.TSO), mbuf.SendIPv4Checksum | mbuf.SendL4Checksum | mbuf.ReceiveL4Checksum},
		{policy.VM, policy.OffloadsOf(policy.MultiSegment), mbuf.SendIPv4Checksum | mbuf.SendL4Checksum | mbuf.ReceiveL4Checksum},
		{policy.VM, policy.OffloadsOf(policy.RxChecksum), mbuf.SendIPv4Checksum | mbuf.SendL4Checksum | mbuf.SendTSO | mbuf.SendSegments},
		{policy.VM, policy.OffloadsOf(policy.GRETSO, policy.OuterChecksum, policy.VLANTag), mbuf.SendIPv4Checksum | mbuf.SendL4Checksum | mbuf.SendTSO | mbuf.SendSegments | mbuf.ReceiveL4Checksum | mbuf.ReceiveLarge | mbuf.ReceiveSegments},
		{policy.Uplink, 0, mbuf.AllOffloads &^ (mbuf.SendVLAN | mbuf.ReceiveIPv4Checksum)},
		{policy.Uplink, policy.OffloadsOf(policy.GRETSO), mbuf.AllOffloads &^ (mbuf.SendVLAN | mbuf.ReceiveIPv4Checksum | mbuf.SendGRETSO)},
		{policy.Uplink, policy.OffloadsOf(policy.OuterChecksum), mbuf.AllOffloads &^ (mbuf.SendVLAN | mbuf.ReceiveIPv4Checksum | mbuf.SendGRETSO | mbuf.SendOuterChecksum)},
		{policy.Uplink, policy.OffloadsOf(policy.TxChecksum, policy.VLANTag), mbuf.SendOuterChecksum | mbuf.ReceiveL4Checksum | mbuf.ReceiveOuterChecksum | mbuf.ReceiveLarge | mbuf.ReceiveSegments},
	} {
		if got := port.Usable(wanted(&policy.Port{Role: c.role, NoOffload: c.no})); got != c.want {
			t.Errorf("%v without %b: %b, want %b", c.role, c.no, got, c.want)
		}
	}
}

// What people are told of an offload that is not used: why, and what is done instead.
func TestO23Report(t *testing.T) {
	const all = mbuf.Offloads(mbuf.AllOffloads)
	row := func(p policy.Port, has mbuf.Offloads, pinned bool, is mbuf.Offloads) *pacav1.PortOffload {
		rows := offloadReport(&p, port.Offloads{Has: has, Uses: port.Usable(has & wanted(&p))}, pinned)
		for i, f := range offloads {
			if f.is == is {
				return rows[i]
			}
		}
		return nil
	}
	uplink, vm := policy.Port{Role: policy.Uplink}, policy.Port{Role: policy.VM}
	without := policy.Port{Role: policy.Uplink, NoOffload: policy.OffloadsOf(policy.TSO)}
	for _, c := range []struct {
		name         string
		got          *pacav1.PortOffload
		device, used bool
		reason       string
		software     bool
	}{
		{"used", row(uplink, all, false, mbuf.SendTSO), true, true, "", false},
		{"lacking", row(uplink, all&^mbuf.SendGRETSO, false, mbuf.SendGRETSO), false, false, "the device lacks it", true},
		{"switched off", row(without, all, false, mbuf.SendTSO), true, false, "switched off", true},
		{"by the host file", row(without, all, true, mbuf.SendTSO), true, false, "switched off by the host file", true},
		{"lacking and switched off", row(without, all&^mbuf.SendTSO, true, mbuf.SendTSO), false, false, "switched off by the host file", true},
		{"of no use alone", row(uplink, all&^mbuf.SendSegments, false, mbuf.SendTSO), true, false, "of no use without the others", true},
		{"no VM's business", row(vm, all, false, mbuf.SendGRETSO), true, false, "frames have no outer header here", false},
		{"nobody's business", row(uplink, all, false, mbuf.SendVLAN), true, false, "the tag is part of the prepared header", false},
		{"a VM that takes none", row(vm, all&^mbuf.SendTSO, false, mbuf.SendTSO), false, false, "the VM's driver takes no large frames, or is not there", true},
		{"the kernel's", row(policy.Port{Role: policy.Host}, all, false, mbuf.SendL4Checksum), true, false, "the kernel's frames are exchanged whole", false},
	} {
		if c.got.Device != c.device || c.got.Used != c.used || c.got.Reason != c.reason || (c.got.Software != "") != c.software {
			t.Errorf("%s: %v", c.name, c.got)
		}
		if c.got.Used && strings.TrimSpace(c.got.Reason+c.got.Software) != "" {
			t.Errorf("%s: is used, and yet %v", c.name, c.got)
		}
	}
}
