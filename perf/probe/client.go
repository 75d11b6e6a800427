package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// Process is a probe in a process of its own, as Serve makes one.
type Process struct {
	cmd      *exec.Cmd
	in       io.WriteCloser
	requests *json.Encoder
	answers  *json.Decoder
	said     bytes.Buffer
}

// Start starts cmd, whose program must call Serve on its standard streams, and has it
// open its ports.
func Start(cmd *exec.Cmd, s Setup) (*Process, error) {
	p := &Process{cmd: cmd}
	cmd.Stderr = &p.said
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.in, p.requests, p.answers = in, json.NewEncoder(in), json.NewDecoder(out)
	if _, err := p.ask(s); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Run carries out a plan.
func (p *Process) Run(plan Plan) (*Result, error) {
	a, err := p.ask(request{Plan: &plan})
	return a.Result, err
}

// RunBulk carries out a plan of the other kind.
func (p *Process) RunBulk(b Bulk) (*BulkResult, error) {
	a, err := p.ask(request{Bulk: &b})
	return a.Bulk, err
}

func (p *Process) ask(what any) (a answer, err error) {
	if err := errors.Join(p.requests.Encode(what), p.answers.Decode(&a)); err != nil {
		return a, fmt.Errorf("probe: process: %w", err) // Close tells more
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// Close ends the process. An error has what it logged.
func (p *Process) Close() error {
	_ = p.in.Close()
	limit := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer limit.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("probe: process: %w\n%s", err, p.said.String())
	}
	return nil
}
