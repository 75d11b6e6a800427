package store

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"
	"time"

	"paca/dataplane/policy"
)

// setOf is what revision r changes in the stream of TestKill: many records at
// once, so that half of them would show, over those of earlier revisions.
func setOf(r Revision) (set []policy.Change) {
	random := rand.New(rand.NewPCG(uint64(r), 7))
	at := random.IntN(3000)
	for n := at; n < at+1+random.IntN(60); n++ {
		rec := record(n)
		rec.VMName = strconv.FormatUint(uint64(r), 10)
		if random.IntN(4) == 0 {
			set = append(set, deletes(rec)...)
		} else {
			set = append(set, puts(rec)...)
		}
	}
	return set
}

// groupAfter is how many sets are committed at once after revision r.
func groupAfter(r Revision) int { return 1 + int(r%3) }

// commitForever is the process that dies: it says each revision once it is
// acknowledged.
func commitForever(spec string) {
	s := must(Open(spec))
	r, _ := s.Load()
	for {
		sets := make([][]policy.Change, groupAfter(r))
		for i := range sets {
			sets[i] = setOf(r + 1 + Revision(i))
		}
		r = must(s.Commit(sets))
		fmt.Println(r)
	}
}

// kill -9 at any moment: every acknowledged set is there, whole, and none by
// halves.
func TestKill(t *testing.T) {
	if spec := os.Getenv("STORE_TEST_COMMIT"); spec != "" {
		commitForever(spec)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	kills := 120
	if testing.Short() {
		kills = 10
	}
	path := filepath.Join(t.TempDir(), "policy.db")
	want, replayed := map[policy.Key]policy.Object{}, Revision(0)
	var acknowledged Revision
	silent, ahead := 0, 0
	deadline := time.Now().Add(55 * time.Second)
	for kill := range kills {
		if time.Now().After(deadline) {
			t.Fatalf("%d kills took too long", kill)
		}
		child := exec.Command(os.Args[0], "-test.run=^TestKill$")
		child.Env = append(os.Environ(), "STORE_TEST_COMMIT=bolt:"+path)
		out := must(child.StdoutPipe())
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		spoke := false
		hear := func() {
			n, err := strconv.ParseUint(lines.Text(), 10, 64)
			if err != nil {
				t.Fatalf("the child says %q", lines.Text())
			}
			acknowledged, spoke = Revision(n), true
		}
		within := 60_000
		if kill%8 == 0 {
			within = 8_000 // while it starts, or makes the file
		} else if lines.Scan() {
			hear()
		}
		time.AfterFunc(time.Duration(random.IntN(within))*time.Microsecond, func() { child.Process.Kill() })
		for lines.Scan() {
			hear()
		}
		child.Wait()
		if !spoke {
			silent++
		}

		s, err := Open("bolt:" + path)
		if err != nil {
			t.Fatalf("seed %d kill %d: %v", seed, kill, err)
		}
		r, objects := held(t, s)
		if r < acknowledged {
			t.Fatalf("seed %d kill %d: revision %d is there, %d was acknowledged", seed, kill, r, acknowledged)
		}
		if r > acknowledged {
			ahead++
		}
		for replayed < r {
			for range groupAfter(replayed) {
				replayed++
				for _, c := range setOf(replayed) {
					if c.Verb == policy.Delete {
						delete(want, c.Object.Key())
					} else {
						want[c.Object.Key()] = c.Object
					}
				}
			}
		}
		if replayed != r {
			t.Fatalf("seed %d kill %d: revision %d is in the midst of a commit", seed, kill, r)
		}
		got := map[policy.Key]policy.Object{}
		for _, o := range objects {
			got[o.Key()] = o
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d kill %d: revision %d is not whole: %d objects, want %d", seed, kill, r, len(got), len(want))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d revisions over %d kills; %d before the first acknowledgement, %d between commit and acknowledgement", replayed, kills, silent, ahead)
}
