//go:build linux && amd64 && !race

package modes_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"paca/dataplane/policy"
	"paca/dataplane/port"
	"paca/modes/nvgre"
)

// Nanoseconds depend on the neighbours, instructions do not. What an ordinary packet
// takes on its way through the worker and its mode is written down, and a change that
// makes it more by over toleratedGrowth does not pass. Ports are not counted.
const (
	figuresFile     = "testdata/instructions.txt"
	toleratedGrowth = 0.05
)

var (
	updateFlag  = flag.Bool("update", false, "write "+figuresFile+" anew")
	linesFlag   = flag.String("lines", "", "write what each source line takes to this file")
	profileFlag = flag.String("profile", "", "write the calls that are made, of which none may be inlined, to this file, for the compiler")
)

// course is a burst that is taken through.
type course struct {
	name   string
	set    *policy.Set
	in     int
	frames [][]byte // of as many flows
}

// courses are both modes, both directions and both families, outside and inside. Half of the packets are
// small and half as large as can be, since the way is the same unless somebody looks
// at what they carry.
func courses() (all []course) {
	tunnels, tunnels6, swaps := testPolicy(), sixPA(), rewritePolicy(1)
	tunnels.Ports[uplink].MTU, tunnels6.Ports[uplink].MTU = 1600, 1600
	var mixed [2][][]byte // half of it of each family, in turn
	for _, v6 := range []bool{false, true} {
		family := map[bool]string{false: "IPv4", true: "IPv6"}[v6]
		flows := func(d datagram) (frames [][]byte) {
			for i := range 32 {
				d.sport, d.dport = uint16(1024+i), 4789
				d.size = []int{66, 1500}[i%2]
				frames = append(frames, d.frame())
			}
			return frames
		}
		there, back := flows(between(vmBlue1, vmBlue2, macBlue2, v6)), flows(between(vmBlue2, vmBlue1, macBlue1, v6))
		back6 := slices.Clone(back)
		for i, f := range back {
			back[i] = tunnel(6001, paFar, paHere, f)
			back6[i] = tunnel(6001, six(paFar), six(paHere), f)
		}
		for way, frames := range [][][]byte{there, back} {
			for i := range 16 {
				mixed[way] = slices.Insert(mixed[way], min(2*i+1, len(mixed[way])), frames[i])
			}
		}
		swapped := flows(datagram{from: macRouter, to: macUplink, src: paBlue2.pa(v6), dst: paBlue1.pa(v6)})
		if !v6 { // to two VMs in turn
			back3, swapped3 := flows(between(vmBlue2, vmBlue3, macBlue3, v6)), flows(datagram{from: macRouter, to: macUplink, src: paBlue2.pa(v6), dst: paBlue3.pa(v6)})
			for i := range back3 {
				if back3[i] = tunnel(6001, paFar, paHere, back3[i]); i%2 == 0 {
					back3[i], swapped3[i] = back[i], swapped[i]
				}
			}
			all = append(all, course{"nvgre ingress, two VMs in turn", tunnels, uplink, back3}, course{"rewrite ingress, two VMs in turn", swaps, uplink, swapped3})
		}
		all = append(all,
			course{"nvgre egress " + family, tunnels, blue1, there},
			course{"nvgre ingress " + family, tunnels, uplink, back},
			course{"rewrite egress " + family, swaps, blue1, there},
			course{"rewrite ingress " + family, swaps, uplink, swapped},
			course{"nvgre egress " + family + " over IPv6", tunnels6, blue1, there},
			course{"nvgre ingress " + family + " over IPv6", tunnels6, uplink, back6})
	}
	all = append(all, course{"nvgre egress mixed", tunnels, blue1, mixed[0]}, course{"nvgre ingress mixed", tunnels, uplink, mixed[1]})
	return all
}

