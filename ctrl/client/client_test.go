package client_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"path/filepath"
	"testing"

	"connectrpc.com/connect"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/client"
)

func TestUnreachable(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	c := client.Dial(absent)
	defer c.Close()
	_, err := c.Status(context.Background(), connect.NewRequest(&pacav1.StatusRequest{}))
	if !errors.Is(err, client.ErrUnreachable) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one answer: %v", err)
	}
	_, err = client.All(c.ListPorts(context.Background(), connect.NewRequest(&pacav1.ListPortsRequest{})))
	if !errors.Is(err, client.ErrUnreachable) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a list: %v", err)
	}
}

// A list that breaks off is an error, not a short list.
func TestBrokenList(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			// One whole, empty batch; the end of the stream never comes.
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Type: application/connect+proto\r\n\r\n\x00\x00\x00\x00\x00"))
			conn.Close()
		}
	}()
	c := client.Dial(socket)
	defer c.Close()
	ports, err := client.All(c.ListPorts(context.Background(), connect.NewRequest(&pacav1.ListPortsRequest{})))
	if err == nil {
		t.Errorf("a broken list gives %v", ports)
	}
}
