/*
 * pearlbed.h - the plugin contract of pearlbed, version 1, for C and C++.
 *
 * A provider is a shared library that takes jobs from its host and gives back proofs. This header is all that one
 * needs to be loaded: the types of the boundary, a door through which the host finds the table of functions, and the
 * section in which the library says who it is. The table of version 1 is frozen: it never changes, not even by
 * appending, and every later host speaks it.
 *
 *   #include <pearlbed.h>
 *
 *   PEARLBED_MANIFEST({
 *       "schema": 1, "id": "my-provider", "version": "0.1.0", "vendor": "Me", "license": "MIT",
 *       "plugin_api": [1], "certificate_versions": [1, 2, 3], "platforms": ["linux-x86_64"], "permissions": []
 *   });
 *   static const pearlbed_provider_table table = {
 *       pearlbed_manifest, create, destroy, detect, start, stop, is_running, stats
 *   };
 *   PEARLBED_DOOR(table);
 *
 * Compile with -shared -fPIC -fvisibility=hidden. Each of the two macros stands once in a library, at file scope.
 *
 * OWNERSHIP
 *   A pearlbed_bytes is borrowed for the duration of the call that it is passed to; who needs it longer copies it. Text
 *   is UTF-8 and not terminated by a NUL. A pearlbed_sink may be written to, any number of times but by one thread at a
 *   time, until the call that it was passed to returns. Nothing is freed across the boundary.
 *
 * STATUS
 *   A call that can fail answers PEARLBED_OK, PEARLBED_FAILED or PEARLBED_PANICKED and writes its reason to `error`: one
 *   sentence that a user can act on. What it wrote elsewhere counts only with PEARLBED_OK.
 *
 * THREADS
 *   detect, is_running and stats may be called at any time and from any thread, also while another call is in progress.
 *   start and stop are never called while another start or stop of the same instance is in progress. The host's
 *   functions may be called from any thread, also at the same time and while a function of the provider runs. is_stale
 *   and progress never wait; the others may.
 *
 * ORDER OF CALLS
 *   create comes first. After a start that answered PEARLBED_OK, the next is not called before a stop that did; an
 *   instance can be started again then. stop may also be called where nothing is started, which is no error. destroy
 *   comes last, and only where nothing is started: an instance whose stop failed is abandoned, never destroyed.
 *
 * STOPPING
 *   Before a host calls stop it closes: next_job answers PEARLBED_NEXT_STOPPED, soon (50 ms) also where it is waiting,
 *   and is_stale answers 1 for every job. A provider whose threads ask both needs no flag of its own; stop joins them.
 *   It may close while start is still in progress, so that a long one can give up. A proof can still be handed in.
 *
 * UNWINDING
 *   No function on either side may unwind: no C++ exception and no longjmp leaves it. In C++, catch everything.
 *
 * PURITY
 *   The library's constructors, pearlbed_door_open, manifest, create and detect run in a probe as well, where nothing
 *   but reading and computing is allowed: no program, no file to write, no network, no thread that stays. The probe has
 *   about two seconds.
 *
 * What the host checks of all this: docs/contract.md, and `pearlbed plugins verify FILE`. A host for a provider's own tests:
 * pearlbed_testing.h.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef PEARLBED_H
#define PEARLBED_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the table in this header. */
#define PEARLBED_TABLE_VERSION 1

/* What a call that can fail answers. */
#define PEARLBED_OK 0       /* it did what it says */
#define PEARLBED_FAILED 1   /* it failed; its error sink has the reason */
#define PEARLBED_PANICKED 2 /* it failed by a fault of its own; its error sink has the message */

/* What next_job answers. */
#define PEARLBED_NEXT_JOB 0       /* a job was written */
#define PEARLBED_NEXT_TIMED_OUT 1 /* there was none in that time */
#define PEARLBED_NEXT_STOPPED 2   /* the session is ending: there will be none */

/* What submit answers. */
#define PEARLBED_SUBMIT_TAKEN 0       /* the proof was taken for verification */
#define PEARLBED_SUBMIT_STALE 1       /* the job is stale, the proof was dropped */
#define PEARLBED_SUBMIT_UNKNOWN_JOB 2 /* no such job was handed out */
#define PEARLBED_SUBMIT_TOO_LARGE 3   /* more bytes than any valid proof has */
#define PEARLBED_SUBMIT_STOPPED 4     /* the session is ending */

