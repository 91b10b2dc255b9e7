/*
 * pearl_pow.h - the Pearl proof of work, for kernels in C and C++: everything but the product of the tiles.
 *
 * The order in which a miner needs it, for one job (a 76-byte header, a target, a certificate version):
 *
 *   config        pearl_pow_config_contiguous: which product is computed, k, the rank, the shape of a tile
 *   job key       pearl_pow_job_key
 *   matrices      A (m x k) and B transposed (n x k), int8 from -64 to 64, from the system's randomness
 *   roots         pearl_pow_root of each
 *   seeds         pearl_pow_seeds
 *   noise         pearl_pow_add_noise to each matrix, or pearl_pow_noise_pairs and pearl_pow_noise_dense in the kernel
 *   bound         pearl_pow_bound
 *   each tile     your kernel: after every `rank` columns, the exclusive or of all sums goes into pearl_pow_fold
 *   jackpot       pearl_pow_jackpot of the sixteen words; pearl_pow_is_hit against the bound
 *   proof         pearl_pow_prove, for what is to be handed in; pearl_pow_verify, to see it as the host will
 *
 * The sections that are named are those of docs/pearl-protocol.md.
 *
 * RULES
 *   Nothing is allocated across the boundary: every result goes into memory of the caller's, whose size is passed along.
 *   A pointer may be NULL only where it says so. Inputs and outputs do not overlap. Nothing is kept between calls, so all
 *   functions may be called from all threads at the same time.
 *   What can fail returns a PEARL_POW_ code, 0 for success, and writes it with a text to `error`, which may be NULL.
 *   Outputs are meaningless after a failure, unless it says otherwise. No function unwinds or ends the program.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef PEARL_POW_H
#define PEARL_POW_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PEARL_POW_HEADER_LEN 76
#define PEARL_POW_CONFIG_LEN 52
#define PEARL_POW_HASH_LEN 32

#define PEARL_POW_OK 0
#define PEARL_POW_NULL 1        /* a pointer is NULL that must not be */
#define PEARL_POW_LENGTH 2      /* a length does not fit the others */
#define PEARL_POW_VALUE 3       /* a number or a configuration is not allowed */
#define PEARL_POW_CERTIFICATE 4 /* a certificate version that this library does not know */
#define PEARL_POW_ROOM 5        /* the result needs more room; its length was written */
#define PEARL_POW_REFUSED 6     /* the proof is not valid */
#define PEARL_POW_FAULT 7       /* a fault of this library's */

#define PEARL_POW_A 0  /* the left matrix, m x k */
#define PEARL_POW_BT 1 /* the right matrix transposed, n x k */

/* Why a call failed. `text` ends with a NUL, and is cut where it has no room. */
typedef struct pearl_pow_error {
    uint32_t code;
    char text[252];
} pearl_pow_error;

/* The version of this library, such as "0.1.0". */
const char *pearl_pow_version(void);

/* The 52 bytes of a dense product (section 2.1) with `k` columns, noise of rank `rank`, and tiles of `rows` neighbouring
 * rows of A and `columns` neighbouring columns of B. Refuses what no network takes (section 7). */
uint32_t pearl_pow_config_contiguous(uint32_t k, uint16_t rank, uint32_t rows, uint32_t columns,
                                     uint8_t config[PEARL_POW_CONFIG_LEN], pearl_pow_error *error);

/* The same with tiles of the rows and columns at these offsets, ascending from 0, which must follow a periodic pattern
 * (section 2.2). */
uint32_t pearl_pow_config_offsets(uint32_t k, uint16_t rank, const uint64_t *rows, size_t rows_count,
                                  const uint64_t *columns, size_t columns_count, uint8_t config[PEARL_POW_CONFIG_LEN],
                                  pearl_pow_error *error);

/* Multiply-accumulates, and so hashes, of one tile (section 6.2). */
uint32_t pearl_pow_hashes_per_tile(const uint8_t config[PEARL_POW_CONFIG_LEN], uint64_t *hashes,
                                   pearl_pow_error *error);

/* The job key (section 3). */
uint32_t pearl_pow_job_key(const uint8_t header[PEARL_POW_HEADER_LEN], const uint8_t config[PEARL_POW_CONFIG_LEN],
                           uint8_t key[PEARL_POW_HASH_LEN], pearl_pow_error *error);

/* The root of a matrix of `len` entries under the job key (section 8). */
uint32_t pearl_pow_root(const uint8_t key[PEARL_POW_HASH_LEN], const int8_t *entries, size_t len,
                        uint8_t root[PEARL_POW_HASH_LEN], pearl_pow_error *error);

/* The seeds of the noise from both roots and the number of rows of A (m) and of B transposed (n) (section 3). `seed_b`
 * depends on B alone: it stays while the job and B do. */
