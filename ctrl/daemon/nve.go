package daemon

import (
	"time"

	"paca/dataplane/worker"
)

// strayed takes in a tunnel packet of a VM that is not here (L24).
func (c *control) strayed(now time.Time, p *worker.ControlFrame) {}

// heardNVE takes in an NVE control message (N1-N11).
func (c *control) heardNVE(now time.Time, p *worker.ControlFrame) {}
