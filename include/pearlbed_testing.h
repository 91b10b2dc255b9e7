/*
 * pearlbed_testing.h - a host for a provider's own tests, in C99 or C++17: it gives out the jobs that a test offers, and
 * keeps what comes back. The provider is linked into the test and found through its own door, as a host finds it.
 *
 *   pearlbed_fake_host host;
 *   pearlbed_fake_text text;
 *   const pearlbed_provider_table *table = pearlbed_fake_door();
 *   void *provider;
 *   assert(table->create(&provider, pearlbed_fake_sink(&text)) == PEARLBED_OK);
 *   pearlbed_fake_open(&host);
 *   uint64_t job = pearlbed_fake_offer(&host, header, target, 3);
 *   assert(pearlbed_fake_start(&host, table, provider, "{}", &text) == PEARLBED_OK);
 *   pearlbed_fake_proof proof;
 *   assert(pearlbed_fake_next_proof(&host, 60000, &proof) && proof.job == job);
 *   ... pearl_pow_verify(header, target, 3, 1, proof.data, proof.len, &error) ...
 *   pearlbed_fake_free(&proof);
 *   assert(pearlbed_fake_stop(&host, table, provider, &text) == PEARLBED_OK);
 *   assert(pearlbed_fake_close(&host) == 0);
 *   table->destroy(provider);
 *
 * The host keeps the contract of pearlbed.h: a job is handed out once and makes older ones stale, and it closes before it
 * calls stop. What it does not do: it verifies no proof, and it confines nothing. `pearlbed plugins verify` does both.
 *
 * Everything is in this header. It wants POSIX threads, and -D_POSIX_C_SOURCE=200809L where the language is plain C99.
 * The functions of one host may be called from any thread, but for pearlbed_fake_open and pearlbed_fake_close.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef PEARLBED_TESTING_H
#define PEARLBED_TESTING_H

#include <pearlbed.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* Proofs that wait for pearlbed_fake_next_proof; more are counted, and dropped. */
#define PEARLBED_FAKE_PROOFS_MAX 64

/* A text that was written to a sink: at most so much of it as fits, and a NUL. */
typedef struct pearlbed_fake_text {
    char text[1024];
    size_t len;
} pearlbed_fake_text;

/* A proof that was handed in for a current job. Its bytes are the caller's, who gives them back with pearlbed_fake_free. */
typedef struct pearlbed_fake_proof {
    uint64_t job;
    uint8_t *data;
    size_t len;
} pearlbed_fake_proof;

/* A host. Read its members through the functions. */
typedef struct pearlbed_fake_host {
    pthread_mutex_t lock; /* guards all that follows */
    pthread_cond_t changed;
    unsigned references; /* to the context, as the provider takes and gives them back */
    int closed;
    int withdrawn;
    int waiting; /* whether `job` was not handed out yet */
    pearlbed_job job; /* the newest one; those before it are stale */
    pearlbed_fake_proof proofs[PEARLBED_FAKE_PROOFS_MAX]; /* the oldest first */
    size_t proofs_len;
    uint64_t proofs_dropped;
    uint64_t hashes;
    uint32_t level; /* of the last line that was logged, and the line */
    pearlbed_fake_text line;
} pearlbed_fake_host;

static void pearlbed_fake_write(void *context, pearlbed_bytes bytes)
{
    pearlbed_fake_text *text = (pearlbed_fake_text *)context;
    size_t room = sizeof text->text - 1 - text->len;
    size_t len = bytes.len < room ? bytes.len : room;
    if (len > 0)
        memcpy(text->text + text->len, bytes.data, len);
    text->len += len;
    text->text[text->len] = '\0';
}

/* An empty text as a sink, for any call of the table. */
PEARLBED_UNUSED static pearlbed_sink pearlbed_fake_sink(pearlbed_fake_text *text)
{
    pearlbed_sink sink;
    text->len = 0;
    text->text[0] = '\0';
    sink.context = text;
    sink.write = pearlbed_fake_write;
    return sink;
}

