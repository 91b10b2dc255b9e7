//! The kernel for any processor, and the yardstick of the others: plain Rust, no `unsafe` arithmetic, no lanes.

use super::{Layout, Micro, MicroArgs, Word};

/// The portable micro-kernel, 4 rows by 16 columns.
pub(super) struct Portable;

const ROWS: usize = 4;
const COLUMNS: usize = 16;

impl Micro for Portable {
    const NAME: &'static str = "portable";
    const LAYOUT: Layout = Layout::Signed;
    const ROWS: usize = ROWS;
    const COLUMNS: usize = COLUMNS;
    const LANES: usize = 1;

    fn supported() -> bool {
        true
    }

    unsafe fn run(args: &MicroArgs) {
        let quads = args.steps * 4;
        // SAFETY: the extents are those that `MicroArgs` promises, and the four ranges are distinct memory.
        let (a, b, sums, state, out) = unsafe {
            (
                std::slice::from_raw_parts(args.a.cast::<[[i8; 4]; ROWS]>(), args.slices * quads),
                std::slice::from_raw_parts(args.b.cast::<[[i8; 4]; COLUMNS]>(), args.slices * quads),
                &*args.sums_in.cast::<[[i32; COLUMNS]; ROWS]>(),
                std::slice::from_raw_parts_mut(args.state, args.slices),
                args.sums_out.cast::<[[i32; COLUMNS]; ROWS]>(),
            )
        };
        let mut sums = *sums;
        for ((a, b), word) in a.chunks_exact(quads).zip(b.chunks_exact(quads)).zip(state) {
            for (a, b) in a.iter().zip(b) {
                for (sums, a) in sums.iter_mut().zip(a) {
                    for (sum, b) in sums.iter_mut().zip(b) {
                        for (a, b) in a.iter().zip(b) {
                            *sum = sum.wrapping_add(i32::from(*a) * i32::from(*b));
                        }
                    }
                }
            }
            let x = sums.as_flattened().iter().fold(0, |x, &sum| x ^ sum as u32);
            *word = match args.word {
                Word::Begin => x,
                Word::Rotate => word.rotate_left(13) ^ x,
                Word::Keep => *word ^ x,
            };
        }
        // SAFETY: `MicroArgs` promises room for the sums, and nothing else refers to it.
        unsafe { *out = sums };
    }
}
