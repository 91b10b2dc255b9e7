//! The shape of the product: what the user asked for, what fits the processor, and the rules that bind both.
//!
//! The protocol leaves the shape to the miner (sections 2, 7 and 14). This provider takes rank 128 (a higher one only
//! costs since the rank penalty), contiguous tiles of the kernel's favourite size, and matrices large enough that
//! drawing, committing and noising a new A for every product is a small part of multiplying it. The tile's height and
//! width do not change what work is worth.

use std::fmt;

use pearl_pow::{MiningConfiguration, ParameterError, PeriodicPattern, Side, parameters};
use pearlbed_plugin_api::serde_json::{Map, Value};

use crate::calibrate;
use crate::cut::Cut;
use crate::kernel::cpu::{self, Caches};
use crate::kernel::{self, Depth, Kernel};

/// The keys of `[mining.extra]` that this provider knows.
const KEYS: [&str; 9] = ["m", "n", "k", "rank", "tile", "threads", "cpu_percent", "pin", "kernel"];

/// What a user may ask for, each where it was given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    pub m: Option<u64>,
    pub n: Option<u64>,
    pub k: Option<u32>,
    pub rank: Option<u16>,
    pub tile: Option<(PeriodicPattern, PeriodicPattern)>,
    /// Worker threads; 0 for one per physical core.
    pub threads: usize,
    /// Share of each thread's time to use, 1 to 100.
    pub cpu_percent: Option<u32>,
    pub pin: Pin,
    pub kernel: Option<String>,
}

/// Which processors the threads are bound to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Pin {
    /// None: the system chooses.
    #[default]
    Free,
    /// Those that the process may use, one after the other.
    InOrder,
    /// These, in this order.
    To(Vec<usize>),
}

/// Why the settings cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum ShapeError {
    #[error("[mining.extra] has no setting `{0}`; there are {known}", known = KEYS.join(", "))]
    UnknownKey(String),
    #[error("[mining.extra] {key} = {found} is not {wanted}")]
    Value { key: &'static str, found: String, wanted: &'static str },
    #[error("[mining.extra] tile: the offsets of {side} are not a periodic pattern: {err}")]
    Pattern { side: &'static str, err: String },
    #[error("this shape breaks rule {rule} of the protocol (section 7): {err}", rule = err.rule())]
    Rule {
        #[from]
        err: ParameterError,
    },
    #[error("{name} = {rows} leaves no room for a tile, which is {extent} rows from first to last")]
    NoTile { name: char, rows: u64, extent: u64 },
    #[error("this shape needs {} MiB of memory and the machine has {}", needs >> 20, has >> 20)]
    Memory { needs: u64, has: u64 },
    #[error("kernel `{name}` {why}; this processor can run {usable}", usable = kernels())]
    Kernel { name: String, why: &'static str },
}

fn kernels() -> String {
    kernel::available().map(Kernel::name).collect::<Vec<_>>().join(", ")
}

impl Settings {
    /// Reads `[mining.extra]`.
    ///
    /// # Errors
    ///
    /// The first setting that is unknown or has a value it cannot have. What only the shape as a whole can tell is left
    /// to [`Shape::new`].
    pub(crate) fn parse(extra: &Map<String, Value>) -> Result<Self, ShapeError> {
        let mut settings = Self::default();
        for (key, value) in extra {
            let key = *KEYS
                .iter()
                .find(|known| *known == key)
                .ok_or_else(|| ShapeError::UnknownKey(key.clone()))?;
            let wrong = |wanted| ShapeError::Value { key, found: value.to_string(), wanted };
            let number = |wanted, range: std::ops::RangeInclusive<u64>| {
                value.as_u64().filter(|number| range.contains(number)).ok_or_else(|| wrong(wanted))
            };
            match key {
                "m" => settings.m = Some(number("a number from 1 to 16777216", 1..=parameters::ROWS_MAX)?),
                "n" => settings.n = Some(number("a number from 1 to 16777216", 1..=parameters::ROWS_MAX)?),
                "k" => settings.k = Some(number("a number from 1024 to 65536", 0..=u64::from(u32::MAX))? as u32),
                "rank" => {
                    let rank = number("a power of two from 128 to 1024", 0..=65535)? as u16;
                    // Legal, and worth nothing: every proof of it is refused where anything is paid.
                    if matches!(rank, 32 | 64) {
                        return Err(wrong("at least 128, below which the rank-penalty rule (section 6.2) refuses every proof"));
                    }
                    settings.rank = Some(rank);
                }
                "tile" => settings.tile = Some(tile(value).ok_or_else(|| {
                    wrong("a tile such as \"16x16\", or lists of offsets {\"rows\": [0, 1], \"columns\": [0, 1]}")
                })??),
                "threads" => settings.threads = number("a number from 0 (all cores) to 1024", 0..=1024)? as usize,
                "cpu_percent" => settings.cpu_percent = Some(number("a number from 1 to 100", 1..=100)? as u32),
                "pin" => settings.pin = pin(value).ok_or_else(|| wrong("true, false or a list of processors"))?,
                _ => settings.kernel = Some(value.as_str().ok_or_else(|| wrong("the name of a kernel"))?.to_owned()),
            }
        }
        Ok(settings)
    }

    /// The kernel asked for, by its name or its family, or the one that is fastest here.
    ///
    /// # Errors
    ///
    /// There is no such kernel, or this processor cannot run it.
    pub(crate) fn kernel(&self) -> Result<&'static Kernel, ShapeError> {
        let Some(name) = &self.kernel else {
            return Ok(calibrate::fastest_kernel());
        };
        let named = kernel::available().find(|kernel| kernel.name() == name);
        named.or_else(|| calibrate::fastest_in(name)).ok_or_else(|| ShapeError::Kernel {
            name: name.clone(),
            why: if kernel::names().any(|known| known == name) {
                "needs instructions that this processor does not have"
            } else {
                "does not exist"
            },
        })
    }

    /// Worker threads to run.
    pub(crate) fn worker_threads(&self) -> usize {
        match self.threads {
            0 => cpu::physical_cores(),
            threads => threads,
        }
    }
}

