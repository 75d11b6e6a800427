package main

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a program that we started. It ends with us, and we end it.
type child struct {
	cmd  *exec.Cmd
	said transcript
	gone chan struct{} // closes when it is; the error is why
	err  error
}

// spawn starts a program whose output is kept.
func spawn(cmd *exec.Cmd) (*child, error) {
	c := &child{cmd: cmd, gone: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &c.said, &c.said
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true // who interrupts us lets us end it in order
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if cmd.Cancel != nil { // made with a context
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 10 * time.Second
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		c.err = cmd.Wait()
		close(c.gone)
	}()
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// stop asks the program to end and waits until it has.
func (c *child) stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // or it is gone already
	return c.end()
}

// end waits for a program that knows that it is to end, and kills it if it does not.
func (c *child) end() error {
	select {
	case <-c.gone:
		return nil
	case <-time.After(time.Minute):
		_ = c.cmd.Process.Kill()
		<-c.gone
		return fmt.Errorf("%s did not end and was killed; it said:\n%s", c.cmd.Path, c.said.tail())
	}
}

// until waits for something that a program does, as long as it runs.
func (c *child) until(what string, limit time.Duration, done func() bool) error {
	for deadline := time.Now().Add(limit); !done(); time.Sleep(2 * time.Millisecond) {
		select {
		case <-c.gone:
			return fmt.Errorf("%s ended (%v) before %s; it said:\n%s", c.cmd.Path, c.err, what, c.said.tail())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: no %s in %s; it said:\n%s", c.cmd.Path, what, limit, c.said.tail())
		}
	}
	return nil
}

// transcript is all that a program says.
type transcript struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	return len(p), nil
}

func (t *transcript) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.text)
}

// since is what was said after the first n bytes.
func (t *transcript) since(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text[n:])
}

// tail is what an error shows of it.
func (t *transcript) tail() string {
	lines := strings.Split(strings.TrimSpace(t.since(0)), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}