func TestInstructions(t *testing.T) {
	all := courses()
	is, calls := map[string]cost{}, map[call]int{}
	for i, pcs := range steps(t, all) {
		is[all[i].name] = costOf(pcs, len(all[i].frames))
		if *profileFlag != "" {
			countCalls(t, calls, pcs)
		}
	}
	if len(is) == 0 {
		return // it was followed
	}
	if *profileFlag != "" {
		writeProfile(t, *profileFlag, calls)
		return
	}

	was, compiler := readFigures(t)
	for _, c := range all {
		was, is := was[c.name], is[c.name]
		growth := is.all/was.all - 1
		line := fmt.Sprintf("%s: %.1f instructions per packet, before %.1f, %+.1f %%%s", c.name, is.all, was.all, 100*growth, is.beside(was))
		switch {
		case *updateFlag || growth >= -toleratedGrowth && growth <= toleratedGrowth:
			t.Log(line)
		case growth < 0:
			t.Log(line + "\nTo hold it there: make instructions UPDATE=1")
		default:
			t.Errorf("%s\nWhich lines: make instructions. If it has to be, or only the compiler changed (%s, before %s): make instructions UPDATE=1",
				line, runtime.Version(), compiler)
		}
	}
	if *updateFlag {
		writeFigures(t, all, is)
	}
	if *linesFlag != "" {
		writeLines(t, *linesFlag, all, is)
	}
}

// Packets that may go straight are looked into several at a time. Where they turn out not
// to, that must not be done to all of a burst again at each of them: between VMs of one
// host a packet took 2,800 instructions in a burst of 32, and 1,400 in one of two.
func TestInstructionsInVain(t *testing.T) {
	var all []course
	for _, v6 := range []bool{false, true} {
		var frames [][]byte
		for i := range port.MaxBurst {
			d := between(vmBlue1, vmBlue3, macBlue3, v6)
			d.sport, d.dport, d.size = uint16(1024+i), 4789, 66
			frames = append(frames, d.frame())
		}
		all = append(all, course{"", wholePolicy(), blue1, frames[:2]}, course{"", wholePolicy(), blue1, frames})
	}
	var is []cost
	for i, pcs := range steps(t, all) {
		is = append(is, costOf(pcs, len(all[i].frames)))
	}
	for i := 0; i < len(is); i += 2 {
		if few, many := is[i], is[i+1]; many.all > few.all {
			t.Errorf("%.1f instructions per packet in a burst of %d, %.1f in one of two%s", many.all, port.MaxBurst, few.all, many.beside(few))
		}
	}
}

// steps are the instructions of each course, but for those of ports: none in the process
// that is followed, which takes them.
func steps(t *testing.T, all []course) (taken [][]uintptr) {
	if os.Getenv(followed) != "" {
		beFollowed(t)
		for _, c := range all {
			c.run(t)
		}
		return nil
	}
	s := follow(t)
	for range all {
		taken = append(taken, s.steps(func(f string) bool { return strings.HasPrefix(f, "paca/dataplane/port/") }))
	}
	s.leave()
	return taken
}

// run makes the trip twice, the second time between breakpoints.
func (c *course) run(t *testing.T) {
	r := newRig(t, c.set, nvgre.Config{})
	plug := r.w.Plug.Load()
	plug.Poll = plug.Poll[c.in : c.in+1]
	r.trip(c.in, c.frames...)

	r.ports[c.in].Inject(0, c.frames...)
	runtime.Breakpoint()
	r.w.PollOnce()
	runtime.Breakpoint()
	n := 0
	for _, p := range r.ports {
		n += len(p.Drain(0))
	}
	if n != len(c.frames) {
		t.Fatalf("%s: %d of %d packets arrived; drops: %v", c.name, n, len(c.frames), r.drops())
	}
}

// cost is in instructions per packet.
type cost struct {
	all    float64
	by     map[string]float64 // by function, also where that is inlined
	byLine map[place]float64
}

type place struct {
	function, file string
	line           int
}

func costOf(pcs []uintptr, packets int) cost {
	c := cost{by: map[string]float64{}, byLine: map[place]float64{}}
	for _, pc := range pcs {
		f, _ := runtime.CallersFrames([]uintptr{pc + 1}).Next() // as if it were called from
		name := strings.TrimPrefix(f.Function, "paca/")
		if strings.HasPrefix(name, "modes_test.") || strings.EqualFold(name, "runtime.breakpoint") {
			continue // between the breakpoints, and the test's
		}
		each := 1 / float64(packets)
		c.all += each
		c.by[name] += each
		c.byLine[place{name, f.File, f.Line}] += each
	}
	c.all = math.Round(10*c.all) / 10
	return c
}

