//! Periodic patterns: which rows of a matrix form one tile (section 2.2).
//!
//! A pattern is a set of offsets. It is written as up to three loops, innermost first, each a stride and a
//! length. The loops are nested: every stride is a multiple of the extent (stride × length) of the loop
//! before it, so that the offsets come out ascending and copies of the pattern tile the rows without overlap.
//!
//! A proof does not carry its pattern. The verifier rebuilds it from the listed rows, and only one of the
//! ways to write a pattern, the canonical one that [`PeriodicPattern::from_offsets`] finds, gives the job key
//! it expects.

/// A canonical periodic pattern (section 2.2).
///
/// ```
/// use pearl_pow::PeriodicPattern;
///
/// let rows = PeriodicPattern::from_offsets(&[0, 8, 64, 72])?;
/// assert_eq!(rows.to_bytes(), [0x07, 0x01, 0x03, 0x01, 0x00, 0x00]);
/// assert_eq!((rows.size(), rows.period(), rows.max_offset()), (4, 128, 72));
/// # Ok::<(), pearl_pow::pattern::PatternError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeriodicPattern {
    /// Innermost first; unused loops are (period, 1).
    loops: [Loop; 3],
}

/// One loop of a pattern: `length` steps of `stride` rows (section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Loop {
    /// Rows between two steps.
    pub stride: u32,
    /// Number of steps, 1 to 256.
    pub length: u32,
}

/// Why offsets or bytes are not a pattern, or rows not a tile (section 2.2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// No offsets at all.
    #[error("the list of rows is empty")]
    Empty,
    /// The first offset of a pattern is 0.
    #[error("the pattern starts at {first} and not at 0")]
    FirstNotZero {
        /// The first offset.
        first: u64,
    },
    /// Offsets or rows are strictly increasing.
    #[error("the rows are not strictly increasing: {previous} comes before {next}")]
    NotIncreasing {
        /// The entry before.
        previous: u64,
        /// The entry that should be larger.
        next: u64,
    },
    /// No nest of loops gives these offsets.
    #[error("the {offsets} offsets are not periodic")]
    NotPeriodic {
        /// Number of offsets that no loop explains.
        offsets: usize,
    },
    /// More than three loops would be needed.
    #[error("the offsets need {loops} loops, and a pattern has at most 3")]
    TooManyLoops {
        /// Loops needed.
        loops: usize,
    },
    /// A stride or a length is outside of what six bytes can say.
    #[error("a loop of stride {stride} and length {length} does not fit the 6-byte form")]
    NotEncodable {
        /// Rows between two steps.
        stride: u64,
        /// Number of steps.
        length: u64,
    },
    /// An encoded pattern has six bytes.
    #[error("an encoded pattern is 6 bytes, this is {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// Something follows a loop of length 1, or that loop has a factor.
    #[error("loop {index} is not in canonical form: after a loop of length 1 all bytes are zero")]
    NotCanonical {
        /// Which loop, 0 is the innermost.
        index: usize,
    },
    /// A loop continues the one before it without a gap: the two are one loop.
    #[error("loop {index} continues the loop before it without a gap, and both should be one")]
    BrokenStride {
        /// Which loop, 0 is the innermost.
        index: usize,
    },
    /// The period is limited to 2^24.
    #[error("the period is larger than 2^24")]
    PeriodTooLarge,
    /// The tile's first row is not where a copy of the pattern may start.
    #[error("row {base} is not a base of the pattern: tiles that start there would overlap others")]
    InvalidBase {
        /// The tile's first row.
        base: u64,
    },
    /// The number of rows is not a multiple of the period, so that tiles cannot cover it.
    #[error("{dimension} rows are not a multiple of the pattern's period {period}")]
    NotAMultiple {
        /// Rows to be covered.
        dimension: u64,
        /// The pattern's period.
        period: u64,
    },
}

const PERIOD_MAX: u64 = 1 << 24;

impl PeriodicPattern {
    /// Length of the encoded form in bytes (section 2.2).
    pub const LEN: usize = 6;