/// `"16x16"`, or offsets written out; `None` if it is neither.
fn tile(value: &Value) -> Option<Result<(PeriodicPattern, PeriodicPattern), ShapeError>> {
    let offsets = |name: &'static str| -> Option<Vec<u64>> {
        value.get(name)?.as_array()?.iter().map(Value::as_u64).collect()
    };
    let (rows, columns) = match value {
        Value::String(text) => {
            let (height, width) = text.split_once(['x', '×'])?;
            let range =
                |text: &str| Some((0..text.trim().parse::<u64>().ok().filter(|&n| n <= 256)?).collect());
            (range(height)?, range(width)?)
        }
        _ => (offsets("rows")?, offsets("columns")?),
    };
    let pattern = |side, offsets: Vec<u64>| {
        PeriodicPattern::from_offsets(&offsets)
            .map_err(|err| ShapeError::Pattern { side, err: err.to_string() })
    };
    Some(pattern("rows", rows).and_then(|rows| pattern("columns", columns).map(|columns| (rows, columns))))
}

fn pin(value: &Value) -> Option<Pin> {
    let processor = |cpu: &Value| cpu.as_u64().filter(|&cpu| cpu < 1024).map(|cpu| cpu as usize);
    match value {
        Value::Bool(false) => Some(Pin::Free),
        Value::Bool(true) => Some(Pin::InOrder),
        Value::Array(list) if !list.is_empty() => {
            list.iter().map(processor).collect::<Option<_>>().map(Pin::To)
        }
        _ => None,
    }
}

/// One dimension of the product, cut into tiles and blocks of tiles.
#[derive(Clone, Debug)]
pub(crate) struct Dimension {
    /// Rows of the matrix.
    pub rows: usize,
    /// The tiles' first rows, ascending.
    pub bases: Vec<u32>,
    /// A tile's rows, relative to its first.
    pub offsets: Vec<u32>,
    /// Rows of a tile in panels, with those of zeros that fill the last one.
    pub padded: usize,
    /// Panels that a tile takes.
    pub tile_panels: usize,
    /// Tiles of a block; the last block may have fewer.
    pub block_tiles: usize,
}

impl Dimension {
    fn new(
        name: char,
        pattern: &PeriodicPattern,
        rows: u64,
        panel: usize,
        block_rows: usize,
    ) -> Result<Self, ShapeError> {
        let bases: Vec<u32> = pattern.bases(rows).map(|base| base as u32).collect();
        if bases.is_empty() {
            return Err(ShapeError::NoTile { name, rows, extent: u64::from(pattern.max_offset()) + 1 });
        }
        let offsets: Vec<u32> = pattern.offsets().collect();
        let padded = offsets.len().next_multiple_of(panel);
        let block_tiles = (block_rows / padded).clamp(1, bases.len());
        Ok(Self { rows: rows as usize, bases, offsets, padded, tile_panels: padded / panel, block_tiles })
    }

