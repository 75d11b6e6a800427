// Package server answers the control API over a Unix socket: Connect, gRPC and
// gRPC-Web, HTTP/1.1 and unencrypted HTTP/2. Who may connect is who may open the
// socket: root and one group.
//
// It knows questions, not answers: those come from a Host, which ctrl/daemon
// implements.
//
// Floor 3. It never imports a mode, a port or DPDK.
package server
