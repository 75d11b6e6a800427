// Package modes is the list of what a virtual subnet's packets can have done to
// them. To add a mode: its package beside nvgre, its line in New.
//
// Floor 2. Modes know packets and tables, and no port.
package modes

import (
	"paca/dataplane/policy"
	"paca/dataplane/worker"
	"paca/modes/nvgre"
	"paca/modes/rewrite"
)

// Config is what an operator may choose, mode by mode.
type Config struct {
	NVGRE nvgre.Config
}

// New makes the modes for one worker; a mode that this version does not have is
// nil.
func New(c Config) (m [policy.NumModes]worker.Mode) {
	m[policy.NVGRE] = nvgre.New(c.NVGRE)
	m[policy.Rewrite] = rewrite.New()
	return m
}
