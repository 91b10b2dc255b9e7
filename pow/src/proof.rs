//! The plain proof and its bytes (section 9).
//!
//! The layout is fixed-width little-endian integers, lengths before lists, no tags but the last byte. The
//! writer makes the canonical form. The reader is strict: it takes every byte or refuses, and it never
//! reserves more memory than the input it was given could fill.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::commitment::{LEAF_LEN, Leaf};
use crate::opening::MatrixOpening;

/// A plain proof: the tile that met the bound, with what is needed to check it (section 9.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainProof {
    /// Rows of A.
    pub m: u64,
    /// Rows of B^T.
    pub n: u64,
    /// The common dimension.
    pub k: u64,
    /// The rank of the noise.
    pub noise_rank: u64,
    /// What is shown of A.
    pub a: MatrixOpening,
    /// What is shown of B^T.
    pub bt: MatrixOpening,
}

/// Which of the two layouts some bytes had (section 9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// With the trailing tag byte; the only one that is ever written.
    Current,
    /// The layout of certificate version 1, which lacks the trailing tag.
    LegacyV1,
}

/// Why bytes or text are not a plain proof (section 9).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends inside of a field.
    #[error("the proof ends at byte {offset}, inside of {field}")]
    Truncated {
        /// What was being read.
        field: &'static str,
        /// Length of the input.
        offset: usize,
    },
    /// A list claims more entries than the rest of the input can hold.
    #[error("{field} claims {claimed} entries at byte {offset}, and {left} bytes are left")]
    TooLong {
        /// The list.
        field: &'static str,
        /// Entries it claims.
        claimed: u64,
        /// Where the length stands.
        offset: usize,
        /// Bytes after the length.
        left: usize,
    },
    /// A leaf carries its length, which is always 1024.
    #[error("leaf {index} of {field} has length {found} and not {LEAF_LEN} (byte {offset})")]
    LeafLength {
        /// The list.
        field: &'static str,
        /// Which leaf of the list.
        index: usize,
        /// The length found.
        found: u64,
        /// Where the length stands.
        offset: usize,
    },
    /// The last byte says whether there is a mixture-of-experts part.
    #[error("the last tag is {tag:#04x} and not 0 or 1 (byte {offset})")]
    Tag {
        /// The byte found.
        tag: u8,
        /// Where it stands.
        offset: usize,
    },
    /// A proof of a mixture-of-experts product.
    #[error("the proof is of a mixture of experts, and only dense products are supported")]
    MixtureOfExperts,
    /// Bytes are left over.
    #[error("{surplus} bytes are left over after the proof, which ends at byte {offset}")]
    Surplus {
        /// Bytes left over.
        surplus: usize,
        /// Where the proof ends.
        offset: usize,
    },
    /// The text is not standard base64 with padding.
    #[error("the text is not base64: {reason}")]
    Base64 {
        /// What the decoder says.
        reason: String,
    },
}

impl PlainProof {
    /// Length in bytes of the written form: `177 + 1040·(L_A+L_B) + 32·(S_A+S_B) + 8·(h+w)` (section 9.1).
    pub fn encoded_len(&self) -> usize {
        let side = |side: &MatrixOpening| {
            (8 + LEAF_LEN) * side.leaves.len()
                + 8 * side.leaf_indices.len()
                + 32 * side.siblings.len()
                + 8 * side.row_indices.len()
        };
        177 + side(&self.a) + side(&self.bt)
    }

