//! What the limit would have done in the provider's place, and what the provider did: one ratio that cannot contradict
//! the rates beside it.
//!
//! Between two looks at the limit the provider has a turn. What the limit would have done in the processor time of that
//! turn is its capacity: the time, times the mean of the looks before and after. The ratio of a window is its hashes to
//! the sum of these, so that a minute in which the machine was slow counts as what it was. With
//!
//! ```text
//! limit of a thread = capacity / processor time        ratio = hashes / capacity
//! share             = processor time / (threads * time by the clock)
//! ```
//!
//! the hashrate by the clock *is* `threads * limit * ratio * share`, whatever the neighbours did.
//!
//! Nothing here measures anything: it is told, and adds up.

use std::time::Duration;

use crate::text;

/// A point within a window: what the provider had done by then, and what the limit would have done.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mark {
    hashes: u64,
    capacity: f64,
}

/// What is known of a window, or of several.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    last: Option<f64>,
    processor: Duration,
    capacity: f64,
    looks: Vec<f64>,
    marks: Vec<Mark>,
    pieces: Vec<f64>,
}

impl Account {
    /// Begins with a look at the limit, in hashes per second of one thread's processor time.
    pub fn begin(look: f64) -> Self {
        Self { last: Some(look), looks: vec![look], ..Self::default() }
    }

    /// Books a turn of the provider's that took `spent` of processor time, and the look after it.
    pub fn turn(&mut self, spent: Duration, look: f64) {
        let before = self.last.replace(look).unwrap_or(look);
        self.processor += spent;
        self.capacity += spent.as_secs_f64() * f64::midpoint(before, look);
        self.looks.push(look);
    }

    /// Notes that the provider has counted `hashes` in all by now. What it did since the last mark is a piece, of which
    /// the spread is told.
    pub fn mark(&mut self, hashes: u64) {
        let mark = Mark { hashes, capacity: self.capacity };
        if let Some(last) = self.marks.last()
            && mark.capacity > last.capacity
            && mark.hashes > last.hashes
        {
            self.pieces.push((mark.hashes - last.hashes) as f64 / (mark.capacity - last.capacity));
        }
        self.marks.push(mark);
    }

    /// Takes another window in. Its marks stay its own.
    pub fn add(&mut self, other: &Self) {
        self.processor += other.processor;
        self.capacity += other.capacity;
        self.looks.extend(&other.looks);
        self.pieces.extend(&other.pieces);
    }

    /// The limit as it was in the provider's processor time: hashes per second of one thread. None where the provider
    /// used none.
    pub fn limit(&self) -> Option<f64> {
        let seconds = self.processor.as_secs_f64();
        (seconds > 0.0).then(|| self.capacity / seconds)
    }

    /// What `hashes` are of what the limit would have done.
    pub fn ratio(&self, hashes: u64) -> Option<f64> {
        (self.capacity > 0.0).then(|| hashes as f64 / self.capacity)
    }

    /// Processor time of the provider.
    pub fn processor(&self) -> Duration {
        self.processor
    }

    /// Every look at the limit.
    pub fn looks(&self) -> &[f64] {
        &self.looks
    }

    /// The ratio of each piece, about a second long.
    pub fn pieces(&self) -> &[f64] {
        &self.pieces
    }
}

/// How far the middle half of the pieces may lie apart before the ratio tells nothing.
const PIECES_APART: f64 = 0.06;
/// How far the middle half of the looks may lie apart, as a share of the middle one.
const LOOKS_APART: f64 = 0.12;
/// Fewer pieces say nothing about their spread.
const PIECES_MIN: usize = 5;

/// Why a ratio is not to be trusted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Doubt {
    /// More than registers alone can do.
    Impossible,
    /// The limit itself did not hold still: its quartiles.
    LimitMoved([f64; 2]),
    /// The ratio did not hold still: its quartiles.
    RatioMoved([f64; 2]),
    /// There is too little of it.
    Short,
}

