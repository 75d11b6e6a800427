package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
)

// running is a pacad of our own.
type running struct {
	*client.Client
	cmd     *exec.Cmd
	log     strings.Builder
	done    chan error
	started time.Time
}

// start runs pacad with a host file and a policy file in dir, and waits until it
// answers.
func start(dir, host, policy string) (*running, error) {
	file, socket := filepath.Join(dir, "host.toml"), filepath.Join(dir, "paca.sock")
	host += fmt.Sprintf("\n[control]\nsocket = %q\n", socket)
	if err := errors.Join(
		os.WriteFile(file, []byte(host), 0o600),
		os.WriteFile(filepath.Join(dir, "policy.toml"), []byte(policy), 0o600),
	); err != nil {
		return nil, err
	}
	p := &running{cmd: exec.Command(*pacad, "run", "-c", file), done: make(chan error, 1), started: time.Now()}
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.done <- p.cmd.Wait() }()
	p.Client = client.Dial(socket)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		_, err := p.Status(ctx, connect.NewRequest(&pacav1.StatusRequest{}))
		cancel()
		if err == nil {
			return p, nil
		}
		select {
		case err := <-p.done:
			return nil, fmt.Errorf("%w\n%s", err, p.log.String())
		default:
		}
		if time.Now().After(deadline) {
			p.stop()
			return nil, fmt.Errorf("does not answer: %w\n%s", err, p.log.String())
		}
	}
}

func (p *running) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.done
}

// port asks for the counters of one port.
func (p *running) port(name string) (*pacav1.Port, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	all, err := client.All(p.ListPorts(ctx, connect.NewRequest(&pacav1.ListPortsRequest{})))
	if err != nil {
		return nil, err
	}
	for _, port := range all.Ports {
		if port.Name == name {
			return port, nil
		}
	}
	return nil, fmt.Errorf("no port %s", name)
}

// untilSending waits for the first packets out of a port.
func (p *running) untilSending(name string) error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		port, err := p.port(name)
		if err == nil && port.TxPackets > 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("port %s sends nothing\n%s", name, p.log.String()), err)
		}
	}
}

// rate is packets per second out of a port.
func (p *running) rate(name string, d time.Duration) (float64, error) {
	before, err := p.port(name)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	time.Sleep(d)
	after, err := p.port(name)
	if err != nil {
		return 0, err
	}
	return float64(after.TxPackets-before.TxPackets) / time.Since(start).Seconds(), nil
}
