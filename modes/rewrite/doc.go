// Package rewrite swaps addresses in place: a tenant's packet crosses the fabric as
// an ordinary packet between PAs, and every CA has a PA to itself (spec section R).
//
// Before, as the VM sent it, and after, as the fabric sees it:
//
//	┌──────────┬────────────────┬───────────────┬─────────┐
//	│ Ethernet │ IP  CA ──► CA  │ TCP, UDP, …   │ payload │
//	│          │     checksum   │     checksum  │         │
//	└──────────┴────────────────┴───────────────┴─────────┘
//	     ▼              ▼               ▼
//	┌──────────┬────────────────┬───────────────┬─────────┐
//	│ Ethernet │ IP  PA ──► PA  │ TCP, UDP, …   │ payload │
//	│ [VLAN]   │     checksum'  │     checksum' │         │
//	└──────────┴────────────────┴───────────────┴─────────┘
//	 14 or 18    as the VM made it: TTL, DF, options, ID (R14, R15)
//
// Nothing is added, so a packet is as large as before (R1, R15), and to a NIC it is
// like any other (R22). Checksums change by what the addresses differ in: a wrong
// one stays wrong, for the VM to see. An ICMP error has the addresses of the packet
// that it quotes swapped as well (R16); one from a router of the fabric appears to
// come from the distributed router (R18).
//
// What arrives is what was sent, bit for bit (R11), with two exceptions that no
// sender makes by itself: a TCP, DCCP, ICMPv6 or IPv4 header checksum of 0xffff
// arrives as 0, its equal; and an ICMP error that quotes a packet between the two
// PAs, as if they were CAs, arrives with CAs in it.
//
// Floor 2. A mode knows packets and tables, and no port, worker or configuration
// file.
package rewrite

// Rewrite is the mode, for one worker.
type Rewrite struct{}

// New makes the mode for one worker.
func New() *Rewrite { return &Rewrite{} }