impl Doubt {
    /// What is to be doubted about `ratio`, with quartiles of its pieces and of the looks and the middle look; the
    /// gravest first.
    pub fn about(ratio: f64, pieces: (usize, Option<[f64; 2]>), looks: Option<[f64; 3]>) -> Option<Self> {
        if ratio > 1.0 {
            return Some(Self::Impossible);
        }
        if let Some([low, middle, high]) = looks
            && high - low > LOOKS_APART * middle
        {
            return Some(Self::LimitMoved([low, high]));
        }
        match pieces {
            (count, Some(quartiles)) if count >= PIECES_MIN => (quartiles[1] - quartiles[0] > PIECES_APART
                || quartiles[1] > 1.0)
                .then_some(Self::RatioMoved(quartiles)),
            _ => Some(Self::Short),
        }
    }
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const AGAIN: &str = "measure again when nothing else runs";
        match *self {
            Self::Impossible => write!(
                f,
                "a ratio above 100 % is a fault of the measurement, or of the hashes that the provider counts: nothing does more than registers alone; {AGAIN}"
            ),
            Self::LimitMoved([low, high]) => write!(
                f,
                "the machine was too unsteady to tell: registers alone moved between {} and {} a thread (quartiles); {AGAIN}",
                text::hashrate(low),
                text::hashrate(high)
            ),
            Self::RatioMoved([low, high]) => write!(
                f,
                "the machine was too unsteady to tell: the ratio moved between {:.1} and {:.1} % from second to second (quartiles); {AGAIN}",
                low * 100.0,
                high * 100.0
            ),
            Self::Short => f.write_str("too short to tell how steady it is; measure for ten seconds or more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_turn_is_held_against_the_limit_as_it_was_around_it() {
        let mut account = Account::begin(1000.0);
        account.turn(SECOND, 1000.0);
        // The machine becomes half as fast, and the provider with it.
        account.turn(SECOND, 500.0);
        account.turn(SECOND * 2, 500.0);
        assert_eq!(account.limit(), Some((1000.0 + 750.0 + 1000.0) / 4.0));
        // Nine tenths of each turn are nine tenths of the whole, though its first second was twice as fast.
        assert_eq!(account.ratio(900 + 675 + 900), Some(0.9));
    }

    #[test]
    fn the_rate_by_the_clock_is_the_product_of_what_is_told() {
        let mut account = Account::begin(400.0);
        for (spent, look) in [(700, 410.0), (320, 150.0), (900, 390.0)] {
            account.turn(Duration::from_millis(spent), look);
        }
        let (hashes, took, threads) = (611u64, 1.7, 2.0);
        let share = account.processor().as_secs_f64() / (threads * took);
        let told = threads * account.limit().unwrap() * account.ratio(hashes).unwrap() * share;
        assert!((told - hashes as f64 / took).abs() < 1e-9, "{told}");
    }

    #[test]
    fn pieces_are_between_marks_and_windows_add_up() {
        let mut account = Account::begin(100.0);
        account.mark(1_000);
        account.turn(SECOND, 100.0);
        account.mark(1_090);
        account.turn(SECOND, 100.0);
        account.mark(1_170);
        // A provider that counts nothing in between gives no piece.
        account.turn(SECOND, 100.0);
        account.mark(1_170);
        let other = account.clone();
        account.add(&other);
        assert_eq!(account.pieces(), [0.9, 0.8, 0.9, 0.8]);
        assert_eq!((account.processor(), account.ratio(340)), (SECOND * 6, Some(340.0 / 600.0)));
        assert_eq!(account.looks().len(), 8);
    }

    #[test]
    fn without_processor_time_nothing_is_made_up() {
        let mut account = Account::begin(100.0);
        account.turn(Duration::ZERO, 100.0);
        assert_eq!((account.limit(), account.ratio(5)), (None, None));
    }

    #[test]
    fn a_ratio_above_the_limit_is_impossible_and_an_unsteady_one_is_doubted() {
        let steady = Some([99.0, 100.0, 101.0]);
        let about = |ratio, count, quartiles, looks| Doubt::about(ratio, (count, quartiles), looks);
        assert_eq!(about(0.9, 30, Some([0.89, 0.91]), steady), None);
        assert_eq!(about(1.001, 30, Some([0.99, 1.01]), steady), Some(Doubt::Impossible));
        // As once beside busy neighbours: quartiles of 80 to 102.7 around 91.3.
        let moved = [0.8, 1.027];
        assert_eq!(about(0.913, 30, Some(moved), steady), Some(Doubt::RatioMoved(moved)));
        assert_eq!(about(0.98, 30, Some([0.97, 1.01]), steady), Some(Doubt::RatioMoved([0.97, 1.01])));
        let looks = Some([80.0, 100.0, 110.0]);
        assert_eq!(about(0.9, 30, Some([0.89, 0.91]), looks), Some(Doubt::LimitMoved([80.0, 110.0])));
        assert_eq!(about(0.9, 3, Some([0.89, 0.91]), steady), Some(Doubt::Short));
        assert_eq!(about(0.9, 0, None, None), Some(Doubt::Short));
    }
}
