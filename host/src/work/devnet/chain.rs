//! The devnet's chain on disk.
//!
//! One file, `<home>/devnet/chain`: a header of 64 bytes and a record of 128 bytes a block, appended and fsynced, each
//! with a checksum and the hash of its predecessor. A torn or altered tail is cut off and said. The file is bounded:
//! when it holds [`RECORDS_MAX`] blocks it is written anew with the last half of them.
//!
//! ```text
//! file    = "pearlbed devnet\n" 16 | key 32 | zeros 16 | record*
//! record  = block header 108 | height u64 | interval ms u32 | checksum 8        numbers little-endian
//! ```
//!
//! A header is issued with a merkle root that only this chain's key can make, so a header that an earlier process
//! issued is recognised without having been remembered.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::explain::Explain;
use crate::owned;
use crate::work::proofs::write_whole;

/// Blocks in the file before it is shortened to half.
pub const RECORDS_MAX: usize = 8192;

const MAGIC: &[u8; 16] = b"pearlbed devnet\n";
const HEADER_BYTES: usize = 64;
const RECORD_BYTES: usize = 128;
/// `version` of every header, as today's mainnet nodes set it.
const VERSION: u32 = 0x2000_0000;

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The 76 bytes that were mined, and the 32-byte commitment to the proof (protocol section 1).
    pub header: [u8; 108],
    /// Its height; the first mined block has 1.
    pub height: u64,
    /// Time that it took to find, in milliseconds.
    pub interval_ms: u32,
}

impl Block {
    /// The block's hash in the header's byte order. A real node hashes otherwise; here BLAKE3 of the 108 bytes will do.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(&self.header).as_bytes()
    }

    /// The compact target it was found for.
    pub fn nbits(&self) -> u32 {
        u32::from_le_bytes(self.header[72..76].try_into().expect("4 bytes"))
    }

    /// Its time, in Unix seconds.
    pub fn time(&self) -> u32 {
        u32::from_le_bytes(self.header[68..72].try_into().expect("4 bytes"))
    }

    fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut record = [0; RECORD_BYTES];
        record[..108].copy_from_slice(&self.header);
        record[108..116].copy_from_slice(&self.height.to_le_bytes());
        record[116..120].copy_from_slice(&self.interval_ms.to_le_bytes());
        let sum = blake3::hash(&record[..120]);
        record[120..].copy_from_slice(&sum.as_bytes()[..8]);
        record
    }

    fn decode(record: &[u8; RECORD_BYTES]) -> Option<Self> {
        if blake3::hash(&record[..120]).as_bytes()[..8] != record[120..] {
            return None;
        }
        Some(Self {
            header: record[..108].try_into().expect("108 bytes"),
            height: u64::from_le_bytes(record[108..116].try_into().expect("8 bytes")),
            interval_ms: u32::from_le_bytes(record[116..120].try_into().expect("4 bytes")),
        })
    }
}

/// The chain, held by one process at a time.
#[derive(Debug)]
pub struct Chain {
    dir: PathBuf,
    file: File,
    key: [u8; 32],
    /// The blocks of the file, and those that a full disk kept out of it.
    blocks: Vec<Block>,
    /// How many of them are on disk.
    saved: usize,
    /// Its lock says that the folder is in use.
    lock: File,
}

/// Why the chain cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum ChainError {
    #[error("failed to use the devnet's {}", crate::text::printable_path(path))]
    Io {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("the devnet in `{}` is in use by another process", path.display())]
    InUse { path: PathBuf },
}

impl Explain for ChainError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Io { path, err } => return crate::remedy::for_file(err, path),
            Self::InUse { .. } => {
                "stop the other one first (`pearlbed stop`, or the running `pearlbed devnet`)".to_owned()
            }
        })
    }

    fn exit(&self) -> crate::exit::Exit {
        match self {
            Self::Io { err, .. } => crate::remedy::exit_for(err),
            Self::InUse { .. } => crate::exit::Exit::Failed,
        }
    }
}