/* pearlbed_config.submit_kind */
#define PEARLBED_SUBMIT_SOLO 0 /* submit_url is a node's RPC address */
#define PEARLBED_SUBMIT_POOL 1 /* submit_url is a pool's address */

/* pearlbed_job.flags */
#define PEARLBED_JOB_RANK_PENALTY 1 /* the jackpot is held against the penalised bound */

/* Levels of log. */
#define PEARLBED_LOG_ERROR 1 /* mining suffers */
#define PEARLBED_LOG_WARN 2  /* mining may suffer */
#define PEARLBED_LOG_INFO 3  /* worth telling once */
#define PEARLBED_LOG_DEBUG 4 /* for the author */
#define PEARLBED_LOG_TRACE 5 /* for the author, in quantity */

/* Bounds that the host keeps: what is longer is cut (log), or no answer (all else). In bytes. */
#define PEARLBED_MANIFEST_MAX 65536 /* a manifest */
#define PEARLBED_TEXT_MAX 65536     /* a reason, an error, a line of log */
#define PEARLBED_DETAILS_MAX 1048576 /* the details of stats */

/* Bytes lent for a call. `data` may be NULL if `len` is 0. */
typedef struct pearlbed_bytes {
    const uint8_t *data;
    size_t len;
} pearlbed_bytes;

/* Where a call writes text or bytes of a length that only it knows. `context` goes to `write` untouched. */
typedef struct pearlbed_sink {
    void *context;
    void (*write)(void *context, pearlbed_bytes bytes);
} pearlbed_sink;

/* What detect answers beside the reason. */
typedef struct pearlbed_capabilities {
    uint32_t supported;              /* 1 if the provider can mine here, else 0 */
    uint32_t has_estimated_hashrate; /* 1 if the next member holds a value, else 0 */
    double estimated_hashrate;       /* hashes (int8 multiply-accumulates) per second */
} pearlbed_capabilities;

/* What a provider is started with. A provider that only computes gets an empty address and an empty target. */
typedef struct pearlbed_config {
    pearlbed_bytes provider;           /* the provider id from the user's configuration */
    pearlbed_bytes wallet_address;     /* the payout address, or empty */
    uint32_t submit_kind;              /* PEARLBED_SUBMIT_SOLO or PEARLBED_SUBMIT_POOL */
    uint32_t fee_bps;                  /* 0 */
    pearlbed_bytes submit_url;         /* the node's or pool's address, or empty */
    pearlbed_bytes worker_id;          /* the worker's name at the pool, or empty */
    pearlbed_bytes fee_payout_address; /* empty */
    pearlbed_bytes extra;              /* the provider's own settings: a JSON object */
} pearlbed_config;

/* One unit of work. */
typedef struct pearlbed_job {
    uint64_t id;                  /* the host's name for it, unique within the process and never 0 */
    uint8_t header[76];           /* the incomplete block header; a miner changes no byte of it */
    uint32_t certificate_version; /* which certificate the network wants */
    uint8_t target[32];           /* the unscaled target: a 256-bit number, least significant byte first */
    uint32_t flags;               /* PEARLBED_JOB_RANK_PENALTY or 0 */
    uint32_t reserved;            /* 0 */
} pearlbed_job;

/* What stats answers beside its texts. */
typedef struct pearlbed_stats {
    uint64_t hashes;       /* done since start */
    uint64_t proofs_found; /* handed to the host since start */
    uint64_t jobs_taken;   /* since start */
    double hashrate;       /* hashes per second over the recent past, by the provider's own reckoning */
    double uptime_seconds; /* since start; 0 if not running */
} pearlbed_stats;

/*
 * What a provider may ask of its host. The provider may copy the table. It stays usable while the provider holds a
 * reference to the context: it is lent one until start returns, and takes more with retain. So: copy the table and call
 * retain in start; call release when the last thread that uses the copy is gone.
 */
