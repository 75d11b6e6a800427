package ethdev

import (
	"errors"
	"fmt"

	"paca/dataplane/dpdk"
)

// Ways in which a device spreads NVGRE over its receive queues by what is inside (O32).
const (
	innerRSS    = "RSS by inner headers"
	keyRSS      = "RSS by the GRE key"
	innerFlow   = "flow rules with RSS by inner headers"
	innerKernel = "the kernel, by inner headers"
)

// dissects are the drivers of the kernel's interfaces that the kernel spreads packets
// for by its own hash, which looks into NVGRE.
var dissects = map[string]bool{"net_af_packet": true, "net_tap": true}

// hashes is what RSS of a device with several receive queues goes by: all that it
// offers and that is the same for all of a flow, and of NVGRE the inner headers if that
// is wanted; how it then spreads NVGRE is "" if it does not.
func hashes(i *dpdk.DevInfo, inner bool) (rss uint64, how string) {
	rss = i.RSSOffloads &^ (dpdk.RSSLevelMask | dpdk.RSSChecksums)
	switch {
	case !inner:
	case dissects[i.Driver]:
		how = innerKernel
	case i.RSSOffloads&dpdk.RSSLevelInnermost != 0:
		rss |= dpdk.RSSLevelInnermost
		how = innerRSS
	case rss&dpdk.RSSNVGRE != 0:
		how = keyRSS
	}
	return rss, how
}

// spread has the device spread NVGRE by flow rules, if RSS does not. The rules go with
// the port.
func (p *Port) spread(rx int, inner bool) {
	if rx == 1 || !inner || p.info.Inner != "" {
		return
	}
	types := p.capas.RSSOffloads & dpdk.RSSInner
	if types == 0 {
		p.flat = errors.New("it has no RSS by inner headers, nor of NVGRE, nor any that flow rules could ask for")
		return
	}
	for _, v6 := range []bool{false, true} {
		if err := dpdk.FlowSpreadNVGRE(p.id, rx, v6, types); err != nil {
			dpdk.FlowFlush(p.id)
			p.flat = fmt.Errorf("it has no RSS by inner headers, nor of NVGRE, and refuses a flow rule: %w", err)
			return
		}
	}
	p.info.Inner = innerFlow
}

// Flat says why a device of several receive queues does not spread NVGRE by what is
// inside though it was asked to, nil if it does.
func (p *Port) Flat() error { return p.flat }