/* The table of version 1 behind the door of this very program, or NULL where the door is not what it should be. */
PEARLBED_UNUSED static const pearlbed_provider_table *pearlbed_fake_door(void)
{
    const pearlbed_door *door = pearlbed_door_open(PEARLBED_TABLE_VERSION);
    if (door == NULL || pearlbed_door_open(PEARLBED_TABLE_VERSION) != door)
        return NULL;
    if (door->magic != PEARLBED_DOOR_MAGIC || door->size != sizeof *door || door->version != PEARLBED_TABLE_VERSION ||
        door->table_size != sizeof(pearlbed_provider_table))
        return NULL;
    return (const pearlbed_provider_table *)door->table;
}

/* The clock that the waits are counted by. */
static clockid_t pearlbed_fake_clock(void)
{
#if defined(__APPLE__)
    return CLOCK_REALTIME; /* its conditions know no other */
#else
    return CLOCK_MONOTONIC;
#endif
}

/* The moment in `timeout_ms` milliseconds. */
static struct timespec pearlbed_fake_deadline(uint32_t timeout_ms)
{
    struct timespec at;
    clock_gettime(pearlbed_fake_clock(), &at);
    at.tv_sec += (time_t)(timeout_ms / 1000);
    at.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (at.tv_nsec >= 1000000000L) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000L;
    }
    return at;
}

/* Makes a host without a job. */
PEARLBED_UNUSED static void pearlbed_fake_open(pearlbed_fake_host *host)
{
    pthread_condattr_t how;
    memset(host, 0, sizeof *host);
    pthread_mutex_init(&host->lock, NULL);
    pthread_condattr_init(&how);
#if !defined(__APPLE__)
    pthread_condattr_setclock(&how, pearlbed_fake_clock());
#endif
    pthread_cond_init(&host->changed, &how);
    pthread_condattr_destroy(&how);
}

/* Ends a host. Answers how many references to it a provider still holds: more than 0 is a fault of the provider, which may
 * use the host yet, so that the host is left as it is. */
PEARLBED_UNUSED static unsigned pearlbed_fake_close(pearlbed_fake_host *host)
{
    unsigned references;
    size_t i;
    pthread_mutex_lock(&host->lock);
    references = host->references;
    pthread_mutex_unlock(&host->lock);
    if (references > 0)
        return references;
    for (i = 0; i < host->proofs_len; i++)
        free(host->proofs[i].data);
    pthread_cond_destroy(&host->changed);
    pthread_mutex_destroy(&host->lock);
    return 0;
}

/* Offers a job with the rank penalty in force, as networks have it today; every older one is stale. `target` has its least
 * significant byte first. Answers the job's id. */
PEARLBED_UNUSED static uint64_t pearlbed_fake_offer(pearlbed_fake_host *host, const uint8_t header[76],
                                                    const uint8_t target[32], uint32_t certificate_version)
{
    uint64_t id;
    pthread_mutex_lock(&host->lock);
    id = ++host->job.id;
    memcpy(host->job.header, header, sizeof host->job.header);
    memcpy(host->job.target, target, sizeof host->job.target);
    host->job.certificate_version = certificate_version;
    host->job.flags = PEARLBED_JOB_RANK_PENALTY;
    host->withdrawn = 0;
    host->waiting = 1;
    pthread_cond_broadcast(&host->changed);
    pthread_mutex_unlock(&host->lock);
    return id;
}

/* Makes every job stale. */
PEARLBED_UNUSED static void pearlbed_fake_withdraw(pearlbed_fake_host *host)
{
    pthread_mutex_lock(&host->lock);
    host->withdrawn = 1;
    host->waiting = 0;
    pthread_mutex_unlock(&host->lock);
}

