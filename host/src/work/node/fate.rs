//! What became of a header, worked out from what the node says of the blocks around it.

use serde::Deserialize;

use crate::work::{block_hash, block_hash_text};

/// What the node knows of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The block that it builds on is the newest: it can still become a block.
    Open,
    /// It is a block of the main chain.
    InBlock {
        /// The block's hash as explorers print it.
        hash: String,
        /// The block's height.
        height: u64,
        /// Blocks of the main chain from this one on, itself included.
        confirmations: u64,
        /// What its header commits to (protocol section 12.1); the oldest nodes do not say.
        commitment: Option<[u8; 32]>,
    },
    /// It can no longer become a block.
    Replaced {
        /// Why not.
        reason: String,
        /// The block of the main chain in its place, as explorers print it, and its height; none where the block that it
        /// builds on left the main chain.
        by: Option<(String, u64)>,
    },
    /// The node does not know the block that it builds on.
    Unknown,
}

/// What `getblock` says of a block, as far as it matters here.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct BlockInfo {
    /// Its hash.
    pub hash: String,
    /// −1 on a side chain.
    pub confirmations: i64,
    /// Its height.
    pub height: u64,
    /// Its merkle root.
    #[serde(rename = "merkleroot")]
    pub merkle_root: String,
    /// Its time, in Unix seconds.
    pub time: Option<u64>,
    /// The block before it.
    #[serde(rename = "previousblockhash", default)]
    pub previous: String,
    /// The block after it on the main chain.
    #[serde(rename = "nextblockhash")]
    pub next: Option<String>,
    /// What its header commits to beside the 76 bytes that miners know.
    #[serde(rename = "proofcommitment")]
    pub commitment: Option<String>,
}

/// The hash of the block that `header` builds on, as the node writes it.
pub fn parent(header: &[u8; 76]) -> String {
    block_hash_text(header[4..36].try_into().expect("32 bytes"))
}

/// The fate of `header`, given the block it builds on and the one that follows that on the main chain.
///
/// `parent` is `None` when the node does not know it; `child` is `None` when nothing follows.
pub fn fate(header: &[u8; 76], parent: Option<&BlockInfo>, child: Option<&BlockInfo>) -> Fate {
    let Some(parent) = parent else { return Fate::Unknown };
    if parent.confirmations < 0 {
        let reason = format!("the block at height {} that it builds on left the main chain", parent.height);
        return Fate::Replaced { reason, by: None };
    }
    let Some(child) = child else { return Fate::Open };
    let merkle_root = block_hash_text(header[36..68].try_into().expect("32 bytes"));
    // A gateway that restarted offers the same transactions under another time: the root alone does not tell the two
    // headers apart.
    let time = u32::from_le_bytes(header[68..72].try_into().expect("4 bytes"));
    if child.merkle_root == merkle_root && child.time.is_none_or(|child| child == u64::from(time)) {
        let confirmations = u64::try_from(child.confirmations).unwrap_or(0);
        let commitment = child.commitment.as_deref().and_then(block_hash);
        return Fate::InBlock { hash: child.hash.clone(), height: child.height, confirmations, commitment };
    }
    let reason = format!("another block came first at height {}", child.height);
    Fate::Replaced { reason, by: Some((child.hash.clone(), child.height)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> [u8; 76] {
        let mut header = [0; 76];
        header[4] = 0xaa;
        header[36] = 0xbb;
        header
    }

    fn block(hash: &str, confirmations: i64, root: u8) -> BlockInfo {
        let mut merkle_root = [0; 32];
        merkle_root[0] = root;
        BlockInfo {
            hash: hash.to_owned(),
            confirmations,
            height: 7,
            merkle_root: block_hash_text(&merkle_root),
            time: Some(0),
            previous: String::new(),
            next: None,
            commitment: Some(block_hash_text(&[root; 32])),
        }
    }

    #[test]
    fn hashes_are_written_in_reverse() {
        assert!(parent(&header()).ends_with("00aa"));
    }

    #[test]
    fn a_header_on_the_newest_block_is_open() {
        assert_eq!(fate(&header(), Some(&block("p", 1, 1)), None), Fate::Open);
    }

    #[test]
    fn a_child_with_its_merkle_root_is_its_block() {
        let found = fate(&header(), Some(&block("p", 4, 1)), Some(&block("c", 3, 0xbb)));
        let commitment = Some([0xbb; 32]);
        assert_eq!(found, Fate::InBlock { hash: "c".to_owned(), height: 7, confirmations: 3, commitment });
    }

    #[test]
    fn another_child_or_a_parent_on_a_side_chain_replaces_it() {
        let other = fate(&header(), Some(&block("p", 4, 1)), Some(&block("c", 3, 0xbc)));
        assert!(matches!(other, Fate::Replaced { reason, by: Some(_) } if reason.contains("height 7")));
        let twin = BlockInfo { time: Some(1), ..block("c", 3, 0xbb) };
        assert!(matches!(fate(&header(), Some(&block("p", 4, 1)), Some(&twin)), Fate::Replaced { .. }));
        let side = fate(&header(), Some(&block("p", -1, 1)), None);
        assert!(matches!(side, Fate::Replaced { reason, by: None } if reason.contains("main chain")));
    }

    #[test]
    fn nothing_is_claimed_of_a_parent_that_the_node_does_not_know() {
        assert_eq!(fate(&header(), None, None), Fate::Unknown);
    }
}
