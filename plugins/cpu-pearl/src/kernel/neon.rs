//! NEON with the dot-product extension: `sdot`, a micro-tile of 4 rows by 16 columns.
//!
//! Both operands are signed, so there is nothing to correct. One register of A holds the quads of all four rows, and
//! each `sdot` picks its row's by index. The intrinsics are unstable in the compiler that this is built with, hence
//! assembly.

use core::arch::asm;

use super::{Layout, Micro, MicroArgs, Word};

/// The columns of one quad in four registers against the four rows in another.
macro_rules! quad {
    ($a:literal, $b0:literal, $b1:literal, $b2:literal, $b3:literal) => {
        concat!(
            "ld1 {{v",
            $b0,
            ".16b, v",
            $b1,
            ".16b, v",
            $b2,
            ".16b, v",
            $b3,
            ".16b}}, [{b}], #64\n",
            "ldr q",
            $a,
            ", [{a}], #16\n",
            dots!($a, 0, $b0, 0, $b1, 1, $b2, 2, $b3, 3),
            dots!($a, 1, $b0, 4, $b1, 5, $b2, 6, $b3, 7),
            dots!($a, 2, $b0, 8, $b1, 9, $b2, 10, $b3, 11),
            dots!($a, 3, $b0, 12, $b1, 13, $b2, 14, $b3, 15),
        )
    };
}
macro_rules! dots {
    ($a:literal, $row:literal, $($b:literal, $acc:literal),+) => {
        concat!($("sdot v", $acc, ".4s, v", $b, ".16b, v", $a, ".4b[", $row, "]\n"),+)
    };
}
/// Four sums at a time between memory and registers.
macro_rules! sums {
    ($op:literal, $at:literal) => {
        concat!(
            $op,
            " {{v0.4s, v1.4s, v2.4s, v3.4s}}, [",
            $at,
            "], #64\n",
            $op,
            " {{v4.4s, v5.4s, v6.4s, v7.4s}}, [",
            $at,
            "], #64\n",
            $op,
            " {{v8.4s, v9.4s, v10.4s, v11.4s}}, [",
            $at,
            "], #64\n",
            $op,
            " {{v12.4s, v13.4s, v14.4s, v15.4s}}, [",
            $at,
            "], #64\n",
        )
    };
}

/// The NEON micro-kernel.
pub(super) struct Dotprod;

impl Micro for Dotprod {
    const NAME: &'static str = "neon-dotprod";
    const LAYOUT: Layout = Layout::Signed;
    const ROWS: usize = 4;
    const COLUMNS: usize = 16;
    const LANES: usize = 4;

    fn supported() -> bool {
        std::arch::is_aarch64_feature_detected!("dotprod")
    }

    unsafe fn run(args: &MicroArgs) {
        // SAFETY: the caller vouches for the extension and for `args`.
        unsafe { run(args) }
    }
}

/// # Safety
///
/// As for [`Micro::run`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn run(args: &MicroArgs) {
    // A shift by 32, to either side, yields zero.
    let (left, right) = match args.word {
        Word::Begin => (32i32, -32i32),
        Word::Rotate => (13, -19),
        Word::Keep => (0, -32),
    };
    // SAFETY: the caller vouches for the extents behind every pointer (see `MicroArgs`): this reads `slices * steps`
    // groups of 4 quads of both panels, reads the sums in and writes the sums out (4x16), and updates one 4-lane word of
    // the state per slice.
    unsafe {
        asm!(
            sums!("ld1", "{acc}"),
            "dup v30.4s, {left:w}",
            "dup v31.4s, {right:w}",
            "2:",
            "mov {i}, {steps}",
            "3:",
            quad!(24, 16, 17, 18, 19),
            quad!(25, 20, 21, 22, 23),
            quad!(24, 16, 17, 18, 19),
            quad!(25, 20, 21, 22, 23),
            "subs {i}, {i}, #1",
            "b.ne 3b",
            "ldr q16, [{state}]",
            "ushl v17.4s, v16.4s, v30.4s",
            "ushl v16.4s, v16.4s, v31.4s",
            "eor v18.16b, v0.16b, v1.16b",
            "eor v19.16b, v2.16b, v3.16b",
            "eor v20.16b, v4.16b, v5.16b",
            "eor v21.16b, v6.16b, v7.16b",
            "eor v22.16b, v8.16b, v9.16b",
            "eor v23.16b, v10.16b, v11.16b",
            "eor v24.16b, v12.16b, v13.16b",
            "eor v25.16b, v14.16b, v15.16b",
            "eor v16.16b, v16.16b, v17.16b",
            "eor v18.16b, v18.16b, v19.16b",
            "eor v20.16b, v20.16b, v21.16b",
            "eor v22.16b, v22.16b, v23.16b",
            "eor v24.16b, v24.16b, v25.16b",
            "eor v18.16b, v18.16b, v20.16b",
            "eor v22.16b, v22.16b, v24.16b",
            "eor v16.16b, v16.16b, v18.16b",
            "eor v16.16b, v16.16b, v22.16b",
            "str q16, [{state}], #16",
            "subs {slices}, {slices}, #1",
            "b.ne 2b",
            sums!("st1", "{out}"),
            a = inout(reg) args.a => _,
            b = inout(reg) args.b => _,
            state = inout(reg) args.state => _,
            slices = inout(reg) args.slices => _,
            steps = in(reg) args.steps,
            i = out(reg) _,
            acc = inout(reg) args.sums_in => _,
            out = inout(reg) args.sums_out => _,
            left = in(reg) left,
            right = in(reg) right,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _,
            out("v15") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
            out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v30") _, out("v31") _,
            options(nostack),
        );
    }
}
