package store

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"paca/dataplane/policy"
)

// wornFile is the file of a store that has lived: pages were freed and used
// again, one object spans several.
func wornFile(t testing.TB, records int) (path string, revision Revision, objects []policy.Object) {
	path = filepath.Join(t.TempDir(), "policy.db")
	s := must(Open("bolt:" + path))
	for at := 0; at < records; at += 100 {
		var set []policy.Change
		for n := at; n < at+100; n++ {
			set = append(set, puts(record(n))...)
		}
		must(s.Commit([][]policy.Change{set, deletes(record(at / 2))}))
	}
	long := policy.VirtualSubnet{VSID: 6001, RDID: policy.RDID{1}}
	for n := range 2000 {
		long.Prefixes = append(long.Prefixes, must(record(n*256).CA.Prefix(24)))
	}
	must(s.Commit([][]policy.Change{puts(long), puts(oneOfEach()[0], oneOfEach()[1])}))
	revision, objects = held(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path, revision, objects
}

// inUse is the pages of a file that are part of something.
func inUse(t *testing.T, file []byte) (kinds map[int]uint16) {
	v := verifier{file: bytes.NewReader(file)}
	if err := v.meta(int64(len(file))); err != nil {
		t.Fatal(err)
	}
	v.seen = make([]bool, v.pages)
	err := v.tree(v.root, func(_ uint32, _, value []byte) error {
		return v.tree(native.Uint64(value), func(uint32, []byte, []byte) error { return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	kinds = map[int]uint16{}
	for id, seen := range v.seen {
		if seen {
			kinds[id] = native.Uint16(file[id*int(v.size)+8:])
		}
	}
	return kinds
}

// resum makes a meta page right again.
func resum(page []byte) {
	h := fnv.New64a()
	h.Write(page[pageHeader : pageHeader+metaSize-8])
	native.PutUint64(page[pageHeader+metaSize-8:], h.Sum64())
}

// setHead puts another head into a file as a newer release would, or a fool.
func setHead(t *testing.T, path string, name, key, value []byte) {
	db := must(bbolt.Open(path, 0o600, nil))
	err := db.Update(func(tx *bbolt.Tx) error {
		in, err := tx.CreateBucketIfNotExists(name)
		if err != nil {
			return err
		}
		return in.Put(key, value)
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// What cannot be read is refused by name and left as it is.
func TestDamage(t *testing.T) {
	const size = 4096
	path, _, _ := wornFile(t, 1000)
	good := must(os.ReadFile(path))
	newestMeta := 0
	if native.Uint64(good[size+pageHeader+48:]) > native.Uint64(good[pageHeader+48:]) {
		newestMeta = size
	}
	root := int(native.Uint64(good[newestMeta+pageHeader+16:])) * size
	var branch, leaf, full int // where pages of that kind begin; full is a leaf with objects
	for id, kind := range inUse(t, good) {
		if kind == branchPage {
			branch = id * size
		} else if kind == leafPage && (leaf == 0 || id*size < leaf) {
			leaf = id * size
		}
		if kind == leafPage && native.Uint16(good[id*size+10:]) > 10 {
			full = id * size
		}
	}
	second := branch + pageHeader + elementSize
	lastOfKey := second + int(native.Uint32(good[second:])+native.Uint32(good[second+4:])) - 1
	for name, c := range map[string]struct {
		damage func(b []byte) []byte
		want   error
	}{
		// Most of these bbolt does not survive, though every object is there.
		"newest meta page in what nobody reads":      {func(b []byte) []byte { b[newestMeta+pageHeader+24] ^= 1; return b }, ErrCorrupt},
		"a branch's key is more than the keys below": {func(b []byte) []byte { b[lastOfKey]++; return b }, ErrCorrupt},
		"a branch's key is in the branch before":     {func(b []byte) []byte { b[lastOfKey-6]--; return b }, ErrCorrupt},
		"two keys change places": {func(b []byte) []byte {
			one, two := b[full+pageHeader+elementSize:][:elementSize], b[full+pageHeader+2*elementSize:][:elementSize]
			swapped := append(bytes.Clone(two), one...)
			copy(one, swapped[:elementSize])
			copy(two, swapped[elementSize:])
			native.PutUint32(one[4:], native.Uint32(one[4:])+elementSize) // positions count from the element
			native.PutUint32(two[4:], native.Uint32(two[4:])-elementSize)
			return b
		}, ErrCorrupt},
		"a page says it is another": {func(b []byte) []byte { b[leaf]++; return b }, ErrCorrupt},
		"a page spreads over others": {func(b []byte) []byte {
			native.PutUint32(b[leaf+12:], uint32(native.Uint64(b[newestMeta+pageHeader+40:]))-uint32(leaf/size)-1)
			return b
		}, ErrCorrupt},
		"root behind the end": {func(b []byte) []byte {
			end := int(native.Uint64(b[newestMeta+pageHeader+40:])) + 1
			b = append(b, make([]byte, max(0, end*size-len(b)))...)
			b = append(b[:end*size:end*size], b[root:root+size]...)
			native.PutUint64(b[end*size:], uint64(end))
			native.PutUint64(b[newestMeta+pageHeader+16:], uint64(end))
			resum(b[newestMeta:])
			return b
		}, ErrCorrupt},
		"empty":                 {func(b []byte) []byte { return nil }, ErrCorrupt},
		"one byte":              {func(b []byte) []byte { return b[:1] }, ErrCorrupt},
		"text":                  {func(b []byte) []byte { return bytes.Repeat([]byte("policy.toml\n"), 2000) }, ErrCorrupt},
		"zeros":                 {func(b []byte) []byte { return make([]byte, len(b)) }, ErrCorrupt},
		"first page lost":       {func(b []byte) []byte { return b[size:] }, ErrCorrupt},
		"cut in the meta pages": {func(b []byte) []byte { return b[:size+pageHeader+10] }, ErrCorrupt},
		"cut in half":           {func(b []byte) []byte { return b[:len(b)/2/size*size] }, ErrCorrupt},
		"newest meta page":      {func(b []byte) []byte { b[newestMeta+pageHeader+20] ^= 1; return b }, ErrCorrupt},
		"root elsewhere": {func(b []byte) []byte {
			native.PutUint64(b[newestMeta+pageHeader+16:], 1<<60)
			resum(b[newestMeta:])
			return b
		}, ErrCorrupt},
		"root in a circle": {func(b []byte) []byte {
			native.PutUint16(b[root+8:], branchPage)
			native.PutUint64(b[root+pageHeader+8:], uint64(root/size))
			native.PutUint32(b[root+pageHeader:], elementSize)
			native.PutUint32(b[root+pageHeader+4:], 1)
			return b
		}, ErrCorrupt},
		"older bbolt": {func(b []byte) []byte { b[pageHeader+4] = 1; resum(b); return b }, ErrCorrupt},
		"newer bbolt": {func(b []byte) []byte { b[pageHeader+4] = 3; resum(b); return b }, ErrNewer},
		"absurd page size": {func(b []byte) []byte {
			native.PutUint32(b[pageHeader+8:], 1<<31)
			resum(b)
			return b
		}, ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) { refused(t, c.damage(bytes.Clone(good)), c.want) })
	}

	for name, c := range map[string]struct {
		bucket, key, value []byte
		want               error
	}{
		"newer format":        {bucket, headKey, append([]byte{0, 0, 0, policy.Format + 1}, "what do I know"...), ErrNewer},
		"no format":           {bucket, headKey, make([]byte, headSize), ErrCorrupt},
		"head short":          {bucket, headKey, []byte{0, 0, 0, 1}, ErrCorrupt},
		"head empty":          {bucket, headKey, nil, ErrCorrupt},
		"an object too many":  {bucket, []byte(record(5000).Key()), policy.AppendObject(nil, record(1)), ErrCorrupt},
		"another's bucket":    {[]byte("other"), headKey, nil, ErrCorrupt},
		"an object was moved": {bucket, []byte(record(700).Key()), policy.AppendObject(nil, record(701)), ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			copied := filepath.Join(t.TempDir(), "policy.db")
			os.WriteFile(copied, good, 0o600)
			setHead(t, copied, c.bucket, c.key, c.value)
			refused(t, must(os.ReadFile(copied)), c.want)
		})
	}
	t.Run("bbolt without policy", func(t *testing.T) {
		copied := filepath.Join(t.TempDir(), "policy.db")
		setHead(t, copied, []byte("other"), []byte("a"), []byte("b"))
		refused(t, must(os.ReadFile(copied)), ErrCorrupt)
	})
}

func refused(t *testing.T, file []byte, want error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.db")
	os.WriteFile(path, file, 0o600)
	s, err := Open("bolt:" + path)
	if s != nil {
		s.Close()
	}
	if !errors.Is(err, want) || !strings.HasPrefix(err.Error(), "store: "+path+": ") {
		t.Errorf("opens with %v, want %v", err, want)
	}
	if !bytes.Equal(must(os.ReadFile(path)), file) {
		t.Error("the file was touched")
	}
	if left := must(os.ReadDir(filepath.Dir(path))); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// Whatever happens to a file, it is refused or it holds what it held.
func TestRandomDamage(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	path, revision, objects := wornFile(t, 2000)
	good := must(os.ReadFile(path))
	rounds, harmless := 400, 0
	if testing.Short() {
		rounds = 50
	}
	for round := range rounds {
		b := bytes.Clone(good)
		at := r.IntN(len(b))
		if r.IntN(3) == 0 {
			at = at / 4096 * 4096 // where pages say what they are
			at += r.IntN(64)
		}
		switch r.IntN(4) {
		case 0:
			b[at] ^= 1 << r.IntN(8)
		case 1:
			for i := range b[at:min(at+512, len(b))] {
				b[at+i] = byte(r.Uint32())
			}
		case 2:
			clear(b[at/4096*4096 : min(at/4096*4096+4096, len(b))])
		case 3: // a page where another belongs
			copy(b[at/4096*4096:], b[r.IntN(len(b)/4096)*4096:][:4096])
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open("bolt:" + path)
		if err == nil {
			harmless++
			if gotRevision, got := held(t, s); gotRevision != revision || !reflect.DeepEqual(got, objects) {
				t.Fatalf("seed %d round %d: damage at %#x shows other policy", seed, round, at)
			}
			s.Close()
		} else if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
			t.Fatalf("seed %d round %d: damage at %#x: %v", seed, round, at, err)
		}
		if !bytes.Equal(must(os.ReadFile(path)), b) {
			t.Fatalf("seed %d round %d: the file was touched", seed, round)
		}
	}
	t.Logf("%d of %d hit nothing in use", harmless, rounds)
}

// One meta page in the place of the other is whole, and would show an older
// revision. Found by TestRandomDamage.
func TestMetaPageOverTheOther(t *testing.T) {
	path, _, _ := wornFile(t, 10)
	good := must(os.ReadFile(path))
	for _, to := range []int{0, 4096} {
		b := bytes.Clone(good)
		copy(b[to:to+4096], good[4096-to:])
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open("bolt:" + path); !errors.Is(err, ErrCorrupt) {
			t.Errorf("meta page at %#x copied from the other: %v", to, err)
		}
	}
}

// A second process is told so at once.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.db")
	if spec := os.Getenv("STORE_TEST_OPEN"); spec != "" {
		_, err := Open(spec)
		fmt.Println(err, errors.Is(err, ErrLocked))
		os.Exit(0)
	}
	s := must(Open("bolt:" + path))
	other := exec.Command(os.Args[0], "-test.run=^TestLocked$")
	other.Env = append(os.Environ(), "STORE_TEST_OPEN=bolt:"+path)
	out, err := other.CombinedOutput()
	if want := "store: " + path + ": in use by another process true\n"; err != nil || string(out) != want {
		t.Errorf("the second process says %q, %v; want %q", out, err, want)
	}
	s.Close()
	must(Open("bolt:" + path)).Close()
}
