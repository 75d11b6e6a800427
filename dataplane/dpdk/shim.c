#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <rte_log.h>
#include <rte_spinlock.h>

#include "shim.h"

#define FIELD(f) { #f, offsetof(struct rte_mbuf, f), sizeof(((struct rte_mbuf *)0)->f) }
#define CONSTANT(c) { #c, c, 0 }

static const struct shim_value fields[] = {
	FIELD(buf_addr), FIELD(data_off), FIELD(refcnt), FIELD(nb_segs), FIELD(port),
	FIELD(ol_flags), FIELD(packet_type), FIELD(pkt_len), FIELD(data_len), FIELD(vlan_tci),
	FIELD(hash), FIELD(buf_len), FIELD(pool), FIELD(next), FIELD(tx_offload), FIELD(priv_size),
};

static const struct shim_value constants[] = {
	{ "sizeof(struct rte_mbuf)", sizeof(struct rte_mbuf), 0 },
	CONSTANT(RTE_PKTMBUF_HEADROOM), CONSTANT(RTE_MBUF_DEFAULT_BUF_SIZE), CONSTANT(RTE_MBUF_F_RX_VLAN),
	CONSTANT(RTE_MBUF_F_RX_VLAN_STRIPPED), CONSTANT(RTE_MBUF_F_RX_LRO), CONSTANT(RTE_MBUF_F_RX_IP_CKSUM_MASK),
	CONSTANT(RTE_MBUF_F_RX_IP_CKSUM_BAD), CONSTANT(RTE_MBUF_F_RX_IP_CKSUM_GOOD),
	CONSTANT(RTE_MBUF_F_RX_IP_CKSUM_NONE), CONSTANT(RTE_MBUF_F_RX_OUTER_IP_CKSUM_BAD),
	CONSTANT(RTE_MBUF_F_RX_L4_CKSUM_MASK), CONSTANT(RTE_MBUF_F_RX_L4_CKSUM_BAD),
	CONSTANT(RTE_MBUF_F_RX_L4_CKSUM_GOOD), CONSTANT(RTE_MBUF_F_RX_L4_CKSUM_NONE),
	CONSTANT(RTE_MBUF_F_TX_UDP_SEG), CONSTANT(RTE_MBUF_F_TX_TUNNEL_GRE), CONSTANT(RTE_MBUF_F_TX_TUNNEL_MASK),
	CONSTANT(RTE_MBUF_F_TX_TCP_SEG), CONSTANT(RTE_MBUF_F_TX_L4_MASK), CONSTANT(RTE_MBUF_F_TX_TCP_CKSUM),
	CONSTANT(RTE_MBUF_F_TX_UDP_CKSUM), CONSTANT(RTE_MBUF_F_TX_IP_CKSUM), CONSTANT(RTE_MBUF_F_TX_IPV4),
	CONSTANT(RTE_MBUF_F_TX_IPV6), CONSTANT(RTE_MBUF_F_TX_VLAN), CONSTANT(RTE_MBUF_F_TX_OUTER_IP_CKSUM),
	CONSTANT(RTE_MBUF_F_TX_OUTER_IPV4), CONSTANT(RTE_MBUF_F_TX_OUTER_IPV6), CONSTANT(RTE_MBUF_F_EXTERNAL),
	CONSTANT(RTE_MBUF_F_INDIRECT), CONSTANT(RTE_MBUF_L2_LEN_OFS), CONSTANT(RTE_MBUF_L2_LEN_BITS),
	CONSTANT(RTE_MBUF_L3_LEN_OFS), CONSTANT(RTE_MBUF_L3_LEN_BITS), CONSTANT(RTE_MBUF_L4_LEN_OFS),
	CONSTANT(RTE_MBUF_L4_LEN_BITS), CONSTANT(RTE_MBUF_TSO_SEGSZ_OFS), CONSTANT(RTE_MBUF_TSO_SEGSZ_BITS),
	CONSTANT(RTE_MBUF_OUTL3_LEN_OFS), CONSTANT(RTE_MBUF_OUTL3_LEN_BITS), CONSTANT(RTE_MBUF_OUTL2_LEN_OFS),
	CONSTANT(RTE_MBUF_OUTL2_LEN_BITS),
};