uint32_t pearl_pow_seeds(uint32_t certificate_version, const uint8_t key[PEARL_POW_HASH_LEN],
                         const uint8_t root_a[PEARL_POW_HASH_LEN], uint32_t m,
                         const uint8_t root_bt[PEARL_POW_HASH_LEN], uint32_t n, uint8_t seed_a[PEARL_POW_HASH_LEN],
                         uint8_t seed_b[PEARL_POW_HASH_LEN], pearl_pow_error *error);

/* The sparse factor of the noise of `side` (section 4): for each of `columns` columns the place in a dense row that counts
 * with +1 and the one that counts with -1. The seed is seed_a for PEARL_POW_A, seed_b for PEARL_POW_BT. */
uint32_t pearl_pow_noise_pairs(uint32_t side, const uint8_t seed[PEARL_POW_HASH_LEN], uint16_t rank, uint32_t columns,
                               uint16_t *plus, uint16_t *minus, pearl_pow_error *error);

/* One row of the dense factor (section 4): `rank` numbers from -32 to 31. `row` is below 2^24. */
uint32_t pearl_pow_noise_dense(uint32_t side, const uint8_t seed[PEARL_POW_HASH_LEN], uint16_t rank, uint32_t row,
                               int8_t *dense, pearl_pow_error *error);

/* Adds the noise to the rows `first_row` and following of a matrix: `len` entries, whole rows of `columns`, from `entries`
 * to `noised`. What is added to an entry of -64 to 64 stays an int8. */
uint32_t pearl_pow_add_noise(uint32_t side, const uint8_t seed[PEARL_POW_HASH_LEN], uint16_t rank, uint32_t columns,
                             uint32_t first_row, const int8_t *entries, size_t len, int8_t *noised,
                             pearl_pow_error *error);

/* Folds the exclusive or of all sums after slice number `slice` (0 is the first) into the sixteen words (section 5), which
 * begin as zeros. `words` is not NULL. */
void pearl_pow_fold(uint32_t words[16], uint32_t slice, uint32_t xor_of_sums);

/* The sixteen words of a tile, by a plain loop: what a kernel is compared with. `a` holds the noised rows of the tile one
 * after the other, `bt` those of B transposed, each of the configuration's k - k mod rank columns. */
uint32_t pearl_pow_tile(const uint8_t config[PEARL_POW_CONFIG_LEN], const int8_t *a, size_t a_len, const int8_t *bt,
                        size_t bt_len, uint32_t words[16], pearl_pow_error *error);

/* The jackpot of sixteen words: 32 bytes, a number whose first byte is the least significant one (section 5). */
uint32_t pearl_pow_jackpot(const uint8_t seed_a[PEARL_POW_HASH_LEN], const uint32_t words[16],
                           uint8_t jackpot[PEARL_POW_HASH_LEN], pearl_pow_error *error);

/* The bound of a job for tiles of this configuration (sections 6.2 and 6.3): a job's target, scaled by the work in a tile.
 * Both numbers have their least significant byte first. `rank_penalty`: 1 if the job's flag is set, else 0. */
uint32_t pearl_pow_bound(const uint8_t target[PEARL_POW_HASH_LEN], const uint8_t config[PEARL_POW_CONFIG_LEN],
                         uint32_t rank_penalty, uint8_t bound[PEARL_POW_HASH_LEN], pearl_pow_error *error);

/* 1 if the jackpot is not above the bound, else 0. Neither is NULL. */
uint32_t pearl_pow_is_hit(const uint8_t jackpot[PEARL_POW_HASH_LEN], const uint8_t bound[PEARL_POW_HASH_LEN]);

/*
 * The plain proof of a tile (section 9): what is handed in. `a` and `bt` are the matrices without noise, as they were
 * committed to, m and n rows of k entries; `row` and `column` the first row of A and the first column of B of the tile.
 *
 * Writes at most `room` bytes to `proof`, and its length to `len`. Where the room is too small, the answer is
 * PEARL_POW_ROOM and `len` says how much it takes; so `proof` may be NULL with a room of 0. Hashes both matrices once.
 */
uint32_t pearl_pow_prove(const uint8_t header[PEARL_POW_HEADER_LEN], const uint8_t config[PEARL_POW_CONFIG_LEN],
                         const int8_t *a, size_t a_len, const int8_t *bt, size_t bt_len, uint64_t row, uint64_t column,
                         uint8_t *proof, size_t room, size_t *len, pearl_pow_error *error);

/* Verifies a plain proof as the host does (section 7). `target` is the job's; NULL takes the one in the header. The text
 * of PEARL_POW_REFUSED says at which stage and why. */
uint32_t pearl_pow_verify(const uint8_t header[PEARL_POW_HEADER_LEN], const uint8_t *target,
                          uint32_t certificate_version, uint32_t rank_penalty, const uint8_t *proof, size_t len,
                          pearl_pow_error *error);

#ifdef __cplusplus
}
#endif

#endif
