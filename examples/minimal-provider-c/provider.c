/*
 * The smallest useful provider in C: copy it, and put your kernel where `multiply` is.
 *
 * One thread tries one tile of random matrices after the other, with pearl_pow.h for everything but the product.
 */
#include <pearl_pow.h>
#include <pearlbed.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

PEARLBED_MANIFEST_TEXT("{\"schema\":1,\"id\":\"minimal-provider-c\",\"version\":\"0.1.0\","
                       "\"vendor\":\"The pearlbed developers\",\"license\":\"MIT OR Apache-2.0\",\"homepage\":\"\","
                       "\"summary\":\"The text to copy, in C.\",\"plugin_api\":[1],\"certificate_versions\":[1,2,3],"
                       "\"platforms\":[\"" PEARLBED_PLATFORM "\"],\"engines\":[],\"permissions\":[]}");

enum { K = 2048, RANK = 128, TILE = 16 };

/* One instance: what its thread shares with whoever asks. */
typedef struct provider {
    pthread_mutex_t lock; /* guards all that follows */
    pthread_t thread;
    int started;          /* there is a thread to join */
    int running;          /* it mines */
    pearlbed_host_table host;
    pearlbed_stats stats;
    struct timespec since;
    char last_error[256];
} provider;

/* What the thread works on. */
typedef struct work {
    int8_t a[TILE * K], bt[TILE * K], a_noised[TILE * K], bt_noised[TILE * K];
    uint8_t config[PEARL_POW_CONFIG_LEN];
    uint64_t hashes_per_tile;
    uint64_t untold; /* hashes that nobody was told of yet */
    uint8_t proof[128 * 1024]; /* more than any of this shape */
    FILE *random;
    pearl_pow_error error;
} work;

/* Your kernel: the sixteen words of one tile. */
static void multiply(const int8_t *a, const int8_t *bt, uint32_t words[16])
{
    int32_t sums[TILE][TILE] = {{0}};
    for (uint32_t slice = 0; slice < K / RANK; slice++) {
        uint32_t folded = 0;
        for (size_t i = 0; i < TILE; i++) {
            for (size_t j = 0; j < TILE; j++) {
                const int8_t *row = a + i * K + slice * RANK, *column = bt + j * K + slice * RANK;
                for (size_t l = 0; l < RANK; l++)
                    sums[i][j] += (int32_t)row[l] * column[l];
                folded ^= (uint32_t)sums[i][j];
            }
        }
        pearl_pow_fold(words, slice, folded);
    }
}

/* New entries, -64 to 63, from the system's randomness: two miners with the same matrices would do the same work. */
static int draw(FILE *random, int8_t *entries, size_t len)
{
    if (fread(entries, 1, len, random) != len)
        return -1;
    for (size_t i = 0; i < len; i++)
        entries[i] = (int8_t)((entries[i] & 127) - 64);
    return 0;
}

/* Tries one tile for `job`, and hands in a proof of it if it is a hit. 0, or a failure that ends mining. */
static int try_tile(provider *self, work *work, const pearlbed_job *job, const uint8_t key[32], const uint8_t bound[32])
{
    uint8_t root_a[32], root_bt[32], seed_a[32], seed_b[32], jackpot[32];
    uint32_t words[16] = {0};
    pearl_pow_error *error = &work->error;
    if (draw(work->random, work->a, sizeof work->a) || draw(work->random, work->bt, sizeof work->bt)) {
        snprintf(error->text, sizeof error->text, "/dev/urandom cannot be read");
        return -1;
    }
    if (pearl_pow_root(key, work->a, sizeof work->a, root_a, error) ||
        pearl_pow_root(key, work->bt, sizeof work->bt, root_bt, error) ||
        pearl_pow_seeds(job->certificate_version, key, root_a, TILE, root_bt, TILE, seed_a, seed_b, error) ||
        pearl_pow_add_noise(PEARL_POW_A, seed_a, RANK, K, 0, work->a, sizeof work->a, work->a_noised, error) ||
        pearl_pow_add_noise(PEARL_POW_BT, seed_b, RANK, K, 0, work->bt, sizeof work->bt, work->bt_noised, error))
        return -1;
    multiply(work->a_noised, work->bt_noised, words);
    if (pearl_pow_jackpot(seed_a, words, jackpot, error))
        return -1;
    if (pearl_pow_is_hit(jackpot, bound)) {
        size_t len = 0;
        if (pearl_pow_prove(job->header, work->config, work->a, sizeof work->a, work->bt, sizeof work->bt, 0, 0,
                            work->proof, sizeof work->proof, &len, error))
            return -1;
        /* What is not taken is stale by now. */
        if (self->host.submit(self->host.context, job->id, pearlbed_lend(work->proof, len)) == PEARLBED_SUBMIT_TAKEN) {
            pthread_mutex_lock(&self->lock);
            self->stats.proofs_found++;
            pthread_mutex_unlock(&self->lock);
        }
    }
    work->untold += work->hashes_per_tile;
    return 0;
}

/* Tells the host and the numbers what was done since the last time; ten times a second is enough. */
static void tell(provider *self, work *work)
{
    self->host.progress(self->host.context, work->untold);
    pthread_mutex_lock(&self->lock);
    self->stats.hashes += work->untold;
    pthread_mutex_unlock(&self->lock);
    work->untold = 0;
}