const struct shim_value *shim_fields(int *n)
{
	*n = RTE_DIM(fields);
	return fields;
}

const struct shim_value *shim_constants(int *n)
{
	*n = RTE_DIM(constants);
	return constants;
}

int shim_alloc(struct shim_burst *b)
{
	return rte_pktmbuf_alloc_bulk(b->pool, b->pkts, b->n);
}

int shim_free(struct shim_burst *b)
{
	rte_pktmbuf_free_bulk(b->pkts, b->n);
	return 0;
}

// shim_rx_burst fetches what Go reads first. Here buffers are in the nearest cache if a
// virtual device has just copied into them: that is 0.3 ns a packet for nothing. What a
// NIC wrote is one or two caches away, at 4 to 15 ns each, were they waited for one by
// one.
int shim_rx_burst(struct shim_burst *b)
{
	uint16_t n = rte_eth_rx_burst(b->port, b->queue, b->pkts, b->n);

	for (uint16_t i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(b->pkts[i], void *));
	return n;
}

int shim_tx_burst(struct shim_burst *b)
{
	return rte_eth_tx_burst(b->port, b->queue, b->pkts, b->n);
}

// shim_tx_prepare_burst sends packets that may ask for offloads, for which a driver
// wants them prepared. Those that it cannot do are freed and count as sent; how many
// they are is in the upper half.
int shim_tx_prepare_burst(struct shim_burst *b)
{
	uint16_t n = b->n, done = 0, refused = 0;
	uint64_t asked = 0;

	for (uint16_t i = 0; i < n; i++)
		asked |= b->pkts[i]->ol_flags;
	if ((asked & RTE_MBUF_F_TX_OFFLOAD_MASK) == 0)
		return shim_tx_burst(b);
	while (done < n) {
		uint16_t ready = rte_eth_tx_prepare(b->port, b->queue, b->pkts + done, n - done);
		uint16_t sent = rte_eth_tx_burst(b->port, b->queue, b->pkts + done, ready);

		done += sent;
		if (sent < ready || done == n)
			break;
		rte_pktmbuf_free(b->pkts[done]);
		done++;
		refused++;
	}
	return (uint32_t)refused << 16 | done;
}

static uint64_t vhost_queues[RTE_MAX_ETHPORTS];
static rte_spinlock_t vhost_lock = RTE_SPINLOCK_INITIALIZER;

// vhost_event hears of queues one change at a time; those of a driver that left are
// not told.
static int vhost_event(uint16_t port, enum rte_eth_event_type type, void *arg, void *ret)
{
	struct rte_eth_vhost_queue_event e;
	uint64_t queues;

	(void)arg;
	(void)ret;
	rte_spinlock_lock(&vhost_lock);
	queues = vhost_queues[port];
	if (type == RTE_ETH_EVENT_INTR_LSC && rte_eth_vhost_get_vid_from_port_id(port) < 0)
		queues = 0;
	while (rte_eth_vhost_get_queue_event(port, &e) == 0) {
		if (e.rx || e.queue_id >= 64)
			continue;
		if (e.enable)
			queues |= UINT64_C(1) << e.queue_id;
		else
			queues &= ~(UINT64_C(1) << e.queue_id);
	}
	__atomic_store_n(&vhost_queues[port], queues, __ATOMIC_RELEASE);
	rte_spinlock_unlock(&vhost_lock);
	return 0;
}

