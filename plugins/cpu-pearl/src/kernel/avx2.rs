//! AVX2: Winograd's inner product on 16-bit integers, a micro-tile of 4 rows by 16 columns.
//!
//! For even t, `(a[t] + b[t+1]) * (a[t+1] + b[t])` is `a[t]*b[t] + a[t+1]*b[t+1]` plus a term of the row alone and a
//! term of the column alone. Both terms are sums over a slice that the packing works out once, so that the inner
//! loop is left with two `vpaddw`, one `vpmaddwd` and one `vpaddd` for 32 multiply-accumulates: 32 per clock on
//! processors with four vector pipes of which two multiply. It is exact: the operands stay within 254 in magnitude, a
//! pair of products within 129,032, and all the rest is arithmetic modulo 2^32.
//!
//! The order of the instructions is the point of this file, which is why it is assembly: compilers regroup it into
//! something slower.

use core::arch::asm;

use super::{Layout, Micro, MicroArgs, Word};

/// Shift counts of the fold, as the two 128-bit operands that `vpslld` and `vpsrld` read; a shift by 32 yields zero.
#[repr(C, align(16))]
pub(super) struct Shifts([u64; 4]);

impl Shifts {
    /// What makes of a word what is to become of it.
    pub(super) fn of(word: Word) -> &'static Self {
        match word {
            Word::Begin => &Self([32, 0, 32, 0]),
            Word::Rotate => &Self([13, 0, 19, 0]),
            Word::Keep => &Self([0, 0, 32, 0]),
        }
    }
}

/// One row of one quad: `$acc0` and `$acc1` are its sums for columns 0 to 7 and 8 to 15.
#[rustfmt::skip]
macro_rules! row {
    ($q:literal, $row:literal, $acc0:literal, $acc1:literal) => {
        concat!(
            "vpbroadcastd ymm12, dword ptr [{a} + 32*", $q, " + 8*", $row, "]\n",
            "vpbroadcastd ymm13, dword ptr [{a} + 32*", $q, " + 8*", $row, " + 4]\n",
            "vpaddw ymm14, ymm12, ymm8\n",
            "vpaddw ymm15, ymm13, ymm10\n",
            "vpaddw ymm12, ymm12, ymm9\n",
            "vpaddw ymm13, ymm13, ymm11\n",
            "vpmaddwd ymm14, ymm14, ymm15\n",
            "vpmaddwd ymm12, ymm12, ymm13\n",
            "vpaddd ymm", $acc0, ", ymm", $acc0, ", ymm14\n",
            "vpaddd ymm", $acc1, ", ymm", $acc1, ", ymm12\n",
        )
    };
}

/// Four steps of k for the whole micro-tile.
macro_rules! quad {
    ($q:literal) => {
        concat!(
            "vmovdqu ymm8, ymmword ptr [{b} + 128*",
            $q,
            "]\n",
            "vmovdqu ymm9, ymmword ptr [{b} + 128*",
            $q,
            " + 32]\n",
            "vmovdqu ymm10, ymmword ptr [{b} + 128*",
            $q,
            " + 64]\n",
            "vmovdqu ymm11, ymmword ptr [{b} + 128*",
            $q,
            " + 96]\n",
            row!($q, 0, 0, 1),
            row!($q, 1, 2, 3),
            row!($q, 2, 4, 5),
            row!($q, 3, 6, 7),
        )
    };
}

/// Adds the slice's row and column terms to one row of sums.
macro_rules! correct {
    ($row:literal, $acc0:literal, $acc1:literal) => {
        concat!(
            "vpbroadcastd ymm10, dword ptr [{row} + 4*",
            $row,
            "]\n",
            "vpaddd ymm11, ymm10, ymm8\n",
            "vpaddd ymm12, ymm10, ymm9\n",
            "vpaddd ymm",
            $acc0,
            ", ymm",
            $acc0,
            ", ymm11\n",
            "vpaddd ymm",
            $acc1,
            ", ymm",
            $acc1,
            ", ymm12\n",
        )
    };
}

