package server_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"paca/ctrl/api"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
	"paca/ctrl/client"
)

// alive says whether the server still answers, and policy is at a revision.
func (s *served) alive(t *testing.T, revision uint64) {
	t.Helper()
	c := client.Dial(s.socket)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	status, err := c.Status(ctx, connect.NewRequest(&pacav1.StatusRequest{}))
	if err != nil || status.Msg.PolicyVersion != revision {
		t.Errorf("afterwards: %v, %v, want revision %d", status, err, revision)
	}
}

// heap is what lives on it.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func post(path, contentType string, body []byte) []byte {
	return append(fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: paca\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", path, contentType, len(body)), body...)
}

// exchange sends bytes, and no more, and reads what comes.
func exchange(t *testing.T, socket string, sent []byte) string {
	t.Helper()
	return talk(t, socket, sent, true)
}

func talk(t *testing.T, socket string, sent []byte, end bool) string {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(15 * time.Second))
	_, _ = conn.Write(sent)
	if end {
		_ = conn.(*net.UnixConn).CloseWrite()
	}
	answer, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("%.40q: %v", sent, err)
	}
	return string(answer)
}

// Whatever comes, the server goes on, and policy stays.
func TestRandomAndTruncatedBytes(t *testing.T) {
	s := start(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	whole, err := proto.Marshal(&pacav1.ApplyRequest{Changes: []*pacav1.Change{put(subnet(6001, "10.1.1.0/24")), put(record(6001, "10.1.1.11", "192.168.1.10"))}})
	if err != nil {
		t.Fatal(err)
	}
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	enveloped := func(b []byte) []byte { return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...) }
	stream := post(pacav1connect.ControlApplyStreamProcedure, "application/connect+proto", enveloped(whole))
	var wait sync.WaitGroup
	// A connection with nonsense on it lingers for half a second.
	try := func(sent []byte) { wait.Go(func() { exchange(t, s.socket, sent) }) }
	for range 50 {
		try(noise(r.IntN(2000)))
		try(post(pacav1connect.ControlApplyProcedure, "application/proto", noise(1+r.IntN(200))))
		try(post(pacav1connect.ControlApplyProcedure, "application/json", noise(1+r.IntN(200))))
		try(post(pacav1connect.ControlApplyStreamProcedure, "application/connect+proto", noise(r.IntN(200))))
		try(append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), noise(r.IntN(200))...))
		// Cut anywhere, also where the message so far could be read as a whole.
		try(stream[:r.IntN(len(stream))])
		// The length of the first change is a lie.
		turned := append([]byte{}, whole...)
		turned[1] = byte(r.IntN(int(whole[1])))
		try(post(pacav1connect.ControlApplyProcedure, "application/proto", turned))
	}
	wait.Wait()
	s.alive(t, 1)
	if answer := talk(t, s.socket, stream, false); !strings.Contains(answer, "200 OK") {
		t.Errorf("the whole request gives %q", answer)
	}
	s.alive(t, 2)
}

func TestInvalidUTF8(t *testing.T) {
	s := start(t)
	o := record(6001, "10.1.1.11", "192.168.1.10")
	o.GetLookupRecord().VmName = "blue"
	body, err := proto.Marshal(&pacav1.ApplyRequest{Changes: []*pacav1.Change{put(subnet(6001, "10.1.1.0/24")), put(o)}})
	if err != nil {
		t.Fatal(err)
	}
	bad := []byte(strings.Replace(string(body), "blue", "bl\xff\xfe", 1))
	answer := exchange(t, s.socket, post(pacav1connect.ControlApplyProcedure, "application/proto", bad))
	if !strings.Contains(answer, "400 Bad Request") || !strings.Contains(answer, "invalid_argument") || !strings.Contains(answer, "UTF-8") {
		t.Errorf("invalid UTF-8 gives %q", answer)
	}
	answer = exchange(t, s.socket, post(pacav1connect.ControlApplyProcedure, "application/json", []byte(`{"changes":[{"put":{"port":{"name":"`+"\xff\xfe"+`"}}}]}`)))
	if !strings.Contains(answer, "invalid_argument") {
		t.Errorf("invalid UTF-8 in JSON gives %q", answer)
	}
	s.alive(t, 1)
}

