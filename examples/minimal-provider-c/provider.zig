//! The smallest useful provider in Zig: copy it, and put your kernel where `pearl_pow_tile` is.
//!
//! The headers are translated first, then both are compiled with an installed pearlbed's library:
//!   printf '#include <pearlbed.h>\n#include <pearl_pow.h>\n#include <stdio.h>\n' > both.h
//!   zig translate-c -lc -I/usr/include both.h > c.zig
//!   zig build-lib -dynamic -O ReleaseFast -lc --name minimal_provider_zig provider.zig /usr/lib/libpearl_pow.a
//!
//! The door and the manifest's section are written out: `docs/contract.md` says what a host looks for.
const std = @import("std");
const c = @import("c.zig");

const manifest_text =
    \\{"schema":1,"id":"minimal-provider-zig","version":"0.1.0","vendor":"The pearlbed developers",
    \\"license":"MIT OR Apache-2.0","summary":"The text to copy, in Zig.","plugin_api":[1],
    \\"certificate_versions":[1,2,3],"platforms":["linux-x86_64"],"engines":[],"permissions":[]}
;
export const pearlbed_manifest_section: [manifest_text.len]u8 linksection(".pearlbed.manifest") = manifest_text.*;

const k = 2048;
const rank = 128;
const tile = 16;
const Entries = [tile * k]i8;
const Hash = [32]u8;

/// What one thread works on.
const Work = struct {
    a: Entries,
    bt: Entries,
    a_noised: Entries,
    bt_noised: Entries,
    proof: [128 * 1024]u8, // more than any of this shape
};

/// One instance. What its thread changes is atomic.
const Provider = struct {
    thread: ?std.Thread = null,
    host: c.pearlbed_host_table = undefined,
    running: std.atomic.Value(bool) = .init(false),
    hashes: std.atomic.Value(u64) = .init(0),
    proofs: std.atomic.Value(u64) = .init(0),
    jobs: std.atomic.Value(u64) = .init(0),
    failed: std.atomic.Value(bool) = .init(false),
    work: Work = undefined,

    /// Tells the host and the numbers what was done since the last time.
    fn tell(self: *Provider, untold: *u64) void {
        _ = self.hashes.fetchAdd(untold.*, .monotonic);
        self.host.progress.?(self.host.context, untold.*);
        untold.* = 0;
    }

    fn run(self: *Provider) void {
        self.mine() catch {
            const why = "the library of the proof of work refused something";
            self.host.log.?(self.host.context, c.PEARLBED_LOG_ERROR, lend(why));
            self.failed.store(true, .release);
        };
        self.running.store(false, .release);
    }

    /// Takes jobs until the host has no more of them.
    fn mine(self: *Provider) !void {
        var config: [c.PEARL_POW_CONFIG_LEN]u8 = undefined;
        var per_tile: u64 = 0;
        try check(c.pearl_pow_config_contiguous(k, rank, tile, tile, &config, null));
        try check(c.pearl_pow_hashes_per_tile(&config, &per_tile, null));
        const host = &self.host;
        const work = &self.work;
        var job: c.pearlbed_job = undefined;
        while (true) {
            const next = host.next_job.?(host.context, 1000, &job);
            if (next == c.PEARLBED_NEXT_STOPPED) return;
            if (next != c.PEARLBED_NEXT_JOB) continue;
            _ = self.jobs.fetchAdd(1, .monotonic);
            var key: Hash = undefined;
            var bound: Hash = undefined;
            try check(c.pearl_pow_job_key(&job.header, &config, &key, null));
            try check(c.pearl_pow_bound(&job.target, &config, job.flags & c.PEARLBED_JOB_RANK_PENALTY, &bound, null));
            var untold: u64 = 0;
            while (host.is_stale.?(host.context, job.id) == 0) {
                try draw(&work.a);
                try draw(&work.bt);
                var root_a: Hash = undefined;
                var root_bt: Hash = undefined;
                var seed_a: Hash = undefined;
                var seed_b: Hash = undefined;
                try check(c.pearl_pow_root(&key, &work.a, work.a.len, &root_a, null));
                try check(c.pearl_pow_root(&key, &work.bt, work.bt.len, &root_bt, null));
                try check(c.pearl_pow_seeds(job.certificate_version, &key, &root_a, tile, &root_bt, tile, &seed_a, &seed_b, null));
                try check(c.pearl_pow_add_noise(c.PEARL_POW_A, &seed_a, rank, k, 0, &work.a, work.a.len, &work.a_noised, null));
                try check(c.pearl_pow_add_noise(c.PEARL_POW_BT, &seed_b, rank, k, 0, &work.bt, work.bt.len, &work.bt_noised, null));
                // Your kernel: the sixteen words of one tile.
                var words: [16]u32 = @splat(0);
                try check(c.pearl_pow_tile(&config, &work.a_noised, work.a_noised.len, &work.bt_noised, work.bt_noised.len, &words, null));
                var jackpot: Hash = undefined;
                try check(c.pearl_pow_jackpot(&seed_a, &words, &jackpot, null));
                if (c.pearl_pow_is_hit(&jackpot, &bound) != 0) {
                    var len: usize = 0;
                    try check(c.pearl_pow_prove(&job.header, &config, &work.a, work.a.len, &work.bt, work.bt.len, 0, 0, &work.proof, work.proof.len, &len, null));
                    // What is not taken is stale by now.
                    if (host.submit.?(host.context, job.id, lend(work.proof[0..len])) == c.PEARLBED_SUBMIT_TAKEN)
                        _ = self.proofs.fetchAdd(1, .monotonic);
                }
                untold += per_tile;
                if (untold == 16 * per_tile) self.tell(&untold); // ten times a second is enough
            }
            self.tell(&untold);
        }
    }
};

