/* Version 1 of the provider table, written down in C. The test `c_layout` compiles it and compares every size and
 * offset with the Rust types, so that a plugin in another language can be sure of the layout. */
#ifndef PEARLBED_V1_H
#define PEARLBED_V1_H
#include <stddef.h>
#include <stdint.h>

typedef struct { const uint8_t *data; size_t len; } pearlbed_bytes;
typedef struct { void *context; void (*write)(void *context, pearlbed_bytes bytes); } pearlbed_sink;
typedef struct { uint32_t supported, has_estimated_hashrate; double estimated_hashrate; } pearlbed_capabilities;
typedef struct {
    pearlbed_bytes provider, wallet_address;
    uint32_t submit_kind, fee_bps;
    pearlbed_bytes submit_url, worker_id, fee_payout_address, extra;
} pearlbed_config;
typedef struct {
    uint64_t id;
    uint8_t header[76];
    uint32_t certificate_version;
    uint8_t target[32];
    uint32_t flags, reserved;
} pearlbed_job;
typedef struct { uint64_t hashes, proofs_found, jobs_taken; double hashrate, uptime_seconds; } pearlbed_stats;
typedef struct {
    void *context;
    void (*retain)(void *context);
    void (*release)(void *context);
    uint32_t (*next_job)(void *context, uint32_t timeout_ms, pearlbed_job *job);
    uint32_t (*is_stale)(void *context, uint64_t job_id);
    uint32_t (*submit)(void *context, uint64_t job_id, pearlbed_bytes proof);
    void (*progress)(void *context, uint64_t hashes);
    void (*log)(void *context, uint32_t level, pearlbed_bytes message);
    void (*job_details)(void *context, uint64_t job_id, pearlbed_sink out);
} pearlbed_host_table;
typedef struct {
    void (*manifest)(pearlbed_sink out);
    uint32_t (*create)(void **instance, pearlbed_sink error);
    void (*destroy)(void *instance);
    uint32_t (*detect)(void *instance, pearlbed_bytes hardware, pearlbed_bytes engine_id, pearlbed_bytes model,
                       pearlbed_capabilities *capabilities, pearlbed_sink reason, pearlbed_sink error);
    uint32_t (*start)(void *instance, const pearlbed_config *config, const pearlbed_host_table *host,
                      pearlbed_sink error);
    uint32_t (*stop)(void *instance, pearlbed_sink error);
    uint32_t (*is_running)(void *instance);
    uint32_t (*stats)(void *instance, pearlbed_stats *stats, pearlbed_sink last_error, pearlbed_sink details,
                      pearlbed_sink error);
} pearlbed_provider_table;
#endif
