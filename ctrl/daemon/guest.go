package daemon

import (
	"time"

	"paca/dataplane/worker"
)

// answerDHCP takes in a DHCPv4 message of a VM (A14).
func (c *control) answerDHCP(now time.Time, p *worker.ControlFrame) {}
