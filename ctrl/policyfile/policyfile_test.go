package policyfile_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"paca/conf"
	"paca/ctrl/policyfile"
	"paca/dataplane/policy"
)

// The file that has every key is read, written and read again, as the same.
func TestRoundTrip(t *testing.T) {
	f, err := policyfile.Load("../../conf/testdata/policy.toml")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[policy.Kind]bool{}
	for _, o := range f.Objects {
		kinds[o.Kind()] = true
	}
	if len(kinds) != int(policy.KindLookupRecord) {
		t.Errorf("the file holds kinds %v, not all", kinds)
	}
	var b strings.Builder
	if err := policyfile.Write(&b, slices.Values(f.Objects)); err != nil {
		t.Fatal(err)
	}
	again, err := policyfile.Parse("again.toml", []byte(b.String()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, &b)
	}
	if !reflect.DeepEqual(again.Objects, f.Objects) {
		t.Errorf("read\n%+v, want\n%+v", again.Objects, f.Objects)
	}
}

// Every word that a file may use is one of policy.
func TestWords(t *testing.T) {
	for _, role := range []conf.Role{conf.RoleUplink, conf.RoleVM, conf.RoleHost} {
		f := policyfile.New(&conf.Policy{Ports: []conf.Port{{Role: role}}})
		if got := f.Objects[0].(policy.Port).Role.String(); got != string(role) {
			t.Errorf("role %s becomes %s", role, got)
		}
	}
	for _, mode := range []conf.Mode{conf.ModeNVGRE, conf.ModeRewrite} {
		f := policyfile.New(&conf.Policy{VirtualSubnets: []conf.VirtualSubnet{{Mode: mode}}})
		if got := f.Objects[0].(policy.VirtualSubnet).Mode.String(); got != string(mode) {
			t.Errorf("mode %s becomes %s", mode, got)
		}
	}
	for _, kind := range []conf.RecordType{conf.TypeStatic, conf.TypeDynamic, conf.TypeGatewayWildcard, conf.TypeL2Only} {
		f := policyfile.New(&conf.Policy{LookupRecords: []conf.LookupRecord{{Type: kind}}})
		if got := f.Objects[0].(policy.LookupRecord).Type.String(); got != string(kind) {
			t.Errorf("type %s becomes %s", kind, got)
		}
	}
}

// A port of a file that says nothing has what policy gives it, and a file may
// say no more than policy takes (L31, L32).
func TestL32DefaultsAndBounds(t *testing.T) {
	const vm = "[[port]]\nname = \"p\"\nrole = \"vm\"\ndevice = \"tap:p\"\nmac = \"02:00:00:00:00:01\"\n"
	read := func(more string) (policy.Port, error) {
		f, err := policyfile.Parse("p.toml", []byte(vm+more))
		if err != nil {
			return policy.Port{}, err
		}
		_, err = policy.NewBook().Apply([]policy.Change{{Verb: policy.Add, Object: f.Objects[0]}})
		return f.Objects[0].(policy.Port), err
	}
	p, err := read("")
	if err != nil || p.DynamicIPLimit != policy.DefaultDynamicIPLimit || p.StormLimit != policy.DefaultStormLimit {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = read(fmt.Sprintf("dynamic_ip_limit = %d\nstorm_limit = %d\n", policy.MaxDynamicIPLimit, policy.MaxStormLimit))
	if err != nil || p.DynamicIPLimit != policy.MaxDynamicIPLimit || p.StormLimit != policy.MaxStormLimit {
		t.Errorf("%+v, %v", p, err)
	}
	for _, more := range []string{fmt.Sprintf("dynamic_ip_limit = %d\n", policy.MaxDynamicIPLimit+1), fmt.Sprintf("storm_limit = %d\n", policy.MaxStormLimit+1)} {
		if p, err := read(more); err == nil {
			t.Errorf("%s is taken: %+v", more, p)
		}
	}
}

func TestFault(t *testing.T) {
	f, err := policyfile.Parse("p.toml", []byte("[[virtual_subnet]]\nvsid = 6001\nrdid = \"{11111111-2222-3333-4444-000000000000}\"\n"+
		"[global]\nuse_external_router = true\n"+
		"[[virtual_subnet]]\nvsid = 6002\nrdid = \"{11111111-2222-3333-4444-000000000000}\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"p.toml:5: global.use_external_router: no (L18)",
		"p.toml:1: virtual_subnet[0].use_external_router: no (L18)",
		"p.toml:6: virtual_subnet[1].use_external_router: no (L18)",
	} {
		if got := f.Fault(i, "use_external_router", "no (%s)", "L18").Error(); got != want {
			t.Errorf("object %d: %s, want %s", i, got, want)
		}
	}
}
