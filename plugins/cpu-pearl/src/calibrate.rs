//! Trying a kernel before it is trusted: is it right, how fast is it, and what does its folding cost?

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pearl_pow::Side;
use rustix::time::{ClockId, clock_gettime};

use crate::cut::Cut;
use crate::fill::Entries;
use crate::kernel::cpu;
use crate::kernel::pack::{GROUP, Group};
use crate::kernel::{self, Depth, Kernel, Layout, Next, Panels, Region, Scratch};

/// The depth at which kernels are tried: the default one (see `shape`).
pub(crate) const K: usize = 2048;
/// The rank likewise.
pub(crate) const RANK: usize = 128;

/// Panels of small random matrices, the same for every kernel.
struct Sample {
    a: Panels,
    b: Panels,
    tile: (usize, usize),
}

impl Sample {
    /// `rows` rows and columns and a whole number of `kernel`'s panels, folded into tiles of `tile`, of entries that
    /// `layout` can have.
    fn new(
        kernel: &Kernel,
        layout: Layout,
        depth: Depth,
        rows: (usize, usize),
        tile: (usize, usize),
    ) -> Self {
        let k = depth.rank * depth.slices;
        let pairs: Vec<[u16; 2]> =
            (0..k).map(|l| [l * 7 % depth.rank, (l * 7 + 5) % depth.rank].map(|i| i as u16)).collect();
        let operand = |side, rows: usize, tile: usize| {
            let mut raw = vec![0; rows * k];
            // Portable on purpose: what is checked must not have drawn its own question.
            crate::fill::fill([rows as u64, side as u64], layout.entries(side), &mut raw);
            let mut factor = vec![[0; GROUP]; depth.rank];
            crate::fill::fill([2, 3], Entries::Any, factor.as_flattened_mut());
            factor.as_flattened_mut().iter_mut().for_each(|entry| *entry = ((*entry & 63) as i8 - 32) as u8);
            let height = kernel.panel_height(side);
            let padded = tile.next_multiple_of(height);
            let count = rows / tile * (padded / height);
            let bytes = Region::allocate(count * kernel.panel_bytes(side, depth));
            let mut panels = Panels::new(kernel, side, depth, count, bytes);
            let order: Vec<_> = (0..rows / tile)
                .flat_map(|first| (0..padded).map(move |row| (row < tile).then_some(first * tile + row)))
                .collect();
            for (i, order) in order.chunks(GROUP / height * height).enumerate() {
                let mut own = factor.clone();
                // Each row's noise is another one, whatever its place in a group; padding has none.
                for line in &mut own {
                    let drawn = *line;
                    for (entry, row) in line.iter_mut().zip(order) {
                        *entry = row.map_or(0, |row| drawn[row % GROUP]);
                    }
                }
                let rows: Vec<_> = order.iter().map(|row| row.map(|row| &raw[row * k..][..k])).collect();
                let first_panel = i * (GROUP / height);
                kernel.pack(&Group { rows: &rows, factor: &own, pairs: &pairs, first_panel }, &mut panels);
            }
            (panels, padded / height)
        };
        let (a, tile_rows) = operand(Side::A, rows.0, tile.0);
        let (b, tile_columns) = operand(Side::BT, rows.1, tile.1);
        Self { a, b, tile: (tile_rows, tile_columns) }
    }

    fn multiply(&self, kernel: &Kernel, scratch: &mut Scratch) {
        kernel.multiply(&self.a, &self.b, self.tile, Next::default(), scratch);
    }
}

/// Compares `kernel` with the portable one on some thousand sums.
///
/// # Errors
///
/// They differ: the processor, or the kernel, cannot be trusted.
pub(crate) fn self_test(kernel: &Kernel) -> Result<(), String> {
    let portable = kernel::available().last().expect("the portable kernel is always there");
    for (rank, slices, stretch, tile) in
        [(32, 19, 4, (16, 16)), (128, 17, 16, (12, 16)), (64, 3, 2, (8, 4)), (128, 16, 4, (8, 32))]
    {
        let depth = Depth { rank, slices, stretch };
        let layout = kernel.layout();
        let [found, expected] = [kernel, portable].map(|kernel| {
            let mut scratch = Scratch::default();
            Sample::new(kernel, layout, depth, (48, 48), tile).multiply(kernel, &mut scratch);
            scratch.messages().to_vec()
        });
        if found != expected {
            let name = kernel.name();
            return Err(format!(
                "kernel `{name}` computes wrong sums on this processor; choose another in [mining.extra]"
            ));
        }
    }
    Ok(())
}

