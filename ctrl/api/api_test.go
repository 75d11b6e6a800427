package api

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"connectrpc.com/connect"

	pacav1 "paca/ctrl/api/paca/v1"
)

func TestRefuse(t *testing.T) {
	err := Refuse(pacav1.ErrorCode_ERROR_CODE_BAD_SELECTOR, "vsid", "W4", "vsid %d", 4095)
	if connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("code is %v", connect.CodeOf(err))
	}
	d := Detail(fmt.Errorf("asked: %w", err))
	if d.GetCode() != pacav1.ErrorCode_ERROR_CODE_BAD_SELECTOR || d.GetField() != "vsid" || d.GetRule() != "W4" {
		t.Errorf("detail is %v", d)
	}
	if d := Detail(errors.New("other")); d != nil {
		t.Errorf("another error has detail %v", d)
	}
}

func TestEveryErrorCodeHasAConnectCode(t *testing.T) {
	for n, name := range pacav1.ErrorCode_name {
		if _, ok := codes[pacav1.ErrorCode(n)]; !ok && n != 0 {
			t.Errorf("%s has no Connect code", name)
		}
	}
}

// Someone who edits the protocol and forgets to generate learns it here.
func TestGeneratedCodeIsCurrent(t *testing.T) {
	if _, err := exec.LookPath("protoc"); err != nil {
		t.Skip("needs protoc (Debian: protobuf-compiler)")
	}
	fresh := t.TempDir()
	if out, err := exec.Command("./generate.sh", fresh).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, file := range []string{"paca/v1/control.pb.go", "paca/v1/pacav1connect/control.connect.go"} {
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(fresh, file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the .proto says; run go generate ./ctrl/api", file)
		}
	}
}
