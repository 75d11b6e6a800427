package server

import (
	"net/netip"

	"paca/ctrl/api"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/dataplane/packet"
	"paca/dataplane/policy"
)

// selector is the values of which an object must have one; nil selects all.
type selector[T comparable] map[T]bool

func (s selector[T]) selects(v T) bool { return s == nil || s[v] }

// selectors reads the values of one selector with what reads one value.
func selectors[M, T comparable](field string, values []M, what string, read func(M) (T, bool)) (selector[T], error) {
	if len(values) == 0 {
		return nil, nil
	}
	s := make(selector[T], min(len(values), batch))
	for _, m := range values {
		v, ok := read(m)
		if !ok {
			return nil, badSelector(field, "", "%s %q is not %s", field, clip(anyText(m)), what)
		}
		s[v] = true
	}
	return s, nil
}

func anyText(m any) string {
	s, _ := m.(string)
	return s
}

func badSelector(field, rule, format string, args ...any) error {
	return api.Refuse(pacav1.ErrorCode_ERROR_CODE_BAD_SELECTOR, field, rule, format, args...)
}

// vsids is a selector of VSIDs that a tenant may have.
func vsids(values []uint32) (selector[policy.VSID], error) {
	for _, v := range values {
		if !policy.VSID(v).Valid() {
			return nil, badSelector("vsid", "W4", "vsid %d is not in %d to %d", v, policy.MinVSID, policy.MaxVSID)
		}
	}
	return selectors("vsid", values, "", func(v uint32) (policy.VSID, bool) { return policy.VSID(v), true })
}

func addresses(field string, values []string) (selector[netip.Addr], error) {
	return selectors(field, values, "an IP address", func(s string) (netip.Addr, bool) {
		a, err := netip.ParseAddr(s)
		return a, err == nil
	})
}

func prefixes(field string, values []string) (selector[netip.Prefix], error) {
	return selectors(field, values, "an address with prefix length", func(s string) (netip.Prefix, bool) {
		p, err := netip.ParsePrefix(s)
		return p, err == nil
	})
}

func macs(field string, values []string) (selector[packet.MAC], error) {
	return selectors(field, values, "a MAC address", func(s string) (packet.MAC, bool) {
		m, err := packet.ParseMAC(s)
		return m, err == nil
	})
}

func rdids(values []string) (selector[policy.RDID], error) {
	return selectors("rdid", values, "a GUID", func(s string) (policy.RDID, bool) {
		id, err := policy.ParseRDID(s)
		return id, err == nil
	})
}

// words is a selector among a choice of words.
func words(field string, values []string, what string, choice ...string) (selector[string], error) {
	return selectors(field, values, what, func(s string) (string, bool) {
		for _, w := range choice {
			if s == w {
				return s, true
			}
		}
		return s, false
	})
}

// texts is a selector of free words.
func texts(values []string) selector[string] {
	s, _ := selectors("", values, "", func(s string) (string, bool) { return s, true })
	return s
}
