/* A provider in C behind the table of version 1, and the sizes and offsets that C gives it. */
#include <string.h>
#include "v1.h"

#define TEXT(text) ((pearlbed_bytes){(const uint8_t *)(text), sizeof(text) - 1})
static int instance;

static void manifest(pearlbed_sink out) { out.write(out.context, TEXT("{\"id\":\"in-c\"}")); }
static uint32_t create(void **self, pearlbed_sink error) { (void)error; *self = &instance; return 0; }
static void destroy(void *self) { (void)self; }
static uint32_t detect(void *self, pearlbed_bytes hardware, pearlbed_bytes engine, pearlbed_bytes model,
                       pearlbed_capabilities *capabilities, pearlbed_sink reason, pearlbed_sink error) {
    (void)self, (void)error, (void)hardware, (void)engine;
    *capabilities = (pearlbed_capabilities){1, 1, 2.5e6};
    reason.write(reason.context, TEXT("written in C for "));
    reason.write(reason.context, model);
    return 0;
}
static uint32_t start(void *self, const pearlbed_config *config, const pearlbed_host_table *host, pearlbed_sink error) {
    (void)self, (void)error;
    pearlbed_job job;
    if (host->next_job(host->context, 1000, &job) != 0) return 1;
    host->log(host->context, 3, config->extra);
    host->progress(host->context, job.certificate_version);
    uint8_t proof[4] = {job.header[75], job.target[31], (uint8_t)job.flags, (uint8_t)host->is_stale(host->context, job.id)};
    return host->submit(host->context, job.id, (pearlbed_bytes){proof, sizeof proof});
}
static uint32_t stop(void *self, pearlbed_sink error) { (void)self; error.write(error.context, TEXT("never stops")); return 1; }
static uint32_t is_running(void *self) { return self == &instance; }
static uint32_t stats(void *self, pearlbed_stats *stats, pearlbed_sink last_error, pearlbed_sink details, pearlbed_sink error) {
    (void)self, (void)last_error, (void)error;
    *stats = (pearlbed_stats){1, 2, 3, 4.5, 5.5};
    details.write(details.context, TEXT("{\"language\":\"C\"}"));
    return 0;
}

const pearlbed_provider_table pearlbed_c_table = {manifest, create, destroy, detect, start, stop, is_running, stats};

#define OF(type, field) offsetof(pearlbed_##type, field)
const size_t pearlbed_c_layout[] = {
    sizeof(pearlbed_bytes), sizeof(pearlbed_sink), sizeof(pearlbed_capabilities), sizeof(pearlbed_config),
    sizeof(pearlbed_job), sizeof(pearlbed_stats), sizeof(pearlbed_host_table), sizeof(pearlbed_provider_table),
    OF(capabilities, estimated_hashrate), OF(config, submit_kind), OF(config, fee_bps), OF(config, submit_url),
    OF(config, extra), OF(job, header), OF(job, certificate_version), OF(job, target), OF(job, flags),
    OF(job, reserved), OF(stats, hashrate), OF(stats, uptime_seconds), OF(host_table, next_job), OF(host_table, log),
    OF(host_table, job_details),
    OF(provider_table, detect), OF(provider_table, stats),
};
const size_t pearlbed_c_layout_count = sizeof pearlbed_c_layout / sizeof *pearlbed_c_layout;
