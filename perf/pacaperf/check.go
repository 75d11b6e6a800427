package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// checkedFlows are sent through every program before it is measured.
const checkedFlows = 256

// check sends some frames of a scenario, of all its sizes, through each program
// into a capture, and wants every one of them to come out as it should. A program
// that does something else, or only to some of them, is not measured.
func (s *scenario) check(ctx context.Context, b *bench, points []Params, programs []program) error {
	var sizes []int
	for _, p := range points {
		for i := range imix {
			if n := p.size(i); !slices.Contains(sizes, n) {
				sizes = append(sizes, n)
			}
		}
	}
	return checks(points, programs, func(p Params, prog program) error {
		if err := b.check(ctx, p, prog, sizes); err != nil {
			return err
		}
		b.tell(checkTakes(p, prog), "%s: %s does as it should", s.name, prog.name())
		return nil
	})
}

func checkTakes(p Params, prog program) time.Duration { return prog.takes(p) + 100*time.Millisecond }

// checks calls f for every program once for all points that differ only in how many
// and how large the frames are, and in pages.
func checks(points []Params, programs []program, f func(Params, program) error) error {
	checked := map[sample]bool{}
	return each(points, programs, func(p Params, prog program) error {
		p.Flows, p.Records, p.Cores, p.Queues, p.Frame, p.Bytes = checkedFlows, checkedFlows, 1, 0, "", 0
		key := sample{p, prog.name()}
		key.Pages = ""
		if checked[key] {
			return nil
		}
		checked[key] = true
		return f(p, prog)
	})
}

// check checks one program.
func (b *bench) check(ctx context.Context, p Params, prog program, sizes []int) error {
	j, err := b.bareJob(p)
	if err != nil {
		return err
	}
	if j.policy, err = b.store(ctx, p); err != nil {
		return err
	}
	flows, size := p.flows(), func(i int) int { return sizes[i%len(sizes)] }
	in, out := b.path("check-rx.pcap"), b.path("check-tx.pcap")
	if err := p.writeCaptures([]string{in}, flows, size); err != nil {
		return err
	}
	_, late := prog.(ovs) // receives before it is whole: a frame must come again
	j.in, j.out = rxPcap([]string{in}, late), "net_pcap1,tx_pcap="+out
	r, err := prog.start(ctx, j)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; {
		err = p.judge(prog, flows, size, out)
		if err == nil || time.Now().After(deadline) || sleep(ctx, 50*time.Millisecond) != nil {
			break
		}
	}
	return errors.Join(err, r.stop(), ctx.Err())
}

// judge compares a capture of what a program has sent with what it should have.
func (p Params) judge(prog program, flows []flow, size func(int) int, out string) error {
	frames, err := readCapture(out)
	if err != nil {
		return err
	}
	_, anyMAC := prog.wants(p, flows[0], size(0))
	sent := map[string]int{}
	var wrong []string
	for _, f := range frames {
		e, err := essence(f, anyMAC)
		if err != nil {
			wrong = append(wrong, err.Error())
		}
		sent[e]++
	}
	missing, example := 0, ""
	b := gopacket.NewSerializeBuffer()
	for i, f := range flows {
		l, _ := prog.wants(p, f, size(i))
		e, err := essence(frame(b, l), anyMAC)
		if err != nil {
			return err // of our own making
		}
		if sent[e]--; sent[e] < 0 {
			missing++
			example = e
		}
	}
	if missing == 0 {
		return nil
	}
	text := fmt.Sprintf("of %d frames, %d came out and %d are not as they should be", len(flows), len(frames), missing)
	if len(wrong) > 0 {
		text += ": " + wrong[0]
	} else if len(frames) > 0 {
		got, _ := essence(frames[0], anyMAC)
		text += fmt.Sprintf("; missing\n%s\nand the first is\n%s", example, got)
	}
	return errors.New(text)
}

// essence is what two frames have in common that are equally good: of a tunnel
// frame the addresses, the VSID and the frame inside, of any other all its bytes,
// but for the MAC addresses where those may be any.
func essence(frame []byte, anyMAC bool) (string, error) {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	gre, ok := p.Layer(layers.LayerTypeGRE).(*layers.GRE)
	if !ok {
		if anyMAC && len(frame) > 12 {
			frame = frame[12:]
		}
		return fmt.Sprintf("%x", frame), nil
	}
	if ip, ok := p.NetworkLayer().(*layers.IPv4); ok && sum(ip.Contents) != 0xffff {
		return "", fmt.Errorf("the outer header's checksum is wrong: %x", ip.Contents)
	}
	if !gre.KeyPresent || gre.ChecksumPresent || gre.SeqPresent || gre.Protocol != layers.EthernetTypeTransparentEthernetBridging {
		return "", fmt.Errorf("no NVGRE header: %x", gre.Contents)
	}
	return fmt.Sprintf("%s, VSID %d, %x", p.NetworkLayer().NetworkFlow(), gre.Key>>8, gre.Payload), nil
}

// sum adds up a header's words, its checksum included, as RFC 1071 does.
func sum(header []byte) (n uint32) {
	for i := 0; i+1 < len(header); i += 2 {
		n += uint32(header[i])<<8 | uint32(header[i+1])
	}
	return n>>16 + n&0xffff
}

// readCapture reads the beginning of a capture that may still be written: it ends
// with the last whole frame.
func readCapture(path string) (frames [][]byte, err error) {
	const enough = 8 << 20
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := pcapgo.NewReader(bufio.NewReader(io.LimitReader(f, enough)))
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil
	}
	for err == nil {
		var frame []byte
		if frame, _, err = r.ReadPacketData(); err == nil {
			frames = append(frames, frame)
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return frames, err
}
