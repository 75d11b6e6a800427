package packet

import (
	"fmt"
	"testing"
)

var sink uint64 // keeps results alive

var udpFrame = unhex(`
	101010101107 101010101105 0800
	45 00 002e 0001 0000 40 11 0000   // total length 46
	0a01010b 0a01010c
	1388 1389 001a 0000               // 5000 to 5001, length 26
	000000000000000000000000000000000000`)

var udp6Frame = unhex(`
	101010101107 101010101105 86dd
	60000000 0008 11 40
	fd000001000000000000000000000011
	fd000001000000000000000000000012
	1388 1389 0008 0000`)

func BenchmarkParse(b *testing.B) {
	for _, tt := range []struct {
		name  string
		frame []byte
	}{
		{"udp4", udpFrame}, {"udp6", udp6Frame}, {"nvgre4", unhex(vector1)}, {"nvgre4-vlan", unhex(vector2)},
	} {
		b.Run(tt.name, func(b *testing.B) {
			var l Layout
			for range b.N {
				if Parse(tt.frame, &l) != OK {
					b.Fatal("fault")
				}
			}
		})
	}
}

func BenchmarkFlowHash(b *testing.B) {
	for _, tt := range []struct {
		name  string
		frame []byte
	}{{"udp4", udpFrame}, {"udp6", udp6Frame}} {
		b.Run(tt.name, func(b *testing.B) {
			var l Layout
			Parse(tt.frame, &l)
			for range b.N {
				sink += uint64(FlowID(FlowHash(tt.frame, &l)))
			}
		})
	}
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{20, 64, 1500} {
		data := make([]byte, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for range b.N {
				sink += uint64(Checksum(data, 0))
			}
		})
	}
}

func BenchmarkVerifyIPv4(b *testing.B) {
	ip := IPv4(unhex(vector1)[14:])
	for range b.N {
		if !VerifyIPv4(ip) {
			b.Fatal("wrong")
		}
	}
}