/// The kernel that is fastest on this processor, found out once: by trying, not by name.
pub(crate) fn fastest_kernel() -> &'static Kernel {
    static FASTEST: OnceLock<&'static Kernel> = OnceLock::new();
    FASTEST.get_or_init(|| {
        let candidates: Vec<_> = kernel::available().filter(|kernel| !kernel.is_slow()).collect();
        fastest_of(&candidates)
            .unwrap_or_else(|| kernel::available().last().expect("the portable one is there"))
    })
}

/// The kernel of `family` that is fastest on this processor; none if it has no kernel that can run here.
pub(crate) fn fastest_in(family: &str) -> Option<&'static Kernel> {
    let candidates: Vec<_> = kernel::available().filter(|kernel| kernel.family() == family).collect();
    fastest_of(&candidates)
}

/// A kernel that is slower than the best by more than this in each of its first turns is not tried any further.
const HOPELESS: f64 = 1.25;
/// So much faster one must be to be preferred to another before it in the list: less is noise.
const BETTER: f64 = 1.015;
/// Turns of each that are never enough to tell them apart, and that are enough to give it up.
const TURNS: [usize; 2] = [7, 21];

/// The fastest of `candidates`, the first where they are alike.
///
/// Two rounds. In the first, on little, what is hopeless goes. In the second the others take turns of a third of a
/// millisecond each at blocks as large as those that they mine, from L2 as there, and in each turn all of them meet the
/// same clocks and the same neighbours, so that [`judge`] can compare turn by turn.
fn fastest_of(candidates: &[&'static Kernel]) -> Option<&'static Kernel> {
    let [first, others @ ..] = candidates else { return None };
    if others.is_empty() {
        return Some(first);
    }
    let mut trials: Vec<Trial> = candidates.iter().map(|kernel| Trial::small(kernel)).collect();
    for turn in 0..6 {
        // The first turn warms the caches.
        trials.iter_mut().for_each(|trial| trial.turn(turn > 0));
    }
    // One good turn is enough to stay: the others may have been a neighbour's doing.
    let best = trials.iter().map(Trial::clock).fold(f64::INFINITY, f64::min);
    trials.retain(|trial| trial.times.iter().any(|&time| time <= best * HOPELESS));
    if let [only] = trials.as_slice() {
        return Some(only.kernel);
    }
    let mut trials: Vec<Trial> = trials.iter().map(|trial| Trial::whole(trial.kernel)).collect();
    trials.iter_mut().for_each(|trial| trial.turn(false));
    loop {
        trials.iter_mut().for_each(|trial| trial.turn(true));
        let times: Vec<&[f64]> = trials.iter().map(|trial| trial.times.as_slice()).collect();
        let (best, sure) = judge(&times);
        if sure {
            return Some(trials[best].kernel);
        }
    }
}

/// Which of some kernels is the fastest, from the seconds per hash of each in turns that they took together; and whether
/// more turns would be wasted.
///
/// One is faster than another by the median of their ratios within a turn: a neighbour slows a turn, or shortens it
/// where its time is booked wrongly, and neither moves a median. Of those that are alike the first is taken.
fn judge(times: &[&[f64]]) -> (usize, bool) {
    let turns = times.first().map_or(0, |times| times.len());
    let ratios = |one: usize, other: usize| {
        let mut ratios: Vec<f64> =
            times[one].iter().zip(times[other]).map(|(one, other)| one / other).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    };
    let mut best = 0;
    for other in 1..times.len() {
        if ratios(best, other).get(turns / 2).is_some_and(|&ratio| ratio > BETTER) {
            best = other;
        }
    }
    // Sure of it when at least three quarters of the turns are on the same side of the margin as the median is.
    let clear = (0..times.len()).filter(|&other| other != best).all(|other| {
        let ratios = ratios(other, best);
        let margin = if other < best { BETTER } else { 1.0 / BETTER };
        ratios.get(turns / 4).is_some_and(|&ratio| ratio > margin)
    });
    (best, (clear && turns >= TURNS[0]) || turns >= TURNS[1])
}

/// A kernel that is tried, and how long its turns took.
struct Trial {
    kernel: &'static Kernel,
    sample: Sample,
    scratch: Scratch,
    hashes: f64,
    /// Seconds per hash of each turn that counted.
    times: Vec<f64>,
}

impl Trial {
    /// On panels of A and B that L2 holds: about as much for each kernel, whatever its tile, some 64 rows by 64 columns.
    fn small(kernel: &'static Kernel) -> Self {
        Self::new(kernel, Depth::new(K, RANK, 512), (64, 64))
    }

    /// On blocks as they are mined at the default depth.
    fn whole(kernel: &'static Kernel) -> Self {
        let cut = Cut::new(kernel, K, RANK, cpu::caches());
        Self::new(kernel, cut.depth, (cut.rows, cut.columns))
    }

    fn new(kernel: &'static Kernel, depth: Depth, rows: (usize, usize)) -> Self {
        let (height, width) = (kernel.tile().0 as usize, kernel.tile().1 as usize);
        let (m, n) = (rows.0.next_multiple_of(height), rows.1.next_multiple_of(width));
        let sample = Sample::new(kernel, kernel.layout(), depth, (m, n), (height, width));
        let hashes = (m * n * depth.rank * depth.slices) as f64;
        Self { kernel, sample, scratch: Scratch::default(), hashes, times: Vec::new() }
    }

    /// Runs once, and remembers the time if it `counts`.
    fn turn(&mut self, counts: bool) {
        let before = thread_time();
        self.sample.multiply(self.kernel, &mut self.scratch);
        let took = thread_time().saturating_sub(before).max(Duration::from_nanos(1));
        if counts {
            self.times.push(took.as_secs_f64() / self.hashes);
        }
    }

    /// Seconds per hash, the median of its turns; endless before the first.
    fn clock(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(f64::INFINITY)
    }
}

/// Hashes per second of one thread's processor time, product and folding alone, measured for about `time`.
pub(crate) fn speed(kernel: &'static Kernel, time: Duration) -> f64 {
    let mut trial = Trial::whole(kernel);
    let (start, begun) = (Instant::now(), thread_time());
    // As in `fastest`.
    for turn in 0.. {
        if turn > 1 && (thread_time().saturating_sub(begun) >= time || start.elapsed() >= time * 4) {
            break;
        }
        trial.turn(turn > 0);
    }
    trial.clock().recip()
}

/// The share of the product's time that correcting and folding after every slice of `depth.rank` steps take.
///
/// Measured by folding `stretch` times less often: the difference is what the slices cost.
pub(crate) fn fold_share(kernel: &Kernel, depth: Depth, time: Duration) -> f64 {
    let (rows, columns) = (kernel.tile().0 as usize, kernel.tile().1 as usize);
    let slices = 16;
    let often = Depth { rank: depth.rank, slices, stretch: depth.stretch.min(slices) };
    let seldom = Depth { rank: depth.rank * often.stretch, slices: slices / often.stretch, stretch: 1 };
    if often.stretch == 1 {
        return 0.0;
    }
    let sample =
        |depth| Sample::new(kernel, kernel.layout(), depth, (rows * 4, columns * 4), (rows, columns));
    let [all, few] = fastest(kernel, [&sample(often), &sample(seldom)], time).map(|time| time.as_secs_f64());
    let folding = (all - few) * often.stretch as f64 / (often.stretch as f64 - 1.0);
    (folding / all).clamp(0.0, 1.0)
}

/// The processor time of the fastest of many runs of each sample, which take turns for about `time`.
fn fastest<const N: usize>(kernel: &Kernel, samples: [&Sample; N], time: Duration) -> [Duration; N] {
    let mut scratch = Scratch::default();
    let mut best = [Duration::MAX; N];
    let (start, begun) = (Instant::now(), thread_time());
    // The first turn warms the caches and does not count, and there is at least one more. Where others want the
    // processor, too, it takes longer, for a single turn would tell of them.
    for turn in 0.. {
        if turn > 1 && (thread_time().saturating_sub(begun) >= time || start.elapsed() >= time * 4) {
            break;
        }
        for (sample, best) in samples.iter().zip(&mut best) {
            let before = thread_time();
            sample.multiply(kernel, &mut scratch);
            let took = thread_time().saturating_sub(before);
            if turn > 0 {
                *best = (*best).min(took.max(Duration::from_nanos(1)));
            }
        }
    }
    best
}

/// Processor time that this thread has used.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_of_this_machine_passes_its_self_test() {
        for kernel in kernel::available() {
            assert_eq!(self_test(kernel), Ok(()));
        }
    }

    #[test]
    fn the_micro_tile_is_chosen_by_trying_and_any_of_a_family_may_be_asked_for() {
        let chosen = fastest_kernel();
        assert!(kernel::available().any(|kernel| kernel.name() == chosen.name()));
        assert_eq!(chosen.name(), fastest_kernel().name(), "one process has one answer");
        for kernel in kernel::available() {
            let found = fastest_in(kernel.family()).expect("the family has this one");
            assert_eq!(found.family(), kernel.family());
        }
        assert!(fastest_in("abacus").is_none() && fastest_of(&[]).is_none());
        // What is ten times slower does not win, wherever it stands.
        let portable = kernel::available().last().expect("it is always there");
        if portable.name() != chosen.name() {
            let found = fastest_of(&[portable, chosen]).expect("one of two");
            assert_eq!(found.name(), chosen.name());
        }
    }

    #[test]
    fn of_kernels_that_are_alike_the_first_wins_and_no_neighbour_makes_another_win() {
        // One that is four per cent slower or faster, another that is alike, turn by turn.
        const FEW: usize = TURNS[0];
        let alike = [1.001, 0.99, 1.0, 0.995, 1.002, 1.0, 0.999];
        let (first, slower, faster) = ([1.00; FEW], [1.04; FEW], [0.96; FEW]);
        assert_eq!(judge(&[&first, &slower]), (0, true));
        assert_eq!(judge(&[&first, &faster]), (1, true));
        assert_eq!(judge(&[&slower, &first, &faster]), (2, true));
        assert_eq!(judge(&[&first, &alike]), (0, true));
        // Too few turns are no reason to stop, and none is no reason to prefer one.
        assert_eq!(judge(&[&first[1..], &faster[1..]]), (1, false));
        assert_eq!(judge(&[&first[..0], &faster[..0]]), (0, false));
        // Where each turn is slow or fast for both, only their ratio counts; nor does one that was booked wrongly.
        let shaken = [1.0, 3.0, 0.8, 1.9, 1.0, 5.0, 1.1];
        let first = shaken.map(|time| time * 1.04);
        let mut second = shaken;
        second[3] = 9.0;
        assert_eq!(judge(&[&first, &second]), (1, true));
        assert_eq!(judge(&[&second, &first]), (0, true));
        // Too close to tell takes more turns, and in the end the first.
        let wavering: Vec<f64> = (0..TURNS[1]).map(|turn| [1.0, 0.98][turn % 2]).collect();
        let steady = vec![1.0; TURNS[1]];
        assert_eq!(judge(&[&steady[..FEW], &wavering[..FEW]]), (0, false));
        assert_eq!(judge(&[&steady, &wavering]), (0, true));
    }

    #[test]
    fn speed_is_measured_within_its_time() {
        for kernel in kernel::available() {
            let rate = speed(kernel, Duration::from_millis(2));
            assert!(rate.is_finite() && rate > 1e6, "{}: {rate}", kernel.name());
            assert!(rate < 1e14, "{}: {rate}", kernel.name());
            let share = fold_share(kernel, Depth::new(4096, 128, 1024), Duration::from_millis(4));
            assert!((0.0..=1.0).contains(&share), "{}: {share}", kernel.name());
        }
    }
}
