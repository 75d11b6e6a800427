package daemon

import (
	"net/netip"
	"slices"
	"time"

	"paca/dataplane/fib"
	"paca/dataplane/packet"
	"paca/dataplane/worker"
)

// membership keeps the provider network sending this host the groups of PAs that it
// receives (A20, W18): a report for each when it joins, again soon after, and then
// before any router forgets (RFC 2236 8.10, RFC 2710 7.10: 260 s).
type membership struct {
	joined []netip.Addr
	next   time.Time // of the reports; zero: there are no groups
	again  bool
}

const (
	reportAgain = 2 * time.Second
	reportEvery = 60 * time.Second
)

// tick sends the reports that are due and says when the next are.
func (m *membership) tick(now time.Time, f *fib.FIB, send func(port uint16, frame []byte)) time.Time {
	groups := f.PAGroups()
	switch {
	case len(groups) == 0:
		*m = membership{}
		return m.next
	case !slices.Equal(groups, m.joined):
		m.joined, m.again = groups, true
	case now.Before(m.next):
		return m.next
	default:
		m.again = false
	}
	for _, g := range groups {
		for i := range f.PAs {
			pa := &f.PAs[i]
			if pa.Port == fib.None || pa.V6 != g.Is6() {
				continue
			}
			var room [worker.MaxControlFrame]byte
			send(pa.Port, packet.AppendReport(room[:0], &packet.ReportFrame{SrcMAC: pa.MAC, VLAN: pa.VLAN, Src: pa.IP(), Group: g}))
		}
	}
	m.next = now.Add(reportEvery)
	if m.again {
		m.next = now.Add(reportAgain)
	}
	return m.next
}
