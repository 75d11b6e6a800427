package modes_test

import (
	"strings"
	"testing"

	"paca/modes/nvgre"
)

// Each way not to arrive, by rule: the packet lands on its own counter, once, and
// nothing crosses. The packets are in fatals.

func TestL2SourceMAC(t *testing.T)          { drops(t, "L2") }
func TestL3SourceCA(t *testing.T)           { drops(t, "L3") }
func TestL5NotIP(t *testing.T)              { drops(t, "L5") }
func TestL9LookupFailed(t *testing.T)       { drops(t, "L9") }
func TestL15NoPort(t *testing.T)            { drops(t, "L15") }
func TestL16NoWay(t *testing.T)             { drops(t, "L16") }
func TestL20_L21NotHere(t *testing.T)       { drops(t, "L21") }
func TestL22Spoofed(t *testing.T)           { drops(t, "L22") }
func TestA5NobodysCA(t *testing.T)          { drops(t, "A5") }
func TestA6CAOfAnotherSubnet(t *testing.T)  { drops(t, "A6") }
func TestA7OwnCA(t *testing.T)              { drops(t, "A7") }
func TestA10Invalid(t *testing.T)           { drops(t, "A10") }
func TestP14Claimed(t *testing.T)           { drops(t, "P14") }
func TestW14PAsOfTwoFamilies(t *testing.T)  { drops(t, "W14") }
func TestW16MarkThatCannotBe(t *testing.T)  { drops(t, "W16") }
func TestW20NotForUs(t *testing.T)          { drops(t, "W20") }
func TestW21OuterHeaderLies(t *testing.T)   { drops(t, "W21") }
func TestW22OuterFragment(t *testing.T)     { drops(t, "W22") }
func TestW23GREHeader(t *testing.T)         { drops(t, "W23") }
func TestW24NotNVGRE(t *testing.T)          { drops(t, "W24") }
func TestW25GREOptions(t *testing.T)        { drops(t, "W25") }
func TestW26ReservedVSID(t *testing.T)      { drops(t, "W26") }
func TestW28InnerFrame(t *testing.T)        { drops(t, "W28") }
func TestW8_W29InnerEtherType(t *testing.T) { drops(t, "W29") }
func TestW30InnerPacketLies(t *testing.T)   { drops(t, "W30") }

// Those of no rule among the above.
func TestOtherDrops(t *testing.T) { drops(t, "") }

// judged are the rules that have a test above.
var judged = strings.Fields("L2 L3 L5 L9 L15 L16 L21 L22 A5 A6 A7 A10 P14 W14 W16 W20 W21 W22 W23 W24 W25 W26 W28 W29 W30")

// drops tries the fatals of one rule, or those of none that is judged.
func drops(t *testing.T, rule string) {
	tried := 0
	for _, c := range fatals() {
		of := ""
		for _, r := range judged {
			if c.rule == r || strings.HasPrefix(c.rule, r+" ") {
				of = r
			}
		}
		if of != rule {
			continue
		}
		tried++
		t.Run(strings.ReplaceAll(c.rule, " ", "_"), func(t *testing.T) {
			r := newRig(t, testPolicy(), nvgre.Config{})
			out := r.trip(c.in, c.frame)
			for i := range out {
				if len(out[i]) > 0 {
					t.Fatalf("port %d sent %x", i, out[i][0])
				}
			}
			if d := r.drops(); len(d) != 1 || d[c.reason.Name()] != 1 {
				t.Errorf("drops %v, want one %s", d, c.reason)
			}
			r.balance(0)
		})
	}
	if tried == 0 {
		t.Errorf("no packet for %s", rule)
	}
}
