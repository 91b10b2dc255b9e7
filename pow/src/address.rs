//! Pearl addresses: bech32m, witness version 1 (Taproot) or 2 (pay to Merkle root) (section 13).
//!
//! The whole checksum is checked, and an error says what is wrong with the address, because a wrong one costs
//! everything that is mined to it. An error may say *where* a typing mistake is, and never what should stand
//! there: the owner has to look it up.

use bech32::primitives::decode::UncheckedHrpstring;
use bech32::{Bech32, Bech32m, Fe32};

/// A family of networks that share an address prefix (section 13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressNetwork {
    /// `prl`: mainnet.
    Mainnet,
    /// `tprl`: testnet, testnet2 and signet.
    Testnet,
    /// `rprl`: regtest and simnet.
    Regtest,
}

/// What an address pays to (section 13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressKind {
    /// Witness version 1. The only kind that the gateway pays to.
    Taproot,
    /// Witness version 2, pay to Merkle root. Pools may or may not take it.
    PayToMerkleRoot,
}

/// A valid address (section 13).
///
/// ```
/// use pearl_pow::address::{Address, AddressKind, AddressNetwork};
///
/// let text = "prl1zqu04ax80tw03rs0v90rel24a77z722yyrdum43fcdvdtfgug4svquahpxa";
/// let address: Address = text.parse()?;
/// assert_eq!(address.network, AddressNetwork::Mainnet);
/// assert_eq!(address.kind, AddressKind::PayToMerkleRoot);
/// assert_eq!(address.to_string(), text);
/// # Ok::<(), pearl_pow::AddressError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// Which networks it is for.
    pub network: AddressNetwork,
    /// What it pays to.
    pub kind: AddressKind,
    /// The 32-byte witness program.
    pub program: [u8; 32],
}

/// What is wrong with an address (section 13).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// No text.
    #[error("the address is empty")]
    Empty,
    /// A character that no address has.
    #[error("`{character}` (character {position}) does not occur in addresses")]
    Character {
        /// The character.
        character: char,
        /// Its place, counted from 1.
        position: usize,
    },
    /// Upper and lower case mixed.
    #[error("upper and lower case letters are mixed")]
    MixedCase,
    /// No `1` between prefix and data.
    #[error("there is no `1` after the network's prefix (an address begins `prl1`)")]
    NoPrefix,
    /// The prefix of another coin or of nothing.
    #[error("`{prefix}1…` is not a Pearl address (mainnet `prl1…`, testnet `tprl1…`, regtest `rprl1…`)")]
    UnknownPrefix {
        /// What stands before the last `1`.
        prefix: String,
    },
    /// An address of another network than the wanted one.
    #[error(
        "this is a {found} address (`{}1…`), and a {wanted} address (`{}1…`) is needed",
        found.prefix(),
        wanted.prefix()
    )]
    WrongNetwork {
        /// The address's network.
        found: AddressNetwork,
        /// The one that is needed.
        wanted: AddressNetwork,
    },
    /// An address has a fixed length.
    #[error("the address has {found} characters and not {expected}: {}", if found < expected {
        "some are missing"
    } else {
        "there are too many"
    })]
    Length {
        /// Characters found.
        found: usize,
        /// Characters of an address of this network.
        expected: usize,
    },
    /// The checksum does not match.
    #[error("the checksum does not match: the address is mistyped{}", match position {
        Some(position) => format!(", probably at character {position}"),
        None => String::new(),
    })]
    Checksum {
        /// The place of the mistake, counted from 1, if a single wrong character explains it.
        position: Option<usize>,
    },
    /// The checksum of the older bech32 form.
    #[error("the address has the checksum of the older bech32 form, and Pearl uses bech32m only")]
    Bech32Checksum,
    /// A witness version that Pearl does not have.
    #[error(
        "witness version {version} is not valid on Pearl (1 is Taproot `{prefix}1p…`, 2 is P2MR `{prefix}1z…`)"
    )]
    WitnessVersion {
        /// The version found, 0 to 31.
        version: u8,
        /// The network's prefix.
        prefix: &'static str,
    },
    /// Another witness program than Pearl's two kinds have: theirs is of 32 bytes.
    #[error(
        "the address is whole, but for something else than Pearl pays to: it has {found} characters, and Pearl's have {expected}"
    )]
    Program {
        /// Characters found.
        found: usize,
        /// Characters of an address of this network.
        expected: usize,
    },
    /// The bits that fill up the last character are not zero.
    #[error("the address is malformed: the bits that fill up its last character are not zero")]
    Padding,
}

impl AddressError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Character { character: '.' | '/', .. } => {
                Some("give the address alone; the worker's name is a setting of its own".to_owned())
            }
            Self::Empty | Self::NoPrefix | Self::UnknownPrefix { .. } | Self::WrongNetwork { .. } => {
                Some("copy the address from your wallet's receive page".to_owned())
            }
            Self::WitnessVersion { .. } | Self::Program { .. } | Self::Bech32Checksum => {
                Some("ask your wallet for a Taproot address, which begins `prl1p`".to_owned())
            }
            Self::Character { .. }
            | Self::MixedCase
            | Self::Length { .. }
            | Self::Checksum { .. }
            | Self::Padding => Some("copy the address again instead of typing it".to_owned()),
        }
    }
}