/* Waits at most `timeout_ms` milliseconds for the next proof that was handed in for a current job. 1 where there is one. */
PEARLBED_UNUSED static int pearlbed_fake_next_proof(pearlbed_fake_host *host, uint32_t timeout_ms,
                                                    pearlbed_fake_proof *proof)
{
    struct timespec deadline = pearlbed_fake_deadline(timeout_ms);
    int found;
    pthread_mutex_lock(&host->lock);
    while (host->proofs_len == 0)
        if (pthread_cond_timedwait(&host->changed, &host->lock, &deadline) == ETIMEDOUT)
            break;
    found = host->proofs_len > 0;
    if (found) {
        *proof = host->proofs[0];
        host->proofs_len--;
        memmove(host->proofs, host->proofs + 1, host->proofs_len * sizeof *host->proofs);
    }
    pthread_mutex_unlock(&host->lock);
    return found;
}

/* Gives a proof's bytes back. */
PEARLBED_UNUSED static void pearlbed_fake_free(pearlbed_fake_proof *proof)
{
    free(proof->data);
    proof->data = NULL;
    proof->len = 0;
}

/* Hashes that were reported so far. */
PEARLBED_UNUSED static uint64_t pearlbed_fake_hashes(pearlbed_fake_host *host)
{
    uint64_t hashes;
    pthread_mutex_lock(&host->lock);
    hashes = host->hashes;
    pthread_mutex_unlock(&host->lock);
    return hashes;
}

/* Copies the last line that was logged, and answers its level: a PEARLBED_LOG_ number, or 0 where there was none. */
PEARLBED_UNUSED static uint32_t pearlbed_fake_line(pearlbed_fake_host *host, pearlbed_fake_text *line)
{
    uint32_t level;
    pthread_mutex_lock(&host->lock);
    *line = host->line;
    level = host->level;
    pthread_mutex_unlock(&host->lock);
    return level;
}

/* What the provider is given: the functions of pearlbed_host_table. */

static void pearlbed_fake_retain(void *context)
{
    pearlbed_fake_host *host = (pearlbed_fake_host *)context;
    pthread_mutex_lock(&host->lock);
    host->references++;
    pthread_mutex_unlock(&host->lock);
}

static void pearlbed_fake_release(void *context)
{
    pearlbed_fake_host *host = (pearlbed_fake_host *)context;
    pthread_mutex_lock(&host->lock);
    host->references--;
    pthread_mutex_unlock(&host->lock);
}

static uint32_t pearlbed_fake_next_job(void *context, uint32_t timeout_ms, pearlbed_job *job)
{
    pearlbed_fake_host *host = (pearlbed_fake_host *)context;
    struct timespec deadline = pearlbed_fake_deadline(timeout_ms);
    uint32_t answer = PEARLBED_NEXT_TIMED_OUT;
    pthread_mutex_lock(&host->lock);
    while (!host->closed && !host->waiting)
        if (pthread_cond_timedwait(&host->changed, &host->lock, &deadline) == ETIMEDOUT)
            break;
    if (host->closed) {
        answer = PEARLBED_NEXT_STOPPED;
    } else if (host->waiting) {
        *job = host->job;
        host->waiting = 0;
        answer = PEARLBED_NEXT_JOB;
    }
    pthread_mutex_unlock(&host->lock);
    return answer;
}

/* Whether a job is stale, by a caller that holds the lock. */
static int pearlbed_fake_is_over(const pearlbed_fake_host *host, uint64_t job_id)
{
    return host->withdrawn || job_id != host->job.id;
}

static uint32_t pearlbed_fake_is_stale(void *context, uint64_t job_id)
{
    pearlbed_fake_host *host = (pearlbed_fake_host *)context;
    int stale;
    pthread_mutex_lock(&host->lock);
    stale = host->closed || pearlbed_fake_is_over(host, job_id);
    pthread_mutex_unlock(&host->lock);
    return stale ? 1 : 0;
}