    /// The canonical pattern of some offsets: strictly increasing, starting at 0 (section 2.2).
    ///
    /// # Errors
    ///
    /// [`PatternError`] if the offsets are not such a list, not periodic, or not encodable.
    pub fn from_offsets(offsets: &[u64]) -> Result<Self, PatternError> {
        let (&first, _) = offsets.split_first().ok_or(PatternError::Empty)?;
        if first != 0 {
            return Err(PatternError::FirstNotZero { first });
        }
        if let Some(pair) = offsets.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(PatternError::NotIncreasing { previous: pair[0], next: pair[1] });
        }

        // From the outermost loop inwards: find the shortest prefix that the rest repeats, then look at the
        // prefix.
        let mut found: Vec<(u64, u64)> = Vec::new();
        let mut rest = offsets;
        while rest.len() > 1 {
            let prefix = (1..rest.len())
                .filter(|prefix| rest.len().is_multiple_of(*prefix))
                .find(|&prefix| repeats(rest, prefix))
                .ok_or(PatternError::NotPeriodic { offsets: rest.len() })?;
            found.push((rest[prefix], (rest.len() / prefix) as u64));
            rest = &rest[..prefix];
        }
        found.reverse();
        if found.len() > 3 {
            return Err(PatternError::TooManyLoops { loops: found.len() });
        }

