package ethdev

import (
	"strings"

	"paca/dataplane/dpdk"
	"paca/dataplane/mbuf"
	"paca/dataplane/port"
)

// What each offload is in DPDK's words. A device has it if it has all of them.
var words = []struct {
	offload mbuf.Offloads
	tx, rx  uint64
}{
	{mbuf.SendIPv4Checksum, dpdk.TxOffloadIPv4Cksum, 0},
	{mbuf.SendL4Checksum, dpdk.TxOffloadTCPCksum | dpdk.TxOffloadUDPCksum, 0},
	{mbuf.SendOuterChecksum, dpdk.TxOffloadOuterIPv4Cksum, 0},
	{mbuf.SendTSO, dpdk.TxOffloadTCPTSO, 0},
	{mbuf.SendGRETSO, dpdk.TxOffloadGRETnlTSO, 0},
	{mbuf.SendSegments, dpdk.TxOffloadMultiSegs, 0},
	{mbuf.SendVLAN, dpdk.TxOffloadVLANInsert, 0},
	{mbuf.ReceiveIPv4Checksum, 0, dpdk.RxOffloadIPv4Cksum},
	{mbuf.ReceiveL4Checksum, 0, dpdk.RxOffloadTCPCksum | dpdk.RxOffloadUDPCksum},
	{mbuf.ReceiveOuterChecksum, 0, dpdk.RxOffloadOuterIPv4Cksum},
	{mbuf.ReceiveLarge, 0, dpdk.RxOffloadTCPLRO},
	{mbuf.ReceiveSegments, 0, dpdk.RxOffloadScatter},
	{mbuf.ReceiveVLAN, 0, dpdk.RxOffloadVLANStrip},
}

// pretended is what drivers say that their device does and then do in software
// themselves, no better than paca does: tap cannot even cut IPv6 (librte_gso), the
// others move the frame's first bytes to put a tag in or take it out.
var pretended = map[string]mbuf.Offloads{
	"net_tap":         mbuf.SendIPv4Checksum | mbuf.SendL4Checksum | mbuf.SendTSO | mbuf.ReceiveIPv4Checksum | mbuf.ReceiveL4Checksum,
	"net_af_packet":   mbuf.SendVLAN, // but the kernel has taken tags out of what is received
	"net_vhost":       mbuf.SendVLAN | mbuf.ReceiveVLAN,
	"net_virtio":      mbuf.SendVLAN | mbuf.ReceiveVLAN,
	"net_virtio_user": mbuf.SendVLAN | mbuf.ReceiveVLAN,
}

// vhost is the driver whose port another driver stands behind, a VM's.
const vhost = "net_vhost"

// has is what a device can do for paca.
func has(i *dpdk.DevInfo) (o mbuf.Offloads) {
	for _, w := range words {
		if i.TxOffloadCapa&w.tx == w.tx && i.RxOffloadCapa&w.rx == w.rx {
			o |= w.offload
		}
	}
	switch {
	case i.Driver == vhost:
		// The driver has no words for these: whether the VM sends large frames is in
		// its arguments, and they come in as many buffers as they need.
		o |= mbuf.ReceiveLarge | mbuf.ReceiveSegments
	case !strings.HasPrefix(i.Driver, "net_virtio"):
		// What the wire has cut apart stays so: a card's LRO is not for who forwards.
		o &^= mbuf.ReceiveLarge
	}
	return o &^ pretended[i.Driver]
}

// conf says in DPDK's words what a device shall do. What it can is not all asked
// for: packets in several buffers, above all, cost network cards the vector path of
// their transmit function, checksums some of them too, so that a port asks for what
// its Config wants and can be of use together (port.Usable), and no more.
func conf(i *dpdk.DevInfo, uses mbuf.Offloads) (rx, tx uint64) {
	for _, w := range words {
		if uses.Has(w.offload) {
			rx |= w.rx
			tx |= w.tx
		}
	}
	return rx & i.RxOffloadCapa, tx & i.TxOffloadCapa
}

// asks settles what the port uses, for as long as it is open, and says it in DPDK's
// words.
func (p *Port) asks(wants mbuf.Offloads) (rx, tx uint64) {
	p.wants = wants
	uses := port.Usable(has(&p.capas) & wants)
	if p.capas.Driver == vhost {
		uses = port.Usable((has(&p.capas) | mbuf.SendTSO) & wants) // should the VM's driver take large frames
	}
	p.prepares = uses&sends != 0
	return conf(&p.capas, uses)
}

// sends is what makes packets ask for something.
const sends = mbuf.SendIPv4Checksum | mbuf.SendL4Checksum | mbuf.SendOuterChecksum | mbuf.SendTSO | mbuf.SendGRETSO | mbuf.SendVLAN

// Offloads implements port.Port. Behind a vhost port, the VM's driver says whether it
// takes large frames, when it starts; checksums for one that does not are computed by
// the port's own driver.
func (p *Port) Offloads() port.Offloads {
	o := port.Offloads{Has: has(&p.capas), Buffers: p.capas.MaxTxBuffers}
	if p.capas.Driver == vhost && p.features()&large == large {
		o.Has |= mbuf.SendTSO
	}
	o.Uses = port.Usable(o.Has & p.wants)
	return o
}

// large are the features of a driver that takes large frames.
const large = dpdk.VirtioGuestCsum | dpdk.VirtioGuestTSO4 | dpdk.VirtioGuestTSO6

func (p *Port) features() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0
	}
	return dpdk.VhostFeatures(p.id)
}
