//! What is put on each way to lie, and what it has come to: a likelihood ratio for each alternative, averaged.

/// "Claims so many times what it does", with the odds given to each. The odds of both tables add up to one.
pub(super) const CLAIMS_MORE: [(f64, f64); 6] =
    [(1.1, 0.1), (1.25, 0.25), (1.6, 0.15), (2.2, 0.1), (3.5, 0.1), (10.0, 0.1)];
/// "Claims a part of what it does", in the same way.
pub(super) const FINDS_MORE: [(f64, f64); 4] = [(0.9, 0.05), (0.7, 0.05), (0.4, 0.05), (0.1, 0.05)];

/// The odds that a lie began with the miner; the rest is shared out among all later beginnings.
pub(super) const FROM_THE_START: f64 = 0.8;

/// One alternative: that the miner claims `factor` times the hashes that it does.
#[derive(Debug, Clone)]
struct Bet {
    factor: f64,
    odds: f64,
    /// Logarithm of the likelihood ratio, averaged over the beginnings that were so far.
    wealth: f64,
}

/// All alternatives of one side.
#[derive(Debug, Clone)]
pub(super) struct Side(Vec<Bet>);

impl Side {
    /// The alternatives of `table`, each with its odds.
    pub fn new(table: &[(f64, f64)]) -> Self {
        let bet = |&(factor, odds): &(f64, f64)| {
            let odds: f64 = odds;
            Bet { factor, odds, wealth: (odds * FROM_THE_START).ln() }
        };
        Self(table.iter().map(bet).collect())
    }

    /// From here on the lie may have begun, with odds of `share`. The last `fresh` shares and the report of their work may
    /// lie on either side of that moment, and are taken to lie where they speak for the miner.
    pub fn begin(&mut self, share: f64, fresh: f64) {
        for bet in &mut self.0 {
            let start = (bet.odds * share).ln() - fresh * bet.factor.ln().abs();
            bet.wealth = ln_add(bet.wealth, start);
        }
    }

    /// So many shares were due.
    pub fn due(&mut self, due: f64) {
        for bet in &mut self.0 {
            bet.wealth += due * (1.0 - 1.0 / bet.factor);
        }
    }

    /// So many shares were found.
    pub fn found(&mut self, shares: f64) {
        for bet in &mut self.0 {
            bet.wealth -= shares * bet.factor.ln();
        }
    }

    /// Logarithm of the evidence for this side, had so many shares more been found.
    pub fn evidence(&self, more: f64) -> f64 {
        self.0.iter().map(|bet| bet.wealth - more * bet.factor.ln()).fold(f64::NEG_INFINITY, ln_add)
    }
}

/// `ln(e^a + e^b)`.
pub(super) fn ln_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}
