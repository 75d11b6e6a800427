package ps1

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// value is what an expression is: nil, string, number, bool, []value, *hash, a
// *selection, an adapter, a *vmAdapter, or a value of a policy object's property.
type value any

type (
	number struct {
		n    int64
		text string // as written, if that counts
	}
	// hash is what @{…} makes, for splatting.
	hash struct {
		keys   []string
		values []value
	}
	// selection is policy objects on their way through a pipe.
	selection struct {
		noun  *noun
		items []snapshot
		all   bool // no filter narrowed it
		made  bool // by New-, which shows nothing
	}
	// snapshot is an object as it was when a cmdlet gave it out.
	snapshot struct {
		item
		of *item
	}
	// adapter is a network adapter of the host under the name that the script
	// gave it, or its InterfaceIndex, which has no number here.
	adapter struct{ name string }
	// uplink is the port that an InterfaceIndex turned out to be.
	uplink string
)

// maxText and maxList bound what a script can build from little.
const (
	maxText = 64 << 10
	maxList = 64 << 10
)

// text is v as a string, as PowerShell would write it.
func text(v value) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case number:
		return v.text, nil
	case bool:
		if v {
			return "True", nil
		}
		return "False", nil
	case packet.MAC:
		return fmt.Sprintf("%X", v[:]), nil // as all samples write it
	case policy.Mode:
		return ruleNames[v], nil
	case policy.RecordType:
		return typeNames[v], nil
	case []value:
		words := make([]string, len(v))
		size := 0
		for i := range v {
			s, err := text(v[i])
			if err != nil {
				return "", err
			}
			if size += len(s); size > maxText {
				return "", fmt.Errorf("text of more than %d bytes", maxText)
			}
			words[i] = s
		}
		return strings.Join(words, " "), nil
	case uplink:
		return string(v), nil
	case adapter:
		return "", errors.New("a network adapter is not text; write $(….Name)")
	case *hash, *selection, *vmAdapter:
		return "", errors.New("objects are not text; write $(….Property)")
	}
	return fmt.Sprint(v), nil
}

// flat takes arrays within arrays apart, as every use here wants them.
func flat(v value) []value {
	if all, ok := v.([]value); ok {
		return all
	}
	return []value{v}
}

// convert makes a parameter's value of what a script wrote, or says what is
// wrong with it. What comes out is comparable.
type convert func(r *runner, v value) (value, error)

// word is the common part of all conversions from text.
func word[T any](what string, read func(string) (T, error)) convert {
	return func(_ *runner, v value) (value, error) {
		s, err := text(v)
		if err != nil {
			return nil, err
		}
		t, err := read(strings.TrimSpace(s))
		if err != nil {
			return nil, fmt.Errorf("%q is not %s", s, what)
		}
		return t, nil
	}
}

var (
	address = word("an IP address", netip.ParseAddr)
	mac     = word("a MAC like 101010101105", packet.ParseMAC)
	guid    = word("a GUID like {11111111-2222-3333-4444-000000000000}", policy.ParseRDID)
	prefix  = word("a prefix like 10.1.1.0/24", netip.ParsePrefix)
	byte8   = unsigned[uint8](math.MaxUint8)
	uint16s = unsigned[uint16](math.MaxUint16)
	uint32s = unsigned[uint32](math.MaxUint32)
	vsid    = unsigned[policy.VSID](math.MaxUint32)
)

func unsigned[T uint8 | uint16 | uint32 | policy.VSID](most uint32) convert {
	return word(fmt.Sprintf("a whole number from 0 to %d", most), func(s string) (T, error) {
		n, ok := integer(s)
		if !ok || n < 0 || n > int64(most) {
			return 0, strconv.ErrRange
		}
		return T(n), nil
	})
}

func label(_ *runner, v value) (value, error) {
	s, err := text(v)
	return s, err
}

func boolean(_ *runner, v value) (value, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case number:
		if v.n == 0 || v.n == 1 {
			return v.n == 1, nil
		}
	}
	return nil, errors.New("write $true or $false")
}

// onOff is the state of a switch of a VM's network adapter (C7).
func onOff(_ *runner, v value) (value, error) {
	s, err := text(v)
	switch {
	case err != nil:
		return nil, err
	case strings.EqualFold(s, "On"):
		return true, nil
	case strings.EqualFold(s, "Off"):
		return false, nil
	}
	return nil, fmt.Errorf("%q is not On or Off", s)
}

// onOffText is the state of a switch, as Hyper-V writes it.
func onOffText(on bool) string {
	if on {
		return "On"
	}
	return "Off"
}

// The names of HNV, by policy's numbers. P22's numbers are in the tables of the
// conversions.
var (
	ruleNames = [policy.NumModes]string{policy.NVGRE: "TranslationMethodEncap", policy.Rewrite: "TranslationMethodNat"}
	typeNames = [...]string{policy.Static: "Static", policy.Dynamic: "Dynamic", policy.GatewayWildcard: "GatewayWildcard", policy.L2Only: "L2Only"}
)

func rule(_ *runner, v value) (value, error) {
	s, err := text(v)
	switch {
	case err != nil:
		return nil, err
	case s == "0" || strings.EqualFold(s, "TranslationMethodNat"):
		return policy.Rewrite, nil
	case s == "1" || strings.EqualFold(s, "TranslationMethodEncap"):
		return policy.NVGRE, nil
	case s == "2" || strings.EqualFold(s, "TranslationMethodNone"):
		return nil, errors.New("nothing says what TranslationMethodNone does, so it is refused; use TranslationMethodEncap or TranslationMethodNat (P23)")
	}
	return nil, fmt.Errorf("%q is not TranslationMethodEncap or TranslationMethodNat", s)
}

func recordType(_ *runner, v value) (value, error) {
	s, err := text(v)
	if err != nil {
		return nil, err
	}
	for t, name := range typeNames {
		if s == strconv.Itoa(t) || strings.EqualFold(s, name) {
			return policy.RecordType(t), nil
		}
	}
	return nil, fmt.Errorf("%q is not %s", s, strings.Join(typeNames[:], ", "))
}

// index is an InterfaceIndex: the uplink that stands for it.
func index(r *runner, v value) (value, error) {
	switch v := v.(type) {
	case uplink:
		return v, nil
	case adapter:
		return r.bind(v.name)
	}
	s, err := text(v)
	if err != nil {
		return nil, err
	}
	n, ok := integer(strings.TrimSpace(s))
	if !ok || n < 0 || n > math.MaxUint32 {
		return nil, fmt.Errorf("%q is not an interface's number; take it from a network adapter, $NIC.InterfaceIndex", s)
	}
	return r.bind("#" + strconv.FormatInt(n, 10))
}

// folded is what a property is compared by: text whatever its case, as
// PowerShell does.
func folded(v value) value {
	if s, ok := v.(string); ok {
		return strings.ToLower(s)
	}
	return v
}
