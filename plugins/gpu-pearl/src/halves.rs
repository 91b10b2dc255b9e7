//! Kernels by half-precision matrices (`shaders/half.wgsl`), for devices whose matrices are of no other kind: their sizes,
//! their text, and which sums a lane adds up.
//!
//! They are WGSL, so Metal is given them as well as Vulkan. Sums reach the lanes through shared memory, and which lane takes
//! which is decided here: those at the same places of every fragment of its subgroup's part.

use std::fmt::Write as _;

use pearl_pow::PeriodicPattern;

use crate::adapter::Adapter;
use crate::matrices::{Held, Part};
use crate::operand::BLOCK;
use crate::shaders;

/// Fragments of sums that the limit loop works on.
const LIMIT_SUMS: u32 = 8;

/// One size of fragments and subgroup.
pub(crate) struct Halves {
    pub name: &'static str,
    /// Rows, columns and depth of a fragment.
    pub side: u32,
    /// Lanes of a subgroup.
    pub lanes: u32,
    /// Rows and columns of a subgroup's part of the block.
    pub part: (u32, u32),
    /// Fragments of a subgroup that go through shared memory at a time: 8 KiB for all.
    stashed: u32,
}

/// All of them.
pub(crate) static ALL: [Halves; 4] = [
    // Mesa's software device.
    Halves { name: "half-8x8x8-8", side: 8, lanes: 8, part: (16, 32), stashed: 1 },
    // Apple: few registers, so few sums of a lane.
    Halves { name: "half-8x8x8-32", side: 8, lanes: 32, part: (32, 32), stashed: 2 },
    // NVIDIA's Volta, and others by Vulkan.
    Halves { name: "half-16x16x16-32", side: 16, lanes: 32, part: (32, 64), stashed: 1 },
    Halves { name: "half-16x16x16-64", side: 16, lanes: 64, part: (64, 64), stashed: 2 },
];

impl Halves {
    /// Whether a device's drivers list this size.
    pub(crate) fn is_offered_by(&self, adapter: &Adapter) -> bool {
        let (smallest, largest) = adapter.subgroup_sizes;
        (smallest..=largest).contains(&self.lanes) && adapter.half_matrices.contains(&self.side)
    }

    /// Subgroups of a workgroup.
    fn subgroups(&self) -> u32 {
        (BLOCK / self.part.0) * (BLOCK / self.part.1)
    }

    /// Fragments of a subgroup's part, down and across.
    fn fragments(&self) -> (u32, u32) {
        (self.part.0 / self.side, self.part.1 / self.side)
    }

    /// Sums of a fragment that a lane takes.
    fn taken(&self) -> u32 {
        self.side * self.side / self.lanes
    }

    /// Multiply-accumulates of one pass of the limit loop by one workgroup.
    pub(crate) fn limit_hashes(&self) -> u64 {
        u64::from(self.subgroups() * LIMIT_SUMS) * u64::from(self.side.pow(3))
    }

    /// The tile that the lanes' sums make, and each lane's first row and column in its part (`row | column << 16`).
    ///
    /// # Errors
    ///
    /// They make no tile that the protocol takes.
    pub(crate) fn tiles(&self) -> Result<(PeriodicPattern, PeriodicPattern, [u32; 64]), String> {
        // The sum `number` of a fragment, counted row by row, is that of lane `number % lanes`.
        let of_lane = |lane: u32| {
            let numbers = (0..self.taken()).map(move |i| i * self.lanes + lane);
            numbers.map(|number| (number / self.side, number % self.side)).collect()
        };
        let held: Held = (0..self.lanes).map(of_lane).collect();
        Part { name: self.name, fragment: (self.side, self.side), part: self.part, lanes: self.lanes }
            .tiles(&held)
    }