    /// Number of blocks.
    pub(crate) fn blocks(&self) -> usize {
        self.bases.len().div_ceil(self.block_tiles)
    }

    /// The tiles of a block.
    pub(crate) fn tiles_of(&self, block: usize) -> &[u32] {
        let first = block * self.block_tiles;
        &self.bases[first..(first + self.block_tiles).min(self.bases.len())]
    }
}

/// The product that is computed again and again.
pub(crate) struct Shape {
    pub kernel: &'static Kernel,
    pub config: MiningConfiguration,
    pub depth: Depth,
    pub a: Dimension,
    pub b: Dimension,
    /// Whether a block of A meets all blocks of B before the next one, and not the other way round.
    a_stays: bool,
}

impl Shape {
    /// The shape for `settings` on a processor with `caches`.
    ///
    /// # Errors
    ///
    /// The rule that the settings break, or a kernel that cannot be had.
    pub(crate) fn new(settings: &Settings, caches: Caches) -> Result<Self, ShapeError> {
        let kernel = settings.kernel()?;
        let contiguous = |rows| PeriodicPattern::contiguous(rows).expect("a kernel's tile is a pattern");
        let (rows, columns) = settings.tile.unwrap_or_else(|| {
            let (height, width) = kernel.tile();
            (contiguous(height), contiguous(width))
        });
        let (k, rank) = (settings.k.unwrap_or(K), settings.rank.unwrap_or(RANK));
        let config = MiningConfiguration::dense(k, rank, rows, columns);
        parameters::check_configuration(&config)?;
        let (m, n) = (settings.m.unwrap_or(M), settings.n.unwrap_or(N));
        let cut = Cut::new(kernel, k as usize, usize::from(rank), caches);
        let a = Dimension::new('m', &rows, m, kernel.panel_height(Side::A), cut.rows)?;
        let b = Dimension::new('n', &columns, n, kernel.panel_height(Side::BT), cut.columns)?;
        let shape = Self { kernel, config, depth: cut.depth, a, b, a_stays: cut.a_stays };
        if let Some(has) = cpu::physical_memory()
            && shape.memory_bytes() > has / 2
        {
            return Err(ShapeError::Memory { needs: shape.memory_bytes(), has });
        }
        Ok(shape)
    }

    /// One of the dimensions.
    pub(crate) fn dimension(&self, side: Side) -> &Dimension {
        match side {
            Side::A => &self.a,
            Side::BT => &self.b,
        }
    }

    /// Bytes of a raw matrix, padded to whole leaves of its tree.
    pub(crate) fn raw_bytes(&self, side: Side) -> usize {
        (self.dimension(side).rows * self.config.common_dim as usize).next_multiple_of(1024)
    }

    /// Panels of a block.
    pub(crate) fn block_panels(&self, side: Side, block: usize) -> usize {
        let dimension = self.dimension(side);
        dimension.tiles_of(block).len() * dimension.tile_panels
    }

    /// Bytes of all packed blocks of one matrix.
    pub(crate) fn packed_bytes(&self, side: Side) -> usize {
        let dimension = self.dimension(side);
        dimension.bases.len() * dimension.tile_panels * self.kernel.panel_bytes(side, self.depth)
    }

    /// The blocks of A and of B that item number `item` of a product multiplies; none past the last item.
    ///
    /// What stays in a core's cache comes first; what passes by is then shared with the other threads in the outer cache.
    pub(crate) fn blocks_of(&self, item: usize) -> Option<(usize, usize)> {
        let (rows, columns) = (self.a.blocks(), self.b.blocks());
        (item < rows * columns)
            .then(|| if self.a_stays { (item / columns, item % columns) } else { (item % rows, item / rows) })
    }

