// Thin shims between cgo and DPDK's inline functions, macros and bit fields.
// They decide nothing. Those that return int return 0 or a negative errno,
// taken here because rte_errno belongs to the thread and a goroutine may have
// moved to another one before it could ask.
#ifndef PACA_DPDK_SHIM_H
#define PACA_DPDK_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
#include <rte_eth_vhost.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_prefetch.h>

struct shim_value {
	const char *name;
	uint64_t offset, size; // of a field; a constant is its own offset
};

const struct shim_value *shim_fields(int *n);
const struct shim_value *shim_constants(int *n);

int shim_log_open(int fd);

static inline int shim_eal_init(int argc, char **argv)
{
	return rte_eal_init(argc, argv) < 0 ? -rte_errno : 0;
}

static inline int shim_thread_register(void)
{
	return rte_thread_register() < 0 ? -rte_errno : 0;
}

// Mempool.

static inline int shim_pool_create(const char *name, unsigned n, unsigned cache,
				   uint16_t data_room, struct rte_mempool **pool)
{
	*pool = rte_pktmbuf_pool_create(name, n, cache, 0, data_room, SOCKET_ID_ANY);
	return *pool == NULL ? -rte_errno : 0;
}

// Bursts, of a port's queue or a pool. They take one argument, for Go calls them by
// their address.

struct shim_burst {
	struct rte_mbuf **pkts;
	struct rte_mempool *pool;
	uint32_t n;
	uint16_t port, queue;
};

int shim_alloc(struct shim_burst *b);
int shim_free(struct shim_burst *b);
int shim_rx_burst(struct shim_burst *b);
int shim_tx_burst(struct shim_burst *b);
int shim_tx_prepare_burst(struct shim_burst *b);

// Ethdev.

static inline int shim_configure(uint16_t port, uint16_t rx_queues, uint16_t tx_queues, uint32_t mtu,
				 uint64_t rx_offloads, uint64_t tx_offloads, uint64_t rss)
{
	struct rte_eth_conf conf = {
		.rxmode = {
			.mq_mode = rss ? RTE_ETH_MQ_RX_RSS : RTE_ETH_MQ_RX_NONE,
			.mtu = mtu,
			.offloads = rx_offloads,
		},
		.txmode = { .offloads = tx_offloads },
		.rx_adv_conf.rss_conf.rss_hf = rss,
	};

	return rte_eth_dev_configure(port, rx_queues, tx_queues, &conf);
}

// shim_vhost_features is what the driver behind a vhost port chose, 0 while there is
// none.
static inline uint64_t shim_vhost_features(uint16_t port)
{
	int vid = rte_eth_vhost_get_vid_from_port_id(port);
	uint64_t features = 0;

	if (vid < 0 || rte_vhost_get_negotiated_features(vid, &features) < 0)
		return 0;
	return features;
}

// shim_vhost_watch begins to keep, and shim_vhost_queues is where it keeps, which
// transmit queues of a vhost port its driver takes from, a bit for each.
int shim_vhost_watch(uint16_t port);
void shim_vhost_unwatch(uint16_t port);
uint64_t *shim_vhost_queues(uint16_t port);

int shim_flow_nvgre(uint16_t port, uint16_t queues, bool v6, uint64_t types, char *why, size_t size);

static inline int shim_link(uint16_t port, int *up, uint32_t *mbps)
{
	struct rte_eth_link link;
	int rc = rte_eth_link_get_nowait(port, &link);

	*up = rc == 0 && link.link_status == RTE_ETH_LINK_UP;
	*mbps = rc == 0 ? link.link_speed : 0;
	return rc;
}

#endif
