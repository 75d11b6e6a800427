package main

import (
	"fmt"
	"os"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"paca/perf/probe"
)

func latency(dir string) error {
	frames := stamped(true)
	for range *rounds {
		for _, who := range []string{"pacad", "testpmd"} {
			var l *looped
			var err error
			if who == "pacad" {
				l, err = loopPacad(dir, "nvgre", true)
			} else {
				l, err = loopTestpmd(dir)
			}
			if err != nil {
				return err
			}
			for _, rate := range []float64{0, 5e5, 2e6, 4e6} {
				r, err := l.Run(probe.Plan{Rate: rate, Length: time.Duration(*seconds) * time.Second, WarmUp: 200 * time.Millisecond, Frames: frames})
				if err != nil {
					return err
				}
				h, g := hdrhistogram.Import(&r.Latency), hdrhistogram.Import(&r.Present)
				fmt.Fprintf(os.Stdout, "%s rate %.2f: sent %d lost %d dup %d reord %d strange %d full %d elapsed %v late %v gaps %d away %v  %.2f Mpps\n", who, rate/1e6, r.Sent, r.Lost, r.Duplicated, r.Reordered, r.Strange, r.Full, r.Elapsed, r.Late, r.Gaps, r.Away, float64(r.Received)/r.Elapsed.Seconds()/1e6)
				for _, x := range []*hdrhistogram.Histogram{h, g} {
					fmt.Printf("   n %d", x.TotalCount())
					for _, q := range []float64{50, 90, 99, 99.9, 99.99, 100} {
						fmt.Printf("  p%v %.1f", q, float64(x.ValueAtQuantile(q))/1e3)
					}
					fmt.Println()
				}
			}
			if err := l.close(); err != nil {
				fmt.Println(err)
			}
		}
	}
	return nil
}
