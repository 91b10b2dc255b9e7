//! Cards by their PCI ids, for estimates before any driver is opened.
//!
//! A rate is what the card could do with packed dot products at its usual clock: units × products a clock × clock, from
//! public data sheets. None was measured here; the estimate takes [`SHARE`] of it, and a session measures the truth.

/// The part of the peak that an estimate takes.
const SHARE: f64 = 0.6;

pub(crate) const NVIDIA: u32 = 0x10de;
pub(crate) const AMD: u32 = 0x1002;
pub(crate) const INTEL: u32 = 0x8086;

/// A kind of card: vendor, device, and its peak in tera multiply-accumulates a second.
type Card = (u32, u32, f64);

/// Sorted by nothing: a list this short is searched as it is.
const CARDS: &[Card] = &[
    // Turing to Blackwell: 64 dot products of four a clock and multiprocessor.
    (NVIDIA, 0x1e04, 26.9),  // RTX 2080 Ti: 68 × 256 × 1.545 GHz
    (NVIDIA, 0x1e07, 28.5),  // RTX 2080 Ti, higher clock
    (NVIDIA, 0x2503, 12.7),  // RTX 3060: 28, 1.777
    (NVIDIA, 0x2486, 16.2),  // RTX 3060 Ti: 38, 1.665
    (NVIDIA, 0x2484, 20.3),  // RTX 3070: 46, 1.725
    (NVIDIA, 0x2206, 29.8),  // RTX 3080: 68, 1.71
    (NVIDIA, 0x2204, 35.6),  // RTX 3090: 82, 1.695
    (NVIDIA, 0x2203, 40.0),  // RTX 3090 Ti: 84, 1.86
    (NVIDIA, 0x2882, 15.1),  // RTX 4060: 24, 2.46
    (NVIDIA, 0x2803, 22.0),  // RTX 4060 Ti: 34, 2.535
    (NVIDIA, 0x2786, 29.1),  // RTX 4070: 46, 2.475
    (NVIDIA, 0x2782, 40.1),  // RTX 4070 Ti: 60, 2.61
    (NVIDIA, 0x2704, 48.7),  // RTX 4080: 76, 2.505
    (NVIDIA, 0x2702, 52.2),  // RTX 4080 SUPER: 80, 2.55
    (NVIDIA, 0x2684, 82.6),  // RTX 4090: 128, 2.52
    (NVIDIA, 0x2685, 73.6),  // RTX 4090 D: 114, 2.52
    (NVIDIA, 0x2c05, 43.9),  // RTX 5070 Ti: 70, 2.45
    (NVIDIA, 0x2c02, 56.3),  // RTX 5080: 84, 2.617
    (NVIDIA, 0x2b85, 104.9), // RTX 5090: 170, 2.41
    (NVIDIA, 0x20b0, 39.0),  // A100: 108, 1.41
    (NVIDIA, 0x20b2, 39.0),  // A100 80 GB
    (NVIDIA, 0x2331, 51.2),  // H100 PCIe: 114, 1.755
    (NVIDIA, 0x2330, 66.9),  // H100 SXM: 132, 1.98
    (NVIDIA, 0x2335, 66.9),  // H200: 132, 1.98
    // RDNA: 64 lanes of four a clock and compute unit; the smallest card that has the id.
    (AMD, 0x73bf, 32.3), // RX 6800 to 6900 XT: 60, 2.105
    (AMD, 0x73df, 26.4), // RX 6700 XT: 40, 2.581
    (AMD, 0x73ff, 17.9), // RX 6600 to 6600 XT: 28, 2.491
    (AMD, 0x744c, 44.9), // RX 7900 GRE to XTX: 80, 2.245 and up
    (AMD, 0x747e, 32.7), // RX 7700 XT to 7800 XT: 54, 2.544
    (AMD, 0x7480, 21.7), // RX 7600: 32, 2.655
    (AMD, 0x7550, 36.1), // RX 9070 to 9070 XT: 56, 2.52
    (AMD, 0x7590, 24.0), // RX 9060 XT: 32, 3.13
    // Xe: eight or sixteen lanes of four a clock and vector engine.
    (INTEL, 0x56a0, 34.4), // Arc A770: 4096 lanes, 2.1
    (INTEL, 0x56a1, 29.4), // Arc A750: 3584, 2.05
    (INTEL, 0x56a5, 8.2),  // Arc A380: 1024, 2.0
    (INTEL, 0xe20b, 27.3), // Arc B580: 2560, 2.67
    (INTEL, 0xe20c, 23.9), // Arc B570: 2304, 2.6
];

/// Hashes per second to expect of the card with these ids; none of a card that is not in the table.
pub(crate) fn estimate(vendor: u32, device: u32) -> Option<f64> {
    let card = CARDS.iter().find(|(v, d, _)| (*v, *d) == (vendor, device))?;
    Some(card.2 * 1e12 * SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_card_is_listed_twice_and_estimates_are_below_the_peak() {
        for (i, (vendor, device, peak)) in CARDS.iter().enumerate() {
            assert!(CARDS[..i].iter().all(|(v, d, _)| (v, d) != (vendor, device)), "{device:x}");
            let estimate = estimate(*vendor, *device).unwrap();
            assert!(estimate < peak * 1e12 && estimate > 4e12, "{device:x}");
        }
        assert_eq!(estimate(NVIDIA, 1), None);
    }
}