impl Chain {
    /// Opens the chain in `dir`, or begins one there. The second value tells of what had to be repaired.
    ///
    /// # Errors
    ///
    /// - [`ChainError::InUse`]: another process has it open.
    /// - [`ChainError::Io`]: the folder or its files cannot be read or written.
    pub fn open(dir: &Path) -> Result<(Self, Vec<String>), ChainError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |err| ChainError::Io { path: path.clone(), err }
        };
        owned::create_private(dir).map_err(failed(dir))?;
        let lock_file = dir.join("lock");
        let lock = owned::open_or_make(&lock_file, File::options().read(true).write(true));
        let lock = lock.map_err(failed(&lock_file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ChainError::InUse { path: dir.to_owned() }),
            Err(TryLockError::Error(err)) => return Err(failed(&lock_file)(err)),
        }

        let path = dir.join("chain");
        let failed = failed(&path);
        let mut notes = Vec::new();
        let mut bytes = Vec::new();
        match owned::open(&path) {
            Ok(file) => {
                let limit = HEADER_BYTES + RECORD_BYTES * (RECORDS_MAX + 1);
                file.take(limit as u64).read_to_end(&mut bytes).map_err(&failed)?;
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(failed(err)),
        }
        if bytes.len() < HEADER_BYTES || bytes[..16] != *MAGIC {
            if !bytes.is_empty() {
                fs::rename(&path, dir.join("chain.unreadable")).map_err(&failed)?;
                notes.push(
                    "the devnet's chain was unreadable; it is now `chain.unreadable`, and a new one begins"
                        .into(),
                );
            }
            bytes = new_header().map_err(&failed)?;
            write_whole(dir, &path, &bytes).map_err(&failed)?;
        }
        let key = bytes[16..48].try_into().expect("32 bytes");
        let (blocks, good) = read_blocks(&bytes[HEADER_BYTES..]);
        let torn = bytes.len() - HEADER_BYTES - good;
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(&failed)?;
        if torn > 0 {
            file.set_len((HEADER_BYTES + good) as u64).map_err(failed)?;
            let height = blocks.last().map_or(0, |block| block.height);
            notes.push(format!("cut {torn} unreadable bytes off the devnet's chain, after block {height}"));
        }
        let saved = blocks.len();
        Ok((Self { dir: dir.to_owned(), file, key, blocks, saved, lock }, notes))
    }

    /// The newest block, if any was mined yet.
    pub fn tip(&self) -> Option<&Block> {
        self.blocks.last()
    }

    /// The hash that the next header builds on.
    pub fn tip_hash(&self) -> [u8; 32] {
        // The first block builds on the key, so that two chains never share a header.
        self.tip().map_or(self.key, Block::hash)
    }

    /// The height of the newest block, 0 before the first.
    pub fn height(&self) -> u64 {
        self.tip().map_or(0, |block| block.height)
    }

    /// The newest `count` blocks, oldest first.
    pub fn newest(&self, count: usize) -> &[Block] {
        &self.blocks[self.blocks.len().saturating_sub(count)..]
    }

    /// The block that was made of this header and proof, if it is one of those on file.
    pub fn made_of(&self, header: &[u8; 76], proof: &[u8]) -> Option<&Block> {
        let commitment = blake3::hash(proof);
        self.blocks
            .iter()
            .rev()
            .find(|block| block.header[..76] == *header && block.header[76..] == *commitment.as_bytes())
    }

    /// A header for the next block.
    pub fn header(&self, time: u32, nbits: u32) -> [u8; 76] {
        let mut header = [0; 76];
        header[..4].copy_from_slice(&VERSION.to_le_bytes());
        header[4..36].copy_from_slice(&self.tip_hash());
        header[68..72].copy_from_slice(&time.to_le_bytes());
        header[72..].copy_from_slice(&nbits.to_le_bytes());
        let root = self.merkle_root(&header);
        header[36..68].copy_from_slice(&root);
        header
    }

    /// Whether this chain issued `header` for the next block, in this process or an earlier one.
    pub fn issued(&self, header: &[u8; 76]) -> bool {
        header[4..36] == self.tip_hash() && header[36..68] == self.merkle_root(header)
    }

    /// The root over the block's only transaction, a coinbase of the height and the header's other fields.
    fn merkle_root(&self, header: &[u8; 76]) -> [u8; 32] {
        let mut coinbase = Vec::with_capacity(64);
        coinbase.extend_from_slice(&(self.height() + 1).to_le_bytes());
        coinbase.extend_from_slice(&header[..36]);
        coinbase.extend_from_slice(&header[68..]);
        *blake3::keyed_hash(&self.key, &coinbase).as_bytes()
    }

    /// Adds a block for `header`, which the caller has verified with `proof`.
    ///
    /// # Errors
    ///
    /// The disk refused. The block counts all the same, and is written together with the next one.
    pub fn append(&mut self, header: &[u8; 76], proof: &[u8], interval_ms: u32) -> (Block, io::Result<()>) {
        let mut full = [0; 108];
        full[..76].copy_from_slice(header);
        full[76..].copy_from_slice(blake3::hash(proof).as_bytes());
        let block = Block { header: full, height: self.height() + 1, interval_ms };
        self.blocks.push(block);
        (block, self.save())
    }

    fn save(&mut self) -> io::Result<()> {
        let path = self.dir.join("chain");
        // Somebody may have removed it.
        let gone = owned::file_id(&path) != owned::id_of(&self.file);
        if self.blocks.len() > RECORDS_MAX || gone {
            if self.blocks.len() > RECORDS_MAX {
                self.blocks = self.blocks.split_off(self.blocks.len() - RECORDS_MAX / 2);
            }
            // Until it is written, nothing of the new arrangement is on disk.
            self.saved = 0;
            let mut bytes = header_of(&self.key);
            bytes.extend(self.blocks.iter().flat_map(Block::encode));
            write_whole(&self.dir, &path, &bytes)?;
            self.lock_again();
            self.file = OpenOptions::new().read(true).write(true).open(&path)?;
            self.saved = self.blocks.len();
            return Ok(());
        }
        let bytes: Vec<u8> = self.blocks[self.saved..].iter().flat_map(Block::encode).collect();
        self.file.write_all_at(&bytes, (HEADER_BYTES + RECORD_BYTES * self.saved) as u64)?;
        self.file.sync_data()?;
        self.saved = self.blocks.len();
        Ok(())
    }
}

