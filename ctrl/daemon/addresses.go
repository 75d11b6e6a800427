package daemon

import (
	"net/netip"

	"paca/ctrl/metrics"
	"paca/ctrl/server"
	"paca/dataplane/fib"
	"paca/dataplane/neigh"
)

// facts are what was found out about PAs, and the compiler is to be told: they are
// in force with the next version of the FIB.
type facts struct {
	duplicate map[netip.Addr]bool
	pathMTU   map[netip.Addr]uint16 // 0: unknown again
}

func newFacts() facts {
	return facts{duplicate: map[netip.Addr]bool{}, pathMTU: map[netip.Addr]uint16{}}
}

// tell gives the compiler the facts. The caller holds c.mu.
func (c *control) tell(compiler *fib.Compiler) {
	for pa, dup := range c.facts.duplicate {
		compiler.SetDuplicate(pa, dup)
	}
	for pa, mtu := range c.facts.pathMTU {
		compiler.SetPathMTU(pa, mtu)
	}
	c.facts = newFacts()
}

// judge notes what became of this host's PAs (P14): all but a duplicate is sent
// from.
func (c *control) judge(f *fib.FIB) {
	for i := range f.PAs {
		pa := &f.PAs[i]
		k := neigh.Key{Port: pa.Port, VLAN: pa.VLAN, Addr: pa.IP()}
		a, was := c.table.Address(k), c.states[k]
		if a.State == was {
			continue
		}
		c.states[k] = a.State
		c.notify(server.Notice{Kind: server.ProviderAddress, PA: k.Addr, MAC: a.By, Reason: a.State.String()}) // E12
		switch {
		case a.State == neigh.Duplicate:
			c.log.Error("another machine has a provider address of this host: nothing is sent from it until nobody claims it", "address", k.Addr, "mac", a.By, "rule", "P14")
			c.duplicate(k.Addr, true)
		case was == neigh.Duplicate && a.State == neigh.Tentative:
			c.log.Info("a provider address is assigned anew: it is used while nobody claims it", "address", k.Addr, "rule", "P14")
			c.duplicate(k.Addr, false)
		case was == neigh.Duplicate:
			c.log.Info("nobody claims the provider address any more: it is used again", "address", k.Addr, "rule", "P14")
			c.duplicate(k.Addr, false)
		}
	}
}

// forget drops what was noted of PAs that are none of this host's any more, and tells
// that they are not.
func (c *control) forget(used map[neigh.Key]bool) {
	for k, state := range c.states {
		if !used[k] {
			delete(c.states, k)
			c.notify(server.Notice{Kind: server.ProviderAddress, PA: k.Addr, Reason: neigh.Unassigned.String()}) // E12
			if state == neigh.Duplicate {
				c.duplicate(k.Addr, false)
			}
		}
	}
}

func (c *control) duplicate(pa netip.Addr, dup bool) {
	c.facts.duplicate[pa] = dup
	c.news = true
}

// asker is the source that asks for a next hop: not a PA that is another machine's.
func asker(f *fib.FIB, n *fib.Neighbor) (neigh.Source, bool) {
	if from := &f.PAs[n.From]; !from.Duplicate {
		return source(from), true
	}
	for i := range f.PAs {
		if pa := &f.PAs[i]; !pa.Duplicate && pa.Port == n.Port && pa.VLAN == n.VLAN && pa.V6 == n.Addr.Is6() {
			return source(pa), true
		}
	}
	return neigh.Source{}, false
}

// AddressState implements server.Host.
func (h *report) AddressState(pa netip.Addr) string {
	h.control.mu.Lock()
	defer h.control.mu.Unlock()
	f := h.fib.Load()
	for i := range f.PAs {
		if own := &f.PAs[i]; own.IP() == pa {
			return h.control.table.Address(neigh.Key{Port: own.Port, VLAN: own.VLAN, Addr: pa}).State.String()
		}
	}
	return neigh.Unassigned.String()
}

// Provider implements metrics.Source.
func (h *scrape) Provider() metrics.Provider {
	c := h.control
	c.mu.Lock()
	defer c.mu.Unlock()
	p := metrics.Provider{
		// Those there may be, so that each has its series from the start.
		Addresses:  map[string]int{neigh.Tentative.String(): 0, neigh.Duplicate.String(): 0, neigh.Preferred.String(): 0},
		Duplicates: c.table.Duplicates(),
		PathMTUs:   c.paths.Len(),
	}
	p.NoticesTold, p.NoticesLost = h.notices.counts()
	p.NoticesLost += c.unsaid
	for _, a := range c.table.Addresses() {
		p.Addresses[a.State.String()]++
	}
	return p
}
