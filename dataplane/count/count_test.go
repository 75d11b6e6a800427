package count

import (
	"regexp"
	"testing"
)

func TestEveryReasonHasNameAndHelp(t *testing.T) {
	snake := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	seen := map[string]Reason{}
	for r := Kept; r < NumReasons; r++ {
		if !snake.MatchString(r.Name()) {
			t.Errorf("reason %d: name %q is not lower snake case", r, r.Name())
		}
		if r.Help() == "" {
			t.Errorf("reason %s has no help", r)
		}
		if other, ok := seen[r.Name()]; ok {
			t.Errorf("reasons %d and %d are both called %s", other, r, r)
		}
		seen[r.Name()] = r
		if got, ok := ReasonOf(r.Name()); r != Kept && (!ok || got != r) {
			t.Errorf("ReasonOf(%q) = %d, %v", r.Name(), got, ok)
		}
	}
	if _, ok := ReasonOf("no_such_reason"); ok {
		t.Error("ReasonOf finds a reason that does not exist")
	}
}

// Read while the owner writes: run with -race.
func TestSnapshotWhileWriting(t *testing.T) {
	w := NewWorker(2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10000 {
			Add(&w.Ports[1].Drops[Runt], 2)
		}
	}()
	last := uint64(0)
	for range 100 {
		s := w.Snapshot()
		if n := s.Ports[1].Drops[Runt]; n < last {
			t.Fatalf("drops went back from %d to %d", last, n)
		} else {
			last = n
		}
	}
	<-done
	if n := w.Snapshot().Ports[1].Drops[Runt]; n != 20000 {
		t.Fatalf("drops = %d, want 20000", n)
	}
}
