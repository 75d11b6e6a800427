package ps1

// Commands is the changes and questions of p as command lines of pacactl.
func (p *Program) Commands() []string {
	return nil
}
