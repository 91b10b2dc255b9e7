//! What this processor could do at most: multiply-accumulates per second when nothing but registers is touched.
//!
//! A provider's rate means little by itself: clocks change with load and heat, and neighbours of a virtual machine
//! take their share. So the bench runs, between short turns of the provider, the inner loop of the instruction scheme
//! that exact int8 products are made of, without a single access to memory, and compares. All times are processor time
//! of the thread that ran, so that a busy machine shortens both sides alike.
//!
//! The schemes, and what one pass of each loop does:
//!
//! | scheme | instructions | hashes |
//! | --- | --- | --- |
//! | `avx512-vnni` | `vpdpbusd` on 64-byte registers | 64 |
//! | `avx-vnni` | `vpdpbusd` on 32-byte registers | 32 |
//! | `avx2` | two `vpaddw`, `vpmaddwd`, `vpaddd`: Winograd's inner product on 16 bits | 32 |
//! | `neon-dotprod` | `sdot` | 16 |
//!
//! # Limitations
//!
//! Processors with none of these have no known limit here. Matrix units (AMX, SME) are not measured.

use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// One way to multiply int8 numbers, as fast as registers allow.
#[derive(Debug, Clone, Copy)]
pub struct Scheme {
    name: &'static str,
    supported: fn() -> bool,
    /// Does that many passes of the loop.
    run: fn(u64),
    /// Multiply-accumulates of one pass.
    hashes: u64,
}

impl Scheme {
    /// Its name, which providers use for the kernels that follow it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many passes take about `time` of processor time.
    fn passes(&self, time: Duration) -> u64 {
        // Doubled until it counts: the clock's own cost would show in less.
        let mut passes = 1000;
        loop {
            let took = self.time(passes);
            if took >= time / 4 {
                return ((passes as f64 * time.as_secs_f64() / took.as_secs_f64()) as u64).max(1);
            }
            passes *= 2;
        }
    }

    fn time(&self, passes: u64) -> Duration {
        let before = thread_time();
        (self.run)(passes);
        thread_time().saturating_sub(before).max(Duration::from_nanos(1))
    }

    /// Hashes per second of processor time in `passes` passes.
    fn look(&self, passes: u64) -> f64 {
        (passes * self.hashes) as f64 / self.time(passes).as_secs_f64()
    }
}

/// The schemes that this processor has, fastest first.
pub fn schemes() -> impl Iterator<Item = &'static Scheme> {
    SCHEMES.iter().filter(|scheme| (scheme.supported)())
}

/// The scheme that a kernel of this name follows, none where it follows none of them; the fastest where no name is told.
pub fn scheme_for(kernel: Option<&str>) -> Option<&'static Scheme> {
    let Some(kernel) = kernel else { return schemes().next() };
    // `avx512-vnni-256` follows `avx512-vnni`: the longest name that it begins with.
    schemes().filter(|scheme| kernel.starts_with(scheme.name)).max_by_key(|scheme| scheme.name.len())
}

/// How long a look takes, of processor time.
const LOOK: Duration = Duration::from_millis(1);

/// How long an answer may take, on a machine that has better things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// Threads that stand ready to look at a scheme's speed, side by side.
///
/// They wait in between and touch nothing but registers, so that the caches of whoever has a turn stay as they were.
#[derive(Debug)]
pub struct Meter {
    scheme: &'static Scheme,
    /// Dropped, they send the threads home.
    requests: Vec<SyncSender<()>>,
    answers: Receiver<f64>,
}

impl Meter {
    /// Prepares to look at `scheme` on `threads` threads, or as many as can be had; none if none can.
    pub fn new(scheme: &'static Scheme, threads: usize) -> Option<Self> {
        let (answer, answers) = mpsc::channel();
        let requests: Vec<_> =
            (0..threads.max(1)).filter_map(|_| spawn(scheme, answer.clone()).ok()).collect();
        (!requests.is_empty()).then_some(Self { scheme, requests, answers })
    }

    /// What is looked at.
    pub fn scheme(&self) -> &'static Scheme {
        self.scheme
    }

    /// Looks at the limit, on all threads at once: their mean, in hashes (multiply-accumulates) per second of one
    /// thread's processor time. None if no thread answers.
    pub fn look(&self) -> Option<f64> {
        let asked = self.requests.iter().filter(|request| request.send(()).is_ok()).count();
        let seen: Vec<f64> = (0..asked).map_while(|_| self.answers.recv_timeout(PATIENCE).ok()).collect();
        (!seen.is_empty()).then(|| seen.iter().sum::<f64>() / seen.len() as f64)
    }
}