/* Takes jobs until the host has no more of them. */
static int mine_all(provider *self, work *work)
{
    const pearlbed_host_table *host = &self->host;
    pearlbed_job job;
    uint32_t next;
    if (pearl_pow_config_contiguous(K, RANK, TILE, TILE, work->config, &work->error) ||
        pearl_pow_hashes_per_tile(work->config, &work->hashes_per_tile, &work->error))
        return -1;
    while ((next = host->next_job(host->context, 1000, &job)) != PEARLBED_NEXT_STOPPED) {
        uint8_t key[32], bound[32];
        if (next != PEARLBED_NEXT_JOB)
            continue;
        pthread_mutex_lock(&self->lock);
        self->stats.jobs_taken++;
        pthread_mutex_unlock(&self->lock);
        if (pearl_pow_job_key(job.header, work->config, key, &work->error) ||
            pearl_pow_bound(job.target, work->config, job.flags & PEARLBED_JOB_RANK_PENALTY, bound, &work->error))
            return -1;
        for (uint32_t number = 1; !host->is_stale(host->context, job.id); number++) {
            if (try_tile(self, work, &job, key, bound))
                return -1;
            if (number % 16 == 0)
                tell(self, work);
        }
        tell(self, work);
    }
    return 0;
}

static void *mine(void *instance)
{
    provider *self = (provider *)instance;
    work *mine = (work *)calloc(1, sizeof *mine);
    const char *why = NULL;
    if (mine == NULL || (mine->random = fopen("/dev/urandom", "rb")) == NULL)
        why = "no memory, or no /dev/urandom";
    else if (mine_all(self, mine))
        why = mine->error.text;
    pthread_mutex_lock(&self->lock);
    self->running = 0;
    if (why != NULL)
        snprintf(self->last_error, sizeof self->last_error, "%s", why);
    pthread_mutex_unlock(&self->lock);
    if (why != NULL)
        self->host.log(self->host.context, PEARLBED_LOG_ERROR, pearlbed_lend(why, strlen(why)));
    if (mine != NULL && mine->random != NULL)
        fclose(mine->random);
    free(mine);
    return NULL;
}

static uint32_t create(void **instance, pearlbed_sink error)
{
    provider *self = (provider *)calloc(1, sizeof *self);
    if (self == NULL)
        return pearlbed_fail(error, "no memory");
    pthread_mutex_init(&self->lock, NULL);
    *instance = self;
    return PEARLBED_OK;
}

static void destroy(void *instance)
{
    provider *self = (provider *)instance;
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static uint32_t detect(void *instance, pearlbed_bytes hardware, pearlbed_bytes engine_id, pearlbed_bytes model,
                       pearlbed_capabilities *capabilities, pearlbed_sink reason, pearlbed_sink error)
{
    (void)instance, (void)hardware, (void)engine_id, (void)model, (void)error;
    capabilities->supported = 1;
    pearlbed_put_text(reason, "slow on purpose: one thread, no kernel");
    return PEARLBED_OK;
}

static uint32_t start(void *instance, const pearlbed_config *config, const pearlbed_host_table *host,
                      pearlbed_sink error)
{
    provider *self = (provider *)instance;
    uint32_t answer = PEARLBED_OK;
    (void)config;
    pthread_mutex_lock(&self->lock);
    self->host = *host;
    self->host.retain(self->host.context);
    memset(&self->stats, 0, sizeof self->stats);
    self->last_error[0] = '\0';
    clock_gettime(CLOCK_MONOTONIC, &self->since);
    self->running = 1;
    if (pthread_create(&self->thread, NULL, mine, self) == 0) {
        self->started = 1;
    } else {
        self->running = 0;
        self->host.release(self->host.context);
        answer = pearlbed_fail(error, "no thread could be started");
    }
    pthread_mutex_unlock(&self->lock);
    return answer;
}

/* The host has closed by now: `next_job` and `is_stale` end the thread. */
static uint32_t stop(void *instance, pearlbed_sink error)
{
    provider *self = (provider *)instance;
    (void)error;
    if (self->started) {
        pthread_join(self->thread, NULL);
        self->started = 0;
        self->host.release(self->host.context);
    }
    return PEARLBED_OK;
}

static uint32_t is_running(void *instance)
{
    provider *self = (provider *)instance;
    pthread_mutex_lock(&self->lock);
    uint32_t running = (uint32_t)self->running;
    pthread_mutex_unlock(&self->lock);
    return running;
}

static uint32_t stats(void *instance, pearlbed_stats *answer, pearlbed_sink last_error, pearlbed_sink details,
                      pearlbed_sink error)
{
    provider *self = (provider *)instance;
    struct timespec now;
    (void)details, (void)error;
    clock_gettime(CLOCK_MONOTONIC, &now);
    pthread_mutex_lock(&self->lock);
    *answer = self->stats;
    if (self->running) {
        answer->uptime_seconds =
            (double)(now.tv_sec - self->since.tv_sec) + (double)(now.tv_nsec - self->since.tv_nsec) / 1e9;
        answer->hashrate = answer->uptime_seconds > 0 ? (double)answer->hashes / answer->uptime_seconds : 0;
    }
    pearlbed_put_text(last_error, self->last_error);
    pthread_mutex_unlock(&self->lock);
    return PEARLBED_OK;
}

static const pearlbed_provider_table table = {
    pearlbed_manifest, create, destroy, detect, start, stop, is_running, stats,
};
PEARLBED_DOOR(table);
