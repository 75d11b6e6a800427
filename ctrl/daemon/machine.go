package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"paca/conf"
)

// cores are the CPUs that the process may use, and those that are left for
// everything but workers.
func cores(c *conf.Config) (others unix.CPUSet, err error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return others, fmt.Errorf("daemon: cpu affinity: %w", err)
	}
	var faults []error
	others = all
	for i, core := range c.Workers.Cores {
		if !all.IsSet(core) {
			faults = append(faults, c.Fault(fmt.Sprintf("workers.cores[%d]", i),
				"this process has no core %d; use some of %s", core, list(&all)))
		}
		others.Clear(core)
	}
	if others.Count() == 0 {
		others = all // every core works: the control plane has to share
	}
	return others, errors.Join(faults...)
}

func list(set *unix.CPUSet) string {
	var s []string
	for cpu := range 8 * len(set) * 8 {
		if set.IsSet(cpu) {
			s = append(s, strconv.Itoa(cpu))
		}
	}
	return strings.Join(s, ", ")
}

// stayOff keeps every thread of the process, and those they start, on the given
// cores, so that only workers run on the workers'. Go needs a scheduler context
// for each worker, which never gives its own back, besides those for the rest.
func stayOff(workers int, others *unix.CPUSet) error {
	runtime.GOMAXPROCS(workers + max(2, others.Count()))
	threads, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(filepath.Base(t))
		if err != nil {
			continue
		}
		if err := unix.SchedSetaffinity(tid, others); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("daemon: cpu affinity of thread %d: %w", tid, err)
		}
	}
	return nil
}

// ealArgs are the EAL's arguments for what was configured.
func (h *host) ealArgs() ([]string, error) {
	c := h.conf
	// Hosts share nothing with each other or with the file system.
	args := []string{"--no-telemetry", "-m", strconv.Itoa(c.EAL.Memory)}
	pages, err := hugepages(c)
	if err != nil {
		return nil, err
	}
	if pages {
		// vhost-user hands memory over as a short list of files.
		args = append(args, "--in-memory", "--single-file-segments")
	} else {
		if c.EAL.Hugepages == conf.HugepagesAuto {
			h.log.Warn("memory is of ordinary pages, on which forwarding is slower: fewer huge pages are free than eal.memory wants", "mib", c.EAL.Memory)
		}
		args = append(args, "--no-huge", "--no-shconf") // refuses --in-memory
	}
	pci := false
	for p := range h.ports() {
		pci = pci || !strings.Contains(strings.SplitN(p.Device, ",", 2)[0], ":") || isPCI(p.Device)
	}
	if !pci {
		args = append(args, "--no-pci")
	}
	return append(args, c.EAL.Args...), nil
}

// isPCI tells a PCI address from kind:argument: it starts with hex digits.
func isPCI(device string) bool {
	head, _, _ := strings.Cut(device, ":")
	_, err := strconv.ParseUint(head, 16, 32)
	return err == nil
}

// hugepages says whether memory comes from huge pages, and refuses to go on
// when pages that were asked for are not there.
func hugepages(c *conf.Config) (bool, error) {
	var sizes []int // KiB
	switch c.EAL.Hugepages {
	case conf.HugepagesNone:
		return false, nil
	case conf.Hugepages2M:
		sizes = []int{2 << 10}
	case conf.Hugepages1G:
		sizes = []int{1 << 20}
	case conf.HugepagesAuto:
		sizes = []int{1 << 20, 2 << 10}
	}
	most := 0 // MiB
	for _, size := range sizes {
		most = max(most, freePages(size)*size>>10)
	}
	if most >= c.EAL.Memory {
		return true, nil
	}
	if c.EAL.Hugepages == conf.HugepagesAuto {
		return false, nil
	}
	pages := (c.EAL.Memory<<10 + sizes[0] - 1) / sizes[0]
	return false, c.Fault("eal.hugepages", `%d MiB of free %s pages, and eal.memory wants %d; reserve them with "echo %d > %s", or use "none"`,
		most, c.EAL.Hugepages, c.EAL.Memory, pages, pageFile(sizes[0], "nr_hugepages"))
}

func pageFile(size int, name string) string {
	return fmt.Sprintf("/sys/kernel/mm/hugepages/hugepages-%dkB/%s", size, name)
}

func freePages(size int) int {
	b, err := os.ReadFile(pageFile(size, "free_hugepages"))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}
