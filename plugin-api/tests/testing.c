/* The host for tests, by the rules that a real one keeps: a provider drives it once, and then each rule is looked at. */
#include "pearlbed_testing.h"

#include <stdio.h>

#define CHECK(what)                                                            \
    do {                                                                       \
        if (!(what)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

static void *waits(void *context)
{
    pearlbed_job job;
    /* For ever, but for a host that closes. */
    CHECK(pearlbed_fake_next_job(context, UINT32_MAX, &job) == PEARLBED_NEXT_STOPPED);
    return NULL;
}

int main(void)
{
    static pearlbed_fake_host host;
    static pearlbed_fake_text text, line;
    const pearlbed_provider_table *table = pearlbed_fake_door();
    pearlbed_fake_proof proof;
    pearlbed_job job;
    pthread_t thread;
    uint8_t header[76] = {0}, target[32] = {0};
    void *provider = NULL;
    uint64_t id;
    size_t i;

    CHECK(table != NULL);
    CHECK(table->create(&provider, pearlbed_fake_sink(&text)) == PEARLBED_OK);
    pearlbed_fake_open(&host);
    CHECK(!pearlbed_fake_next_proof(&host, 0, &proof));
    CHECK(pearlbed_fake_line(&host, &line) == 0);

    /* A job is given out as it was offered, and the proof comes back with it. */
    header[75] = 7;
    target[31] = 6;
    id = pearlbed_fake_offer(&host, header, target, 3);
    CHECK(id != 0);
    CHECK(pearlbed_fake_start(&host, table, provider, "{\"threads\":2}", &text) == PEARLBED_OK);
    CHECK(pearlbed_fake_next_proof(&host, 60000, &proof));
    CHECK(proof.job == id && proof.len == 4);
    CHECK(proof.data[0] == 7 && proof.data[1] == 6 && proof.data[2] == PEARLBED_JOB_RANK_PENALTY && proof.data[3] == 0);
    pearlbed_fake_free(&proof);
    CHECK(pearlbed_fake_hashes(&host) == 3);
    CHECK(pearlbed_fake_line(&host, &line) == PEARLBED_LOG_INFO && strcmp(line.text, "{\"threads\":2}") == 0);
    CHECK(pearlbed_fake_stop(&host, table, provider, &text) == PEARLBED_FAILED);
    CHECK(strcmp(text.text, "never stops") == 0);
    /* Closed, it has no jobs, and all are stale; a proof can still be handed in. */
    CHECK(pearlbed_fake_next_job(&host, 0, &job) == PEARLBED_NEXT_STOPPED);
    CHECK(pearlbed_fake_is_stale(&host, id) == 1);
    CHECK(pearlbed_fake_submit(&host, id, pearlbed_lend("x", 1)) == PEARLBED_SUBMIT_TAKEN);
    /* Without a job, this provider does not start, and says so. */
    CHECK(pearlbed_fake_start(&host, table, provider, "{}", &text) == PEARLBED_FAILED);
    CHECK(strcmp(text.text, "no job") == 0);

    /* Each job once, and older ones are stale; unknown ones are named. */
    CHECK(pearlbed_fake_offer(&host, header, target, 2) == id + 1);
    CHECK(pearlbed_fake_next_job(&host, 0, &job) == PEARLBED_NEXT_JOB);
    CHECK(job.id == id + 1 && job.certificate_version == 2 && memcmp(job.header, header, sizeof header) == 0);
    CHECK(pearlbed_fake_next_job(&host, 0, &job) == PEARLBED_NEXT_TIMED_OUT);
    CHECK(pearlbed_fake_is_stale(&host, id) == 1 && pearlbed_fake_is_stale(&host, id + 1) == 0);
    CHECK(pearlbed_fake_submit(&host, id, pearlbed_lend("x", 1)) == PEARLBED_SUBMIT_STALE);
    CHECK(pearlbed_fake_submit(&host, 0, pearlbed_lend("x", 1)) == PEARLBED_SUBMIT_UNKNOWN_JOB);
    CHECK(pearlbed_fake_submit(&host, id + 2, pearlbed_lend("x", 1)) == PEARLBED_SUBMIT_UNKNOWN_JOB);
    /* A flood of proofs is bounded, and an empty one is one. */
    for (i = 0; i < 2 * PEARLBED_FAKE_PROOFS_MAX; i++)
        CHECK(pearlbed_fake_submit(&host, id + 1, pearlbed_lend("", 0)) == PEARLBED_SUBMIT_TAKEN);
    for (i = 0; pearlbed_fake_next_proof(&host, 0, &proof); i++)
        pearlbed_fake_free(&proof);
    CHECK(i == PEARLBED_FAKE_PROOFS_MAX);
    pearlbed_fake_withdraw(&host);
    CHECK(pearlbed_fake_is_stale(&host, id + 1) == 1);
    /* A long line is cut, and stays a text. */
    for (i = 0; i < 2; i++) {
        char longer[4096];
        memset(longer, 'x', sizeof longer);
        pearlbed_fake_log(&host, PEARLBED_LOG_WARN, pearlbed_lend(longer, sizeof longer));
        CHECK(pearlbed_fake_line(&host, &line) == PEARLBED_LOG_WARN);
        CHECK(line.len == sizeof line.text - 1 && strlen(line.text) == line.len);
    }

    /* Who waits for a job hears of the end at once; who holds the host is counted. */
    pearlbed_fake_retain(&host);
    CHECK(pthread_create(&thread, NULL, waits, &host) == 0);
    CHECK(pearlbed_fake_stop(&host, table, provider, &text) == PEARLBED_FAILED);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pearlbed_fake_close(&host) == 1);
    pearlbed_fake_release(&host);
    /* What waits is given back. */
    CHECK(pearlbed_fake_submit(&host, id + 1, pearlbed_lend("x", 1)) == PEARLBED_SUBMIT_STALE);
    CHECK(pearlbed_fake_offer(&host, header, target, 1) == id + 2);
    CHECK(pearlbed_fake_submit(&host, id + 2, pearlbed_lend("x", 1)) == PEARLBED_SUBMIT_TAKEN);
    CHECK(pearlbed_fake_close(&host) == 0);
    table->destroy(provider);
    printf("all of it holds\n");
    return 0;
}
