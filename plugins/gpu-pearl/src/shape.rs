//! The shape of the product, and how it is cut into blocks and tiles.

use pearl_pow::{MiningConfiguration, ParameterError, PeriodicPattern, parameters};

use crate::operand::BLOCK;

/// The rank: the lowest that the network takes, and the one that wastes nothing.
pub(crate) const RANK: u16 = 128;

/// The tiles that a kernel hashes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tile {
    pub rows: PeriodicPattern,
    pub columns: PeriodicPattern,
    /// Columns of k that the kernel takes at a time.
    pub step: u32,
}

/// The product that is computed again and again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    pub config: MiningConfiguration,
    /// Rows of A.
    pub m: u32,
    /// Rows of B transposed.
    pub n: u32,
}

/// Why there is no such shape.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum ShapeError {
    #[error("this shape breaks rule {rule} of the protocol (section 7): {0}", rule = .0.rule())]
    Rule(#[from] ParameterError),
    #[error("rank {rank} is no multiple of the {step} columns that the kernel takes at a time")]
    Step { rank: u16, step: u32 },
    #[error("{name} = {rows} leaves no room for a tile, which is {extent} rows from first to last")]
    NoTile { name: char, rows: u32, extent: u32 },
    #[error("{name} = {rows} makes a matrix of {bytes} bytes, and the device takes {most} at a time")]
    TooLarge { name: char, rows: u32, bytes: u64, most: u64 },
}

impl Shape {
    /// The shape of a product in tiles of `tile`.
    ///
    /// # Errors
    ///
    /// The rule that it breaks.
    pub(crate) fn new(tile: &Tile, m: u32, n: u32, k: u32, rank: u16) -> Result<Self, ShapeError> {
        let Tile { rows, columns, step } = *tile;
        if !u32::from(rank).is_multiple_of(step) {
            return Err(ShapeError::Step { rank, step });
        }
        let config = MiningConfiguration::dense(k, rank, rows, columns);
        parameters::check_configuration(&config)?;
        for (name, count, pattern) in [('m', m, &rows), ('n', n, &columns)] {
            if pattern.bases(u64::from(count)).next().is_none() {
                return Err(ShapeError::NoTile { name, rows: count, extent: pattern.max_offset() + 1 });
            }
        }
        Ok(Self { config, m, n })
    }

    /// Whether a device that is given `most` bytes at a time can hold it.
    ///
    /// # Errors
    ///
    /// [`ShapeError::TooLarge`].
    pub(crate) fn fits(&self, most: u64) -> Result<(), ShapeError> {
        for (name, rows) in [('m', self.m), ('n', self.n)] {
            let bytes =
                u64::from(rows.next_multiple_of(BLOCK)) * u64::from(self.config.common_dim) + (1 << 16);
            if bytes > most {
                return Err(ShapeError::TooLarge { name, rows, bytes, most });
            }
        }
        Ok(())
    }

    /// Blocks of A and of B transposed.
    pub(crate) fn blocks(&self) -> (u32, u32) {
        (self.m.div_ceil(BLOCK), self.n.div_ceil(BLOCK))
    }

    /// Blocks of the product: what one workgroup computes.
    pub(crate) fn items(&self) -> u32 {
        let (rows, columns) = self.blocks();
        rows * columns
    }
}

/// Tiles that begin in each block, of A and of B transposed: what the hashes of a chunk are counted by.
pub(crate) struct Tiles {
    rows: Vec<u32>,
    columns: Vec<u32>,
}

impl Tiles {
    /// The tiles of a shape in blocks of 128 rows by `width` columns.
    pub(crate) fn new(shape: &Shape, width: u32) -> Self {
        let count = |pattern: &PeriodicPattern, rows: u32, block: u32| {
            let mut tiles = vec![0; rows.div_ceil(block) as usize];
            pattern.bases(u64::from(rows)).for_each(|base| tiles[(base / u64::from(block)) as usize] += 1);
            tiles
        };
        let config = &shape.config;
        Self { rows: count(&config.rows, shape.m, BLOCK), columns: count(&config.cols, shape.n, width) }
    }

    /// Blocks of the product.
    pub(crate) fn items(&self) -> u32 {
        (self.rows.len() * self.columns.len()) as u32
    }

    /// Hashes in the blocks `items`, which are counted down the columns of blocks.
    pub(crate) fn hashes(&self, shape: &Shape, items: std::ops::Range<u32>) -> u64 {
        let blocks = self.rows.len() as u32;
        let tiles: u64 = items
            .map(|item| {
                let (row, column) = ((item % blocks) as usize, (item / blocks) as usize);
                u64::from(self.rows[row]) * u64::from(self.columns[column])
            })
            .sum();
        tiles * shape.config.hashes_per_attempt() as u64
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let config = &self.config;
        let (height, width) = (config.rows.size(), config.cols.size());
        write!(f, "{}x{}x{} rank {} tile {height}x{width}", self.m, self.n, config.common_dim, config.rank)
    }
}
