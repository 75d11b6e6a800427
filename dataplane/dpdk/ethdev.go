package dpdk

/*
#include <stdlib.h>
#include "shim.h"

// The library of a driver, which pkg-config does not name: it knows which VM is behind
// a port.
#cgo LDFLAGS: -lrte_net_vhost
*/
import "C"

import (
	"fmt"
	"strings"
	"unsafe"

	"paca/dataplane/mbuf"
)

// PortID is DPDK's number of an Ethernet device.
type PortID uint16

// MaxPorts is how many Ethernet devices one process can have: a constant of
// the library's build, 32 in Debian's.
const MaxPorts = C.RTE_MAX_ETHPORTS

// RxBurst receives up to len(pkts) packets and asks the cache for the first
// line of each one's data.
func RxBurst(port PortID, queue int, pkts []*mbuf.Mbuf) int {
	if len(pkts) == 0 {
		return 0
	}
	return int(burst(C.shim_rx_burst, port, queue, pkts, slow[port].rx))
}

// TxBurst sends packets from the front of pkts and returns how many were taken.
func TxBurst(port PortID, queue int, pkts []*mbuf.Mbuf) int {
	if len(pkts) == 0 {
		return 0
	}
	return int(burst(C.shim_tx_burst, port, queue, pkts, slow[port].tx))
}

// TxPrepareBurst is TxBurst for a port with transmit offloads: it calls
// rte_eth_tx_prepare first if any packet asks for one. Packets that the driver cannot
// do are freed, and count among those taken and as refused.
func TxPrepareBurst(port PortID, queue int, pkts []*mbuf.Mbuf) (taken, refused int) {
	if len(pkts) == 0 {
		return 0, 0
	}
	n := burst(C.shim_tx_prepare_burst, port, queue, pkts, slow[port].tx)
	return int(n & 0xffff), int(n >> 16)
}

// Offloads of a device, for DevConf and as DevInfo has them.
const (
	RxOffloadVLANStrip      uint64 = C.RTE_ETH_RX_OFFLOAD_VLAN_STRIP
	RxOffloadIPv4Cksum      uint64 = C.RTE_ETH_RX_OFFLOAD_IPV4_CKSUM
	RxOffloadUDPCksum       uint64 = C.RTE_ETH_RX_OFFLOAD_UDP_CKSUM
	RxOffloadTCPCksum       uint64 = C.RTE_ETH_RX_OFFLOAD_TCP_CKSUM
	RxOffloadTCPLRO         uint64 = C.RTE_ETH_RX_OFFLOAD_TCP_LRO
	RxOffloadOuterIPv4Cksum uint64 = C.RTE_ETH_RX_OFFLOAD_OUTER_IPV4_CKSUM
	RxOffloadScatter        uint64 = C.RTE_ETH_RX_OFFLOAD_SCATTER

	TxOffloadVLANInsert     uint64 = C.RTE_ETH_TX_OFFLOAD_VLAN_INSERT
	TxOffloadIPv4Cksum      uint64 = C.RTE_ETH_TX_OFFLOAD_IPV4_CKSUM
	TxOffloadUDPCksum       uint64 = C.RTE_ETH_TX_OFFLOAD_UDP_CKSUM
	TxOffloadTCPCksum       uint64 = C.RTE_ETH_TX_OFFLOAD_TCP_CKSUM
	TxOffloadTCPTSO         uint64 = C.RTE_ETH_TX_OFFLOAD_TCP_TSO
	TxOffloadOuterIPv4Cksum uint64 = C.RTE_ETH_TX_OFFLOAD_OUTER_IPV4_CKSUM
	TxOffloadGRETnlTSO      uint64 = C.RTE_ETH_TX_OFFLOAD_GRE_TNL_TSO
	TxOffloadMultiSegs      uint64 = C.RTE_ETH_TX_OFFLOAD_MULTI_SEGS
)

// Features of virtio-net (VIRTIO_NET_F_*) that say what a driver takes.
const (
	VirtioGuestCsum uint64 = 1 << 1
	VirtioGuestTSO4 uint64 = 1 << 7
	VirtioGuestTSO6 uint64 = 1 << 8
)

