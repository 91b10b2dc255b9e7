//! How far the mean of a count may lie from what was counted.

/// The exact 95 % band of the mean of a Poisson variable of which `count` was seen (Garwood's): what lies below would
/// show as many or more in less than 2.5 % of cases, and what lies above as few or fewer.
pub fn band(count: u64) -> (f64, f64) {
    const TAIL: f64 = 0.025;
    const Z: f64 = 1.959_963_984_540_054;
    let n = count as f64;
    // The cube of a normal variable comes within 1 % of the exact band from one share on, and within 10^-5 from a thousand.
    let near = |n: f64, z: f64| n * (1.0 - 1.0 / (9.0 * n) + z / (3.0 * n.sqrt())).powi(3);
    if count >= 1000 {
        return (near(n, -Z), near(n + 1.0, Z));
    }
    // P(X <= count) for the mean `mean`, summed from its largest term downwards.
    let at_most = |count: u64, mean: f64| {
        let ln_factorial: f64 = (1..=count).map(|i| (i as f64).ln()).sum();
        let mut term = (count as f64 * mean.ln() - mean - ln_factorial).exp();
        let mut sum = term;
        for i in (1..=count).rev() {
            term *= i as f64 / mean;
            sum += term;
        }
        sum
    };
    // Falls as the mean rises; sixty halvings are more than a float has bits.
    let solve = |count: u64, wanted: f64| {
        let (mut low, mut high) = (1e-9, 10.0 + 2.0 * count as f64);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if at_most(count, middle) > wanted { low = middle } else { high = middle }
        }
        0.5 * (low + high)
    };
    let low = if count == 0 { 0.0 } else { solve(count - 1, 1.0 - TAIL) };
    (low, solve(count, TAIL))
}

/// [`band`] between two counts.
pub fn between(count: f64) -> (f64, f64) {
    let (below, part) = (count.floor(), count.fract());
    let (low, high) = band(below as u64);
    let (next_low, next_high) = band(below as u64 + 1);
    (low + part * (next_low - low), high + part * (next_high - high))
}
