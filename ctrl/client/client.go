// Package client speaks to a pacad over its Unix socket. It is pure Go and needs
// no DPDK.
//
// Floor 3. It imports the API and nothing else of paca.
package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"paca/ctrl/api/paca/v1/pacav1connect"
)

// ErrUnreachable says that nobody answers on the socket.
var ErrUnreachable = errors.New("daemon unreachable")

// Client is the API of one pacad.
type Client struct {
	pacav1connect.ControlClient
	http *http.Client
}

// Dial makes a client for the pacad on a socket. It connects when first asked
// something; an error of that holds ErrUnreachable.
func Dial(socket string) *Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, "unix", socket)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
			}
			return c, nil
		},
	}
	h := &http.Client{Transport: transport}
	// The host in the URL is for form's sake: the socket says who answers.
	return &Client{pacav1connect.NewControlClient(h, "http://paca"), h}
}

// Close gives up idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// All reads a streamed list to its end, as one message with all batches.
func All[M any, P interface {
	*M
	proto.Message
}](stream *connect.ServerStreamForClient[M], err error) (*M, error) {
	if err != nil {
		return nil, err
	}
	all := new(M)
	for stream.Receive() {
		proto.Merge(P(all), P(stream.Msg()))
	}
	if err := stream.Err(); err != nil {
		_ = stream.Close()
		return nil, err
	}
	return all, stream.Close()
}