// VhostFeatures is what the driver behind a port of net_vhost chose, 0 while there is
// none.
func VhostFeatures(port PortID) uint64 { return uint64(C.shim_vhost_features(C.uint16_t(port))) }

// VhostWatch has the library keep count of the transmit queues of a port of net_vhost
// that the VM's driver takes from: bit i of the result stands for queue i. It is to be
// read atomically, and valid for as long as the process.
func VhostWatch(port PortID) (*uint64, error) {
	if err := errnoOf(C.shim_vhost_watch(C.uint16_t(port))); err != nil {
		return nil, fmt.Errorf("watch queues: %w", err)
	}
	return (*uint64)(unsafe.Pointer(C.shim_vhost_queues(C.uint16_t(port)))), nil
}

// VhostUnwatch ends VhostWatch.
func VhostUnwatch(port PortID) { C.shim_vhost_unwatch(C.uint16_t(port)) }

// What RSS can go by, in DevInfo.RSSOffloads and DevConf.RSS.
const (
	RSSNVGRE          uint64 = C.RTE_ETH_RSS_NVGRE
	RSSLevelMask      uint64 = C.RTE_ETH_RSS_LEVEL_MASK
	RSSLevelInnermost uint64 = C.RTE_ETH_RSS_LEVEL_INNERMOST
	RSSChecksums      uint64 = C.RTE_ETH_RSS_IPV4_CHKSUM | C.RTE_ETH_RSS_L4_CHKSUM
	RSSInner          uint64 = C.RTE_ETH_RSS_IP | C.RTE_ETH_RSS_TCP | C.RTE_ETH_RSS_UDP // what tenants' flows differ in
)

// FlowSpreadNVGRE has a started port spread NVGRE over IPv4 or IPv6 over its receive
// queues by those of types (RTE_ETH_RSS_*) that the inner headers have (O32, O33).
func FlowSpreadNVGRE(port PortID, queues int, v6 bool, types uint64) error {
	why := make([]byte, 128)
	rc := C.shim_flow_nvgre(C.uint16_t(port), C.uint16_t(queues), C.bool(v6), C.uint64_t(types), (*C.char)(unsafe.Pointer(&why[0])), C.size_t(len(why)))
	if err := errnoOf(rc); err != nil {
		if text := C.GoString((*C.char)(unsafe.Pointer(&why[0]))); text != "" {
			return fmt.Errorf("%w: %s", err, text)
		}
		return err
	}
	return nil
}

// FlowFlush takes back all flow rules of a port.
func FlowFlush(port PortID) { C.rte_flow_flush(C.uint16_t(port), nil) }

// Probe plugs in the device of a devargs string, as on EAL's command line after
// --vdev or --allow, and returns its port.
func Probe(devargs string) (PortID, error) {
	if err := ready(); err != nil {
		return 0, err
	}
	cargs := C.CString(devargs)
	defer C.free(unsafe.Pointer(cargs))
	err := eal.log.explain(func() error { return errnoOf(C.rte_dev_probe(cargs)) })
	if err != nil {
		return 0, fmt.Errorf("dpdk: probe %s: %w", devargs, err)
	}
	name, _, _ := strings.Cut(devargs, ",")
	port, err := PortByName(name)
	if err != nil {
		return 0, fmt.Errorf("dpdk: probe %s: the driver made no Ethernet port", devargs)
	}
	return port, nil
}

// PortByName finds the port of a device, "net_tap0" or "0000:3b:00.0".
func PortByName(name string) (PortID, error) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var id C.uint16_t
	if err := errnoOf(C.rte_eth_dev_get_port_by_name(cname, &id)); err != nil {
		return 0, fmt.Errorf("dpdk: port of device %s: %w", name, err)
	}
	return PortID(id), nil
}

// Detach closes a stopped port and unplugs its device.
func Detach(port PortID) error {
	var info C.struct_rte_eth_dev_info
	if err := errnoOf(C.rte_eth_dev_info_get(C.uint16_t(port), &info)); err != nil {
		return fmt.Errorf("dpdk: port %d: device info: %w", port, err)
	}
	if err := errnoOf(C.rte_eth_dev_close(C.uint16_t(port))); err != nil {
		return fmt.Errorf("dpdk: port %d: close: %w", port, err)
	}
	if err := eal.log.explain(func() error { return errnoOf(C.rte_dev_remove(info.device)) }); err != nil {
		return fmt.Errorf("dpdk: port %d: remove device: %w", port, err)
	}
	return nil
}

