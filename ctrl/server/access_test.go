package server

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	m := &meter{rate: 10, burst: 2, users: map[uint32]*bucket{}}
	now := time.Unix(1000, 0)
	want := func(user uint32, ok, tell bool) {
		t.Helper()
		if gotOK, gotTell := m.allow(user, now); gotOK != ok || gotTell != tell {
			t.Errorf("allow says %v, %v, want %v, %v", gotOK, gotTell, ok, tell)
		}
	}
	want(1, true, false)
	want(1, true, false)
	want(1, false, true)  // the burst is over
	want(1, false, false) // the log knows already
	want(2, true, false)  // another user is another matter
	now = now.Add(100 * time.Millisecond)
	want(1, true, false)
	want(1, false, false)
	now = now.Add(time.Hour)
	want(1, true, false)
	want(1, true, false)
	want(1, false, true)
	for user := range uint32(10 * maxUsers) {
		m.allow(user, now)
	}
	if len(m.users) > maxUsers {
		t.Errorf("%d users are remembered", len(m.users))
	}
}

func TestBudget(t *testing.T) {
	b := newBudget(10)
	if !b.take(6) || b.take(5) || !b.take(4) || b.take(1) {
		t.Error("it gives more or less than there is")
	}
	if b.give(10); !b.take(10) {
		t.Error("what was given back is gone")
	}
}

// Who has to go for a new connection: first who never asked anything, then who
// rests, never who waits for an answer.
func TestCrowd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	w := &crowd{Listener: l, most: 3}
	defer w.Close()
	var clients []net.Conn
	enter := func() *conn {
		t.Helper()
		client, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		clients = append(clients, client)
		c, err := w.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c.(*conn)
	}
	gone := func(i int) bool {
		_ = clients[i].SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, err := clients[i].Read(make([]byte, 1))
		return err != nil && !os.IsTimeout(err)
	}
	rests, asks, silent := enter(), enter(), enter()
	if want := (Peer{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), PID: int32(os.Getpid())}); rests.peer != want {
		t.Errorf("peer is %v, want %v", rests.peer, want)
	}
	rests.used.Store(true)
	asks.used.Store(true)
	asks.busy.Store(1)
	fourth := enter()
	if !gone(2) || gone(0) || gone(1) {
		t.Error("the silent one did not have to go")
	}
	_ = silent.Close() // as the HTTP server does when it notices
	fourth.busy.Store(1)
	fifth := enter()
	if !gone(0) || gone(1) || gone(3) {
		t.Error("the one that rested did not have to go")
	}
	fifth.busy.Store(1)
	if len(w.conns) != 3 {
		t.Errorf("%d connections", len(w.conns))
	}

	// All are busy: the new one has to go, and those who leave make room.
	sixth, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer sixth.Close()
	accepted := make(chan net.Conn)
	go func() {
		c, _ := w.Accept()
		accepted <- c
	}()
	_ = sixth.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := sixth.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("one too many: %v", err)
	}
	_ = asks.Close()
	seventh, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer seventh.Close()
	if c := <-accepted; c == nil {
		t.Error("nobody was let in for the one that left")
	}
}