impl Chain {
    /// Locks the lock's file anew where it was removed. Whoever has it by now is told nothing: both chains are true.
    fn lock_again(&mut self) {
        let path = self.dir.join("lock");
        if owned::file_id(&path) != owned::id_of(&self.lock)
            && let Ok(lock) = owned::open_or_make(&path, File::options().read(true).write(true))
            && lock.try_lock().is_ok()
        {
            self.lock = lock;
        }
    }
}

/// The blocks at the start of `bytes`, and how many bytes they fill.
fn read_blocks(bytes: &[u8]) -> (Vec<Block>, usize) {
    let mut blocks: Vec<Block> = Vec::new();
    for record in bytes.as_chunks::<RECORD_BYTES>().0.iter().take(RECORDS_MAX) {
        let Some(block) = Block::decode(record) else { break };
        let fits = blocks
            .last()
            .is_none_or(|last| block.height == last.height + 1 && block.header[4..36] == last.hash());
        if !fits {
            break;
        }
        blocks.push(block);
    }
    let good = blocks.len() * RECORD_BYTES;
    (blocks, good)
}

fn header_of(key: &[u8; 32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(key);
    bytes.resize(HEADER_BYTES, 0);
    bytes
}

fn new_header() -> io::Result<Vec<u8>> {
    let mut key = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(header_of(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mine(chain: &mut Chain, blocks: usize) {
        for _ in 0..blocks {
            let header = chain.header(1_700_000_000, 0x1e00_8000);
            assert!(chain.issued(&header));
            chain.append(&header, b"proof", 5000).1.unwrap();
            assert!(!chain.issued(&header), "its place is taken");
        }
    }

    #[test]
    fn headers_chain_and_are_read_back() {
        let home = tempfile::tempdir().unwrap();
        let (mut chain, notes) = Chain::open(home.path()).unwrap();
        assert!(notes.is_empty());
        mine(&mut chain, 5);
        let pending = chain.header(1_700_000_009, 0x1e00_8000);
        let tip = *chain.tip().unwrap();
        drop(chain);

        let (chain, notes) = Chain::open(home.path()).unwrap();
        assert!(notes.is_empty());
        assert_eq!(chain.tip(), Some(&tip));
        assert_eq!(chain.height(), 5);
        assert!(chain.issued(&pending), "a header of the earlier process is still good");
        let mut altered = pending;
        altered[68] ^= 1;
        assert!(!chain.issued(&altered));
    }

    #[test]
    fn a_torn_tail_is_cut_off_at_any_length() {
        let home = tempfile::tempdir().unwrap();
        let (mut chain, _) = Chain::open(home.path()).unwrap();
        mine(&mut chain, 3);
        drop(chain);
        let path = home.path().join("chain");
        let whole = fs::read(&path).unwrap();
        for torn in [1, 60, 127] {
            fs::write(&path, &whole[..whole.len() - torn]).unwrap();
            let (mut chain, notes) = Chain::open(home.path()).unwrap();
            assert_eq!((chain.height(), notes.len()), (2, 1));
            mine(&mut chain, 2);
            drop(chain);
            let (chain, notes) = Chain::open(home.path()).unwrap();
            assert_eq!((chain.height(), notes.len()), (4, 0));
        }
    }

    #[test]
    fn an_altered_block_ends_the_chain_before_it() {
        let home = tempfile::tempdir().unwrap();
        let (mut chain, _) = Chain::open(home.path()).unwrap();
        mine(&mut chain, 4);
        drop(chain);
        let path = home.path().join("chain");
        let mut bytes = fs::read(&path).unwrap();
        bytes[HEADER_BYTES + RECORD_BYTES * 2 + 50] ^= 1;
        fs::write(&path, bytes).unwrap();
        let (chain, notes) = Chain::open(home.path()).unwrap();
        assert_eq!(chain.height(), 2);
        assert!(notes[0].contains("after block 2"), "{notes:?}");
    }

    #[test]
    fn a_file_that_is_no_chain_is_put_aside() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("chain"), b"something else").unwrap();
        let (chain, notes) = Chain::open(home.path()).unwrap();
        assert_eq!(chain.height(), 0);
        assert_eq!(notes.len(), 1);
        assert!(home.path().join("chain.unreadable").exists());
    }

    #[test]
    fn the_file_is_bounded_and_the_chain_goes_on() {
        let home = tempfile::tempdir().unwrap();
        let (mut chain, _) = Chain::open(home.path()).unwrap();
        mine(&mut chain, 1);
        // The same without 8000 fsyncs.
        while chain.blocks.len() < RECORDS_MAX {
            let last = *chain.tip().unwrap();
            let header: [u8; 76] = chain.header(last.time(), last.nbits());
            let mut full = last.header;
            full[..76].copy_from_slice(&header);
            chain.blocks.push(Block { header: full, height: last.height + 1, interval_ms: 1 });
        }
        mine(&mut chain, 3);
        let tip = *chain.tip().unwrap();
        assert_eq!(tip.height as usize, RECORDS_MAX + 3);
        drop(chain);
        let (chain, notes) = Chain::open(home.path()).unwrap();
        assert_eq!((chain.tip(), notes.len()), (Some(&tip), 0));
        assert!(fs::metadata(home.path().join("chain")).unwrap().len() < (RECORD_BYTES * RECORDS_MAX) as u64);
    }

    #[test]
    fn any_damage_leaves_a_chain_that_goes_on() {
        let home = tempfile::tempdir().unwrap();
        let (mut chain, _) = Chain::open(home.path()).unwrap();
        mine(&mut chain, 3);
        drop(chain);
        let path = home.path().join("chain");
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(13) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            fs::write(&path, bytes).unwrap();
            let (mut chain, _) = Chain::open(home.path()).unwrap();
            let height = chain.height();
            assert!(height <= 3);
            mine(&mut chain, 1);
            drop(chain);
            let (chain, notes) = Chain::open(home.path()).unwrap();
            assert_eq!((chain.height(), notes), (height + 1, vec![]), "byte {at}");
        }
    }

    #[test]
    fn only_one_process_has_the_chain() {
        let home = tempfile::tempdir().unwrap();
        let _first = Chain::open(home.path()).unwrap();
        let err = Chain::open(home.path()).unwrap_err();
        assert!(matches!(err, ChainError::InUse { .. }), "{err}");
        assert!(err.hint().unwrap().contains("stop"));
    }
}
