package timeslice

import (
	"runtime"
	"testing"
)

func TestKnown(t *testing.T) {
	if !Known {
		t.Errorf("%s is not known: its runtime wants a file and a test like go126.go and go126_test.go", runtime.Version())
	}
}
