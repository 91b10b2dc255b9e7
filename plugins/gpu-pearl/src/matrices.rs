//! Kernels by int8 cooperative matrices: which there are, and which sums a lane holds.
//!
//! A lane's hash tile is the set of sums that it holds of its subgroup's part anyway, so that folding needs no other lane.
//! Which sums those are the driver decides. So it is asked: a fragment of element numbers is loaded, and each lane writes
//! down what it got. From that follow the tile's pattern and each lane's place, or that there is no legal tile.

use std::collections::BTreeSet;

use pearl_pow::{PeriodicPattern, parameters};

use crate::adapter::Adapter;
use crate::device::{Device, DeviceError, Use};
use crate::operand::BLOCK;

/// One size of fragments and subgroup, and the code that was compiled for it (`shaders/matrix.comp`).
pub(crate) struct Matrices {
    pub name: &'static str,
    /// A fragment of A is `rows` × `depth`, one of B `depth` × `columns`.
    pub rows: u32,
    pub columns: u32,
    pub depth: u32,
    /// Lanes of a subgroup.
    pub lanes: u32,
    /// Rows and columns of a subgroup's part of the block.
    pub part: u32,
    pub product: &'static [u8],
    pub limit: &'static [u8],
    pub layout: &'static [u8],
}

macro_rules! matrices {
    ($rows:literal x $columns:literal x $depth:literal, $lanes:literal lanes, part $part:literal) => {
        Matrices {
            name: concat!("int8-", $rows, "x", $columns, "x", $depth, "-", $lanes),
            rows: $rows,
            columns: $columns,
            depth: $depth,
            lanes: $lanes,
            part: $part,
            product: matrices!(@code $rows $columns $depth $lanes "product"),
            limit: matrices!(@code $rows $columns $depth $lanes "limit"),
            layout: matrices!(@code $rows $columns $depth $lanes "layout"),
        }
    };
    (@code $rows:literal $columns:literal $depth:literal $lanes:literal $what:literal) => {
        include_bytes!(concat!("shaders/spv/int8-", $rows, "x", $columns, "x", $depth, "-", $lanes, ".", $what, ".spv"))
    };
}

/// All of them. `xtask/src/shaders.rs` has the same list.
pub(crate) static ALL: [Matrices; 6] = [
    // Mesa's software device.
    matrices!(8 x 8 x 8, 8 lanes, part 32),
    // RDNA 3 and 4.
    matrices!(16 x 16 x 16, 32 lanes, part 64),
    matrices!(16 x 16 x 16, 64 lanes, part 64),
    // NVIDIA from Turing on.
    matrices!(16 x 16 x 32, 32 lanes, part 64),
    // Intel's Xe-HPG and Xe2.
    matrices!(8 x 8 x 32, 8 lanes, part 32),
    matrices!(8 x 16 x 32, 16 lanes, part 32),
];

/// What each lane holds of a fragment: rows and columns, in the order of the lane's sums.
pub(crate) type Held = Vec<Vec<(u32, u32)>>;

impl Matrices {
    /// Whether a device's drivers list this size.
    pub(crate) fn is_offered_by(&self, adapter: &Adapter) -> bool {
        let (smallest, largest) = adapter.subgroup_sizes;
        (smallest..=largest).contains(&self.lanes)
            && adapter.int8_matrices.contains(&(self.rows, self.columns, self.depth))
    }

    /// Invocations of a workgroup.
    fn threads(&self) -> u32 {
        (BLOCK / self.part) * (BLOCK / self.part) * self.lanes
    }

    /// Multiply-accumulates of one pass of the limit loop by one workgroup.
    pub(crate) fn limit_hashes(&self) -> u64 {
        let subgroups = self.threads() / self.lanes;
        u64::from(subgroups) * 8 * u64::from(self.rows * self.columns * self.depth)
    }

    /// As [`Part::tiles`].
    pub(crate) fn tiles(&self, held: &Held) -> Result<(PeriodicPattern, PeriodicPattern, [u32; 64]), String> {
        Part {
            name: self.name,
            fragment: (self.rows, self.columns),
            part: (self.part, self.part),
            lanes: self.lanes,
        }
        .tiles(held)
    }
}