    /// The kernel's text.
    pub(crate) fn text(&self) -> String {
        let (down, across) = self.fragments();
        let threads = self.subgroups() * self.lanes;
        let fragment = self.side * self.side;
        let coop = format!("coop_mat{0}x{0}", self.side);
        let mut text = String::from("enable f16;\nenable wgpu_cooperative_matrix;\n");
        text.push_str(&shaders::product());
        for (name, value) in [
            ("SIDE", self.side),
            ("LANES", self.lanes),
            ("THREADS", threads),
            ("SUBGROUPS", self.subgroups()),
            ("PART_ROWS", self.part.0),
            ("PART_COLUMNS", self.part.1),
            ("PARTS_ACROSS", BLOCK / self.part.1),
            ("FRAGMENT", fragment),
            ("STASHED", self.stashed),
            ("STASH", self.subgroups() * self.stashed * fragment),
        ] {
            _ = writeln!(text, "const {name} = {value}u;");
        }
        text.push_str(include_str!("shaders/half.wgsl"));
        let moves = Moves::of(threads);
        let message: Vec<String> = (0..16).map(|i| format!("w{i}")).collect();
        text.replace("COOP", &coop)
            .replace("/*KEEP*/", &keep())
            .replace("/*SUMS*/", &lines(down * across * self.taken(), |i| format!("var s{i} = 0i;")))
            .replace("/*WORDS*/", &lines(16, |i| format!("var w{i} = 0u;")))
            .replace("/*FIRST*/", &moves.first)
            .replace("/*PLACE*/", &moves.place)
            .replace("/*NEXT*/", &moves.next)
            .replace("/*BEGIN*/", &lines(down * across, |i| format!("var c{i} = {};", zeros(&coop))))
            .replace("/*MULTIPLY*/", &self.multiply(&coop))
            .replace("/*FOLD*/", &self.fold())
            .replace("/*ROTATE*/", &rotate())
            .replace("/*MESSAGE*/", &format!("array<u32, 16>({})", message.join(", ")))
            .replace(
                "/*LIMIT_SUMS*/",
                &lines(LIMIT_SUMS, |i| {
                    format!("var c{i} = coopLoadT<{coop}<f32, C>>(&stash[{}], SIDE);", i * fragment)
                }),
            )
            .replace(
                "/*LIMIT_STEPS*/",
                &lines(LIMIT_SUMS, |i| format!("c{i} = coopMultiplyAdd(left, right, c{i});")),
            )
            .replace(
                "/*LIMIT_STORE*/",
                &lines(LIMIT_SUMS, |i| format!("coopStoreT(c{i}, &stash[{}], SIDE);", i * fragment)),
            )
    }

    /// One fragment's depth of all products of the part.
    fn multiply(&self, coop: &str) -> String {
        let (down, across) = self.fragments();
        let side = self.side;
        let mut text = lines(down, |i| {
            let row = i * side;
            format!(
                "let a{i} = coopLoadT<{coop}<f16, A>>(&tiles[(part_row + {row}u) * PITCH + depth], PITCH);"
            )
        });
        for j in 0..across {
            let row = BLOCK + j * side;
            _ = writeln!(
                text,
                "let b{j} = coopLoad<{coop}<f16, B>>(&tiles[(part_column + {row}u) * PITCH + depth], PITCH);"
            );
            for i in 0..down {
                let sums = i * across + j;
                _ = writeln!(text, "c{sums} = coopMultiplyAdd(a{i}, b{j}, c{sums});");
            }
        }
        text
    }

    /// The sums of a slice from the matrices to the lanes, which add them to theirs.
    fn fold(&self) -> String {
        let (down, across) = self.fragments();
        let mut text = String::new();
        for first in (0..down * across).step_by(self.stashed as usize) {
            text.push_str("workgroupBarrier();\n");
            for i in 0..self.stashed {
                let sums = first + i;
                _ = writeln!(text, "coopStoreT(c{sums}, &stash[(own * STASHED + {i}u) * FRAGMENT], SIDE);");
            }
            text.push_str("workgroupBarrier();\n");
            for i in 0..self.stashed {
                for taken in 0..self.taken() {
                    let (sum, from) = ((first + i) * self.taken() + taken, i * self.side * self.side);
                    let at = from + taken * self.lanes;
                    _ = writeln!(text, "s{sum} += i32(stash[place + {at}u]); x ^= u32(s{sum});");
                }
            }
        }
        text
    }
}

