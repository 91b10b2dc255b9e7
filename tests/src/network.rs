//! A chain for the stand-ins: what the gateway mines on and the node answers from. Blocks are made on order.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::{Arc, Mutex};

/// One block, as a node would list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// In the header's byte order.
    pub hash: [u8; 32],
    /// The block before it.
    pub prev: [u8; 32],
    /// Its merkle root.
    pub merkle_root: [u8; 32],
    /// Unix seconds.
    pub time: u32,
    /// Its height.
    pub height: u64,
    /// Whether it is on the main chain.
    pub main: bool,
    /// What its header commits to, in the order of a hash, where its proof was one.
    pub commitment: Option<[u8; 32]>,
}

/// A network that does nothing by itself.
#[derive(Clone, Debug)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    blocks: Vec<Block>,
    nbits: u32,
    certificate_version: u32,
    /// Goes into merkle roots and hashes, so that no two are equal.
    serial: u64,
}

impl Network {
    /// A chain with one block, whose jobs are at this compact target and certificate version.
    pub fn new(nbits: u32, certificate_version: u32) -> Self {
        let genesis = Block {
            hash: [7; 32],
            prev: [0; 32],
            merkle_root: [0; 32],
            time: 1_700_000_000,
            height: 0,
            main: true,
            commitment: None,
        };
        let state = State { blocks: vec![genesis], nbits, certificate_version, serial: 0 };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The newest block of the main chain.
    pub fn tip(&self) -> Block {
        self.state.lock().unwrap().tip()
    }

    /// The main chain, oldest first.
    pub fn main_chain(&self) -> Vec<Block> {
        self.state.lock().unwrap().blocks.iter().filter(|block| block.main).cloned().collect()
    }

    /// A block by its hash, on whatever chain.
    pub fn block(&self, hash: &[u8; 32]) -> Option<Block> {
        self.state.lock().unwrap().blocks.iter().find(|block| block.hash == *hash).cloned()
    }

    /// The certificate version that the next block needs.
    pub fn certificate_version(&self) -> u32 {
        self.state.lock().unwrap().certificate_version
    }

    /// The network forks to another certificate version.
    pub fn require_certificate(&self, version: u32) {
        self.state.lock().unwrap().certificate_version = version;
    }

    /// A fresh 76-byte header on the tip (protocol section 1). Every call makes another one.
    pub fn template(&self) -> [u8; 76] {
        self.state.lock().unwrap().template()
    }

    /// Makes a block of a header, by a proof with this commitment (protocol section 12.1). False if it does not build on the
    /// tip.
    pub fn submit_proved(&self, header: &[u8; 76], commitment: Option<[u8; 32]>) -> bool {
        self.state.lock().unwrap().submit(header, commitment)
    }

    /// Somebody else finds `count` blocks, one after the other and before anybody finds another.
    pub fn mine_elsewhere(&self, count: usize) {
        self.state.lock().unwrap().mine_elsewhere(count);
    }

    /// The newest block is undone, and two others take its place.
    pub fn reorganise(&self) {
        let mut state = self.state.lock().unwrap();
        let tip = state.tip();
        state.blocks.iter_mut().filter(|block| block.hash == tip.hash).for_each(|block| block.main = false);
        state.mine_elsewhere(2);
    }
}

/// Each of these under one lock: whoever submits, and whoever mines elsewhere, does so on one tip.
impl State {
    fn tip(&self) -> Block {
        self.blocks.iter().rfind(|block| block.main).cloned().expect("the first block stays")
    }

    fn template(&mut self) -> [u8; 76] {
        let tip = self.tip();
        self.serial += 1;
        let mut header = [0; 76];
        header[..4].copy_from_slice(&0x2000_0000_u32.to_le_bytes());
        header[4..36].copy_from_slice(&tip.hash);
        header[36..44].copy_from_slice(&self.serial.to_le_bytes());
        header[44..68].fill(0x5a);
        header[68..72].copy_from_slice(&(tip.time + 1).to_le_bytes());
        header[72..].copy_from_slice(&self.nbits.to_le_bytes());
        header
    }

    fn submit(&mut self, header: &[u8; 76], commitment: Option<[u8; 32]>) -> bool {
        let tip = self.tip();
        if header[4..36] != tip.hash {
            return false;
        }
        self.serial += 1;
        let mut hash = [0x11; 32];
        hash[..8].copy_from_slice(&self.serial.to_le_bytes());
        self.blocks.push(Block {
            hash,
            prev: tip.hash,
            merkle_root: header[36..68].try_into().unwrap(),
            time: u32::from_le_bytes(header[68..72].try_into().unwrap()),
            height: tip.height + 1,
            main: true,
            commitment,
        });
        true
    }

    fn mine_elsewhere(&mut self, count: usize) {
        for _ in 0..count {
            let header = self.template();
            assert!(self.submit(&header, None));
        }
    }
}