// zeros is as many bytes as asked for.
type zeros struct{ left int64 }

func (z *zeros) Read(b []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(b)), z.left)
	z.left -= n
	clear(b[:n])
	return int(n), nil
}

// A request of 1 GiB is refused by a clear code, early, and takes no memory.
func TestHugeRequests(t *testing.T) {
	const size = 1 << 30
	s := start(t)
	http1 := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.socket)
	}}}
	const tooLarge = `"value":"CAc` // the first bytes of an ErrorDetail with that code
	before := heap()
	for _, tt := range []struct {
		name, path, contentType string
		client                  *http.Client
		length                  int64
		code                    string
	}{
		{"length said", pacav1connect.ControlApplyProcedure, "application/proto", http1, size, tooLarge},
		{"length not said", pacav1connect.ControlApplyProcedure, "application/json", http1, -1, tooLarge},
		{"over h2c", pacav1connect.ControlApplyProcedure, "application/proto", h2(s.socket), -1, tooLarge},
		{"of a list", pacav1connect.ControlListLookupRecordsProcedure, "application/connect+proto", http1, size, tooLarge},
		{"in a stream", pacav1connect.ControlApplyStreamProcedure, "application/connect+json", http1, size, tooLarge},
		{"of reflection", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "application/grpc+proto", h2(s.socket), -1, ""},
		{"of nothing", "/", "text/plain", http1, size, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			head := io.Reader(strings.NewReader(""))
			if strings.Contains(tt.contentType, "+") {
				head = strings.NewReader("\x00\x3f\xff\xff\xfb") // an envelope around the rest
			}
			sent := &zeros{size - 5}
			r, err := http.NewRequest("POST", "http://paca"+tt.path, io.MultiReader(head, sent))
			if err != nil {
				t.Fatal(err)
			}
			r.ContentLength = tt.length
			r.Header.Set("Content-Type", tt.contentType)
			r.Header.Set("Connect-Protocol-Version", "1")
			answer, err := tt.client.Do(r)
			if err != nil {
				if tt.code != "" {
					t.Errorf("no answer: %v", err)
				}
				return
			}
			defer answer.Body.Close()
			text, _ := io.ReadAll(answer.Body)
			if !strings.Contains(string(text), tt.code) {
				t.Errorf("%s: %q", answer.Status, text)
			}
		})
	}
	if after := heap(); after > before+16<<20 {
		t.Errorf("%d MiB more than before", (after-before)>>20)
	}
	s.alive(t, 1)
}

// Connections by the thousand that ask nothing, or stop half-way, are held to a
// bound, and those who do ask something are served beside them.
func TestThousandsHalfOpen(t *testing.T) {
	s := start(t)
	half := []string{
		"", "POST /paca.v1.Control/Apply HTTP/1.1\r\nHost: paca\r\n",
		"POST /paca.v1.Control/Apply HTTP/1.1\r\nHost: paca\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{" + strings.Repeat(" ", 60000),
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	}
	before, routines := heap(), runtime.NumGoroutine()
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	good := s.client(t)
	for i := range 2000 {
		conn, err := net.Dial("unix", s.socket)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		go func() { _, _ = io.WriteString(conn, half[i%len(half)]) }()
		if i%100 == 99 {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			if _, err := good.Status(ctx, connect.NewRequest(&pacav1.StatusRequest{})); err != nil {
				t.Fatalf("after %d: %v", i, err)
			}
			cancel()
		}
	}
	time.Sleep(300 * time.Millisecond)
	mustApply(t, good, put(subnet(6001, "10.1.1.0/24")))
	if n := runtime.NumGoroutine() - routines; n > 3*512+2000/4*2 {
		t.Errorf("%d goroutines more", n)
	}
	if after := heap(); after > before+128<<20 {
		t.Errorf("%d MiB more than before", (after-before)>>20)
	} else {
		t.Logf("%d goroutines, %d KiB more", runtime.NumGoroutine()-routines, (int64(after)-int64(before))>>10)
	}
	open := 0
	for deadline := time.Now().Add(10 * time.Second); ; { // those not accepted yet look open from here
		open = 0
		for _, c := range conns {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				open++
			}
		}
		if open <= 512 || time.Now().After(deadline) {
			break
		}
	}
	if open == 0 || open > 512 {
		t.Errorf("%d are still open", open)
	}
}