/// Starts one of a meter's threads.
fn spawn(scheme: &'static Scheme, answer: Sender<f64>) -> std::io::Result<SyncSender<()>> {
    let (request, requests) = mpsc::sync_channel(1);
    let looks = move || {
        let passes = scheme.passes(LOOK);
        while requests.recv().is_ok() {
            // Not counted: after a wait the wide units take a moment to come to their speed.
            (scheme.run)(passes / 8);
            if answer.send(scheme.look(passes)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("limit".into()).spawn(looks)?;
    Ok(request)
}

/// Processor time that this thread has used.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[cfg(target_arch = "x86_64")]
const SCHEMES: &[Scheme] = &[
    Scheme {
        name: "avx512-vnni",
        supported: || std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512vnni"),
        run: x86::avx512_vnni,
        hashes: 16 * 64,
    },
    Scheme {
        name: "avx-vnni",
        supported: || std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("avxvnni"),
        run: x86::avx_vnni,
        hashes: 12 * 32,
    },
    Scheme {
        name: "avx2",
        supported: || std::is_x86_feature_detected!("avx2"),
        run: x86::avx2,
        hashes: 8 * 32,
    },
];

#[cfg(target_arch = "aarch64")]
const SCHEMES: &[Scheme] = &[Scheme {
    name: "neon-dotprod",
    supported: || std::arch::is_aarch64_feature_detected!("dotprod"),
    run: arm::dotprod,
    hashes: 16 * 16,
}];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const SCHEMES: &[Scheme] = &[];

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;

    /// Sixteen independent sums: more than the instruction's latency asks for.
    pub(super) fn avx512_vnni(passes: u64) {
        if passes == 0 {
            return;
        }
        // SAFETY: only reached where the processor was found to have AVX-512 VNNI; touches registers only.
        unsafe {
            asm!(
                ".p2align 6",
                "2:",
                ".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                "vpdpbusd zmm\\i, zmm16, zmm17",
                ".endr",
                "dec {n}",
                "jnz 2b",
                "vzeroupper",
                n = inout(reg) passes => _,
                out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _,
                out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
                out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
                options(nomem, nostack),
            );
        }
    }

    /// Twelve sums: five clocks of two instructions each, and two to spare.
    pub(super) fn avx_vnni(passes: u64) {
        if passes == 0 {
            return;
        }
        // SAFETY: only reached where the processor was found to have AVX-VNNI; touches registers only.
        unsafe {
            asm!(
                ".p2align 6",
                "2:",
                ".irp i,0,1,2,3,4,5,6,7,8,9,10,11",
                "{{vex}} vpdpbusd ymm\\i, ymm12, ymm13",
                ".endr",
                "dec {n}",
                "jnz 2b",
                "vzeroupper",
                n = inout(reg) passes => _,
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
                out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
                out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                options(nomem, nostack),
            );
        }
    }

    /// Eight sums of two sums, a product and an addition each.
    pub(super) fn avx2(passes: u64) {
        if passes == 0 {
            return;
        }
        // SAFETY: only reached where the processor was found to have AVX2; touches registers only.
        unsafe {
            asm!(
                ".p2align 6",
                "2:",
                ".irp i,0,1,2,3,4,5,6,7",
                "vpaddw ymm13, ymm8, ymm10",
                "vpaddw ymm14, ymm9, ymm11",
                "vpmaddwd ymm13, ymm13, ymm14",
                "vpaddd ymm\\i, ymm\\i, ymm13",
                ".endr",
                "dec {n}",
                "jnz 2b",
                "vzeroupper",
                n = inout(reg) passes => _,
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
                out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
                out("ymm13") _, out("ymm14") _,
                options(nomem, nostack),
            );
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::asm;

    pub(super) fn dotprod(passes: u64) {
        if passes > 0 {
            // SAFETY: only reached where the processor was found to have the extension.
            unsafe { run(passes) }
        }
    }

    /// Sixteen independent sums.
    ///
    /// # Safety
    ///
    /// The processor has the dot-product extension.
    #[target_feature(enable = "neon,dotprod")]
    unsafe fn run(passes: u64) {
        // SAFETY: the caller vouches for the instruction; touches registers only.
        unsafe {
            asm!(
                "2:",
                ".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                "sdot v\\i\\().4s, v16.16b, v17.4b[0]",
                ".endr",
                "subs {n}, {n}, #1",
                "b.ne 2b",
                n = inout(reg) passes => _,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _,
                out("v15") _,
                options(nomem, nostack),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_of_this_machine_has_a_plausible_rate_however_many_look() {
        for scheme in schemes() {
            for threads in [1, 3] {
                let meter = Meter::new(scheme, threads).expect("threads start");
                let rate = meter.look().expect("they answer");
                // From a tired virtual machine to what no core does yet.
                assert!((1e9..1e13).contains(&rate), "{} on {threads}: {rate}", scheme.name());
            }
            assert_eq!(scheme_for(Some(scheme.name())).map(Scheme::name), Some(scheme.name()));
        }
    }

    #[test]
    fn a_kernel_that_follows_no_scheme_has_no_limit_and_none_is_made_up() {
        let fastest = schemes().next().map(Scheme::name);
        assert!(scheme_for(Some("portable")).is_none());
        assert_eq!(scheme_for(None).map(Scheme::name), fastest);
    }
}
