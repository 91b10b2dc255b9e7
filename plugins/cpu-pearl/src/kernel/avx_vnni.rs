//! AVX-VNNI: `vpdpbusd` on 32-byte registers, a micro-tile of 6 rows by 16 columns.
//!
//! The same arithmetic as [`super::avx512_vnni`] for processors whose vectors end at 32 bytes. Twelve sums keep two
//! multiplying pipes busy through the instruction's five clocks.
//!
//! The body is compiled twice: with the VEX encoding that AVX-VNNI brought, and with the EVEX encoding of the same
//! instruction (AVX-512 VNNI with VL), so that it can be run, and compared with the others, on processors that have
//! only that one.

use core::arch::asm;

use super::avx2::Shifts;
use super::{Layout, Micro, MicroArgs};

/// Six rows of one quad against 16 columns; `$vex` chooses the encoding.
macro_rules! quad {
    ($vex:literal, $q:literal) => {
        concat!(
            "vmovdqu ymm12, ymmword ptr [{b} + 64*",
            $q,
            "]\n",
            "vmovdqu ymm13, ymmword ptr [{b} + 64*",
            $q,
            " + 32]\n",
            dot!($vex, $q, 0, 14, 0, 1),
            dot!($vex, $q, 1, 15, 2, 3),
            dot!($vex, $q, 2, 14, 4, 5),
            dot!($vex, $q, 3, 15, 6, 7),
            dot!($vex, $q, 4, 14, 8, 9),
            dot!($vex, $q, 5, 15, 10, 11),
        )
    };
}
macro_rules! dot {
    ($vex:literal, $q:literal, $row:literal, $a:literal, $acc0:literal, $acc1:literal) => {
        concat!(
            "vpbroadcastd ymm",
            $a,
            ", dword ptr [{a} + 24*",
            $q,
            " + 4*",
            $row,
            "]\n",
            $vex,
            " vpdpbusd ymm",
            $acc0,
            ", ymm12, ymm",
            $a,
            "\n",
            $vex,
            " vpdpbusd ymm",
            $acc1,
            ", ymm13, ymm",
            $a,
            "\n",
        )
    };
}
macro_rules! each_sum {
    ($which:tt) => { each_sum!(@ $which 0 1 2 3 4 5 6 7 8 9 10 11) };
    (@ $which:tt $($i:literal)+) => { concat!($(each_sum!(# $which $i)),+) };
    (# load $i:literal) => { concat!("vmovdqu ymm", $i, ", ymmword ptr [{acc} + 32*", $i, "]\n") };
    (# store $i:literal) => { concat!("vmovdqu ymmword ptr [{out} + 32*", $i, "], ymm", $i, "\n") };
}

macro_rules! micro {
    ($(#[$doc:meta])* $type:ident, $name:literal, $vex:literal, $($feature:tt),+) => {
        $(#[$doc])*
        pub(super) struct $type;

        impl Micro for $type {
            const NAME: &'static str = $name;
            const LAYOUT: Layout = Layout::UnsignedB;
            const ROWS: usize = 6;
            const COLUMNS: usize = 16;
            const LANES: usize = 8;
            const TILE: (u32, u32) = (12, 16);

            fn supported() -> bool {
                std::arch::is_x86_feature_detected!("avx2") $(&& std::arch::is_x86_feature_detected!($feature))+
            }

            unsafe fn run(args: &MicroArgs) {
                let shifts = Shifts::of(args.word);
                // SAFETY: the caller vouches for the instruction and for the extents behind every pointer (see
                // `MicroArgs`): this reads `slices * steps` groups of 4 quads of both panels, reads the sums in and writes the sums out (6x16), and updates one 8-lane word per slice.
                unsafe {
                    asm!(
                        each_sum!(load),
                        ".p2align 4",
                        "2:",
                        "mov {i}, {steps}",
                        ".p2align 5",
                        "3:",
                        quad!($vex, 0), quad!($vex, 1), quad!($vex, 2), quad!($vex, 3),
                        "add {a}, 96",
                        "add {b}, 256",
                        "dec {i}",
                        "jnz 3b",
                        "vmovdqu ymm14, ymmword ptr [{state}]",
                        "vpslld ymm15, ymm14, xmmword ptr [{shifts}]",
                        "vpsrld ymm14, ymm14, xmmword ptr [{shifts} + 16]",
                        "vpxor ymm12, ymm0, ymm1",
                        "vpxor ymm13, ymm2, ymm3",
                        "vpxor ymm14, ymm14, ymm15",
                        "vpxor ymm15, ymm4, ymm5",
                        "vpxor ymm12, ymm12, ymm13",
                        "vpxor ymm13, ymm6, ymm7",
                        "vpxor ymm14, ymm14, ymm15",
                        "vpxor ymm15, ymm8, ymm9",
                        "vpxor ymm12, ymm12, ymm13",
                        "vpxor ymm13, ymm10, ymm11",
                        "vpxor ymm14, ymm14, ymm15",
                        "vpxor ymm12, ymm12, ymm13",
                        "vpxor ymm12, ymm12, ymm14",
                        "vmovdqu ymmword ptr [{state}], ymm12",
                        "add {state}, 32",
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
    };
}

micro!(
    /// The micro-kernel of AVX-VNNI.
    AvxVnni, "avx-vnni", "{{vex}}", "avxvnni"
);
micro!(
    /// The same with AVX-512 VNNI's encoding, on 32-byte registers.
    Avx512VnniShort, "avx512-vnni-256", "{{evex}}", "avx512vnni", "avx512vl"
);