    /// The blocks that whoever multiplies item number `item` will want after it and does not have yet, when so many
    /// `threads` take an item at a time: a guess.
    pub(crate) fn blocks_after(&self, item: usize, threads: usize) -> (Option<usize>, Option<usize>) {
        // After the last item another A begins with the first block of B.
        let (row, column) =
            self.blocks_of(item + threads).map_or((None, 0), |(row, column)| (Some(row), column));
        let own = self.blocks_of(item);
        let other = |block: usize, own: Option<usize>| (own != Some(block)).then_some(block);
        (row.and_then(|row| other(row, own.map(|own| own.0))), other(column, own.map(|own| own.1)))
    }

    /// Hashes (multiply-accumulates) in the product of two blocks.
    pub(crate) fn block_hashes(&self, a_block: usize, b_block: usize) -> u64 {
        let tiles = self.a.tiles_of(a_block).len() * self.b.tiles_of(b_block).len();
        tiles as u64 * self.config.hashes_per_attempt() as u64
    }

    /// Bytes that mining this shape takes: two A's (one is prepared while the other is multiplied) and one B, each raw
    /// and packed with its terms and tree. What a thread needs besides is below a megabyte.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let operand = |side| {
            let packed = self.packed_bytes(side);
            let terms = if self.kernel.layout().has_terms() {
                packed / (self.depth.rank * self.kernel.layout().entry_bytes()) * 4
            } else {
                0
            };
            let raw = self.raw_bytes(side);
            (raw + raw / 256 + packed + terms) as u64
        };
        2 * operand(Side::A) + operand(Side::BT)
    }
}

/// The default rank: the lowest that the network takes, and the one that wastes nothing.
const RANK: u16 = calibrate::RANK as u16;
/// The default k: the smallest at this rank, so that most of a product's panels stay in the caches.
const K: u32 = calibrate::K as u32;
/// The default rows of A: two of them are held, and each lives for one product.
const M: u64 = 1024;
/// The default columns of B: what a new A costs is spread over them.
const N: u64 = 8192;

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (a, b, config) = (&self.a, &self.b, &self.config);
        let (height, width) = (a.offsets.len(), b.offsets.len());
        write!(f, "{}x{}x{} rank {} tile {height}x{width}", a.rows, b.rows, config.common_dim, config.rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_blocks_is_one_item_and_what_comes_next_is_asked_for_once() {
        for name in kernel::available().map(|kernel| Some(kernel.name().to_owned())) {
            for l2 in [512 << 10, 2 << 20] {
                let settings =
                    Settings { kernel: name.clone(), m: Some(1100), n: Some(900), ..Settings::default() };
                let shape = Shape::new(&settings, Caches { l2, ..Caches::default() }).expect("a shape");
                let items = shape.a.blocks() * shape.b.blocks();
                let pairs: std::collections::BTreeSet<_> =
                    (0..items).map(|item| shape.blocks_of(item)).collect();
                assert!(pairs.len() == items && !pairs.contains(&None), "{pairs:?}");
                assert_eq!(shape.blocks_of(items), None);
                // Alone, whoever multiplies has what its next item needs: from before, or asked for now.
                for item in 0..items - 1 {
                    let (own, next) =
                        (shape.blocks_of(item).expect("one of them"), shape.blocks_of(item + 1));
                    let (row, column) = shape.blocks_after(item, 1);
                    assert_eq!(next, Some((row.unwrap_or(own.0), column.unwrap_or(own.1))));
                    assert!(row != Some(own.0) && column != Some(own.1), "what is there is not asked for");
                }
                assert_eq!(shape.blocks_after(items - 1, 3).0, None, "another A is not known yet");
            }
        }
    }

    #[test]
    fn blocks_cover_every_tile_once_and_the_memory_told_is_that_of_the_parts() {
        let settings = Settings { m: Some(1000), n: Some(777), ..Settings::default() };
        let shape = Shape::new(&settings, Caches::default()).expect("a shape");
        for side in [Side::A, Side::BT] {
            let dimension = shape.dimension(side);
            let tiles: Vec<u32> =
                (0..dimension.blocks()).flat_map(|block| dimension.tiles_of(block).to_vec()).collect();
            assert_eq!(tiles, dimension.bases);
            let panels: usize = (0..dimension.blocks()).map(|block| shape.block_panels(side, block)).sum();
            assert_eq!(panels * shape.kernel.panel_bytes(side, shape.depth), shape.packed_bytes(side));
        }
        let raw = |side| shape.raw_bytes(side) + shape.packed_bytes(side);
        assert!(shape.memory_bytes() as usize >= 2 * raw(Side::A) + raw(Side::BT));
    }
}