typedef struct pearlbed_host_table {
    /* Passed to every function untouched. */
    void *context;
    /* Takes one more reference to `context`. */
    void (*retain)(void *context);
    /* Gives one reference to `context` back. */
    void (*release)(void *context);
    /* Waits at most `timeout_ms` milliseconds for a job that was not handed out before, and writes it to `job`. Each job
     * is handed out once, to one caller; every older one is stale then. Answers a PEARLBED_NEXT_ number. */
    uint32_t (*next_job)(void *context, uint32_t timeout_ms, pearlbed_job *job);
    /* 1 if work on job `job_id` is wasted, else 0. One load from memory: ask often. */
    uint32_t (*is_stale)(void *context, uint64_t job_id);
    /* Hands in a plain proof (the protocol's bytes, not their text form). Answers a PEARLBED_SUBMIT_ number. */
    uint32_t (*submit)(void *context, uint64_t job_id, pearlbed_bytes proof);
    /* Reports `hashes` done since the last report, of whichever thread. Ten times a second is plenty. */
    void (*progress)(void *context, uint64_t hashes);
    /* Writes one line to the session's log. */
    void (*log)(void *context, uint32_t level, pearlbed_bytes message);
    /* Writes what the fields of job `job_id` do not hold: a JSON object, or nothing where there is nothing to add, as for
     * certificate versions 1 to 3. */
    void (*job_details)(void *context, uint64_t job_id, pearlbed_sink out);
} pearlbed_host_table;

/* One mining provider. Every member is a function of this very library; none is NULL. */
typedef struct pearlbed_provider_table {
    /* Writes the manifest: the same JSON as in the section. */
    void (*manifest)(pearlbed_sink out);
    /* Makes an instance and writes it to `instance`; NULL is an instance like any other. As pure as detect. */
    uint32_t (*create)(void **instance, pearlbed_sink error);
    /* Ends an instance. Nothing is started, no call on it is in progress, and none follows. */
    void (*destroy)(void *instance);
    /* Answers whether the provider can mine on `hardware` (a JSON object) with the inference engine `engine_id` and the
     * model `model`, both empty where neither matters. `reason` is shown verbatim: why not, or a remark, one line. */
    uint32_t (*detect)(void *instance, pearlbed_bytes hardware, pearlbed_bytes engine_id, pearlbed_bytes model,
                       pearlbed_capabilities *capabilities, pearlbed_sink reason, pearlbed_sink error);
    /* Starts mining on threads of the provider's own, and returns. `config` is lent for the call, `host` may be copied. */
    uint32_t (*start)(void *instance, const pearlbed_config *config, const pearlbed_host_table *host,
                      pearlbed_sink error);
    /* Stops mining, and returns when no thread of the provider works any more. */
    uint32_t (*stop)(void *instance, pearlbed_sink error);
    /* 1 while mining, else 0: also 0 after a failure of the provider's own. */
    uint32_t (*is_running)(void *instance);
    /* Answers with the provider's own numbers; `details` is a JSON object or nothing. Cheap: asked once a second. */
    uint32_t (*stats)(void *instance, pearlbed_stats *stats, pearlbed_sink last_error, pearlbed_sink details,
                      pearlbed_sink error);
} pearlbed_provider_table;

/*
 * What pearlbed_door_open answers: where the table lies. Frozen. It and the table lie in memory that nobody writes to
 * (`const`, and linked with the linker's default `-z relro`), valid for the life of the process.
 */
typedef struct pearlbed_door {
    uint64_t magic;      /* PEARLBED_DOOR_MAGIC */
    uint32_t size;       /* of this struct, in bytes */
    uint32_t version;    /* of the table: what was asked for */
    uint64_t table_size; /* in bytes */
    const void *table;   /* a pearlbed_provider_table, for version 1 */
} pearlbed_door;

#define PEARLBED_DOOR_MAGIC UINT64_C(0x5052494c44424544)

#if defined(__GNUC__)
#define PEARLBED_EXPORT __attribute__((visibility("default")))
#define PEARLBED_UNUSED __attribute__((unused))
#else
#define PEARLBED_EXPORT
#define PEARLBED_UNUSED
#endif

/*
 * The way in: answers the door to the table of version `version`, or NULL if the library has none of it. Has no effect,
 * never unwinds, answers the same each time, and may be called from any thread at any time. PEARLBED_DOOR defines it.
 */
PEARLBED_EXPORT const pearlbed_door *pearlbed_door_open(uint32_t version);

/* Defines pearlbed_door_open for a table of version 1, a static const pearlbed_provider_table. */
#define PEARLBED_DOOR(provider_table)                                                                   \
    PEARLBED_EXPORT const pearlbed_door *pearlbed_door_open(uint32_t version)                           \
    {                                                                                                   \
        static const pearlbed_door door = {PEARLBED_DOOR_MAGIC, sizeof(pearlbed_door),                  \
                                           PEARLBED_TABLE_VERSION, sizeof(pearlbed_provider_table),     \
                                           &(provider_table)};                                          \
        return version == PEARLBED_TABLE_VERSION ? &door : NULL;                                        \
    }                                                                                                   \
    /* Takes the semicolon that follows. */                                                             \
    PEARLBED_EXPORT const pearlbed_door *pearlbed_door_open(uint32_t version)

