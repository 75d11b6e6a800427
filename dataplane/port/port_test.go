package port

import (
	"testing"

	"paca/dataplane/mbuf"
)

// O23: what stands on something else goes with it.
func TestO23Usable(t *testing.T) {
	if got := Usable(mbuf.AllOffloads); got != mbuf.AllOffloads {
		t.Errorf("of all, %b is left", got)
	}
	for missing, gone := range map[mbuf.Offloads]mbuf.Offloads{
		mbuf.SendSegments:                     mbuf.SendTSO | mbuf.SendGRETSO,
		mbuf.SendL4Checksum:                   mbuf.SendTSO | mbuf.SendGRETSO | mbuf.SendSegments,
		mbuf.SendIPv4Checksum:                 mbuf.SendGRETSO,
		mbuf.SendOuterChecksum:                mbuf.SendGRETSO,
		mbuf.SendTSO:                          0,
		mbuf.SendTSO | mbuf.SendOuterChecksum: mbuf.SendGRETSO | mbuf.SendSegments,
		mbuf.ReceiveLarge:                     mbuf.ReceiveSegments,
		mbuf.ReceiveSegments:                  mbuf.ReceiveLarge,
		mbuf.ReceiveL4Checksum:                mbuf.ReceiveLarge | mbuf.ReceiveSegments,
		mbuf.ReceiveVLAN | mbuf.SendVLAN:      0,
	} {
		if got, want := Usable(mbuf.AllOffloads&^missing), mbuf.AllOffloads&^(missing|gone); got != want {
			t.Errorf("without %b: %b is left, want %b", missing, got, want)
		}
	}
}
