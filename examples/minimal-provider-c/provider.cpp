// The smallest useful provider in C++17: copy it, and put your kernel where `pearl_pow_tile` is.
//
// With an installed pearlbed:
//   c++ -std=c++17 -O3 -fPIC -fvisibility=hidden -shared -Wl,--exclude-libs,ALL $(pkg-config --cflags pearlbed pearl_pow)
//       -o libminimal_provider_cpp.so provider.cpp $(pkg-config --libs --static pearl_pow)
//
// No exception leaves a function of the table: each catches everything, and answers with the reason.
#include <pearl_pow.h>
#include <pearlbed.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

PEARLBED_MANIFEST_TEXT("{\"schema\":1,\"id\":\"minimal-provider-cpp\",\"version\":\"0.1.0\","
                       "\"vendor\":\"The pearlbed developers\",\"license\":\"MIT OR Apache-2.0\",\"homepage\":\"\","
                       "\"summary\":\"The text to copy, in C++.\",\"plugin_api\":[1],\"certificate_versions\":[1,2,3],"
                       "\"platforms\":[\"" PEARLBED_PLATFORM "\"],\"engines\":[],\"permissions\":[]}");

namespace {

constexpr std::uint32_t K = 2048;
constexpr std::uint16_t RANK = 128;
constexpr std::uint32_t TILE = 16;
constexpr std::size_t PROOF_BYTES_MAX = 128 * 1024; // more than any of this shape

using Hash = std::array<std::uint8_t, PEARL_POW_HASH_LEN>;
using Entries = std::vector<std::int8_t>;
using Clock = std::chrono::steady_clock;

// The host, for as long as somebody uses it.
class Host {
public:
    explicit Host(const pearlbed_host_table &table) : table_(table) { table_.retain(table_.context); }
    ~Host() { table_.release(table_.context); }
    Host(const Host &) = delete;
    Host &operator=(const Host &) = delete;

    std::uint32_t next_job(pearlbed_job &job) const { return table_.next_job(table_.context, 1000, &job); }
    bool is_stale(std::uint64_t job) const { return table_.is_stale(table_.context, job) != 0; }
    bool submit(std::uint64_t job, const std::vector<std::uint8_t> &proof) const
    {
        return table_.submit(table_.context, job, pearlbed_lend(proof.data(), proof.size())) == PEARLBED_SUBMIT_TAKEN;
    }
    void progress(std::uint64_t hashes) const { table_.progress(table_.context, hashes); }
    void complain(const std::string &why) const
    {
        table_.log(table_.context, PEARLBED_LOG_ERROR, pearlbed_lend(why.data(), why.size()));
    }

private:
    pearlbed_host_table table_;
};

// Turns a code of pearl_pow.h into an exception.
void check(std::uint32_t code, const pearl_pow_error &error)
{
    if (code != PEARL_POW_OK)
        throw std::runtime_error(error.text);
}

// New entries, -64 to 63, from the system's randomness: two miners with the same matrices would do the same work.
void draw(std::FILE *random, Entries &entries)
{
    if (std::fread(entries.data(), 1, entries.size(), random) != entries.size())
        throw std::runtime_error("/dev/urandom cannot be read");
    for (auto &entry : entries)
        entry = static_cast<std::int8_t>((entry & 127) - 64);
}

class Provider {
public:
    ~Provider() { stop(); }

    void start(const pearlbed_host_table &table)
    {
        auto host = std::make_unique<Host>(table);
        hashes_ = proofs_ = jobs_ = 0;
        {
            const std::lock_guard<std::mutex> guard(lock_);
            last_error_.clear();
        }
        since_ = Clock::now();
        running_ = true;
        try {
            thread_ = std::thread([this, &host = *host] { run(host); });
        } catch (...) {
            running_ = false;
            throw;
        }
        host_ = std::move(host);
    }

    // The host has closed by now: next_job and is_stale end the thread.
    void stop()
    {
        if (thread_.joinable())
            thread_.join();
        host_.reset();
    }

    bool is_running() const { return running_; }

    void stats(pearlbed_stats &answer, pearlbed_sink last_error) const
    {
        answer.hashes = hashes_;
        answer.proofs_found = proofs_;
        answer.jobs_taken = jobs_;
        if (running_) {
            answer.uptime_seconds = std::chrono::duration<double>(Clock::now() - since_).count();
            answer.hashrate = answer.uptime_seconds > 0 ? static_cast<double>(hashes_) / answer.uptime_seconds : 0;
        }
        const std::lock_guard<std::mutex> guard(lock_);
        pearlbed_put(last_error, last_error_.data(), last_error_.size());
    }

private:
    void run(const Host &host)
    {
        try {
            mine(host);
        } catch (const std::exception &err) {
            host.complain(err.what());
            const std::lock_guard<std::mutex> guard(lock_);
            last_error_ = err.what();
        }
        running_ = false;
    }

