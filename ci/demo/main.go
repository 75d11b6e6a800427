// Demo shows paca at work and judges what it sees: two hosts, two tenants with
// the same customer addresses, real packets. `make demo` builds and runs it; it
// ends in a table and exits 1 if anything in it did not hold.
//
// Part of ci. It uses the programs as a person does and imports no more of paca
// than the picture of namespaces.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"paca/ci/topo"

	"github.com/BurntSushi/toml"
)

func main() {
	d := demo{}
	var keep, down bool
	var serveAs, serveOn string
	flag.BoolVar(&keep, "keep", false, "leave everything running at the end")
	flag.BoolVar(&down, "down", false, "remove what a kept or killed demo left, and end")
	flag.StringVar(&d.instance, "instance", "", "name of the picture, for a second one beside the demo's")
	flag.StringVar(&d.bin, "bin", "bin", "folder of pacad and pacactl")
	flag.StringVar(&d.conf, "conf", "conf/examples", "folder of host1.toml, host2.toml and policy.toml")
	flag.StringVar(&serveAs, "serve-as", "", "the demo's own web server inside a VM: who it says it is")
	flag.StringVar(&serveOn, "serve-on", "", "and the addresses it listens on, separated by commas")
	flag.Parse()

	if serveAs != "" {
		fmt.Fprintln(os.Stderr, serve(serveAs, serveOn))
		os.Exit(1)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "demo: network namespaces need root: use `make demo`, which asks sudo")
		os.Exit(1)
	}
	if err := d.locate(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	if down {
		if err := d.remove(); err != nil {
			fmt.Fprintln(os.Stderr, "demo:", err)
			os.Exit(1)
		}
		fmt.Println("demo: nothing of it is left")
		return
	}

	// Whatever happens, it is over in three minutes.
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := d.run(ctx, keep); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

// demo is one showing.
type demo struct {
	instance, bin, conf string

	hosts   []host
	net     *topo.Topology
	daemons []*topo.Daemon
	results []result
}

// host is what of a host's configuration the demo needs to find its daemon.
type host struct {
	name, config, logFile string
	socket, metrics       string
}

// locate reads where the daemons of the examples will listen.
func (d *demo) locate() error {
	for _, name := range []string{topo.Host1, topo.Host2} {
		h := host{name: name, config: filepath.Join(d.conf, name+".toml")}
		var file struct {
			Control struct{ Socket string }
			Metrics struct{ Listen string }
		}
		if _, err := toml.DecodeFile(h.config, &file); err != nil {
			return err
		}
		h.socket, h.metrics = file.Control.Socket, file.Metrics.Listen
		h.logFile = h.socket + ".log"
		d.hosts = append(d.hosts, h)
	}
	return nil
}

// run builds, shows, judges and takes down; with keep it takes down only what
// did not come up.
func (d *demo) run(ctx context.Context, keep bool) (err error) {
	if left := topo.Leftovers(d.instance); len(left) > 0 {
		return errors.New("a demo is up already; `make demo-down` removes it")
	}
	up := false
	defer func() {
		if keep && up && ctx.Err() == nil {
			d.howToLook()
			return
		}
		err = errors.Join(err, d.remove())
	}()

	d.title("Two hosts, a router between them, two tenants with the same addresses")
	fmt.Print(picture)
	if err := d.start(ctx); err != nil {
		return err
	}
	up = true
	d.show(ctx)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return d.table()
}

const picture = `
     Blue 10.1.1.11 ─┐                                                   ┌─ Blue 10.1.1.12
     VSID 6001       ├─ host1 ─────────── router ─────────── host2 ──────┤
     Red  10.1.1.11 ─┘  192.168.1.10                  192.168.2.20       └─ Red  10.1.1.12
     VSID 5001
`

// start brings up the picture, one pacad per host and the VMs' web servers.
func (d *demo) start(ctx context.Context) (err error) {
	if d.net, err = topo.New(topo.Options{Instance: d.instance}); err != nil {
		return err
	}
	for _, h := range d.hosts {
		if err := os.MkdirAll(filepath.Dir(h.socket), 0o755); err != nil {
			return err
		}
		began := time.Now()
		daemon, err := d.net.Start(h.name, topo.Setup{
			Program: filepath.Join(d.bin, "pacad"), Config: h.config, Socket: h.socket, LogFile: h.logFile,
		})
		if err != nil {
			return err
		}
		d.daemons = append(d.daemons, daemon)
		fmt.Printf("  pacad on %s: up after %.1f s, from %s\n", h.name, time.Since(began).Seconds(), h.config)
	}
	for _, s := range []struct{ vm, listen string }{
		{topo.Blue2, ":80"},
		{topo.Red2, ":80,:8080"}, // 8080 exists in Red alone
	} {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		server := d.net.Command(context.WithoutCancel(ctx), s.vm, self, "-serve-as", s.vm, "-serve-on", s.listen)
		server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ends with its namespace, not with the terminal
		if err := server.Start(); err != nil {
			return err
		}
		go func() { _ = server.Wait() }()
	}
	return nil
}

// remove takes down the picture and what the daemons left in the file system:
// logs always, sockets where one was killed.
func (d *demo) remove() error {
	errs := []error{topo.Remove(d.instance)}
	for _, h := range d.hosts {
		for _, file := range []string{h.socket, h.logFile} {
			if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		_ = os.Remove(filepath.Dir(h.socket)) // stays where someone else's files are in it
	}
	return errors.Join(errs...)
}

func (d *demo) howToLook() {
	h := d.hosts[0]
	fmt.Printf(`
It is still running. To look around, as root:

  ip netns exec %[1]s ping 10.1.1.12        # inside Blue
  ip netns exec %[2]s ping 10.1.1.12         # inside Red: the same address, another VM
  ip netns exec %[3]s tshark -i %[4]s -f 'ip proto 47' -V -O gre
  ip netns exec %[7]s curl -s %[8]s/metrics
  %[5]s/pacactl --socket %[6]s status           # port list, lookup-record list, drops
  tail -f %[9]s

make demo-down removes every trace.
`, d.net.NS(topo.Blue1), d.net.NS(topo.Red1), d.net.NS(topo.Router), topo.ToHost1,
		d.bin, h.socket, d.net.NS(h.name), h.metrics, h.logFile)
}