// DevInfo is what a driver says of its device.
type DevInfo struct {
	Driver                       string
	MinMTU, MaxMTU               int
	MaxRxQueues, MaxTxQueues     int
	RxOffloadCapa, TxOffloadCapa uint64 // RTE_ETH_RX_OFFLOAD_*, RTE_ETH_TX_OFFLOAD_*
	MaxTxBuffers                 int    // of one packet; 0: any number
	RSSOffloads                  uint64 // RTE_ETH_RSS_*
}

// DevInfoGet asks the driver.
func DevInfoGet(port PortID) (DevInfo, error) {
	var i C.struct_rte_eth_dev_info
	if err := errnoOf(C.rte_eth_dev_info_get(C.uint16_t(port), &i)); err != nil {
		return DevInfo{}, err
	}
	d := DevInfo{
		Driver:        C.GoString(i.driver_name),
		MinMTU:        int(i.min_mtu),
		MaxRxQueues:   int(i.max_rx_queues),
		MaxTxQueues:   int(i.max_tx_queues),
		RxOffloadCapa: uint64(i.rx_offload_capa),
		TxOffloadCapa: uint64(i.tx_offload_capa),
		MaxTxBuffers:  int(i.tx_desc_lim.nb_seg_max),
		RSSOffloads:   uint64(i.flow_type_rss_offloads),
	}
	// The two limits that a configuration is held to, as the library does:
	// what a frame has beyond its MTU is the difference, or Ethernet's 18.
	d.MaxMTU = int(i.max_mtu)
	if i.max_mtu == C.UINT16_MAX || i.max_rx_pktlen <= C.uint32_t(i.max_mtu) {
		d.MaxMTU = min(d.MaxMTU, int(i.max_rx_pktlen)-C.RTE_ETHER_HDR_LEN-C.RTE_ETHER_CRC_LEN)
	}
	return d, nil
}

// DevConf is how a device shall be set up.
type DevConf struct {
	RxQueues, TxQueues     int
	MTU                    int    // 0: the driver's default
	RxOffloads, TxOffloads uint64 // RTE_ETH_RX_OFFLOAD_*, RTE_ETH_TX_OFFLOAD_*
	RSS                    uint64 // RTE_ETH_RSS_*, spreads packets over the receive queues; 0: off
}

// The steps below want a stopped port, in this order. They return the bare
// error; the caller knows the port's name.

// DevConfigure is the first step of starting a port.
func DevConfigure(port PortID, c DevConf) error {
	info, err := DevInfoGet(port)
	if err != nil {
		return err
	}
	slow[port] = slowDrivers[info.Driver]
	return eal.log.explain(func() error {
		return errnoOf(C.shim_configure(C.uint16_t(port), C.uint16_t(c.RxQueues), C.uint16_t(c.TxQueues), C.uint32_t(c.MTU),
			C.uint64_t(c.RxOffloads), C.uint64_t(c.TxOffloads), C.uint64_t(c.RSS)))
	})
}

// SetMTU sets the largest L3 packet in bytes.
func SetMTU(port PortID, mtu int) error {
	return eal.log.explain(func() error { return errnoOf(C.rte_eth_dev_set_mtu(C.uint16_t(port), C.uint16_t(mtu))) })
}

// MTU is the largest L3 packet in bytes.
func MTU(port PortID) (int, error) {
	var mtu C.uint16_t
	err := errnoOf(C.rte_eth_dev_get_mtu(C.uint16_t(port), &mtu))
	return int(mtu), err
}

// AdjustDescriptors rounds numbers of descriptors to what the device can have.
func AdjustDescriptors(port PortID, rx, tx int) (int, int, error) {
	r, t := C.uint16_t(rx), C.uint16_t(tx)
	err := errnoOf(C.rte_eth_dev_adjust_nb_rx_tx_desc(C.uint16_t(port), &r, &t))
	return int(r), int(t), err
}

