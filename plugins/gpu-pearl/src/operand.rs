//! One matrix on the device: drawn, committed to, noised and packed, without the processor in the loop.
//!
//! ```text
//! leaves --> reduce, two or three times --> seed --> dense and sparse factor --> pack
//! ```
//!
//! The raw matrix lies nowhere: leaves and packing draw it each for itself ([`crate::draw`]). What stays is the packed
//! matrix, the dense factor and the tree's nodes.

use pearl_pow::keys::{SALT_A, SALT_B};
use pearl_pow::{Digest, MiningConfiguration, SeedRule, Side, Tree};

use crate::device::{Device, DeviceError, Use};
use crate::draw::DrawKey;
use crate::shaders::to_words;

/// Rows of a block: packed matrices are padded to whole ones.
pub(crate) const BLOCK: u32 = 128;
/// Workgroups in the first dimension of a dispatch, as in `shaders/common.wgsl`.
const ACROSS: u32 = 32768;
/// Words that a product may read behind a packed matrix.
const SLACK_WORDS: u64 = 2048;
/// Words of an operand's state, and where its parts lie, as in `shaders/common.wgsl`.
pub(crate) const STATE_WORDS: u64 = 32;
pub(crate) const SEED: u64 = 16;
/// Nodes that one workgroup reduces to one.
pub(crate) const FAN: u32 = 256;
/// Height of the nodes that are read back for openings, and the leaves under each.
const NODE_HEIGHT: u32 = 4;

/// How the packed words lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Blocks of 128 rows, word by word: a word of all rows, then the next.
    Words = 0,
    /// Blocks of 128 rows, cut into 64 columns, row by row.
    Rows = 1,
}

/// What the commitments of a job have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    /// The key of both commitments.
    pub job_key: Digest,
    /// How the seeds follow from the roots.
    pub rule: SeedRule,
}

/// How one matrix and its tree are cut: numbers only.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub rows: u32,
    /// Rows with those of zeros that fill the last block.
    pub padded: u32,
    /// Words of a row, and of its part that is multiplied.
    pub row_words: u32,
    pub used_words: u32,
    pub rank: u32,
    pub leaves: u32,
    /// Where the root lies among the nodes, and those of sixteen leaves; the leaves come first.
    pub root_node: u32,
    pub nodes_of_16: u32,
    pub side: Side,
    /// For each reduction: the first node that is read, how many, where those above them go, whether they are leaves.
    pub reductions: Vec<[u32; 4]>,
    /// Words of what a device keeps of it.
    pub node_words: u64,
    pub packed_words: u64,
    pub dense_words: u64,
    pub pair_words: u64,
}

impl Plan {
    /// A matrix of `rows` rows, in blocks of `block`.
    pub(crate) fn new(config: &MiningConfiguration, rows: u32, side: Side, block: u32) -> Self {
        let (row_words, rank) = (config.common_dim / 4, u32::from(config.rank));
        let used_words = config.dot_product_length() / 4;
        let padded = rows.next_multiple_of(block);
        let leaves = pearl_pow::commitment::leaf_count(u64::from(rows) * u64::from(row_words) * 4) as u32;
        // Leaves, nodes of sixteen, and then those of each reduction.
        let mut free = leaves + leaves.div_ceil(1 << NODE_HEIGHT);
        let (mut from, mut count, mut reductions) = (0, leaves, Vec::new());
        while count > 1 {
            reductions.push([from, count, free, u32::from(from == 0)]);
            (from, count) = (free, count.div_ceil(FAN));
            free += count;
        }
        Self {
            rows,
            padded,
            row_words,
            used_words,
            rank,
            leaves,
            root_node: from,
            nodes_of_16: leaves,
            side,
            reductions,
            node_words: u64::from(free) * 8,
            packed_words: u64::from(padded) * u64::from(used_words) + SLACK_WORDS,
            dense_words: u64::from(padded) * u64::from(rank / 4),
            pair_words: u64::from(config.common_dim.next_multiple_of(8)),
        }
    }

