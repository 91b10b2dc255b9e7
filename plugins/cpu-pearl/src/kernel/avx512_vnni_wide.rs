//! AVX-512 VNNI with two vectors of columns: a micro-tile of 8 rows by 32 columns.
//!
//! The same arithmetic as [`super::avx512_vnni`], which takes A from memory in every instruction: 17 loads for 16
//! products, where a core does two of each a clock. Here a row's four bytes are broadcast into a register once and meet
//! two vectors of B: ten loads for sixteen products, so that the loads hide behind the products. A's panels are read once
//! for 32 columns rather than 16, which halves what comes from L2.
//!
//! Eight rows and not more, because a tile has at most 256 sums (protocol section 7, rule 17): twelve or fourteen rows by
//! two vectors would be two tiles, each smaller than it may be, and jackpots are hashed by the tile.

use core::arch::asm;

use super::{AHEAD, Layout, Micro, MicroArgs, Word};

/// Eight rows of one quad against the 32 columns in `$b0` and `$b1`; the broadcasts take turns in zmm20 to zmm27.
macro_rules! quad {
    ($q:literal, $b0:literal, $b1:literal) => {
        concat!(
            "vmovdqu32 zmm",
            $b0,
            ", zmmword ptr [{b} + 128*",
            $q,
            "]\n",
            "vmovdqu32 zmm",
            $b1,
            ", zmmword ptr [{b} + 128*",
            $q,
            " + 64]\n",
            row!($q, $b0, $b1, 0, 20, 0, 1),
            row!($q, $b0, $b1, 1, 21, 2, 3),
            row!($q, $b0, $b1, 2, 22, 4, 5),
            row!($q, $b0, $b1, 3, 23, 6, 7),
            row!($q, $b0, $b1, 4, 24, 8, 9),
            row!($q, $b0, $b1, 5, 25, 10, 11),
            row!($q, $b0, $b1, 6, 26, 12, 13),
            row!($q, $b0, $b1, 7, 27, 14, 15),
        )
    };
}
#[rustfmt::skip]
macro_rules! row {
    ($q:literal, $b0:literal, $b1:literal, $row:literal, $a:literal, $acc0:literal, $acc1:literal) => {
        concat!(
            "vpbroadcastd zmm", $a, ", dword ptr [{a} + 32*", $q, " + 4*", $row, "]\n",
            "vpdpbusd zmm", $acc0, ", zmm", $b0, ", zmm", $a, "\n",
            "vpdpbusd zmm", $acc1, ", zmm", $b1, ", zmm", $a, "\n",
        )
    };
}
macro_rules! each_sum {
    ($which:tt) => { each_sum!(@ $which 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15) };
    (@ $which:tt $($i:literal)+) => { concat!($(each_sum!(# $which $i)),+) };
    (# load $i:literal) => { concat!("vmovdqu32 zmm", $i, ", zmmword ptr [{acc} + 64*", $i, "]\n") };
    (# store $i:literal) => { concat!("vmovdqu32 zmmword ptr [{out} + 64*", $i, "], zmm", $i, "\n") };
}

/// The AVX-512 VNNI micro-kernel of two vectors.
pub(super) struct Avx512VnniWide;

impl Micro for Avx512VnniWide {
    const NAME: &'static str = "avx512-vnni-8x32";
    const FAMILY: &'static str = super::avx512_vnni::Avx512Vnni::FAMILY;
    const LAYOUT: Layout = Layout::UnsignedB;
    const ROWS: usize = 8;
    const COLUMNS: usize = 32;
    const LANES: usize = 16;
    const TILE: (u32, u32) = (8, 32);
    /// Ten loads for sixteen products, in long straight lines.
    const STREAMS: bool = true;

    fn supported() -> bool {
        super::avx512_vnni::Avx512Vnni::supported()
    }

    unsafe fn run(args: &MicroArgs) {
        // Words that begin are masked away.
        let (rotation, mask) = match args.word {
            Word::Begin => (0u32, 0u32),
            Word::Rotate => (13, 0xffff),
            Word::Keep => (0, 0xffff),
        };
        // SAFETY: the caller vouches for AVX-512 VNNI and for the extents behind every pointer (see `MicroArgs`): this
        // reads `slices * steps` groups of 4 quads of both panels, reads the sums in and writes the sums out (8x32), and updates one 16-lane word of the state per slice; a hint reads nothing.
        unsafe {
            asm!(
                each_sum!(load),
                "vpbroadcastd zmm31, {rotation:e}",
                "kmovw k1, {mask:e}",
                ".p2align 4",
                "2:",
                "mov {i}, {steps}",
                ".p2align 6",
                "3:",
                quad!(0, 16, 17), quad!(1, 18, 19), quad!(2, 16, 17), quad!(3, 18, 19),
                "sub {a}, -128",
                "add {b}, 512",
                "dec {i}",
                "jnz 3b",
                "prefetcht1 byte ptr [{ahead_a}]",
                "prefetcht1 byte ptr [{ahead_b}]",
                "vmovdqu32 zmm25 {{k1}} {{z}}, zmmword ptr [{state}]",
                "vprolvd zmm25, zmm25, zmm31",
                "vmovdqa32 zmm20, zmm0",
                "vmovdqa32 zmm21, zmm3",
                "vmovdqa32 zmm22, zmm6",
                "vmovdqa32 zmm23, zmm9",
                "vmovdqa32 zmm24, zmm12",
                "vpternlogd zmm20, zmm1, zmm2, 0x96",
                "vpternlogd zmm21, zmm4, zmm5, 0x96",
                "vpternlogd zmm22, zmm7, zmm8, 0x96",
                "vpternlogd zmm23, zmm10, zmm11, 0x96",
                "vpternlogd zmm24, zmm13, zmm14, 0x96",
                "vpternlogd zmm20, zmm21, zmm15, 0x96",
                "vpternlogd zmm22, zmm23, zmm24, 0x96",
                "vpternlogd zmm25, zmm20, zmm22, 0x96",
                "vmovdqu32 zmmword ptr [{state}], zmm25",
                "add {state}, 64",
                "prefetcht1 byte ptr [{ahead_a} + 64]",
                "prefetcht1 byte ptr [{ahead_b} + 64]",
                "sub {ahead_a}, -{AHEAD}",
                "sub {ahead_b}, -{AHEAD}",
                "dec {slices}",
                "jnz 2b",
                each_sum!(store),
                "vzeroupper",
                a = inout(reg) args.a => _,
                b = inout(reg) args.b => _,
                state = inout(reg) args.state => _,
                slices = inout(reg) args.slices => _,
                steps = in(reg) args.steps,
                i = out(reg) _,
                acc = in(reg) args.sums_in,
                out = in(reg) args.sums_out,
                rotation = in(reg) rotation,
                mask = in(reg) mask,
                ahead_a = inout(reg) args.ahead[0] => _,
                ahead_b = inout(reg) args.ahead[1] => _,
                AHEAD = const AHEAD,
                out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _,
                out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
                out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
                out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
                out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _,
                out("zmm31") _, out("k1") _,
                options(nostack),
            );
        }
    }
}