// RxQueueSetup gives a receive queue descriptors and the pool to fill them from.
func RxQueueSetup(port PortID, queue, descriptors int, pool *Mempool) error {
	return eal.log.explain(func() error {
		return errnoOf(C.rte_eth_rx_queue_setup(C.uint16_t(port), C.uint16_t(queue), C.uint16_t(descriptors),
			C.uint(C.rte_eth_dev_socket_id(C.uint16_t(port))), nil, pool.pool))
	})
}

// TxQueueSetup gives a transmit queue descriptors.
func TxQueueSetup(port PortID, queue, descriptors int) error {
	return eal.log.explain(func() error {
		return errnoOf(C.rte_eth_tx_queue_setup(C.uint16_t(port), C.uint16_t(queue), C.uint16_t(descriptors),
			C.uint(C.rte_eth_dev_socket_id(C.uint16_t(port))), nil))
	})
}

// PromiscuousEnable receives frames for any address.
func PromiscuousEnable(port PortID) error {
	return errnoOf(C.rte_eth_promiscuous_enable(C.uint16_t(port)))
}

// DevStart begins receiving and sending.
func DevStart(port PortID) error {
	return eal.log.explain(func() error { return errnoOf(C.rte_eth_dev_start(C.uint16_t(port))) })
}

// DevStop ends receiving and sending; Detach follows.
func DevStop(port PortID) error {
	return eal.log.explain(func() error { return errnoOf(C.rte_eth_dev_stop(C.uint16_t(port))) })
}

// MACAddr is the device's own address.
func MACAddr(port PortID) (mac [6]byte, err error) {
	var a C.struct_rte_ether_addr
	if err := errnoOf(C.rte_eth_macaddr_get(C.uint16_t(port), &a)); err != nil {
		return mac, err
	}
	for i, b := range a.addr_bytes {
		mac[i] = byte(b)
	}
	return mac, nil
}

// Link is the state of the wire now.
type Link struct {
	Up   bool
	Mbps uint32
}

// LinkGet does not wait for a link that is about to come up.
func LinkGet(port PortID) (Link, error) {
	var up C.int
	var mbps C.uint32_t
	err := errnoOf(C.shim_link(C.uint16_t(port), &up, &mbps))
	return Link{up != 0, uint32(mbps)}, err
}

// Stats are a device's basic counters, rte_eth_stats.
type Stats struct {
	IPackets, IBytes, OPackets, OBytes  uint64
	IMissed, IErrors, OErrors, RxNoMbuf uint64
}

// StatsGet reads a device's counters.
func StatsGet(port PortID) (Stats, error) {
	var s C.struct_rte_eth_stats
	if err := errnoOf(C.rte_eth_stats_get(C.uint16_t(port), &s)); err != nil {
		return Stats{}, err
	}
	return Stats{
		IPackets: uint64(s.ipackets), IBytes: uint64(s.ibytes),
		OPackets: uint64(s.opackets), OBytes: uint64(s.obytes),
		IMissed: uint64(s.imissed), IErrors: uint64(s.ierrors),
		OErrors: uint64(s.oerrors), RxNoMbuf: uint64(s.rx_nombuf),
	}, nil
}

// StatsReset begins the counting anew.
func StatsReset(port PortID) error { return errnoOf(C.rte_eth_stats_reset(C.uint16_t(port))) }

// XStat is one counter that only this kind of device has.
type XStat struct {
	Name  string
	Value uint64
}

// XStatsGet reads all of a device's counters.
func XStatsGet(port PortID) ([]XStat, error) {
	n := C.rte_eth_xstats_get(C.uint16_t(port), nil, 0)
	if n <= 0 {
		return nil, errnoOf(n)
	}
	names, values := make([]C.struct_rte_eth_xstat_name, n), make([]C.struct_rte_eth_xstat, n)
	if err := errnoOf(C.rte_eth_xstats_get_names(C.uint16_t(port), &names[0], C.uint(n))); err != nil {
		return nil, err
	}
	n = C.rte_eth_xstats_get(C.uint16_t(port), &values[0], C.uint(n))
	if n < 0 {
		return nil, errnoOf(n)
	}
	var stats []XStat
	for _, v := range values[:min(int(n), len(values))] {
		if int(v.id) < len(names) {
			stats = append(stats, XStat{C.GoString(&names[v.id].name[0]), uint64(v.value)})
		}
	}
	return stats, nil
}
