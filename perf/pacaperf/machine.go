package main

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// thisMachine says what figures of this run hold for.
func thisMachine(pacad string) Machine {
	m := Machine{
		CPU:    find(read("/proc/cpuinfo"), `(?m)^model name\s*:\s*(.*)$`),
		Cores:  runtime.NumCPU(),
		Memory: memory("MemTotal"),
		Kernel: strings.TrimSpace(read("/proc/sys/kernel/osrelease")),
		DPDK:   strings.TrimSpace(output("pkg-config", "--modversion", "libdpdk")),
		Go:     runtime.Version(),
		Paca:   strings.TrimPrefix(firstLine(output(pacad, "version")), "pacad "),
	}
	if program, ok := findOVS(); ok {
		m.OVS = find(output(program, "--version"), `\(Open vSwitch\) (\S+)`)
	}
	return m
}

// freeMemory is what programs may take, in MiB.
func freeMemory() int { return memory("MemAvailable") }

func memory(what string) int {
	kib, _ := strconv.Atoi(find(read("/proc/meminfo"), `(?m)^`+what+`:\s*(\d+)`))
	return kib >> 10
}

// find is what the pattern's parentheses match first, or "".
func find(text, pattern string) string {
	if m := regexp.MustCompile(pattern).FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func read(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}

func output(program string, args ...string) string {
	b, _ := exec.Command(program, args...).Output()
	return string(b)
}
