/* A provider in C (and in C++) behind the table of version 1: enough to drive each of its functions once. */
#include "pearlbed.h"

PEARLBED_MANIFEST({
    "schema": 1, "id": "in-c", "version": "1.0.0", "vendor": "says \"C\" \\ C++",
    "plugin_api": [1], "certificate_versions": [1, 2, 3]
});

static int the_instance;

static uint32_t create(void **self, pearlbed_sink error)
{
    (void)error;
    *self = &the_instance;
    return PEARLBED_OK;
}

static void destroy(void *self)
{
    (void)self;
}

static uint32_t detect(void *self, pearlbed_bytes hardware, pearlbed_bytes engine_id, pearlbed_bytes model,
                       pearlbed_capabilities *capabilities, pearlbed_sink reason, pearlbed_sink error)
{
    (void)self, (void)error, (void)hardware, (void)engine_id;
    capabilities->supported = 1;
    capabilities->has_estimated_hashrate = 1;
    capabilities->estimated_hashrate = 2.5e6;
    pearlbed_put_text(reason, "written in C for ");
    pearlbed_put(reason, model.data, model.len);
    return PEARLBED_OK;
}

static uint32_t start(void *self, const pearlbed_config *config, const pearlbed_host_table *host, pearlbed_sink error)
{
    (void)self;
    pearlbed_job job;
    if (host->next_job(host->context, 1000, &job) != PEARLBED_NEXT_JOB)
        return pearlbed_fail(error, "no job");
    host->log(host->context, PEARLBED_LOG_INFO, config->extra);
    host->progress(host->context, job.certificate_version);
    uint8_t proof[4];
    proof[0] = job.header[75];
    proof[1] = job.target[31];
    proof[2] = (uint8_t)job.flags;
    proof[3] = (uint8_t)host->is_stale(host->context, job.id);
    return host->submit(host->context, job.id, pearlbed_lend(proof, sizeof proof));
}

static uint32_t stop(void *self, pearlbed_sink error)
{
    (void)self;
    return pearlbed_fail(error, "never stops");
}

static uint32_t is_running(void *self)
{
    return self == &the_instance;
}

static uint32_t stats(void *self, pearlbed_stats *answer, pearlbed_sink last_error, pearlbed_sink details,
                      pearlbed_sink error)
{
    (void)self, (void)last_error, (void)error;
    answer->hashes = 1;
    answer->proofs_found = 2;
    answer->jobs_taken = 3;
    answer->hashrate = 4.5;
    answer->uptime_seconds = 5.5;
    pearlbed_put_text(details, "{\"language\":\"C\"}");
    return PEARLBED_OK;
}

static const pearlbed_provider_table table = {
    pearlbed_manifest, create, destroy, detect, start, stop, is_running, stats
};
PEARLBED_DOOR(table);
