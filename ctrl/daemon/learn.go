package daemon

import (
	"time"

	"paca/dataplane/worker"
)

// learnCA takes in what tells of the CA of a VM with an L2Only record (A16).
func (c *control) learnCA(now time.Time, p *worker.ControlFrame) {}

// missed takes in a frame from a VM for a CA without a record (L13).
func (c *control) missed(now time.Time, p *worker.ControlFrame) {}
