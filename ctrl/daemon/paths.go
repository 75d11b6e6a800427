package daemon

import (
	"time"

	"paca/dataplane/worker"
)

// heardICMP takes in ICMP or ICMPv6 for a PA of this host (M10).
func (c *control) heardICMP(now time.Time, p *worker.ControlFrame) {}