/// The AVX2 micro-kernel.
pub(super) struct Avx2;

impl Micro for Avx2 {
    const NAME: &'static str = "avx2";
    const LAYOUT: Layout = Layout::Winograd;
    const ROWS: usize = 4;
    const COLUMNS: usize = 16;
    const LANES: usize = 8;

    fn supported() -> bool {
        std::arch::is_x86_feature_detected!("avx2")
    }

    unsafe fn run(args: &MicroArgs) {
        let shifts = Shifts::of(args.word);
        // SAFETY: the caller vouches for AVX2 and for the extents behind every pointer (see `MicroArgs`): this reads
        // `slices * steps` groups of 4 quads of both panels, 4 row and 16 column terms a slice, reads the sums in and
        // writes the sums out (4x16), and updates one 8-lane word of the state per slice.
        unsafe {
            asm!(
                "vmovdqu ymm0, ymmword ptr [{acc}]",
                "vmovdqu ymm1, ymmword ptr [{acc} + 32]",
                "vmovdqu ymm2, ymmword ptr [{acc} + 64]",
                "vmovdqu ymm3, ymmword ptr [{acc} + 96]",
                "vmovdqu ymm4, ymmword ptr [{acc} + 128]",
                "vmovdqu ymm5, ymmword ptr [{acc} + 160]",
                "vmovdqu ymm6, ymmword ptr [{acc} + 192]",
                "vmovdqu ymm7, ymmword ptr [{acc} + 224]",
                ".p2align 4",
                "2:",
                "mov {i}, {steps}",
                ".p2align 5",
                "3:",
                quad!(0), quad!(1), quad!(2), quad!(3),
                "sub {a}, -128",
                "add {b}, 512",
                "dec {i}",
                "jnz 3b",
                "vmovdqu ymm8, ymmword ptr [{col}]",
                "vmovdqu ymm9, ymmword ptr [{col} + 32]",
                correct!(0, 0, 1),
                correct!(1, 2, 3),
                correct!(2, 4, 5),
                correct!(3, 6, 7),
                "vmovdqu ymm14, ymmword ptr [{state}]",
                "vpslld ymm15, ymm14, xmmword ptr [{shifts}]",
                "vpsrld ymm14, ymm14, xmmword ptr [{shifts} + 16]",
                "vpxor ymm8, ymm0, ymm1",
                "vpxor ymm9, ymm2, ymm3",
                "vpxor ymm10, ymm4, ymm5",
                "vpxor ymm11, ymm6, ymm7",
                "vpxor ymm14, ymm14, ymm15",
                "vpxor ymm8, ymm8, ymm9",
                "vpxor ymm10, ymm10, ymm11",
                "vpxor ymm8, ymm8, ymm14",
                "vpxor ymm8, ymm8, ymm10",
                "vmovdqu ymmword ptr [{state}], ymm8",
                "add {row}, 16",
                "add {col}, 64",
                "add {state}, 32",
                "dec {slices}",
                "jnz 2b",
                "vmovdqu ymmword ptr [{out}], ymm0",
                "vmovdqu ymmword ptr [{out} + 32], ymm1",
                "vmovdqu ymmword ptr [{out} + 64], ymm2",
                "vmovdqu ymmword ptr [{out} + 96], ymm3",
                "vmovdqu ymmword ptr [{out} + 128], ymm4",
                "vmovdqu ymmword ptr [{out} + 160], ymm5",
                "vmovdqu ymmword ptr [{out} + 192], ymm6",
                "vmovdqu ymmword ptr [{out} + 224], ymm7",
                "vzeroupper",
                a = inout(reg) args.a => _,
                b = inout(reg) args.b => _,
                row = inout(reg) args.row_terms => _,
                col = inout(reg) args.column_terms => _,
                state = inout(reg) args.state => _,
                slices = inout(reg) args.slices => _,
                steps = in(reg) args.steps,
                i = out(reg) _,
                acc = in(reg) args.sums_in,
                out = in(reg) args.sums_out,
                shifts = in(reg) shifts,
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
                out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
                out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                options(nostack),
            );
        }
    }
}