    // Takes jobs until the host has no more of them.
    void mine(const Host &host)
    {
        const std::unique_ptr<std::FILE, int (*)(std::FILE *)> random(std::fopen("/dev/urandom", "rb"), std::fclose);
        if (!random)
            throw std::runtime_error("there is no /dev/urandom");
        pearl_pow_error error{};
        std::array<std::uint8_t, PEARL_POW_CONFIG_LEN> config{};
        std::uint64_t hashes = 0;
        check(pearl_pow_config_contiguous(K, RANK, TILE, TILE, config.data(), &error), error);
        check(pearl_pow_hashes_per_tile(config.data(), &hashes, &error), error);
        Entries a(TILE * K), bt(TILE * K), a_noised(TILE * K), bt_noised(TILE * K);
        pearlbed_job job{};
        for (std::uint32_t next; (next = host.next_job(job)) != PEARLBED_NEXT_STOPPED;) {
            if (next != PEARLBED_NEXT_JOB)
                continue;
            jobs_++;
            Hash key{}, bound{}, root_a{}, root_bt{}, seed_a{}, seed_b{}, jackpot{};
            check(pearl_pow_job_key(job.header, config.data(), key.data(), &error), error);
            check(pearl_pow_bound(job.target, config.data(), job.flags & PEARLBED_JOB_RANK_PENALTY, bound.data(), &error),
                  error);
            std::uint64_t untold = 0;
            const auto tell = [&] {
                hashes_ += untold;
                host.progress(untold);
                untold = 0;
            };
            for (std::uint32_t number = 1; !host.is_stale(job.id); number++) {
                draw(random.get(), a);
                draw(random.get(), bt);
                check(pearl_pow_root(key.data(), a.data(), a.size(), root_a.data(), &error), error);
                check(pearl_pow_root(key.data(), bt.data(), bt.size(), root_bt.data(), &error), error);
                check(pearl_pow_seeds(job.certificate_version, key.data(), root_a.data(), TILE, root_bt.data(), TILE,
                                      seed_a.data(), seed_b.data(), &error),
                      error);
                check(pearl_pow_add_noise(PEARL_POW_A, seed_a.data(), RANK, K, 0, a.data(), a.size(), a_noised.data(),
                                          &error),
                      error);
                check(pearl_pow_add_noise(PEARL_POW_BT, seed_b.data(), RANK, K, 0, bt.data(), bt.size(),
                                          bt_noised.data(), &error),
                      error);
                std::array<std::uint32_t, 16> words{};
                // Your kernel: the sixteen words of one tile.
                check(pearl_pow_tile(config.data(), a_noised.data(), a_noised.size(), bt_noised.data(),
                                     bt_noised.size(), words.data(), &error),
                      error);
                check(pearl_pow_jackpot(seed_a.data(), words.data(), jackpot.data(), &error), error);
                if (pearl_pow_is_hit(jackpot.data(), bound.data())) {
                    std::vector<std::uint8_t> proof(PROOF_BYTES_MAX);
                    std::size_t len = 0;
                    check(pearl_pow_prove(job.header, config.data(), a.data(), a.size(), bt.data(), bt.size(), 0, 0,
                                          proof.data(), proof.size(), &len, &error),
                          error);
                    proof.resize(len);
                    // What is not taken is stale by now.
                    proofs_ += host.submit(job.id, proof) ? 1 : 0;
                }
                untold += hashes;
                if (number % 16 == 0) // ten times a second is enough
                    tell();
            }
            tell();
        }
    }

    std::thread thread_;
    std::unique_ptr<Host> host_;
    Clock::time_point since_{};
    std::atomic<bool> running_{false};
    std::atomic<std::uint64_t> hashes_{0}, proofs_{0}, jobs_{0};
    mutable std::mutex lock_; // guards what follows
    std::string last_error_;
};

Provider &of(void *instance) { return *static_cast<Provider *>(instance); }

// What every function of the table does with what it throws.
template <typename Call> std::uint32_t caught(pearlbed_sink error, Call call) noexcept
{
    try {
        call();
        return PEARLBED_OK;
    } catch (const std::exception &err) {
        return pearlbed_fail(error, err.what());
    } catch (...) {
        return pearlbed_fail(error, "an unknown exception");
    }
}

std::uint32_t create(void **instance, pearlbed_sink error)
{
    return caught(error, [&] { *instance = new Provider; });
}

void destroy(void *instance) { delete static_cast<Provider *>(instance); }

std::uint32_t detect(void *, pearlbed_bytes, pearlbed_bytes, pearlbed_bytes, pearlbed_capabilities *capabilities,
                     pearlbed_sink reason, pearlbed_sink)
{
    capabilities->supported = 1;
    pearlbed_put_text(reason, "slow on purpose: one thread, no kernel");
    return PEARLBED_OK;
}

std::uint32_t start(void *instance, const pearlbed_config *, const pearlbed_host_table *host, pearlbed_sink error)
{
    return caught(error, [&] { of(instance).start(*host); });
}

std::uint32_t stop(void *instance, pearlbed_sink error)
{
    return caught(error, [&] { of(instance).stop(); });
}

std::uint32_t is_running(void *instance) { return of(instance).is_running() ? 1 : 0; }

std::uint32_t stats(void *instance, pearlbed_stats *answer, pearlbed_sink last_error, pearlbed_sink,
                    pearlbed_sink error)
{
    return caught(error, [&] { of(instance).stats(*answer, last_error); });
}

constexpr pearlbed_provider_table table = {
    pearlbed_manifest, create, destroy, detect, start, stop, is_running, stats,
};

} // namespace

PEARLBED_DOOR(table);