/* What this is compiled for, as a manifest's `platforms` says it. */
#if defined(__linux__) && defined(__x86_64__)
#define PEARLBED_PLATFORM "linux-x86_64"
#elif defined(__linux__) && defined(__aarch64__)
#define PEARLBED_PLATFORM "linux-aarch64"
#elif defined(__APPLE__) && defined(__x86_64__)
#define PEARLBED_PLATFORM "macos-x86_64"
#elif defined(__APPLE__) && defined(__aarch64__)
#define PEARLBED_PLATFORM "macos-aarch64"
#else
#define PEARLBED_PLATFORM "unknown"
#endif

/*
 * The section that says who the library is, and that hosts read without running anything: UTF-8 JSON, at most
 * PEARLBED_MANIFEST_MAX bytes; NUL bytes at its end are padding. ELF: `.pearlbed.manifest`; Mach-O:
 * `__DATA,__pearlbed`. `retain` keeps it where a linker drops what nobody refers to; pearlbed_manifest refers to it, too.
 */
#if defined(__has_attribute)
#if __has_attribute(retain) && !defined(__APPLE__)
#define PEARLBED_RETAIN , retain
#endif
#endif
#ifndef PEARLBED_RETAIN
#define PEARLBED_RETAIN
#endif
#if defined(__APPLE__)
#define PEARLBED_MANIFEST_SECTION __attribute__((used, section("__DATA,__pearlbed")))
#else
#define PEARLBED_MANIFEST_SECTION __attribute__((used PEARLBED_RETAIN, section(".pearlbed.manifest")))
#endif

/*
 * Writes the section, and defines `pearlbed_manifest`, the table's first function. PEARLBED_MANIFEST takes the JSON as it
 * is written in a file; PEARLBED_MANIFEST_TEXT takes a string literal, for one that is put together from macros:
 *
 *   PEARLBED_MANIFEST_TEXT("{\"id\":\"my-provider\",\"version\":\"" VERSION "\",\"platforms\":[\"" PEARLBED_PLATFORM "\"],"
 *                          "\"plugin_api\":[1],\"certificate_versions\":[1,2,3]}");
 *
 * Members: id (lower-case letters, digits and dashes, beginning with a letter, at most 64), version, plugin_api and
 * certificate_versions are needed; schema, vendor, license, homepage, summary, platforms, engines and permissions are
 * optional, and a host ignores what it does not know. docs/contract.md describes each.
 */
#define PEARLBED_MANIFEST(...) PEARLBED_MANIFEST_TEXT(#__VA_ARGS__)
#define PEARLBED_MANIFEST_TEXT(text)                                                                    \
    PEARLBED_MANIFEST_SECTION static const char pearlbed_manifest_json[] = text;                        \
    PEARLBED_UNUSED static void pearlbed_manifest(pearlbed_sink out)                                    \
    {                                                                                                   \
        pearlbed_put(out, pearlbed_manifest_json, sizeof(pearlbed_manifest_json) - 1);                  \
    }                                                                                                   \
    typedef char pearlbed_manifest_fits[sizeof(pearlbed_manifest_json) <= PEARLBED_MANIFEST_MAX ? 1 : -1]

/* Lends `len` bytes at `data`. */
PEARLBED_UNUSED static inline pearlbed_bytes pearlbed_lend(const void *data, size_t len)
{
    pearlbed_bytes bytes;
    bytes.data = (const uint8_t *)data;
    bytes.len = len;
    return bytes;
}

/* Writes `len` bytes at `data` to `out`. */
PEARLBED_UNUSED static inline void pearlbed_put(pearlbed_sink out, const void *data, size_t len)
{
    out.write(out.context, pearlbed_lend(data, len));
}

/* Writes a text that ends with a NUL, which is left out. */
PEARLBED_UNUSED static inline void pearlbed_put_text(pearlbed_sink out, const char *text)
{
    pearlbed_put(out, text, strlen(text));
}

/* Writes a reason that ends with a NUL, and answers PEARLBED_FAILED: `return pearlbed_fail(error, "no device");` */
PEARLBED_UNUSED static inline uint32_t pearlbed_fail(pearlbed_sink error, const char *reason)
{
    pearlbed_put_text(error, reason);
    return PEARLBED_FAILED;
}

#ifdef __cplusplus
}
#endif

#endif