        let mut bytes = [0; Self::LEN];
        let mut extent = 1;
        for (slot, &(stride, length)) in bytes.chunks_exact_mut(2).zip(&found) {
            let encodable =
                stride.is_multiple_of(extent) && (1..=256).contains(&(stride / extent)) && length <= 256;
            if !encodable {
                return Err(PatternError::NotEncodable { stride, length });
            }
            slot[0] = (stride / extent - 1) as u8;
            slot[1] = (length - 1) as u8;
            extent = stride * length;
        }
        Self::from_bytes(&bytes)
    }

    /// The pattern of a tile's absolute rows, and the tile's base (its first row) (section 2.2).
    ///
    /// # Errors
    ///
    /// As [`from_offsets`](Self::from_offsets), and [`PatternError::InvalidBase`] when tiles may not start
    /// there.
    pub fn from_rows(rows: &[u64]) -> Result<(Self, u64), PatternError> {
        let &base = rows.first().ok_or(PatternError::Empty)?;
        if let Some(pair) = rows.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(PatternError::NotIncreasing { previous: pair[0], next: pair[1] });
        }
        let offsets: Vec<u64> = rows.iter().map(|row| row - base).collect();
        let pattern = Self::from_offsets(&offsets)?;
        if pattern.is_base(base) { Ok((pattern, base)) } else { Err(PatternError::InvalidBase { base }) }
    }

    /// The pattern of `length` neighbouring rows: 0, 1, 2, and so on (section 2.2).
    ///
    /// # Errors
    ///
    /// [`PatternError`] unless `length` is 1 to 256.
    pub fn contiguous(length: u32) -> Result<Self, PatternError> {
        Self::from_offsets(&(0..u64::from(length).min(257)).collect::<Vec<_>>())
    }

    /// Decodes the 6-byte form and insists on the canonical one (section 2.2).
    ///
    /// # Errors
    ///
    /// [`PatternError`] for another length or a form that is not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PatternError> {
        let bytes: &[u8; Self::LEN] =
            bytes.try_into().map_err(|_| PatternError::Length { found: bytes.len() })?;
        let mut loops = [Loop { stride: 1, length: 1 }; 3];
        let mut extent: u64 = 1;
        let mut ended = false;
        for (index, (pair, slot)) in bytes.chunks_exact(2).zip(&mut loops).enumerate() {
            let (factor, length) = (u64::from(pair[0]) + 1, u64::from(pair[1]) + 1);
            ended |= length == 1;
            if ended && (factor, length) != (1, 1) {
                return Err(PatternError::NotCanonical { index });
            }
            if length > 1 && factor == 1 && extent != 1 {
                return Err(PatternError::BrokenStride { index });
            }
            let stride = factor * extent;
            if stride * length > PERIOD_MAX {
                return Err(PatternError::PeriodTooLarge);
            }
            *slot = Loop { stride: stride as u32, length: length as u32 };
            extent = stride * length;
        }
        Ok(Self { loops })
    }

    /// The 6-byte form (section 2.2).
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let mut extent = 1;
        for (slot, step) in bytes.chunks_exact_mut(2).zip(self.loops) {
            slot[0] = (step.stride / extent - 1) as u8;
            slot[1] = (step.length - 1) as u8;
            extent = step.stride * step.length;
        }
        bytes
    }

    /// The three loops, innermost first; unused ones are (period, 1) (section 2.2).
    pub const fn loops(&self) -> [Loop; 3] {
        self.loops
    }

    /// Number of offsets (section 2.2).
    pub fn size(&self) -> u32 {
        self.loops.iter().map(|step| step.length).product()
    }

    /// Rows after which tiles repeat, at most 2^24 (section 2.2).
    pub fn period(&self) -> u32 {
        self.loops[2].stride * self.loops[2].length
    }

    /// The largest offset (section 2.2).
    pub fn max_offset(&self) -> u32 {
        self.loops.iter().map(|step| step.stride * (step.length - 1)).sum()
    }

    /// The offsets, ascending (section 2.2).
    pub fn offsets(&self) -> impl Iterator<Item = u32> + use<> {
        let [inner, middle, outer] = self.loops;
        (0..outer.length).flat_map(move |c| {
            (0..middle.length).flat_map(move |b| {
                (0..inner.length).map(move |a| a * inner.stride + b * middle.stride + c * outer.stride)
            })
        })
    }

    /// Whether a tile may start at row `base` (`offset_is_valid`) (section 2.2).
    ///
    /// The tiles of all such bases cover every row exactly once.
    pub fn is_base(&self, base: u64) -> bool {
        let mut rest = base;
        self.loops.iter().rev().all(|step| {
            rest %= u64::from(step.stride) * u64::from(step.length);
            rest < u64::from(step.stride)
        })
    }

    /// The bases of all tiles that lie within `dimension` rows, ascending (section 2.2).
    ///
    /// Includes tiles that fit inside a last, partial period; the verifier accepts those too.
    pub fn bases(&self, dimension: u64) -> impl Iterator<Item = u64> + use<> {
        let pattern = *self;
        (0..dimension.saturating_sub(u64::from(pattern.max_offset())))
            .filter(move |&base| pattern.is_base(base))
    }

    /// The bases of the tiles that partition `dimension` rows, in the reference miner's order (section 2.2).
    ///
    /// # Errors
    ///
    /// [`PatternError::NotAMultiple`] unless `dimension` is a multiple of the period.
    pub fn partition(&self, dimension: u64) -> Result<impl Iterator<Item = u64> + use<>, PatternError> {
        let period = u64::from(self.period());
        if dimension.is_multiple_of(period) {
            Ok(self.bases(dimension))
        } else {
            Err(PatternError::NotAMultiple { dimension, period })
        }
    }

    /// The rows of the tile that starts at `base` (section 2.2).
    pub fn tile(&self, base: u64) -> impl Iterator<Item = u64> + use<> {
        self.offsets().map(move |offset| base + u64::from(offset))
    }
}

/// Whether `offsets` is its first `prefix` entries, moved by the same stride again and again.
fn repeats(offsets: &[u64], prefix: usize) -> bool {
    let stride = offsets[prefix];
    offsets.iter().zip(&offsets[prefix..]).all(|(&early, &late)| early.checked_add(stride) == Some(late))
}

impl std::fmt::Display for PeriodicPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, offset) in self.offsets().enumerate() {
            if index == 8 && self.size() > 9 {
                return write!(f, ",…,{}", self.max_offset());
            }
            write!(f, "{}{offset}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}