impl AddressNetwork {
    const ALL: [Self; 3] = [Self::Mainnet, Self::Testnet, Self::Regtest];

    /// What addresses begin with, before the `1` (section 13).
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Mainnet => "prl",
            Self::Testnet => "tprl",
            Self::Regtest => "rprl",
        }
    }
}

impl std::fmt::Display for AddressNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mainnet => "mainnet",
            Self::Testnet => "testnet",
            Self::Regtest => "regtest",
        })
    }
}

/// Characters after the `1`: the version, 52 for 32 bytes, 6 of checksum.
const DATA_LEN: usize = 1 + 52 + 6;

impl Address {
    /// Reads an address that must be of `network` (section 13).
    ///
    /// # Errors
    ///
    /// [`AddressError`] says what is wrong with it.
    pub fn parse_for(text: &str, network: AddressNetwork) -> Result<Self, AddressError> {
        let address: Self = text.parse()?;
        if address.network == network {
            Ok(address)
        } else {
            Err(AddressError::WrongNetwork { found: address.network, wanted: network })
        }
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let stranger = text.chars().enumerate().find(|(_, character)| !character.is_ascii_alphanumeric());
        if let Some((index, character)) = stranger {
            return Err(AddressError::Character { character, position: index + 1 });
        }
        let upper = text.chars().any(|character| character.is_ascii_uppercase());
        if upper && text.chars().any(|character| character.is_ascii_lowercase()) {
            return Err(AddressError::MixedCase);
        }
        let text = text.to_ascii_lowercase();
        let (prefix, data) = text.rsplit_once('1').ok_or(AddressError::NoPrefix)?;
        let network = AddressNetwork::ALL
            .into_iter()
            .find(|network| network.prefix() == prefix)
            .ok_or_else(|| AddressError::UnknownPrefix { prefix: prefix.to_owned() })?;
        let data_start = prefix.len() + 1;
        let stranger = data.char_indices().find(|&(_, character)| Fe32::from_char(character).is_err());
        if let Some((index, character)) = stranger {
            return Err(AddressError::Character { character, position: data_start + index + 1 });
        }
        if data.len() != DATA_LEN {
            // A whole address of an older kind is not cut: its checksum is right.
            if let Ok(whole) = UncheckedHrpstring::new(&text) {
                if whole.has_valid_checksum::<Bech32>() {
                    return Err(AddressError::Bech32Checksum);
                }
                if whole.has_valid_checksum::<Bech32m>()
                    && let Some(version) = data.chars().next().and_then(|first| Fe32::from_char(first).ok())
                {
                    let version = version.to_u8();
                    return Err(match version {
                        1 | 2 => AddressError::Program { found: text.len(), expected: data_start + DATA_LEN },
                        _ => AddressError::WitnessVersion { version, prefix: network.prefix() },
                    });
                }
            }
            return Err(AddressError::Length { found: text.len(), expected: data_start + DATA_LEN });
        }

        let unchecked = UncheckedHrpstring::new(&text).expect("prefix and characters were checked");
        if !unchecked.has_valid_checksum::<Bech32m>() {
            if unchecked.has_valid_checksum::<Bech32>() {
                return Err(AddressError::Bech32Checksum);
            }
            return Err(AddressError::Checksum { position: single_mistake(&text, data_start) });
        }
        let mut checked = unchecked.remove_checksum::<Bech32m>();
        let version = checked.remove_witness_version().expect("the data is not empty").to_u8();
        let kind = match version {
            1 => AddressKind::Taproot,
            2 => AddressKind::PayToMerkleRoot,
            _ => return Err(AddressError::WitnessVersion { version, prefix: network.prefix() }),
        };
        checked.validate_segwit_padding().map_err(|_| AddressError::Padding)?;
        let mut program = [0; 32];
        for (slot, byte) in program.iter_mut().zip(checked.byte_iter()) {
            *slot = byte;
        }
        Ok(Self { network, kind, program })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hrp = bech32::Hrp::parse_unchecked(self.network.prefix());
        let version = match self.kind {
            AddressKind::Taproot => bech32::segwit::VERSION_1,
            AddressKind::PayToMerkleRoot => Fe32::Z,
        };
        let text = bech32::segwit::encode(hrp, version, &self.program).map_err(|_| std::fmt::Error)?;
        f.write_str(&text)
    }
}

/// The place of the one character whose change would make the checksum right, counted from 1.
///
/// The checksum tells any two addresses apart that differ in up to four characters, so there is at most one.
fn single_mistake(text: &str, data_start: usize) -> Option<usize> {
    let mut bytes = text.as_bytes().to_vec();
    for index in data_start..bytes.len() {
        let original = bytes[index];
        for symbol in 0..32 {
            let symbol = Fe32::try_from(symbol).expect("below 32");
            bytes[index] = symbol.to_char() as u8;
            let candidate = std::str::from_utf8(&bytes).expect("still ASCII");
            let fits = UncheckedHrpstring::new(candidate)
                .is_ok_and(|unchecked| unchecked.has_valid_checksum::<Bech32m>());
            if fits {
                return Some(index + 1);
            }
        }
        bytes[index] = original;
    }
    None
}