// Fifty clients want different things of the same objects. Each set comes whole or
// not at all, and whoever loses is told why.
func TestConflictingClients(t *testing.T) {
	const clients, rounds = 50, 20
	s := start(t)
	mustApply(t, s.client(t), put(subnet(6001, "10.1.1.0/24")), put(record(6001, "10.1.1.11", "192.168.1.1")), put(record(6001, "10.1.1.12", "192.168.1.1")))
	var done, conflicts, existing atomic.Int64
	var wait sync.WaitGroup
	for i := range clients {
		wait.Add(1)
		go func() {
			defer wait.Done()
			c := client.Dial(s.socket)
			defer c.Close()
			mine := fmt.Sprintf("192.168.1.%d", i+2)
			for round := range rounds {
				r := &pacav1.ApplyRequest{Changes: []*pacav1.Change{put(record(6001, "10.1.1.11", mine)), put(record(6001, "10.1.1.12", mine))}}
				switch round % 3 {
				case 1:
					status, err := c.Status(context.Background(), connect.NewRequest(&pacav1.StatusRequest{}))
					if err != nil {
						t.Error(err)
						return
					}
					r.ExpectedRevision = status.Msg.PolicyVersion
				case 2:
					r.Changes = append(r.Changes, add(record(6001, fmt.Sprintf("10.1.1.%d", 20+round), mine)))
				}
				switch _, err := apply(c, r); {
				case err == nil:
					done.Add(1)
				case round%3 == 1:
					wants(t, err, pacav1.ErrorCode_ERROR_CODE_CONFLICT)
					conflicts.Add(1)
				case round%3 == 2:
					wants(t, err, pacav1.ErrorCode_ERROR_CODE_ALREADY_EXISTS)
					existing.Add(1)
				default:
					t.Error(err)
				}
				if a, b := both(t, c); a != b {
					t.Errorf("half a set: %s and %s", a, b)
				}
			}
		}()
	}
	wait.Wait()
	t.Logf("%d applied, %d conflicts, %d existed", done.Load(), conflicts.Load(), existing.Load())
	if conflicts.Load() == 0 || existing.Load() != (clients-1)*(rounds/3) {
		t.Errorf("%d conflicts, %d existed", conflicts.Load(), existing.Load())
	}
}

// both is the PAs of the two records, as one answer tells them.
func both(t *testing.T, c pacav1connect.ControlClient) (a, b string) {
	list := func() (*pacav1.ListLookupRecordsResponse, error) {
		return client.All(c.ListLookupRecords(context.Background(), connect.NewRequest(&pacav1.ListLookupRecordsRequest{Ca: []string{"10.1.1.11", "10.1.1.12"}})))
	}
	all, err := list()
	for api.Detail(err).GetCode() == pacav1.ErrorCode_ERROR_CODE_RATE_LIMITED { // the fifty together list too much
		time.Sleep(time.Millisecond)
		all, err = list()
	}
	if err != nil || len(all.LookupRecords) != 2 {
		t.Errorf("%v, %v", all, err)
		return "", ""
	}
	return all.LookupRecords[0].Pa, all.LookupRecords[1].Pa
}

