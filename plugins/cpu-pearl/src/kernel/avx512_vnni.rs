//! AVX-512 VNNI: `vpdpbusd` on 64-byte registers, a micro-tile of 16 rows by 16 columns.
//!
//! The instruction multiplies unsigned by signed bytes and sums four products into each 32-bit lane without
//! saturating. B is the unsigned operand: it is drawn from the two highest entries that the protocol takes, so that no
//! noise makes it negative and there is nothing to correct (128 added to B, and 128 times the sum of each row of A taken
//! off again once a slice, cost three per cent). The signed operand is A, which each instruction broadcasts from memory by
//! itself: the inner loop is one load of B and sixteen `vpdpbusd` for 1,024 multiply-accumulates.

use core::arch::asm;

use super::{AHEAD, Layout, Micro, MicroArgs, Word};

/// Sixteen rows of one quad against the 16 columns in `$b`.
macro_rules! quad {
    ($q:literal, $b:literal) => {
        concat!(
            "vmovdqu32 zmm",
            $b,
            ", zmmword ptr [{b} + 64*",
            $q,
            "]\n",
            dot!($q, $b, 0),
            dot!($q, $b, 1),
            dot!($q, $b, 2),
            dot!($q, $b, 3),
            dot!($q, $b, 4),
            dot!($q, $b, 5),
            dot!($q, $b, 6),
            dot!($q, $b, 7),
            dot!($q, $b, 8),
            dot!($q, $b, 9),
            dot!($q, $b, 10),
            dot!($q, $b, 11),
            dot!($q, $b, 12),
            dot!($q, $b, 13),
            dot!($q, $b, 14),
            dot!($q, $b, 15),
        )
    };
}
macro_rules! dot {
    ($q:literal, $b:literal, $row:literal) => {
        concat!(
            "vpdpbusd zmm",
            $row,
            ", zmm",
            $b,
            ", dword ptr [{a} + 64*",
            $q,
            " + 4*",
            $row,
            "]{{1to16}}\n"
        )
    };
}
macro_rules! each_row {
    ($which:tt) => { each_row!(@ $which 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15) };
    (@ $which:tt $($row:literal)+) => { concat!($(each_row!(# $which $row)),+) };
    (# load $row:literal) => { concat!("vmovdqu32 zmm", $row, ", zmmword ptr [{acc} + 64*", $row, "]\n") };
    (# store $row:literal) => { concat!("vmovdqu32 zmmword ptr [{out} + 64*", $row, "], zmm", $row, "\n") };
}

/// The AVX-512 VNNI micro-kernel.
pub(super) struct Avx512Vnni;

impl Micro for Avx512Vnni {
    const NAME: &'static str = "avx512-vnni-16x16";
    const FAMILY: &'static str = "avx512-vnni";
    const LAYOUT: Layout = Layout::UnsignedB;
    const ROWS: usize = 16;
    const COLUMNS: usize = 16;
    const LANES: usize = 16;

    fn supported() -> bool {
        use std::arch::is_x86_feature_detected as has;
        // BW, DQ and VL are for the packing: every processor with VNNI has them.
        has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") && has!("avx512vnni")
    }

    unsafe fn run(args: &MicroArgs) {
        // Words that begin are masked away.
        let (rotation, mask) = match args.word {
            Word::Begin => (0u32, 0u32),
            Word::Rotate => (13, 0xffff),
            Word::Keep => (0, 0xffff),
        };
        // SAFETY: the caller vouches for AVX-512 VNNI and for the extents behind every pointer (see `MicroArgs`): this
        // reads `slices * steps` groups of 4 quads of both panels, reads the sums in and writes the sums out (16x16), and updates one 16-lane word of the state per slice; a hint reads nothing.
        unsafe {
            asm!(
                each_row!(load),
                "vpbroadcastd zmm31, {rotation:e}",
                "kmovw k1, {mask:e}",
                ".p2align 4",
                "2:",
                "mov {i}, {steps}",
                ".p2align 6",
                "3:",
                quad!(0, 16), quad!(1, 17), quad!(2, 18), quad!(3, 19),
                "add {a}, 256",
                "add {b}, 256",
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
                each_row!(store),
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
                out("zmm24") _, out("zmm25") _, out("zmm31") _, out("k1") _,
                options(nostack),
            );
        }
    }
}