fn check(code: u32) !void {
    if (code != c.PEARL_POW_OK) return error.Refused;
}

/// New entries, -64 to 63, from the system's randomness: two miners with the same matrices would do the same work.
fn draw(entries: *Entries) !void {
    const file = c.fopen("/dev/urandom", "rb") orelse return error.Refused;
    defer _ = c.fclose(file);
    if (c.fread(entries, 1, entries.len, file) != entries.len) return error.Refused;
    for (entries) |*entry| entry.* = (entry.* & 127) - 64;
}

fn lend(bytes: []const u8) c.pearlbed_bytes {
    return .{ .data = bytes.ptr, .len = bytes.len };
}

fn put(sink: c.pearlbed_sink, bytes: []const u8) void {
    sink.write.?(sink.context, lend(bytes));
}

fn fail(sink: c.pearlbed_sink, reason: []const u8) u32 {
    put(sink, reason);
    return c.PEARLBED_FAILED;
}

fn of(instance: ?*anyopaque) *Provider {
    return @ptrCast(@alignCast(instance.?));
}

fn manifest(out: c.pearlbed_sink) callconv(.c) void {
    put(out, &pearlbed_manifest_section);
}

fn create(instance: ?*?*anyopaque, problem: c.pearlbed_sink) callconv(.c) u32 {
    const provider = std.heap.c_allocator.create(Provider) catch return fail(problem, "no memory");
    provider.* = .{};
    instance.?.* = provider;
    return c.PEARLBED_OK;
}

fn destroy(instance: ?*anyopaque) callconv(.c) void {
    std.heap.c_allocator.destroy(of(instance));
}

fn detect(
    _: ?*anyopaque,
    _: c.pearlbed_bytes,
    _: c.pearlbed_bytes,
    _: c.pearlbed_bytes,
    capabilities: [*c]c.pearlbed_capabilities,
    reason: c.pearlbed_sink,
    _: c.pearlbed_sink,
) callconv(.c) u32 {
    capabilities.*.supported = 1;
    put(reason, "slow on purpose: one thread, no kernel");
    return c.PEARLBED_OK;
}

fn start(
    instance: ?*anyopaque,
    _: [*c]const c.pearlbed_config,
    host: [*c]const c.pearlbed_host_table,
    problem: c.pearlbed_sink,
) callconv(.c) u32 {
    const self = of(instance);
    self.host = host.*;
    self.host.retain.?(self.host.context);
    for ([_]*std.atomic.Value(u64){ &self.hashes, &self.proofs, &self.jobs }) |number| number.store(0, .monotonic);
    self.failed.store(false, .release);
    self.running.store(true, .release);
    self.thread = std.Thread.spawn(.{}, Provider.run, .{self}) catch {
        self.running.store(false, .release);
        self.host.release.?(self.host.context);
        return fail(problem, "no thread could be started");
    };
    return c.PEARLBED_OK;
}

/// The host has closed by now: `next_job` and `is_stale` end the thread.
fn stop(instance: ?*anyopaque, _: c.pearlbed_sink) callconv(.c) u32 {
    const self = of(instance);
    if (self.thread) |thread| {
        thread.join();
        self.thread = null;
        self.host.release.?(self.host.context);
    }
    return c.PEARLBED_OK;
}

fn isRunning(instance: ?*anyopaque) callconv(.c) u32 {
    return @intFromBool(of(instance).running.load(.acquire));
}

fn stats(
    instance: ?*anyopaque,
    answer: [*c]c.pearlbed_stats,
    last_error: c.pearlbed_sink,
    _: c.pearlbed_sink,
    _: c.pearlbed_sink,
) callconv(.c) u32 {
    const self = of(instance);
    answer.*.hashes = self.hashes.load(.monotonic);
    answer.*.proofs_found = self.proofs.load(.monotonic);
    answer.*.jobs_taken = self.jobs.load(.monotonic);
    if (self.failed.load(.acquire)) put(last_error, "it stopped: its log says why");
    return c.PEARLBED_OK;
}

const table = c.pearlbed_provider_table{
    .manifest = manifest,
    .create = create,
    .destroy = destroy,
    .detect = detect,
    .start = start,
    .stop = stop,
    .is_running = isRunning,
    .stats = stats,
};

const door = c.pearlbed_door{
    .magic = c.PEARLBED_DOOR_MAGIC,
    .size = @sizeOf(c.pearlbed_door),
    .version = c.PEARLBED_TABLE_VERSION,
    .table_size = @sizeOf(c.pearlbed_provider_table),
    .table = &table,
};

export fn pearlbed_door_open(version: u32) ?*const c.pearlbed_door {
    return if (version == c.PEARLBED_TABLE_VERSION) &door else null;
}