// A client that watches and does not keep up is told so when it reads on, and holds
// up nobody meanwhile.
func TestSlowWatcher(t *testing.T) {
	s := start(t)
	fast := s.client(t)
	mustApply(t, fast, put(subnet(6001, "10.1.0.0/16")))
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write(post(pacav1connect.ControlWatchProcedure, "application/connect+proto", make([]byte, 5)))
	slow := bufio.NewReaderSize(conn, 16)
	if line, err := slow.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatal(line, err)
	}
	began := time.Now()
	var set []*pacav1.Change
	for round := range 1500 {
		set = set[:0]
		for i := range 20 {
			set = append(set, put(record(6001, fmt.Sprintf("10.1.%d.11", i), fmt.Sprintf("192.168.%d.%d", round/250, 1+round%250))))
		}
		mustApply(t, fast, set...)
	}
	t.Logf("%d sets in %v beside a watcher that does not read", 1500, time.Since(began))
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	rest, err := io.ReadAll(slow)
	if err != nil || !strings.Contains(string(rest), "out_of_range") || !strings.Contains(string(rest), "no longer kept") {
		t.Errorf("the end is %.300q, %v", rest[max(0, len(rest)-300):], err)
	}
}

func TestApplyStream(t *testing.T) {
	s := start(t)
	for name, c := range map[string]pacav1connect.ControlClient{
		"connect over HTTP/1.1": s.client(t),
		"gRPC over h2c":         pacav1connect.NewControlClient(h2(s.socket), "http://paca", connect.WithGRPC()),
	} {
		t.Run(name, func(t *testing.T) {
			send := func(messages ...*pacav1.ApplyRequest) (*pacav1.ApplyResponse, error) {
				stream := c.ApplyStream(context.Background())
				for _, m := range messages {
					if err := stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
						t.Error(err)
					}
				}
				answer, err := stream.CloseAndReceive()
				if err != nil {
					return nil, err
				}
				return answer.Msg, nil
			}
			records := &pacav1.ApplyRequest{}
			for i := range 1000 {
				records.Changes = append(records.Changes, put(record(6001, fmt.Sprintf("10.1.%d.%d", 1+i/250, 2+i%250), "192.168.1.10")))
			}
			// The order does not matter, not even among messages.
			answer, err := send(&pacav1.ApplyRequest{DryRun: true, ListApplied: true}, records, &pacav1.ApplyRequest{Changes: []*pacav1.Change{put(subnet(6001, "10.1.0.0/16"))}})
			if err != nil || answer.Revision != 1 || answer.Changed != 1001 || len(answer.Applied) != 1001 {
				t.Errorf("dry run: revision %d, %d changed, %v", answer.GetRevision(), answer.GetChanged(), err)
			}
			_, err = send(records, &pacav1.ApplyRequest{Changes: []*pacav1.Change{put(record(6001, "ten", "192.168.1.10"))}}, records)
			if d := wants(t, err, pacav1.ErrorCode_ERROR_CODE_INVALID); d.GetFaults()[0].GetIndex() != 1000 {
				t.Errorf("fault at %v", d.GetFaults())
			}
			_, err = send(&pacav1.ApplyRequest{ExpectedRevision: 9}, records)
			wants(t, err, pacav1.ErrorCode_ERROR_CODE_CONFLICT)
			s.alive(t, 1)
		})
	}

	// A client that dies before the end has changed nothing.
	for _, how := range []string{"HTTP/1.1", "h2c"} {
		ctx, cancel := context.WithCancel(context.Background())
		c := pacav1connect.ControlClient(s.client(t))
		if how == "h2c" {
			c = pacav1connect.NewControlClient(h2(s.socket), "http://paca", connect.WithGRPC())
		}
		stream := c.ApplyStream(ctx)
		for range 3 {
			if err := stream.Send(&pacav1.ApplyRequest{Changes: []*pacav1.Change{put(subnet(6001, "10.1.0.0/16"))}}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(50 * time.Millisecond)
		cancel()
		time.Sleep(100 * time.Millisecond)
		s.alive(t, 1)
	}
}