    /// Bytes of device memory.
    pub(crate) fn bytes(&self) -> u64 {
        4 * (self.packed_words + self.dense_words + self.pair_words + self.node_words)
    }

    /// What every kernel of an operand is told of it, as `shaders/common.wgsl` has it.
    pub(crate) fn words(&self) -> [u32; 9] {
        [
            self.rows,
            self.padded,
            self.row_words,
            self.used_words,
            self.rank,
            self.leaves,
            self.root_node,
            self.nodes_of_16,
            u32::from(self.side == Side::BT),
        ]
    }

    /// Nodes of sixteen leaves.
    pub(crate) fn kept_nodes(&self) -> u32 {
        self.leaves.div_ceil(1 << NODE_HEIGHT)
    }

    /// Rows that one workgroup packs, as in `shaders/noise.wgsl`.
    pub(crate) fn pack_height(&self) -> u32 {
        (4096 / (self.rank / 4)).min(128)
    }

    /// The tree of what was drawn, from its nodes of sixteen leaves, which `nodes` gives word by word.
    ///
    /// # Errors
    ///
    /// What `nodes` says, or the nodes make no tree.
    pub(crate) fn tree(
        &self,
        (keys, draw): (Keys, DrawKey),
        nodes: impl FnOnce() -> Result<Vec<u32>, DeviceError>,
    ) -> Result<Tree, DeviceError> {
        if self.kept_nodes() < 2 {
            let words = self.rows * self.row_words;
            let entries: Vec<u8> = (0..words).flat_map(|word| draw.word(word).to_le_bytes()).collect();
            return Ok(Tree::new(&keys.job_key, &entries));
        }
        let words = nodes()?;
        let nodes = words.as_chunks::<8>().0.iter().map(crate::shaders::to_digest).collect();
        Tree::from_nodes(&keys.job_key, u64::from(self.leaves), NODE_HEIGHT, nodes)
            .map_err(|err| DeviceError::Failed(err.to_string()))
    }
}

/// The state of an operand before anything is computed, as `shaders/common.wgsl` has it, and the salt of its side, which
/// some kernels look for behind it.
pub(crate) fn state(keys: &Keys, draw: DrawKey, side: Side) -> [u32; STATE_WORDS as usize] {
    let mut state = [0_u32; STATE_WORDS as usize];
    state[..8].copy_from_slice(&to_words(&keys.job_key));
    state[8..12].copy_from_slice(&draw.0);
    state[12] = u32::from(keys.rule == SeedRule::Salted);
    let salt = if side == Side::A { SALT_A } else { SALT_B };
    state[24..].copy_from_slice(&to_words(&salt));
    state
}

/// The memory of one matrix.
pub(crate) struct Operand {
    plan: Plan,
    state: wgpu::Buffer,
    nodes: wgpu::Buffer,
    packed: wgpu::Buffer,
    group: wgpu::BindGroup,
    reductions: Vec<(wgpu::BindGroup, u32)>,
    drawn: Option<(Keys, DrawKey)>,
}

impl Operand {
    /// Allocates the memory for `rows` rows; `b` is the other operand, for A.
    pub(crate) fn new(
        device: &Device,
        config: &MiningConfiguration,
        rows: u32,
        layout: Layout,
        b: Option<&Self>,
    ) -> Self {
        let side = if b.is_some() { Side::A } else { Side::BT };
        let plan = Plan::new(config, rows, side, BLOCK);
        let words = |count: u64| device.buffer(4 * count, Use::Storage);
        let (state, nodes, dense, pairs, packed) = (
            words(STATE_WORDS),
            words(plan.node_words),
            words(plan.dense_words),
            words(plan.pair_words),
            words(plan.packed_words),
        );
        let mut shape = [0; 12];
        shape[..9].copy_from_slice(&plan.words());
        shape[9] = layout as u32;
        let shape = device.uniform(&shape);
        let none;
        let other = match b {
            Some(b) => &b.state,
            None => {
                none = words(STATE_WORDS);
                &none
            }
        };
        let pipelines = &device.pipelines;
        let group = device
            .group(&pipelines.operand_layout, &[&shape, &state, other, &nodes, &dense, &pairs, &packed]);
        let reductions = plan
            .reductions
            .iter()
            .map(|step| {
                let group = device.group(&pipelines.reduction_layout, &[&device.uniform(step)]);
                (group, step[1].div_ceil(FAN))
            })
            .collect();
        Self { plan, state, nodes, packed, group, reductions, drawn: None }
    }

