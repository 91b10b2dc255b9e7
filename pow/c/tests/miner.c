/* Mines one block and verifies it, with pearl_pow.h and a plain loop; prints the jackpot of the first tile. */
#include <pearl_pow.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define K 2048
#define RANK 128
#define ROWS 16

static int8_t a[ROWS * K], bt[ROWS * K], a_noised[ROWS * K], bt_noised[ROWS * K];

/* The generator of the test vectors. */
static void fill(uint64_t state, int8_t *entries, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        entries[i] = (int8_t)((int)(((state * UINT64_C(0x2545f4914f6cdd1d)) >> 32) % 129) - 64);
    }
}

static void print(const char *name, const uint8_t bytes[32])
{
    printf("%s ", name);
    for (int i = 0; i < 32; i++)
        printf("%02x", bytes[i]);
    printf("\n");
}

int main(void)
{
    uint8_t header[PEARL_POW_HEADER_LEN] = {0}, config[PEARL_POW_CONFIG_LEN], key[32], root_a[32], root_bt[32];
    uint8_t seed_a[32], seed_b[32], jackpot[32], bound[32], target[32];
    uint32_t words[16] = {0}, plain[16];
    pearl_pow_error error;
    size_t len = 0;

    memset(target, 0xff, sizeof target);
    target[31] = 0; /* so easy that every tile is a hit, once it is scaled */
    fill(1, a, sizeof a);
    fill(2, bt, sizeof bt);
    if (pearl_pow_config_contiguous(K, RANK, ROWS, ROWS, config, &error) ||
        pearl_pow_job_key(header, config, key, &error) || pearl_pow_root(key, a, sizeof a, root_a, &error) ||
        pearl_pow_root(key, bt, sizeof bt, root_bt, &error) ||
        pearl_pow_seeds(3, key, root_a, ROWS, root_bt, ROWS, seed_a, seed_b, &error) ||
        pearl_pow_add_noise(PEARL_POW_A, seed_a, RANK, K, 0, a, sizeof a, a_noised, &error) ||
        pearl_pow_add_noise(PEARL_POW_BT, seed_b, RANK, K, 0, bt, sizeof bt, bt_noised, &error) ||
        pearl_pow_bound(target, config, 0, bound, &error)) {
        printf("%u: %s\n", (unsigned)error.code, error.text);
        return 1;
    }
    static int32_t sums[ROWS][ROWS];
    for (uint32_t slice = 0; slice < K / RANK; slice++) {
        uint32_t folded = 0;
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < ROWS; j++) {
                for (uint32_t l = slice * RANK; l < (slice + 1) * RANK; l++)
                    sums[i][j] += (int32_t)a_noised[i * K + (int)l] * bt_noised[j * K + (int)l];
                folded ^= (uint32_t)sums[i][j];
            }
        pearl_pow_fold(words, slice, folded);
    }
    if (pearl_pow_tile(config, a_noised, sizeof a_noised, bt_noised, sizeof bt_noised, plain, &error) ||
        memcmp(words, plain, sizeof words) != 0 || pearl_pow_jackpot(seed_a, words, jackpot, &error)) {
        printf("the loop and the library disagree\n");
        return 1;
    }
    print("jackpot", jackpot);
    print("seed_b", seed_b);
    if (!pearl_pow_is_hit(jackpot, bound)) {
        printf("no hit\n");
        return 1;
    }
    if (pearl_pow_prove(header, config, a, sizeof a, bt, sizeof bt, 0, 0, NULL, 0, &len, &error) != PEARL_POW_ROOM) {
        printf("no room needed?\n");
        return 1;
    }
    uint8_t *proof = (uint8_t *)malloc(len);
    if (pearl_pow_prove(header, config, a, sizeof a, bt, sizeof bt, 0, 0, proof, len, &len, &error) ||
        pearl_pow_verify(header, target, 3, 0, proof, len, &error)) {
        printf("%u: %s\n", (unsigned)error.code, error.text);
        return 1;
    }
    proof[len / 2] ^= 1;
    if (pearl_pow_verify(header, target, 3, 0, proof, len, &error) != PEARL_POW_REFUSED)
        return 1;
    printf("refused %s\n", error.text);
    free(proof);
    return 0;
}