int shim_vhost_watch(uint16_t port)
{
	int rc;

	vhost_queues[port] = 0;
	rc = rte_eth_dev_callback_register(port, RTE_ETH_EVENT_QUEUE_STATE, vhost_event, NULL);
	if (rc == 0)
		rc = rte_eth_dev_callback_register(port, RTE_ETH_EVENT_INTR_LSC, vhost_event, NULL);
	if (rc == 0)
		vhost_event(port, RTE_ETH_EVENT_QUEUE_STATE, NULL, NULL); // a driver may be there already
	return rc;
}

void shim_vhost_unwatch(uint16_t port)
{
	rte_eth_dev_callback_unregister(port, RTE_ETH_EVENT_QUEUE_STATE, vhost_event, NULL);
	rte_eth_dev_callback_unregister(port, RTE_ETH_EVENT_INTR_LSC, vhost_event, NULL);
}

uint64_t *shim_vhost_queues(uint16_t port)
{
	return &vhost_queues[port];
}

int shim_flow_nvgre(uint16_t port, uint16_t queues, bool v6, uint64_t types, char *why, size_t size)
{
	uint16_t queue[RTE_MAX_QUEUES_PER_PORT];
	struct rte_flow_attr attr = { .ingress = 1 };
	struct rte_flow_item pattern[] = {
		{ .type = RTE_FLOW_ITEM_TYPE_ETH },
		{ .type = v6 ? RTE_FLOW_ITEM_TYPE_IPV6 : RTE_FLOW_ITEM_TYPE_IPV4 },
		{ .type = RTE_FLOW_ITEM_TYPE_NVGRE },
		{ .type = RTE_FLOW_ITEM_TYPE_END },
	};
	struct rte_flow_action_rss rss = {
		.level = 2, // the inner headers of one tunnel
		.types = types,
		.queue_num = queues,
		.queue = queue,
	};
	struct rte_flow_action actions[] = {
		{ .type = RTE_FLOW_ACTION_TYPE_RSS, .conf = &rss },
		{ .type = RTE_FLOW_ACTION_TYPE_END },
	};
	struct rte_flow_error error = { .message = NULL };

	for (uint16_t i = 0; i < RTE_MIN(queues, RTE_DIM(queue)); i++)
		queue[i] = i;
	if (rte_flow_create(port, &attr, pattern, actions, &error) != NULL)
		return 0;
	snprintf(why, size, "%s", error.message == NULL ? "" : error.message);
	return -rte_errno;
}

// Every message is one packet of the pipe: its level as one character, then
// the text. stdio hands over a message at each fflush, which rte_log does
// after each; what does not fit the pipe is lost rather than waited for.
static int log_fd;

static ssize_t log_write(char level, const char *buf, size_t n)
{
	char msg[4096];
	size_t len = RTE_MIN(n, sizeof(msg) - 1);

	msg[0] = level;
	memcpy(msg + 1, buf, len);
	if (write(log_fd, msg, len + 1) < 0)
		return n;
	return n;
}

static ssize_t log_message(void *cookie, const char *buf, size_t n)
{
	(void)cookie;
	return log_write('0' + rte_log_cur_msg_loglevel(), buf, n);
}

static ssize_t log_stdout(void *cookie, const char *buf, size_t n)
{
	(void)cookie;
	return log_write('0' + RTE_LOG_NOTICE, buf, n);
}

static ssize_t log_stderr(void *cookie, const char *buf, size_t n)
{
	(void)cookie;
	return log_write('0' + RTE_LOG_ERR, buf, n);
}

// shim_log_open sends DPDK's log to fd, and also what C code prints: glibc lets
// stdout and stderr be assigned, and Go does not write through them.
int shim_log_open(int fd)
{
	FILE *log, *out, *err;

	log_fd = fd;
	log = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = log_message });
	out = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = log_stdout });
	err = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = log_stderr });
	if (log == NULL || out == NULL || err == NULL)
		return -ENOMEM;
	setvbuf(out, NULL, _IOLBF, BUFSIZ);
	setvbuf(err, NULL, _IOLBF, BUFSIZ);
	stdout = out;
	stderr = err;
	return rte_openlog_stream(log);
}
