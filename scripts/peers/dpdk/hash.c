#include "common.h"
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_jhash.h>
#include <rte_rcu_qsbr.h>

/*
 * Keys: 5-tuple drawn from splitmix64 seed 1234: 13 bytes packed (4+4+2+2+1) at a stride of
 * 16 bytes, or 16 bytes (same, zero padded). 40 bytes: both IPv6 addresses (four draws), then ports
 * and protocol of a fifth, zero padded. Table: entries = 2^20 or 2^23, filled to 78%.
 */
#define NQ (1u << 21)
#define SL (1u << 17) /* a repetition takes the next slice of the queries, so that a large table stays cold */
static void fillkeys(uint8_t *k, uint64_t n, uint64_t seed, uint32_t stride)
{
	for (uint64_t i = 0; i < n; i++) {
		uint8_t *p = k + i * stride, *e = p + stride - 8;
		for (; p < e; p += 8) { uint64_t a = sm64(&seed); memcpy(p, &a, 8); }
		uint64_t b = sm64(&seed);
		memset(p, 0, 8); memcpy(p, &b, 4); p[4] = b & (1ull << 40) ? 6 : 17;
	}
}
static void one(uint32_t klen, uint32_t entries, int lf)
{
	const uint32_t W = klen > 16 ? klen : 16; /* stride of the keys */
	uint64_t n = (uint64_t)entries * 78 / 100; char tag[128];
	size_t h0 = heap_bytes();
	struct rte_hash_parameters p = {.name = "h", .entries = entries, .key_len = klen, .hash_func = rte_hash_crc,
		.socket_id = rte_socket_id(), .extra_flag = lf ? RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF | RTE_HASH_EXTRA_FLAGS_EXT_TABLE : 0};
	struct rte_hash *h = rte_hash_create(&p);
	if (!h) { fprintf(stderr, "hash_create %s\n", rte_strerror(rte_errno)); return; }
	snprintf(tag, sizeof tag, "rte_hash key=%uB slots=%u used=%" PRIu64 "%s", klen, entries, n, lf ? " rw_lf" : "");
	emit_val("hash.memory", "bytes/entry", (double)(heap_bytes() - h0) / n, "%s", tag);
	uint8_t *keys = rte_malloc(NULL, n * W, 64), *q = rte_malloc(NULL, (size_t)NQ * W, 64);
	if (!keys || !q) { fprintf(stderr, "no memory for keys\n"); return; }
	fillkeys(keys, n, 1234, W);
	double s[64]; int reps = entries > (1u << 21) ? 3 : RTE_MIN(g_reps, 7); uint64_t bad = 0;
	for (int r = 0; r < reps; r++) {
		rte_hash_reset(h); bad = 0;
		uint64_t t0 = tsc();
		for (uint64_t i = 0; i < n; i++) if (rte_hash_add_key_data(h, keys + i * W, (void *)(i + 1)) < 0) bad++;
		s[r] = tsc_ns(tsc() - t0) / n;
	}
	emit("hash.insert", n, s, reps, "%s from empty to full, failed=%" PRIu64, tag, bad);
	/* churn at load: delete and insert again 20000 random keys, timed apart */
	double sd[64], sa[64];
	for (int r = 0; r < g_reps; r++) {
		uint64_t K = 20000, sd0 = 5 + r; uint64_t st = sd0;
		uint64_t t0 = tsc();
		for (uint64_t i = 0; i < K; i++) { int pos = rte_hash_del_key(h, keys + (sm64(&st) % n) * W); if (lf && pos >= 0) rte_hash_free_key_with_position(h, pos); }
		uint64_t t1 = tsc(); st = sd0;
		for (uint64_t i = 0; i < K; i++) { uint64_t j = sm64(&st) % n; rte_hash_add_key_data(h, keys + j * W, (void *)(j + 1)); }
		uint64_t t2 = tsc(); sd[r] = tsc_ns(t1 - t0) / K; sa[r] = tsc_ns(t2 - t1) / K;
	}
	emit("hash.delete", 20000, sd, g_reps, "%s at load, random key", tag);
	emit("hash.insert", 20000, sa, g_reps, "%s at load, random key", tag);
	for (int kind = 0; kind < 3; kind++) {
		static const char *kn[] = {"hit uniform", "hit zipf(1)", "miss"}; uint64_t st = 77 + kind, hits = 0, sum = 0; uint32_t off = 0; void *d;
		if (kind == 2) fillkeys(q, NQ, 987654321, W);
		else for (uint32_t i = 0; i < NQ; i++) memcpy(q + (size_t)i * W, keys + (kind ? zipf1(&st, n) * 2654435761ull % n : sm64(&st) % n) * W, W);
		MEASURE("hash.lookup", SL, hits = 0; off = (off + SL) % NQ; for (uint32_t i = off; i < off + SL; i++) if (rte_hash_lookup_data(h, q + (size_t)i * W, &d) >= 0) { hits++; sum += (uint64_t)d; },
			"%s single, %s", tag, kn[kind]);
		const void *kp[32]; void *dp[32]; uint64_t mask;
		MEASURE("hash.lookup", SL, hits = 0; off = (off + SL) % NQ; for (uint32_t i = off; i < off + SL; i += 32) {
				for (int j = 0; j < 32; j++) kp[j] = q + (size_t)(i + j) * W;
				rte_hash_lookup_bulk_data(h, kp, 32, &mask, dp); hits += __builtin_popcountll(mask); sum += (uint64_t)dp[0]; },
			"%s bulk 32, %s", tag, kn[kind]);
		if (kind < 2 ? hits != SL : hits > 10) fprintf(stderr, "WARNING hits=%" PRIu64 "\n", hits);
		/* a lookup on a core with a fresh, cold line each time is what the sequential q hides: prefetch cost is the table's alone */
		g_sink += sum + hits;
	}
	rte_free(keys); rte_free(q); rte_hash_free(h);
}
int b_hash(void)
{
	if (getenv("PEER_HASH_ROWS")) { /* what scripts/bench peers compares */
		one(16, 1 << 20, 0); one(16, 1 << 23, 0); one(40, 1 << 20, 0); one(40, 1 << 23, 0); one(16, 8192, 0);
		return 0;
	}
	one(40, 1 << 20, 0); one(40, 1 << 23, 0);
	one(16, 1 << 20, 0); one(13, 1 << 20, 0); one(16, 1 << 20, 1); one(13, 1 << 20, 1);
	one(16, 1 << 23, 0); one(13, 1 << 23, 0); one(16, 1 << 23, 1);
	/* small table, cache-resident: what an exact-match cache costs */
	one(16, 8192, 0);
	/* hash functions alone */
	uint8_t k[16] = {1, 2, 3}; uint64_t N = 1000000; uint32_t x = 0;
	MEASURE("hash.func", N, for (uint64_t i = 0; i < N; i++) { x = rte_hash_crc(k, 16, x); __asm__ volatile("" : "+r"(x) :: "memory"); }, "rte_hash_crc 16B dependent");
	MEASURE("hash.func", N, for (uint64_t i = 0; i < N; i++) { x = rte_hash_crc(k, 13, x); __asm__ volatile("" : "+r"(x) :: "memory"); }, "rte_hash_crc 13B dependent");
	MEASURE("hash.func", N, for (uint64_t i = 0; i < N; i++) { x = rte_jhash(k, 13, x); __asm__ volatile("" : "+r"(x) :: "memory"); }, "rte_jhash 13B dependent");
	g_sink += x;
	return 0;
}
