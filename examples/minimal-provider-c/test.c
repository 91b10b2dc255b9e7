/*
 * The provider as a host sees it, without loading it: linked into this program, which plays the host.
 */
#include <pearl_pow.h>
#include <pearlbed_testing.h>

#include <stdio.h>

/* Like assert, and never compiled away. */
#define CHECK(what)                                                              \
    do {                                                                         \
        if (!(what)) {                                                           \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);   \
            exit(1);                                                             \
        }                                                                        \
    } while (0)

enum { PATIENCE_MS = 120000 };

static pearlbed_fake_text text;

/* Waits for a proof of `job`, and holds it against the job. */
static void prove(pearlbed_fake_host *host, uint64_t job, const uint8_t header[76], const uint8_t target[32],
                  uint32_t version)
{
    pearlbed_fake_proof proof;
    pearl_pow_error error;
    CHECK(pearlbed_fake_next_proof(host, PATIENCE_MS, &proof));
    CHECK(proof.job == job);
    if (pearl_pow_verify(header, target, version, 1, proof.data, proof.len, &error) != PEARL_POW_OK) {
        fprintf(stderr, "a proof is refused: %s\n", error.text);
        exit(1);
    }
    pearlbed_fake_free(&proof);
}

/* Proofs are found for a job, and for the one that takes its place; then it is stopped. */
static void mines(const pearlbed_provider_table *table, void *provider, uint32_t version)
{
    pearlbed_fake_host host;
    pearlbed_fake_proof proof;
    pearlbed_stats numbers;
    pearlbed_fake_text last_error, details;
    uint8_t header[76], target[32] = {0};
    uint64_t job;
    memset(header, (int)version, sizeof header);
    target[28] = 64; /* 2^230, so that about one tile in a hundred is a hit */
    pearlbed_fake_open(&host);
    job = pearlbed_fake_offer(&host, header, target, version);
    CHECK(pearlbed_fake_start(&host, table, provider, "{}", &text) == PEARLBED_OK);
    CHECK(table->is_running(provider) == 1);
    prove(&host, job, header, target, version);
    header[0] ^= 1;
    job = pearlbed_fake_offer(&host, header, target, version);
    /* What was handed in for the first job before the second came. */
    while (pearlbed_fake_next_proof(&host, 0, &proof))
        pearlbed_fake_free(&proof);
    prove(&host, job, header, target, version);
    CHECK(table->stats(provider, &numbers, pearlbed_fake_sink(&last_error), pearlbed_fake_sink(&details),
                       pearlbed_fake_sink(&text)) == PEARLBED_OK);
    CHECK(numbers.jobs_taken == 2 && numbers.proofs_found >= 1 && last_error.len == 0);
    pearlbed_fake_withdraw(&host);
    CHECK(pearlbed_fake_stop(&host, table, provider, &text) == PEARLBED_OK);
    CHECK(table->is_running(provider) == 0 && pearlbed_fake_hashes(&host) > 0);
    CHECK(pearlbed_fake_stop(&host, table, provider, &text) == PEARLBED_OK); /* twice is no error */
    CHECK(pearlbed_fake_close(&host) == 0);                                  /* it has let go */
}

int main(void)
{
    const pearlbed_provider_table *table = pearlbed_fake_door();
    pearlbed_capabilities capabilities = {0, 0, 0};
    pearlbed_bytes nothing = pearlbed_lend("", 0);
    void *provider = NULL;
    uint32_t version;
    CHECK(table != NULL);
    table->manifest(pearlbed_fake_sink(&text));
    CHECK(strstr(text.text, "\"id\":\"minimal-provider-c\"") != NULL);
    CHECK(table->create(&provider, pearlbed_fake_sink(&text)) == PEARLBED_OK);
    CHECK(table->detect(provider, pearlbed_lend("{}", 2), nothing, nothing, &capabilities, pearlbed_fake_sink(&text),
                        pearlbed_fake_sink(&text)) == PEARLBED_OK);
    CHECK(capabilities.supported == 1);
    for (version = 1; version <= 3; version++)
        mines(table, provider, version);
    table->destroy(provider);
    printf("all of it holds\n");
    return 0;
}