    /// Bytes of device memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.plan.bytes()
    }

    /// The packed matrix.
    pub(crate) fn packed(&self) -> &wgpu::Buffer {
        &self.packed
    }

    /// The state, which holds the seed.
    pub(crate) fn state(&self) -> &wgpu::Buffer {
        &self.state
    }

    /// What it was drawn from.
    ///
    /// # Panics
    ///
    /// If it was never prepared.
    pub(crate) fn drawn(&self) -> (Keys, DrawKey) {
        self.drawn.expect("an operand is prepared before it is used")
    }

    /// Draws a matrix, commits to it, and packs it with its noise: submits all of it, and waits for nothing.
    ///
    /// For A, B must have been prepared with the same keys.
    pub(crate) fn prepare(&mut self, device: &Device, keys: Keys, draw: DrawKey) {
        let (plan, state) = (&self.plan, state(&keys, draw, self.plan.side));
        device.queue.write_buffer(&self.state, 0, bytemuck::cast_slice(&state));
        self.drawn = Some((keys, draw));
        let mut encoder = device.encoder();
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            let pipelines = &device.pipelines;
            pass.set_bind_group(0, &self.group, &[]);
            run(&mut pass, &pipelines.leaves, plan.leaves.div_ceil(64), 1);
            for (group, workgroups) in &self.reductions {
                pass.set_bind_group(1, group, &[]);
                run(&mut pass, &pipelines.reduce, *workgroups, 1);
            }
            run(&mut pass, &pipelines.seed, 1, 1);
            run(&mut pass, &pipelines.dense_factor, (plan.rows * (plan.rank / 32)).div_ceil(64), 1);
            run(&mut pass, &pipelines.sparse_factor, plan.row_words.div_ceil(2).div_ceil(64), 1);
            run(&mut pass, &pipelines.pack, plan.row_words.div_ceil(32), plan.padded / plan.pack_height());
        }
        device.queue.submit([encoder.finish()]);
    }

    /// The tree of what was drawn, from the nodes that the device worked out. Waits for the device.
    ///
    /// # Errors
    ///
    /// The device was lost.
    pub(crate) fn tree(&self, device: &Device) -> Result<Tree, DeviceError> {
        let bytes = u64::from(self.plan.kept_nodes()) * 32;
        let from = u64::from(self.plan.nodes_of_16) * 32;
        self.plan.tree(self.drawn(), || device.read(&self.nodes, from, bytes))
    }

    /// The seed that the device worked out, for tests and the self-test. Waits for the device.
    ///
    /// # Errors
    ///
    /// The device was lost.
    pub(crate) fn seed(&self, device: &Device) -> Result<Digest, DeviceError> {
        let words = device.read(&self.state, SEED * 4, 32)?;
        Ok(crate::shaders::to_digest(&std::array::from_fn(|i| words[i])))
    }
}

/// Dispatches `across` workgroups, in rows of [`ACROSS`]; `down` of them where they come in two dimensions already.
fn run(pass: &mut wgpu::ComputePass<'_>, pipeline: &wgpu::ComputePipeline, across: u32, down: u32) {
    pass.set_pipeline(pipeline);
    let (across, down) =
        if down > 1 { (across, down) } else { (across.min(ACROSS), across.div_ceil(ACROSS)) };
    pass.dispatch_workgroups(across, down, 1);
}
