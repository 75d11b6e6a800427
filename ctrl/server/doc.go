// Package server answers the control API over a Unix socket: Connect, gRPC and
// gRPC-Web, HTTP/1.1 and unencrypted HTTP/2, with gRPC reflection. Who may connect
// is who may open the socket: root and one group; a second socket, for another
// group, shows all and changes nothing. Every attempt to change policy leaves a line
// in the log that says who, by SO_PEERCRED, and what came of it.
//
// It knows questions, not answers: those come from a Host and a Policy, which
// ctrl/daemon implements. It calls them with a request that has arrived whole, and
// never waits for a client in between, so that a slow one holds no lock of theirs. It
// does hold memory: a list or an export is copied, under a lock that changes of policy
// wait for, and the copy lives until the client has read the last of it. So there are
// few of these at once.
//
//	curl --unix-socket /run/paca/paca.sock -H 'Content-Type: application/json' \
//	     -d '{"changes": [{"put": {"virtualSubnet": {"vsid": 6001,
//	          "rdid": "{11111111-2222-3333-4444-000000000000}", "prefixes": ["10.1.1.0/24"]}}}]}' \
//	     http://paca/paca.v1.Control/Apply
//
// Floor 3. It never imports a mode, a port or DPDK.
package server
