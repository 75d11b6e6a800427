package server

import (
	"fmt"
	"net/netip"
	"time"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// NoticeKind is what a Notice is about.
type NoticeKind uint8

// The kinds. PolicyMismatch, Redirect and the two of objects are HNV's own (E11, E12).
const (
	PolicyMismatch  NoticeKind = iota + 1 // a VM sent to CA, which has no record (L13)
	Redirect                              // the host PA says that the VM of CA is behind NewPA now (N2)
	Unreachable                           // the host PA says that it has no VM with CA (N3)
	CustomerAddress                       // CA of MAC was added, deleted or moved by learning (A16)
	ProviderAddress                       // PA, of this host, is in another state (P14)
	PathMTU                               // the way to PA carries another size (M10)
	numNoticeKinds
)

var noticeKindNames = [numNoticeKinds]string{"", "policy-mismatch", "redirect", "unreachable", "customer-address", "provider-address", "path-mtu"}

// String is the kind's name in the API.
func (k NoticeKind) String() string {
	if k == 0 || k >= numNoticeKinds {
		return fmt.Sprintf("notice %d", uint8(k))
	}
	return noticeKindNames[k]
}

// Notice is something that a host noticed and that policy may have to follow. What
// its kind does not speak of is zero.
type Notice struct {
	Kind          NoticeKind
	Time          time.Time // zero: when it is published
	VSID          policy.VSID
	CA, PA, NewPA netip.Addr
	MAC           packet.MAC
	Reason        string // added, deleted, moved (E12); a state (P14); or words for people
}

// Heard is what a listener is told at once.
type Heard struct {
	Notices []Notice
	Lost    uint64 // notices that came after these and for which there was no room
}

func (n *Notice) message() *pacav1.Notice {
	text := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	m := &pacav1.Notice{
		Kind: n.Kind.String(), TimeMs: n.Time.UnixMilli(), Vsid: uint32(n.VSID),
		Ca: text(n.CA), Pa: text(n.PA), NewPa: text(n.NewPA), Reason: clip(n.Reason),
	}
	if !n.MAC.IsZero() {
		m.Mac = n.MAC.String()
	}
	return m
}

func messages(all []Notice) []*pacav1.Notice {
	m := make([]*pacav1.Notice, len(all))
	for i := range all {
		m[i] = all[i].message()
	}
	return m
}