// beside lists the functions in which c is not what it was, the worst first.
func (c cost) beside(was cost) string {
	var b strings.Builder
	all := maps.Clone(was.by)
	if all == nil {
		all = map[string]float64{}
	}
	maps.Copy(all, c.by)
	growth := func(f string) float64 { return c.by[f] - was.by[f] }
	for _, f := range slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return cmp.Or(cmp.Compare(growth(b), growth(a)), cmp.Compare(a, b))
	}) {
		if g := growth(f); g > 0.5 || g < -0.5 {
			fmt.Fprintf(&b, "\n%+8.1f  %s: %.1f, before %.1f", g, f, c.by[f], was.by[f])
		}
	}
	return b.String()
}

// The file has a paragraph for each course: its name and figure, and those of
// functions, the largest first.
func writeFigures(t *testing.T, all []course, is map[string]cost) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Instructions per packet, by function, of %s. make instructions UPDATE=1 writes this file.\n", runtime.Version())
	for _, c := range all {
		by := is[c.name].by
		fmt.Fprintf(&b, "\n%s: %.1f\n", c.name, is[c.name].all)
		for _, f := range slices.SortedFunc(maps.Keys(by), func(a, b string) int {
			return cmp.Or(cmp.Compare(by[b], by[a]), cmp.Compare(a, b))
		}) {
			if by[f] >= 0.5 {
				fmt.Fprintf(&b, "%8.1f  %s\n", by[f], f)
			}
		}
	}
	if err := os.WriteFile(figuresFile, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFigures(t *testing.T) (was map[string]cost, compiler string) {
	text, err := os.ReadFile(figuresFile)
	if err != nil && !*updateFlag {
		t.Error(err)
	}
	if m := regexp.MustCompile(` of (go\S+)\. `).FindSubmatch(text); m != nil {
		compiler = string(m[1])
	}
	was = map[string]cost{}
	var c cost
	for _, m := range regexp.MustCompile(`(?m)^(?:(\w.*): ([\d.]+)| +([\d.]+)  (.*))$`).FindAllStringSubmatch(string(text), -1) {
		number := func(s string) float64 {
			n, err := strconv.ParseFloat(s, 64)
			if err != nil {
				t.Errorf("%s: %v", figuresFile, err)
			}
			return n
		}
		if m[1] != "" {
			c = cost{all: number(m[2]), by: map[string]float64{}}
			was[m[1]] = c
		} else {
			c.by[m[4]] = number(m[3])
		}
	}
	return was, compiler
}

// writeLines writes the source lines that were executed, the function that takes most
// first.
func writeLines(t *testing.T, file string, all []course, is map[string]cost) {
	modes, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	root := strings.TrimSuffix(modes, "modes")
	var b bytes.Buffer
	for _, c := range all {
		is := is[c.name]
		fmt.Fprintf(&b, "%s: %.1f instructions per packet\n", c.name, is.all)
		function := ""
		for _, p := range slices.SortedFunc(maps.Keys(is.byLine), func(a, b place) int {
			return cmp.Or(cmp.Compare(is.by[b.function], is.by[a.function]), cmp.Compare(a.function, b.function),
				cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line))
		}) {
			if p.function != function {
				function = p.function
				fmt.Fprintf(&b, "\n%8.1f  %s\n", is.by[function], function)
			}
			fmt.Fprintf(&b, "%8.1f  %-36s %s\n", is.byLine[p], fmt.Sprintf("%s:%d", strings.TrimPrefix(p.file, root), p.line), sourceLine(t, p.file, p.line))
		}
		b.WriteString("\n")
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

var sources = map[string][]string{} // lines by file

func sourceLine(t *testing.T, file string, line int) string {
	if sources[file] == nil {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sources[file] = strings.Split(string(text), "\n")
	}
	return sources[file][line-1]
}
