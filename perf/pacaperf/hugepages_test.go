package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is missing is reserved, and given back, whoever else reserves meanwhile.
func TestReserve(t *testing.T) {
	dir := t.TempDir()
	set := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	has := func(want string) {
		t.Helper()
		if got := strings.TrimSpace(read(filepath.Join(dir, "nr_hugepages"))); got != want {
			t.Errorf("%s huge pages, want %s", got, want)
		}
	}
	set("nr_hugepages", "10")
	set("free_hugepages", "5")
	set("resv_hugepages", "2") // promised to another
	giveBack, err := reserve(dir, 15)
	if err != nil {
		t.Fatal(err)
	}
	has("15") // 8 are wanted, 3 are there
	set("nr_hugepages", "115")
	if err := giveBack(); err != nil {
		t.Fatal(err)
	}
	has("110")

	if giveBack, err = reserve(dir, 6); err != nil || giveBack() != nil { // are there
		t.Error(err)
	}
	has("110")
}

// A kernel that has no such pages, or not enough, is no reason to go on.
func TestReserveFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/dev/null", filepath.Join(dir, "nr_hugepages")); err != nil { // takes everything and has nothing
		t.Fatal(err)
	}
	for _, folder := range []string{dir, filepath.Join(dir, "nothing")} {
		_, err := reserve(folder, 100)
		if err == nil {
			t.Fatalf("%s: no error", folder)
		}
		for _, want := range []string{"50 huge pages", "hugepages=50", "-pages 4K"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not say %s", err, want)
			}
		}
	}
}