/// A subgroup's part of a block, as rows and columns, and the fragments that it is made of.
pub(crate) struct Part {
    /// The kernel's name.
    pub name: &'static str,
    pub fragment: (u32, u32),
    pub part: (u32, u32),
    pub lanes: u32,
}

impl Part {
    /// The tile that the lanes' sums make, and each lane's first row and column in its part (`row | column << 16`).
    ///
    /// # Errors
    ///
    /// They make no tile that the protocol takes.
    pub(crate) fn tiles(&self, held: &Held) -> Result<(PeriodicPattern, PeriodicPattern, [u32; 64]), String> {
        let no = |why: &str| format!("kernel `{}`: the driver lays out its sums so that {why}", self.name);
        let mut places = [0; 64];
        let mut tile: Option<(Vec<u64>, Vec<u64>)> = None;
        let mut taken = BTreeSet::new();
        for (sums, place) in held.iter().zip(&mut places) {
            let repeated = |size: u32, part: u32, numbers: BTreeSet<u32>| -> BTreeSet<u32> {
                (0..part / size).flat_map(|i| numbers.iter().map(move |n| i * size + n)).collect()
            };
            let (fragment, part) = (self.fragment, self.part);
            let rows = repeated(fragment.0, part.0, sums.iter().map(|(row, _)| *row).collect());
            let columns = repeated(fragment.1, part.1, sums.iter().map(|(_, column)| *column).collect());
            let all = sums.iter().collect::<BTreeSet<_>>().len() as u32;
            let fragments = (part.0 / fragment.0) * (part.1 / fragment.1);
            if all * fragments != (rows.len() * columns.len()) as u32 {
                return Err(no("a lane's are no rows by columns"));
            }
            let (Some(&row), Some(&column)) = (rows.first(), columns.first()) else {
                return Err(no("a lane has none"));
            };
            let offsets = |numbers: &BTreeSet<u32>, first: u32| -> Vec<u64> {
                numbers.iter().map(|n| u64::from(n - first)).collect()
            };
            let own = (offsets(&rows, row), offsets(&columns, column));
            if *tile.get_or_insert(own.clone()) != own {
                return Err(no("lanes have different tiles"));
            }
            for number in &rows {
                for other in &columns {
                    if !taken.insert((*number, *other)) {
                        return Err(no("two lanes have the same"));
                    }
                }
            }
            *place = row | column << 16;
        }
        if held.len() as u32 != self.lanes || taken.len() as u32 != self.part.0 * self.part.1 {
            return Err(no("some are nobody's"));
        }
        let (rows, columns) = tile.ok_or_else(|| no("there are none"))?;
        let pattern =
            |offsets: &[u64]| PeriodicPattern::from_offsets(offsets).map_err(|err| no(&err.to_string()));
        let (rows, columns) = (pattern(&rows)?, pattern(&columns)?);
        let area = u64::from(rows.size()) * u64::from(columns.size());
        let is_legal = rows.size() % 2 == 0
            && columns.size() % 2 == 0
            && (parameters::TILE_AREA_MIN..=parameters::TILE_AREA_MAX).contains(&area);
        if !is_legal {
            return Err(no("the tile is none that the protocol takes"));
        }
        let is_base = |pattern: &PeriodicPattern, size: u32, first: u32| {
            (0..BLOCK).step_by(size as usize).all(|part| pattern.is_base(u64::from(part + first)))
        };
        let begins = |place: &u32| {
            is_base(&rows, self.part.0, place & 0xffff) && is_base(&columns, self.part.1, place >> 16)
        };
        if !places.iter().take(held.len()).all(begins) {
            return Err(no("tiles would begin where the protocol lets none begin"));
        }
        Ok((rows, columns, places))
    }
}