static uint32_t pearlbed_fake_submit(void *context, uint64_t job_id, pearlbed_bytes proof)
{
    pearlbed_fake_host *host = (pearlbed_fake_host *)context;
    uint8_t *copy = (uint8_t *)malloc(proof.len > 0 ? proof.len : 1);
    uint32_t answer = PEARLBED_SUBMIT_TAKEN;
    if (copy != NULL && proof.len > 0)
        memcpy(copy, proof.data, proof.len);
    pthread_mutex_lock(&host->lock);
    if (job_id == 0 || job_id > host->job.id) {
        answer = PEARLBED_SUBMIT_UNKNOWN_JOB;
    } else if (pearlbed_fake_is_over(host, job_id)) {
        answer = PEARLBED_SUBMIT_STALE;
    } else if (copy == NULL || host->proofs_len == PEARLBED_FAKE_PROOFS_MAX) {
        host->proofs_dropped++;
    } else {
        pearlbed_fake_proof *kept = &host->proofs[host->proofs_len++];
        kept->job = job_id;
        kept->data = copy;
        kept->len = proof.len;
        copy = NULL;
        pthread_cond_broadcast(&host->changed);
    }
    pthread_mutex_unlock(&host->lock);
    free(copy);
    return answer;
}

static void pearlbed_fake_progress(void *context, uint64_t hashes)
{
    pearlbed_fake_host *host = (pearlbed_fake_host *)context;
    pthread_mutex_lock(&host->lock);
    host->hashes += hashes;
    pthread_mutex_unlock(&host->lock);
}

static void pearlbed_fake_log(void *context, uint32_t level, pearlbed_bytes message)
{
    pearlbed_fake_host *host = (pearlbed_fake_host *)context;
    pthread_mutex_lock(&host->lock);
    host->level = level;
    host->line.len = 0;
    pearlbed_fake_write(&host->line, message);
    pthread_mutex_unlock(&host->lock);
}

static void pearlbed_fake_job_details(void *context, uint64_t job_id, pearlbed_sink out)
{
    /* Nothing is to be added to jobs of certificate versions 1 to 3. */
    (void)context, (void)job_id, (void)out;
}

/* Starts a provider that only computes, with the settings `extra`, a JSON object. Answers what `start` did; a reason is in
 * `error`. */
PEARLBED_UNUSED static uint32_t pearlbed_fake_start(pearlbed_fake_host *host, const pearlbed_provider_table *table,
                                                    void *instance, const char *extra, pearlbed_fake_text *error)
{
    pearlbed_config config;
    pearlbed_host_table given;
    uint32_t answer;
    memset(&config, 0, sizeof config);
    config.extra = pearlbed_lend(extra, strlen(extra));
    given.context = host;
    given.retain = pearlbed_fake_retain;
    given.release = pearlbed_fake_release;
    given.next_job = pearlbed_fake_next_job;
    given.is_stale = pearlbed_fake_is_stale;
    given.submit = pearlbed_fake_submit;
    given.progress = pearlbed_fake_progress;
    given.log = pearlbed_fake_log;
    given.job_details = pearlbed_fake_job_details;
    pthread_mutex_lock(&host->lock);
    host->closed = 0;
    pthread_mutex_unlock(&host->lock);
    pearlbed_fake_retain(host);
    answer = table->start(instance, &config, &given, pearlbed_fake_sink(error));
    pearlbed_fake_release(host);
    return answer;
}

/* Closes the host, so that there are no more jobs and every one is stale, and stops the provider. Answers what `stop` did; a
 * reason is in `error`. */
PEARLBED_UNUSED static uint32_t pearlbed_fake_stop(pearlbed_fake_host *host, const pearlbed_provider_table *table,
                                                   void *instance, pearlbed_fake_text *error)
{
    pthread_mutex_lock(&host->lock);
    host->closed = 1;
    pthread_cond_broadcast(&host->changed);
    pthread_mutex_unlock(&host->lock);
    return table->stop(instance, pearlbed_fake_sink(error));
}

#endif
