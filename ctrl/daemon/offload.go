package daemon

import (
	"time"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/dataplane/mbuf"
	"paca/dataplane/policy"
	"paca/dataplane/port"
)

// offloads are what a port's device may do in software's place: by which word an
// operator forbids it, which roles have any use for it, and what is done without it.
var offloads = []struct {
	is     mbuf.Offloads
	word   policy.Offload
	name   string
	uplink bool
	vm     bool
	// instead is what software does, "" if nothing is lost.
	instead string
	// useless is why a role has no use for it.
	useless string
}{
	{mbuf.SendL4Checksum, policy.TxChecksum, "send: TCP and UDP checksums", true, true,
		"computed for frames whose VM left them out", ""},
	{mbuf.SendIPv4Checksum, policy.TxChecksum, "send: IPv4 header checksum", true, true,
		"updated where the header changes", ""},
	{mbuf.SendOuterChecksum, policy.OuterChecksum, "send: outer IPv4 header checksum", true, false,
		"out of the prepared header, at next to no cost", "frames have no outer header here"},
	{mbuf.SendTSO, policy.TSO, "send: TCP segmentation", true, true,
		"large frames are cut before they are sent", ""},
	{mbuf.SendGRETSO, policy.GRETSO, "send: TCP segmentation inside GRE", true, false,
		"large frames are cut before they are encapsulated", "frames have no outer header here"},
	{mbuf.SendSegments, policy.MultiSegment, "send: frames in several buffers", true, true,
		"frames are cut into single buffers", ""},
	{mbuf.SendVLAN, policy.VLANTag, "send: VLAN tags put in", false, false,
		"", "the tag is part of the prepared header"},
	{mbuf.ReceiveIPv4Checksum, policy.RxChecksum, "receive: IPv4 header checksum", false, false,
		"", "of these headers only outer ones are verified, for which there is another"},
	{mbuf.ReceiveL4Checksum, policy.RxChecksum, "receive: TCP and UDP checksums", true, true,
		"left to the receiver, as everything end to end", ""},
	{mbuf.ReceiveOuterChecksum, policy.RxChecksum, "receive: outer IPv4 header checksum", true, false,
		"verified", "frames have no outer header here"},
	{mbuf.ReceiveLarge, policy.TSO, "receive: TCP that was not cut", true, true,
		"the sender cuts", ""},
	{mbuf.ReceiveSegments, policy.MultiSegment, "receive: frames in several buffers", true, true,
		"none are sent", ""},
	{mbuf.ReceiveVLAN, policy.VLANTag, "receive: VLAN tags taken out", true, false,
		"read where they stand", "tags of VMs are taken off by the worker"},
}

// wanted are the offloads that a port can make use of and that its operator did not
// forbid. A port of role host exchanges whole frames with the kernel.
func wanted(p *policy.Port) (o mbuf.Offloads) {
	for _, f := range offloads {
		if !p.NoOffload.Has(f.word) && (p.Role == policy.Uplink && f.uplink || p.Role == policy.VM && f.vm) {
			o |= f.is
		}
	}
	return o
}

// offloadReport says of each offload what the device has, what is used, and why not
// (O23). pinned says that the port stands in the host file.
func offloadReport(p *policy.Port, o port.Offloads, pinned bool) (all []*pacav1.PortOffload) {
	for _, f := range offloads {
		r := &pacav1.PortOffload{Name: f.name, Word: f.word.String(), Device: o.Has.Has(f.is), Used: o.Uses.Has(f.is)}
		if !r.Used {
			r.Software = f.instead
			switch {
			case p.Role == policy.Host:
				r.Reason, r.Software = "the kernel's frames are exchanged whole", ""
			case p.Role == policy.VM && !f.vm, p.Role == policy.Uplink && !f.uplink:
				r.Reason, r.Software = f.useless, ""
			case p.NoOffload.Has(f.word) && pinned:
				r.Reason = "switched off by the host file"
			case p.NoOffload.Has(f.word):
				r.Reason = "switched off"
			case !r.Device && f.is == mbuf.SendTSO && o.Has.Has(mbuf.ReceiveLarge):
				r.Reason = "the VM's driver takes no large frames, or is not there"
			case !r.Device:
				r.Reason = "the device lacks it"
			default:
				r.Reason = "of no use without the others"
			}
		}
		all = append(all, r)
	}
	return all
}

// watchInterval is how often ports are asked whether what they do in software's place
// has changed.
const watchInterval = 500 * time.Millisecond

// offloadsChanged says whether what ports do in software's place is another than the
// workers were told: the driver of a VM decides some of it when it starts.
func (h *host) offloadsChanged() bool {
	changed := false
	for _, s := range h.slots {
		if s == nil {
			continue
		}
		if now := s.dev.Offloads().Uses; now != s.uses {
			h.log.Info("port offloads", "port", s.asked.Name, "large_frames", now.Has(mbuf.SendTSO))
			changed = true
		}
	}
	return changed
}
