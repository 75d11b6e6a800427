package policy

import (
	"strings"
	"testing"
)

const someRDID = "{11111111-2222-3333-4444-0123456789ab}"

func TestParseRDID(t *testing.T) {
	want := RDID{0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab}
	for _, s := range []string{someRDID, strings.Trim(someRDID, "{}"), strings.ToUpper(someRDID)} {
		if r, err := ParseRDID(s); err != nil || r != want {
			t.Errorf("%s read as %v, %v", s, r, err)
		}
	}
	if want.String() != someRDID {
		t.Errorf("written as %s, want %s", want, someRDID)
	}
	for _, s := range []string{
		"", "{}", "{", "11111111222233334444000000000000",
		someRDID[:37],                            // brace not closed
		someRDID[1:],                             // nor opened
		"{" + someRDID + "}",                     //
		"{11111111-2222-3333-4444-0123456789a}",  // a digit short
		"{11111111-2222-3333-44440-123456789ab}", // dash misplaced
		"{1111111g-2222-3333-4444-0123456789ab}",
		// Dashes in the place of digits once passed as a shorter number.
		"{11111111-2222-3333-4444-0123456789--}",
		"{------------------------------------}",
	} {
		if r, err := ParseRDID(s); err == nil || r != (RDID{}) {
			t.Errorf("%q read as %v, %v", s, r, err)
		}
	}
}

// What is read is written as it was read, but for braces and case.
func FuzzParseRDID(f *testing.F) {
	f.Add(someRDID)
	f.Add(someRDID[1:37])
	f.Add("{------------------------------------}")
	f.Add("{11111111-2222-3333-4444-0123456789--}")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRDID(s)
		if err != nil {
			return
		}
		if plain := strings.Trim(r.String(), "{}"); !strings.EqualFold(strings.Trim(s, "{}"), plain) {
			t.Errorf("%q read as %v", s, r)
		}
		if again, err := ParseRDID(r.String()); err != nil || again != r {
			t.Errorf("%v read back as %v, %v", r, again, err)
		}
	})
}
