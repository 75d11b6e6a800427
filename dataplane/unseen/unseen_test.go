package unseen

import (
	"slices"
	"testing"
)

func TestRef(t *testing.T) {
	v := [3]int{1, 2, 3}
	p := []*int{&v[0], nil, &v[2]}
	refs := []Ref[int]{To(p[0]), To(p[1]), To(p[2])}
	for i, r := range refs {
		if r.Get() != p[i] {
			t.Errorf("reference %d: %p, want %p", i, r.Get(), p[i])
		}
	}
	// The compiler takes some expressions for pointers that are never nil.
	if refs[1] != 0 || refs[1].Get() != nil || refs[0].Get() == nil {
		t.Error("a reference to nothing is something, or the other way about")
	}
	if got := Pointers(refs); !slices.Equal(got, p) {
		t.Errorf("%v, want %v", got, p)
	}
	two := make([]Ref[int], 2)
	if n := Copy(two, p); n != 2 || two[0] != refs[0] || two[1] != refs[1] {
		t.Errorf("%d copied: %v", n, two)
	}
	if Copy(two, nil) != 0 || len(Pointers[int](nil)) != 0 {
		t.Error("nothing is something")
	}
}

// Whatever it is, or is not: fetching reads nothing.
func TestFetch(t *testing.T) {
	v := 5
	Fetch([]Ref[int]{To(&v), 0, 1, ^Ref[int](0), To(&v)}, 64)
	Fetch[int](nil, 0)
	if v != 5 {
		t.Error("it was written to")
	}
}