    /// The bytes, with the trailing tag (section 9.1).
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        let number = |bytes: &mut Vec<u8>, value: u64| bytes.extend_from_slice(&value.to_le_bytes());
        for value in [self.m, self.n, self.k, self.noise_rank] {
            number(&mut bytes, value);
        }
        for side in [&self.a, &self.bt] {
            number(&mut bytes, side.leaves.len() as u64);
            for leaf in &side.leaves {
                number(&mut bytes, LEAF_LEN as u64);
                bytes.extend_from_slice(leaf);
            }
            number(&mut bytes, side.leaf_indices.len() as u64);
            for &index in &side.leaf_indices {
                number(&mut bytes, index);
            }
            number(&mut bytes, side.total_leaves);
            bytes.extend_from_slice(&side.root);
            number(&mut bytes, side.siblings.len() as u64);
            for sibling in &side.siblings {
                bytes.extend_from_slice(sibling);
            }
            number(&mut bytes, side.row_indices.len() as u64);
            for &index in &side.row_indices {
                number(&mut bytes, index);
            }
        }
        bytes.push(0);
        bytes
    }

    /// Reads a proof: every byte of the input, and nothing but it (section 9.1).
    ///
    /// A missing last tag is accepted, as the reference does, and reported as [`Encoding::LegacyV1`].
    ///
    /// # Errors
    ///
    /// [`DecodeError`] with the offset of the byte where reading failed.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Encoding), DecodeError> {
        let mut reader = Reader { bytes, offset: 0 };
        let proof = Self {
            m: reader.number("m")?,
            n: reader.number("n")?,
            k: reader.number("k")?,
            noise_rank: reader.number("noise_rank")?,
            a: reader.opening(&A_FIELDS)?,
            bt: reader.opening(&BT_FIELDS)?,
        };
        let offset = reader.offset;
        match reader.bytes[offset..] {
            [] => Ok((proof, Encoding::LegacyV1)),
            [0] => Ok((proof, Encoding::Current)),
            [0, ..] => Err(DecodeError::Surplus { surplus: bytes.len() - offset - 1, offset: offset + 1 }),
            [1, ..] => Err(DecodeError::MixtureOfExperts),
            [tag, ..] => Err(DecodeError::Tag { tag, offset }),
        }
    }

    /// The text form: standard base64 with padding, no line breaks (section 9.2).
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.encode())
    }

    /// Reads the text form (section 9.2).
    ///
    /// # Errors
    ///
    /// [`DecodeError::Base64`], or what [`decode`](Self::decode) says of the bytes.
    pub fn from_base64(text: &str) -> Result<(Self, Encoding), DecodeError> {
        let bytes = STANDARD.decode(text).map_err(|err| DecodeError::Base64 { reason: err.to_string() })?;
        Self::decode(&bytes)
    }
}

/// Names of one side's fields, for errors.
struct FieldNames {
    leaves: &'static str,
    leaf_indices: &'static str,
    total_leaves: &'static str,
    root: &'static str,
    siblings: &'static str,
    row_indices: &'static str,
}

const A_FIELDS: FieldNames = FieldNames {
    leaves: "leaf_data of A",
    leaf_indices: "leaf_indices of A",
    total_leaves: "total_leaves of A",
    root: "the root of A",
    siblings: "siblings of A",
    row_indices: "row_indices of A",
};

const BT_FIELDS: FieldNames = FieldNames {
    leaves: "leaf_data of B^T",
    leaf_indices: "leaf_indices of B^T",
    total_leaves: "total_leaves of B^T",
    root: "the root of B^T",
    siblings: "siblings of B^T",
    row_indices: "row_indices of B^T",
};

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let taken = self.bytes[self.offset..]
            .first_chunk()
            .ok_or(DecodeError::Truncated { field, offset: self.bytes.len() })?;
        self.offset += N;
        Ok(*taken)
    }

    fn number(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.take(field).map(u64::from_le_bytes)
    }

    /// A list's length, which the rest of the input must be able to hold.
    fn length(&mut self, field: &'static str, entry_len: usize) -> Result<usize, DecodeError> {
        let offset = self.offset;
        let claimed = self.number(field)?;
        let left = self.bytes.len() - self.offset;
        match usize::try_from(claimed) {
            Ok(length) if length <= left / entry_len => Ok(length),
            _ => Err(DecodeError::TooLong { field, claimed, offset, left }),
        }
    }

    fn numbers(&mut self, field: &'static str) -> Result<Vec<u64>, DecodeError> {
        (0..self.length(field, 8)?).map(|_| self.number(field)).collect()
    }

    fn leaves(&mut self, field: &'static str) -> Result<Vec<Leaf>, DecodeError> {
        let count = self.length(field, 8 + LEAF_LEN)?;
        let mut leaves = Vec::with_capacity(count);
        for index in 0..count {
            let offset = self.offset;
            let found = self.number(field)?;
            if found != LEAF_LEN as u64 {
                return Err(DecodeError::LeafLength { field, index, found, offset });
            }
            leaves.push(self.take(field)?);
        }
        Ok(leaves)
    }

    fn opening(&mut self, names: &FieldNames) -> Result<MatrixOpening, DecodeError> {
        Ok(MatrixOpening {
            leaves: self.leaves(names.leaves)?,
            leaf_indices: self.numbers(names.leaf_indices)?,
            total_leaves: self.number(names.total_leaves)?,
            root: self.take(names.root)?,
            siblings: (0..self.length(names.siblings, 32)?)
                .map(|_| self.take(names.siblings))
                .collect::<Result<_, _>>()?,
            row_indices: self.numbers(names.row_indices)?,
        })
    }
}
