package daemon

import (
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
	joined []join
	next   time.Time // of the reports; zero: there are none
	again  bool
}

// join is a group on one link: the VLAN of a port where PAs of its family are that
// nobody else has (P14).
type join struct {
	port   uint16
	report packet.ReportFrame
}

const (
	reportAgain = 2 * time.Second
	reportEvery = 60 * time.Second
)

// joins are those of f.
func joins(f *fib.FIB) (all []join) {
	for _, g := range f.PAGroups() {
		first := len(all)
		for i := range f.PAs {
			pa := &f.PAs[i]
			if pa.Port == fib.None || pa.Duplicate || pa.V6 != g.Is6() {
				continue
			}
			same := func(j join) bool { return j.port == pa.Port && j.report.VLAN == pa.VLAN }
			if !slices.ContainsFunc(all[first:], same) {
				all = append(all, join{pa.Port, packet.ReportFrame{SrcMAC: pa.MAC, VLAN: pa.VLAN, Src: pa.IP(), Group: g}})
			}
		}
	}
	return all
}

// tick sends the reports that are due and says when the next are.
func (m *membership) tick(now time.Time, f *fib.FIB, send func(port uint16, frame []byte)) time.Time {
	joined := joins(f)
	switch {
	case len(joined) == 0:
		*m = membership{}
		return m.next
	case !slices.Equal(joined, m.joined):
		m.joined, m.again = joined, true
	case now.Before(m.next):
		return m.next
	default:
		m.again = false
	}
	for i := range joined {
		var room [worker.MaxControlFrame]byte
		send(joined[i].port, packet.AppendReport(room[:0], &joined[i].report))
	}
	m.next = now.Add(reportEvery)
	if m.again {
		m.next = now.Add(reportAgain)
	}
	return m.next
}