/// How a workgroup brings 32 columns of both operands to shared memory: 512 pieces of 16 bytes.
struct Moves {
    /// The first of them, into registers.
    first: String,
    /// From registers to shared memory.
    place: String,
    /// The next of them, into registers.
    next: String,
}

impl Moves {
    fn of(threads: u32) -> Self {
        // Where there is a thread for each piece, the first half of them brings A.
        if threads == 512 {
            let load = |ahead: &str| {
                format!("if lane < 256u {{ next = a[from_a{ahead}]; }} else {{ next = b[from_b{ahead}]; }}\n")
            };
            Self {
                first: format!("var next: vec4<u32>;\n{}", load("")),
                place: "keep(lane, next);\n".into(),
                next: load(" + ahead"),
            }
        } else {
            Self {
                first: "var next_a = a[from_a];\nvar next_b = b[from_b];\n".into(),
                place: "keep(piece, next_a);\nkeep(piece + 256u, next_b);\n".into(),
                next: "next_a = a[from_a + ahead];\nnext_b = b[from_b + ahead];\n".into(),
            }
        }
    }
}

fn lines(count: u32, line: impl Fn(u32) -> String) -> String {
    (0..count).map(|i| line(i) + "\n").collect()
}

fn zeros(coop: &str) -> String {
    format!("coopLoadT<{coop}<f32, C>>(&zeros[0], SIDE)")
}

fn keep() -> String {
    let mut text = String::new();
    for word in 0..4 {
        _ = writeln!(text, "let e{word} = vec4<f16>(unpack4xI8(words[{word}]));");
        for (i, entry) in ["x", "y", "z", "w"].iter().enumerate() {
            _ = writeln!(text, "tiles[to + {}u] = e{word}.{entry};", 4 * word + i);
        }
    }
    text
}

fn rotate() -> String {
    lines(16, |i| {
        let case = if i == 15 { "default:".into() } else { format!("case {i}u:") };
        format!("{case} {{ w{i} = rotated(w{i}, x); }}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_fills_the_block_and_makes_a_legal_tile() {
        for halves in &ALL {
            let (rows, columns, lanes) = halves.tiles().unwrap();
            let sums = rows.size() * columns.size();
            assert_eq!(sums * halves.lanes, halves.part.0 * halves.part.1, "{}", halves.name);
            assert_eq!(lanes[0], 0);
            let threads = halves.subgroups() * halves.lanes;
            assert!(threads == 256 || threads == 512, "{}", halves.name);
            // What Apple's processors have of shared memory at least.
            let shared = 2 * 10240 + 4 * (halves.subgroups() * halves.stashed + 1) * halves.side.pow(2);
            assert!(shared <= 32 << 10, "{}: {shared}", halves.name);
            assert_eq!(halves.fragments().0 * halves.fragments().1 % halves.stashed, 0);
        }
        let tile = |of: usize| {
            let (rows, columns, _) = ALL[of].tiles().unwrap();
            (rows.size(), columns.size())
        };
        assert_eq!((tile(0), tile(1), tile(2), tile(3)), ((16, 4), (8, 4), (16, 4), (16, 4)));
    }

    #[test]
    fn the_compiler_of_shaders_takes_every_size_also_those_of_devices_that_are_not_here() {
        use wgpu::naga::{front::wgsl, valid};
        for halves in &ALL {
            let text = halves.text();
            let module = wgsl::parse_str(&text).unwrap_or_else(|err| panic!("{}", err.emit_to_string(&text)));
            let mut validator =
                valid::Validator::new(valid::ValidationFlags::all(), valid::Capabilities::all());
            let checked = validator.validate(&module);
            checked.unwrap_or_else(|err| panic!("{}: {}", halves.name, err.emit_to_string(&text)));
            for entry in &module.entry_points {
                assert_eq!(entry.workgroup_size, [halves.subgroups() * halves.lanes, 1, 1], "{}", entry.name);
            }
            assert_eq!(module.entry_points.len(), 2);
        }
    }
}
