//! The incomplete block header: 76 opaque bytes in which only `nbits` matters to a miner (section 1).

use crate::difficulty::CompactTarget;
use crate::hex::{self, Hex};

/// An incomplete block header, exactly as the gateway and the pools hand it out (section 1).
///
/// The bytes are opaque to a miner and are never changed: every one of them is part of the job key. The two
/// hashes inside are stored in *internal* order, which is the reverse of how explorers display them.
///
/// ```
/// use pearl_pow::Header;
///
/// let header = Header::new(0x2000_0000, [1; 32], [2; 32], 1_790_000_000, 0x1d00_ffff);
/// assert_eq!(header.nbits().0, 0x1d00_ffff);
/// assert_eq!(Header::from_hex(&header.to_string()), Ok(header));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header([u8; Header::LEN]);

/// Why some input is not a header (section 1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The input has another length.
    #[error("a header is {} bytes, this is {found}", Header::LEN)]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// The text is not hexadecimal.
    #[error("a header is {} hexadecimal digits, and this has another character", 2 * Header::LEN)]
    NotHex,
}

impl Header {
    /// Length of the serialised header in bytes (section 1).
    pub const LEN: usize = 76;

    /// A header from its fields; `prev_block` and `merkle_root` in display order, as explorers show them
    /// (section 1).
    pub fn new(
        version: u32,
        prev_block: [u8; 32],
        merkle_root: [u8; 32],
        timestamp: u32,
        nbits: u32,
    ) -> Self {
        let reversed = |mut hash: [u8; 32]| {
            hash.reverse();
            hash
        };
        let mut bytes = [0; Self::LEN];
        bytes[0..4].copy_from_slice(&version.to_le_bytes());
        bytes[4..36].copy_from_slice(&reversed(prev_block));
        bytes[36..68].copy_from_slice(&reversed(merkle_root));
        bytes[68..72].copy_from_slice(&timestamp.to_le_bytes());
        bytes[72..76].copy_from_slice(&nbits.to_le_bytes());
        Self(bytes)
    }

    /// A header from its 76 bytes (section 1).
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// A header from 152 hexadecimal digits, as pools send it (section 1).
    ///
    /// # Errors
    ///
    /// [`HeaderError`] for another length or another character.
    pub fn from_hex(text: &str) -> Result<Self, HeaderError> {
        if text.len() != 2 * Self::LEN {
            return Err(HeaderError::Length { found: text.len() / 2 });
        }
        hex::decode(text).map(Self).ok_or(HeaderError::NotHex)
    }

    /// The 76 bytes (section 1).
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The block version (section 1).
    pub fn version(&self) -> u32 {
        self.u32_at(0)
    }

    /// The previous block's hash in display order (section 1).
    pub fn prev_block(&self) -> [u8; 32] {
        self.hash_at(4)
    }

    /// The merkle root in display order (section 1).
    pub fn merkle_root(&self) -> [u8; 32] {
        self.hash_at(36)
    }

    /// The block time in seconds since 1970 (section 1).
    pub fn timestamp(&self) -> u32 {
        self.u32_at(68)
    }

    /// The block's compact target (section 6.1).
    pub fn nbits(&self) -> CompactTarget {
        CompactTarget(self.u32_at(72))
    }

    fn u32_at(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.0[offset..offset + 4].try_into().expect("four bytes were taken"))
    }

    fn hash_at(&self, offset: usize) -> [u8; 32] {
        let mut hash: [u8; 32] = self.0[offset..offset + 32].try_into().expect("32 bytes were taken");
        hash.reverse();
        hash
    }
}

impl TryFrom<&[u8]> for Header {
    type Error = HeaderError;

    fn try_from(bytes: &[u8]) -> Result<Self, HeaderError> {
        bytes.try_into().map(Self).map_err(|_| HeaderError::Length { found: bytes.len() })
    }
}

impl std::fmt::Display for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Header({self})")
    }
}
