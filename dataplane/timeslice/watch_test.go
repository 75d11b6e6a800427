package timeslice

import (
	"runtime"
	"testing"
	"time"
)

// BenchmarkWatchdog is a goroutine that does nothing but look at the clock, locked to its
// thread, with time slices that are renewed or not. It counts the times in a second in
// which it was away for more than 30 microseconds. Those that remain are the kernel's.
func BenchmarkWatchdog(b *testing.B) {
	for name, renew := range map[string]func(){"renewed": Renew, "not renewed": func() {}} {
		b.Run(name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			start := time.Now()
			var last, renewed time.Duration
			away, n := 0, 0
			for end := max(time.Duration(b.N)*10*time.Microsecond, time.Millisecond); last < end; n++ {
				now := time.Since(start)
				if now-last > 30*time.Microsecond {
					away++
				}
				if now-renewed > time.Millisecond {
					renew()
					renewed = now
				}
				last = now
			}
			b.ReportMetric(float64(away)/last.Seconds(), "away/s")
		})
	}
}
