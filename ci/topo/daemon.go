package topo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Daemon is a pacad that was started inside a host.
type Daemon struct {
	Setup
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
}

// Setup says which pacad to start and where it is to be found.
type Setup struct {
	Program string
	Config  string
	Socket  string // control socket that the configuration names
	LogFile string // a file, not a pipe: the daemon may outlive who started it
}

// Start runs `PROGRAM run -c CONFIG` inside a host and returns once the control
// socket answers a question: listening alone is not yet being up.
func (t *Topology) Start(host string, setup Setup) (*Daemon, error) {
	log, err := os.OpenFile(setup.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("topo: %s: %w", host, err)
	}
	defer log.Close() // the process has its own hold on it
	d := &Daemon{
		Setup:  setup,
		cmd:    t.Command(context.Background(), host, setup.Program, "run", "-c", setup.Config),
		exited: make(chan struct{}),
	}
	d.cmd.Stderr, d.cmd.Stdout = log, log
	// A signal from the terminal is for whoever builds the picture: who then stops
	// its daemons in order.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.start(); err != nil {
		return nil, fmt.Errorf("topo: %s: %w", host, err)
	}
	t.daemons = append(t.daemons, d)
	if err := d.ready(15 * time.Second); err != nil {
		_ = d.Kill()
		return nil, fmt.Errorf("topo: pacad on %s: %w; it said:\n%s", host, err, d.Log())
	}
	return d, nil
}

// start starts the process and waits for it from one goroutine for its whole
// life.
func (d *Daemon) start() error {
	if err := d.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = d.cmd.Wait() // how it ended is in ProcessState
		close(d.exited)
	}()
	return nil
}

func (d *Daemon) ready(timeout time.Duration) error {
	client := http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", d.Socket)
		},
	}}
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); {
		answer, err := client.Post("http://pacad/paca.v1.Control/Status", "application/json", strings.NewReader("{}"))
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-d.exited:
			return fmt.Errorf("ended: %s", d.cmd.ProcessState)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("no answer on %s in %s", d.Socket, timeout)
}

// Log is everything the daemon has said so far.
func (d *Daemon) Log() string {
	said, err := os.ReadFile(d.LogFile)
	if err != nil {
		return err.Error()
	}
	return string(said)
}

// Stop asks the daemon to end and waits; one that does not within 5 s is killed,
// which is an error. Stopping one that is gone is none.
func (d *Daemon) Stop() error {
	select {
	case <-d.exited:
		return nil
	default:
	}
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("topo: stopping pacad: %w", err)
	}
	select {
	case <-d.exited:
	case <-time.After(15 * time.Second):
		return errors.Join(errors.New("topo: pacad did not end within 15 s of SIGTERM"), d.Kill())
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("topo: pacad ended with %s; it said:\n%s", d.cmd.ProcessState, d.Log())
	}
	return nil
}

// Kill ends the daemon as a crash would, kill -9, and waits until it is gone.
func (d *Daemon) Kill() error {
	if err := d.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("topo: killing pacad: %w", err)
	}
	<-d.exited
	return nil
}
