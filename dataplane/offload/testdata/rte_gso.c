// Cuts frames by rte_gso (O26), for the tests to compare with.
//
// stdin: records of 32-bit little-endian words (outer_l2_len, outer_l3_len, l2_len,
// l3_len, l4_len, gso_size, ol_flags in two words, low one first, repeat, length)
// and a frame of that length. stdout: for each, the nanoseconds that one of repeat
// rounds took without and with checksums, how many frames came out, and each as a
// length and its bytes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_gso.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#define OUT 512

static struct rte_mempool *direct, *indirect;

static struct rte_mbuf *packet(const uint8_t *frame, uint32_t len)
{
	struct rte_mbuf *head = NULL;

	while (head == NULL || len > 0) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(direct);
		uint16_t n = RTE_MIN(len, (uint32_t)rte_pktmbuf_tailroom(m));

		memcpy(rte_pktmbuf_append(m, n), frame, n);
		frame += n;
		len -= n;
		if (head == NULL)
			head = m;
		else if (rte_pktmbuf_chain(head, m) != 0)
			exit(3);
	}
	return head;
}

// What rte_gso leaves to others.
static void checksums(struct rte_mbuf *m, const uint32_t *r)
{
	uint16_t outer = r[0] + r[1];
	struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(m, struct rte_ipv4_hdr *, outer + r[2]);
	struct rte_tcp_hdr *tcp = (struct rte_tcp_hdr *)((char *)ip + r[3]);

	if (outer != 0) {
		struct rte_ipv4_hdr *o = rte_pktmbuf_mtod_offset(m, struct rte_ipv4_hdr *, r[0]);

		o->hdr_checksum = 0;
		o->hdr_checksum = rte_ipv4_cksum(o);
	}
	ip->hdr_checksum = 0;
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	if (ip->next_proto_id == IPPROTO_TCP) {
		tcp->cksum = 0;
		tcp->cksum = rte_ipv4_udptcp_cksum_mbuf(m, ip, outer + r[2] + r[3]);
	}
}

static int cut(struct rte_mbuf *m, const uint32_t *r, struct rte_mbuf **out)
{
	struct rte_gso_ctx ctx = {
		.direct_pool = direct, .indirect_pool = indirect, .gso_size = r[5],
		.gso_types = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_UDP_TSO | RTE_ETH_TX_OFFLOAD_GRE_TNL_TSO,
	};

	m->outer_l2_len = r[0];
	m->outer_l3_len = r[1];
	m->l2_len = r[2];
	m->l3_len = r[3];
	m->l4_len = r[4];
	m->ol_flags = r[6] | (uint64_t)r[7] << 32;
	return rte_gso_segment(m, &ctx, out, OUT);
}

static uint32_t timed(struct rte_mbuf *m, const uint32_t *r, struct rte_mbuf **out, int sums)
{
	uint64_t best = UINT64_MAX;

	for (uint32_t i = 0; i < r[8]; i++) {
		uint64_t start = rte_rdtsc(), took;
		int n = cut(m, r, out);

		for (int k = 0; sums && k < n; k++)
			checksums(out[k], r);
		rte_pktmbuf_free_bulk(out, n);
		took = rte_rdtsc() - start;
		best = RTE_MIN(best, took);
	}
	return best * 1000000000 / rte_get_tsc_hz();
}

static void word(uint32_t w)
{
	fwrite(&w, sizeof(w), 1, stdout);
}

int main(int argc, char **argv)
{
	static uint8_t frame[1 << 17];
	uint32_t r[10];

	if (rte_eal_init(argc, argv) < 0)
		return 1;
	direct = rte_pktmbuf_pool_create("direct", 4096, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	indirect = rte_pktmbuf_pool_create("indirect", 4096, 256, 0, 0, SOCKET_ID_ANY);
	if (direct == NULL || indirect == NULL)
		return 2;
	while (fread(r, sizeof(r), 1, stdin) == 1 && fread(frame, r[9], 1, stdin) == 1) {
		struct rte_mbuf *out[OUT], *m = packet(frame, r[9]);
		int n;

		word(r[8] ? timed(m, r, out, 0) : 0);
		word(r[8] ? timed(m, r, out, 1) : 0);
		n = cut(m, r, out);
		if (n <= 0) { // not cut
			n = 1;
			out[0] = rte_pktmbuf_copy(m, direct, 0, UINT32_MAX);
		}
		word(n);
		for (int i = 0; i < n; i++) {
			// A copy has segments of even length: in 22.11 rte_raw_cksum_mbuf
			// loses a carry behind an odd one.
			struct rte_mbuf *c = rte_pktmbuf_copy(out[i], direct, 0, UINT32_MAX);

			checksums(c, r);
			word(rte_pktmbuf_pkt_len(c));
			for (struct rte_mbuf *s = c; s != NULL; s = s->next)
				fwrite(rte_pktmbuf_mtod(s, void *), s->data_len, 1, stdout);
			rte_pktmbuf_free(c);
		}
		fflush(stdout);
		rte_pktmbuf_free_bulk(out, n);
		rte_pktmbuf_free(m);
	}
	return 0;
}
