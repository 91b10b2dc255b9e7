//! How the product is cut for the caches: stretches of k, blocks of rows of A and of columns of B.
//!
//! Two ways. Where a core has a second level of some size and the kernel can take both panels from there, a block of A
//! stays in it while blocks of B pass by, and the whole of k is one stretch: no sum is put down, and a tile's words live
//! for one column of tiles. Otherwise a panel of B stays in the first level for a stretch of k, and blocks of A pass by.
//!
//! Plain arithmetic on sizes; which kernel is the fastest with its own cut is for `calibrate` to try.

use pearl_pow::Side;

use crate::kernel::cpu::Caches;
use crate::kernel::{Depth, Kernel};

/// The cut of a product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cut {
    pub depth: Depth,
    /// Rows of A of a block, before they are rounded to whole tiles.
    pub rows: usize,
    /// Columns of B of a block, likewise.
    pub columns: usize,
    /// Whether a block of A stays while all blocks of B pass by, and not the other way round.
    pub a_stays: bool,
}

/// Rows of A of a block that stays, at most; and at least, for with fewer the blocks of B pass by too fast.
const ROWS_THAT_STAY: [usize; 2] = [256, 512];
/// Columns of a block of B, at most.
const COLUMNS: usize = 256;
/// Hashes in the product of two blocks, at most: about a millisecond of work, for a job that has become stale is noticed
/// between two blocks.
pub(crate) const BLOCK_HASHES: usize = 1 << 27;

impl Cut {
    /// The cut for `kernel` of a product that is `k` deep, folded every `rank` steps.
    pub(crate) fn new(kernel: &Kernel, k: usize, rank: usize, caches: Caches) -> Self {
        let entry = kernel.layout().entry_bytes();
        let hashes = if kernel.is_slow() { BLOCK_HASHES / 16 } else { BLOCK_HASHES };
        let row = k * entry;
        // Half of it for the block that stays, and an eighth each for the one that passes and the one that comes.
        let rows = caches.l2 / 2 / row;
        if kernel.streams() && rows >= ROWS_THAT_STAY[0] {
            let depth = Depth::new(k, rank, k);
            let rows = 1 << rows.min(ROWS_THAT_STAY[1]).ilog2();
            let columns = (caches.l2 / 8 / row).clamp(64, COLUMNS).min(hashes / (rows * k));
            return Self { depth, rows, columns, a_stays: true };
        }
        // Two thirds of L1 for a panel of B, which every panel of A meets; an eighth of L2 for a stretch of a block of A.
        let depth = Depth::new(k, rank, caches.l1 * 2 / 3 / (kernel.panel_height(Side::BT) * entry));
        let stretch = (depth.stretch * depth.rank).min(k);
        let rows = (caches.l2 / 8 / (stretch * entry)).clamp(64, 256);
        Self { depth, rows, columns: (hashes / (rows * k)).min(COLUMNS), a_stays: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel;

    #[test]
    fn a_block_is_about_a_millisecond_of_work_whatever_the_kernel_the_depth_and_the_caches() {
        for kernel in kernel::available() {
            for k in [1024, 2048, 4096, 8192, 65536] {
                for l2 in [256 << 10, 1 << 20, 5 << 18, 2 << 20, 4 << 20] {
                    let caches = Caches { l2, ..Caches::default() };
                    let cut = Cut::new(kernel, k, 128, caches);
                    let most = if kernel.is_slow() { BLOCK_HASHES / 16 } else { BLOCK_HASHES };
                    assert!(cut.rows * cut.columns * k <= most, "{} {k} {l2}: {cut:?}", kernel.name());
                    assert!(
                        cut.rows >= 64 && cut.depth.stretch * 128 <= k,
                        "{} {k} {l2}: {cut:?}",
                        kernel.name()
                    );
                    if cut.a_stays {
                        assert!(
                            kernel.streams() && cut.rows * k <= l2 / 2,
                            "{} {k} {l2}: {cut:?}",
                            kernel.name()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_default_product_is_cut_as_it_was_measured() {
        let cut = |name: &str, l1, l2| {
            let kernel = kernel::available().find(|kernel| kernel.name() == name)?;
            let cut = Cut::new(kernel, 2048, 128, Caches { l1, l2, l3: 0 });
            Some((cut.depth.stretch, cut.rows, cut.columns, cut.a_stays))
        };
        // Kernels that this processor has not cannot be asked.
        for (name, l1, l2, expected) in [
            ("avx512-vnni-8x32", 48 << 10, 2 << 20, (16, 512, 128, true)),
            ("avx512-vnni-8x32", 48 << 10, 1 << 20, (16, 256, 64, true)),
            ("avx512-vnni-8x32", 32 << 10, 512 << 10, (4, 128, 256, false)),
            ("avx512-vnni-16x16", 32 << 10, 1 << 20, (8, 128, 256, false)),
            ("avx2", 32 << 10, 1 << 20, (4, 128, 256, false)),
        ] {
            if let Some(found) = cut(name, l1, l2) {
                assert_eq!(found, expected, "{name} with {l1} and {l2} bytes");
            }
        }
    }
}
