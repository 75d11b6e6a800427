package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Kinds of pages that memory is made of, which is the same for all programs.
const (
	huge     = "2M" // as operators have it
	ordinary = "4K"
)

// eal are the arguments of DPDK for so many MiB, which are shared with nobody else.
func eal(pages string, mib int) []string {
	kind := []string{"--in-memory", "--single-file-segments"} // virtio-user hands over one file, not one for each page
	if pages == ordinary {
		kind = []string{"--no-huge", "--no-shconf"} // refuses --in-memory
	}
	return append(kind, "-m", strconv.Itoa(mib), "--no-pci", "--no-telemetry")
}

// hostPages is what pacad's host file calls such pages.
func hostPages(pages string) string {
	if pages == ordinary {
		return "none"
	}
	return pages
}

// hugeFolder is where Linux tells of huge pages of 2 MiB, and is told.
const hugeFolder = "/sys/kernel/mm/hugepages/hugepages-2048kB"

// reserve has the kernel set as many huge pages aside as are missing for so many MiB;
// giveBack takes away what was added.
func reserve(folder string, mib int) (giveBack func() error, err error) {
	number := func(name string) int {
		n, _ := strconv.Atoi(strings.TrimSpace(read(filepath.Join(folder, name))))
		return n
	}
	add := func(n int) error {
		return os.WriteFile(filepath.Join(folder, "nr_hugepages"), []byte(strconv.Itoa(max(0, number("nr_hugepages")+n))), 0o644)
	}
	wanted, before := (mib+1)/2, number("nr_hugepages")
	missing := wanted - (number("free_hugepages") - number("resv_hugepages"))
	if missing <= 0 {
		return func() error { return nil }, nil
	}
	err = add(missing)
	got := number("nr_hugepages") - before
	if err == nil && got >= missing {
		return func() error { return add(-missing) }, nil
	}
	if err == nil {
		err = errors.Join(fmt.Errorf("the kernel has %d", max(got, 0)), add(-max(got, 0)))
	}
	return nil, fmt.Errorf("%s of 2 MiB are missing: %w. Free memory or reserve them at boot (hugepages=%d), as root; -pages 4K does without", counted(missing, "huge page"), err, wanted)
}