/// Asks the driver what each lane of a subgroup holds.
///
/// # Errors
///
/// The device was lost, or its subgroups have another size.
pub(crate) fn ask(
    device: &Device,
    matrices: &Matrices,
    pipeline: &wgpu::ComputePipeline,
) -> Result<Held, DeviceError> {
    let sums = u64::from(matrices.rows * matrices.columns);
    let answer = device.buffer(8 + 4 * sums, Use::Storage);
    let (parameters, nothing) =
        (device.uniform(&[0; 84]), [(); 3].map(|()| device.buffer(256, Use::Storage)));
    let buffers = [&parameters, &nothing[0], &nothing[1], &nothing[2], &answer];
    let group = device.group(&device.pipelines.product_layout, &buffers);
    let mut encoder = device.encoder();
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }
    device.wait(device.queue.submit([encoder.finish()]))?;
    let words = device.read(&answer, 0, 8 + 4 * sums)?;
    if words[1] != matrices.lanes || u64::from(words[0]) * u64::from(matrices.lanes) != sums {
        return Err(DeviceError::Failed(format!(
            "kernel `{}`: subgroups have {} lanes here, of {} sums each",
            matrices.name, words[1], words[0]
        )));
    }
    let of_lane =
        |words: &[u32]| words.iter().map(|word| (word & 0xffff, word >> 16 & 0x7fff)).collect::<Vec<_>>();
    Ok(words[2..].chunks(words[0] as usize).map(of_lane).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a lane holds by a formula of its number and its sum's.
    fn held(lanes: u32, sums: u32, of: impl Fn(u32, u32) -> (u32, u32)) -> Held {
        (0..lanes).map(|lane| (0..sums).map(|sum| of(lane, sum)).collect()).collect()
    }

    fn offsets(pattern: &PeriodicPattern) -> Vec<u32> {
        pattern.offsets().collect()
    }

    #[test]
    fn layouts_of_known_hardware_make_the_tiles_of_their_lanes() {
        // A column of a fragment each.
        let (rows, columns, lanes) = ALL[0].tiles(&held(8, 8, |lane, sum| (sum, lane))).unwrap();
        assert_eq!(offsets(&rows), (0..32).collect::<Vec<_>>());
        assert_eq!(offsets(&columns), [0, 8, 16, 24]);
        assert_eq!(lanes[..3], [0, 1 << 16, 2 << 16]);
        // RDNA 3 in waves of 32: every second row of a column.
        let wave32 = held(32, 8, |lane, sum| (sum * 2 + lane / 16, lane % 16));
        let (rows, columns, _) = ALL[1].tiles(&wave32).unwrap();
        assert_eq!(offsets(&rows), (0..64).step_by(2).collect::<Vec<_>>());
        assert_eq!(offsets(&columns), [0, 16, 32, 48]);
        // NVIDIA: two rows and four columns.
        let mma = held(32, 8, |lane, sum| (lane / 4 + sum / 2 % 2 * 8, lane % 4 * 2 + sum % 2 + sum / 4 * 8));
        let (rows, columns, lanes) = ALL[3].tiles(&mma).unwrap();
        assert_eq!(offsets(&rows), [0, 8, 16, 24, 32, 40, 48, 56]);
        assert_eq!(offsets(&columns)[..6], [0, 1, 8, 9, 16, 17]);
        assert_eq!(lanes[5], 1 | 2 << 16);
    }

    #[test]
    fn layouts_without_a_legal_tile_are_refused_with_the_reason() {
        let said = |held: &Held| ALL[0].tiles(held).unwrap_err();
        assert!(said(&held(8, 8, |_, sum| (sum, 0))).contains("two lanes have the same"));
        assert!(said(&held(4, 8, |lane, sum| (sum, lane))).contains("some are nobody's"));
        assert!(said(&held(8, 8, |lane, sum| (sum, (lane + sum) % 8))).contains("no rows by columns"));
        let uneven = held(8, 8, |lane, sum| if lane < 4 { (sum, lane) } else { (lane, sum) });
        assert!(said(&uneven).contains("different tiles") || said(&uneven).contains("the same"));
    }
}
