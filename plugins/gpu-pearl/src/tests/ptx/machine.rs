//! The machine: memory, warps and their barriers, and what each instruction does.

use super::text::{Address, Instruction, Kernel, Module, Op, SHARED, Space, Value};

const WARP: usize = 32;
const DONE: usize = usize::MAX;

/// A card's memory, in which every allocation lies apart.
#[derive(Default)]
pub(crate) struct Memory {
    allocations: Vec<(u64, Vec<u8>)>,
}

impl Memory {
    /// Zeros, and where they lie.
    pub(crate) fn allocate(&mut self, bytes: u64) -> u64 {
        let at = self.allocations.last().map_or(1 << 20, |(at, its)| (at + its.len() as u64 + 8191) & !4095);
        self.allocations.push((at, vec![0; bytes as usize]));
        at
    }

    /// The `bytes` bytes at `at`, which lie within one allocation.
    pub(crate) fn at(&mut self, at: u64, bytes: u64) -> &mut [u8] {
        let index = self.allocations.partition_point(|(start, _)| *start <= at);
        let (start, its) = &mut self.allocations[index.checked_sub(1).expect("an address")];
        let from = (at - *start) as usize;
        its.get_mut(from..from + bytes as usize).unwrap_or_else(|| panic!("{at:#x} is nobody's"))
    }
}

/// Copies that a thread began: those of the open group, and the groups that are under way.
#[derive(Default)]
struct Copies {
    open: Vec<(u64, [u8; 16])>,
    groups: std::collections::VecDeque<Vec<(u64, [u8; 16])>>,
}

struct Run<'a> {
    kernel: &'a Kernel,
    memory: &'a mut Memory,
    parameters: Vec<u8>,
    shared: Vec<u8>,
    threads: usize,
    group: u32,
    registers: Vec<u64>,
    places: Vec<usize>,
    copies: Vec<Copies>,
}

impl Module {
    /// Runs a kernel in `groups` groups of `threads` threads.
    pub(crate) fn launch(
        &self,
        memory: &mut Memory,
        name: &str,
        (groups, threads, shared): (u32, usize, usize),
        parameters: &[u8],
    ) {
        let kernel = &self.kernels[name];
        assert_eq!(parameters.len(), kernel.parameter_bytes, "{name}");
        assert!(threads.is_multiple_of(WARP) || threads == 1);
        for group in 0..groups {
            let mut run = Run {
                kernel,
                memory,
                parameters: parameters.to_vec(),
                // What nobody wrote is no zero.
                shared: vec![0xa5; kernel.shared_bytes + shared],
                threads,
                group,
                registers: vec![0xdead_beef_dead_beef; kernel.registers * threads],
                places: vec![0; threads],
                copies: (0..threads).map(|_| Copies::default()).collect(),
            };
            while run.places.iter().any(|place| *place != DONE) {
                let mut waiting = 0;
                for warp in 0..threads.div_ceil(WARP) {
                    waiting += usize::from(run.until_barrier(warp));
                }
                assert!(waiting > 0 || run.places.iter().all(|place| *place == DONE));
            }
        }
    }
}

impl Run<'_> {
    fn get(&self, thread: usize, value: Value) -> u64 {
        match value {
            Value::Register(number) => self.registers[number * self.threads + thread],
            Value::Number(number) => number,
            Value::Thread => thread as u64,
            Value::Group => u64::from(self.group),
        }
    }

    fn set(&mut self, thread: usize, register: usize, value: u64) {
        self.registers[register * self.threads + thread] = value;
    }

    fn address(&self, thread: usize, address: Address) -> u64 {
        self.get(thread, address.0).wrapping_add(address.1)
    }

    /// Runs a warp until it ends or reaches a barrier, and says which (true: a barrier).
    fn until_barrier(&mut self, warp: usize) -> bool {
        let lanes = warp * WARP..self.threads.min((warp + 1) * WARP);
        loop {
            // Who has come to what all have to come to waits there for the others.
            let living = || self.places[lanes.clone()].iter().copied().filter(|at| *at != DONE);
            let Some(place) = living().min_by_key(|at| (self.kernel.code[*at].op.is_for_all(), *at)) else {
                return false;
            };
            let Instruction { guard, op } = &self.kernel.code[place];
            let here: Vec<usize> = lanes.clone().filter(|thread| self.places[*thread] == place).collect();
            here.iter().for_each(|thread| self.places[*thread] = place + 1);
            let active: Vec<usize> = match guard {
                None => here,
                Some((predicate, wanted)) => here
                    .into_iter()
                    .filter(|thread| (self.get(*thread, Value::Register(*predicate)) == 1) == *wanted)
                    .collect(),
            };
            if op.is_for_all() {
                let living = lanes.clone().filter(|thread| self.places[*thread] != DONE).count();
                assert_eq!(active.len(), living, "only part of a warp came to {place}");
            }
            if matches!(op, Op::Barrier) {
                return true;
            }
            self.step(op, &active);
            // A kernel that ends with its text.
            for thread in active {
                if self.places[thread] == self.kernel.code.len() {
                    self.places[thread] = DONE;
                }
            }
        }
    }

    fn step(&mut self, op: &Op, active: &[usize]) {
        match op {
            Op::LoadMatrices(to, from) => return self.load_matrices(*to, *from, active),
            Op::Multiply(to, a, b, sums) => return self.multiply(*to, *a, *b, *sums, active[0]),
            _ => {}
        }
        for &thread in active {
            match op {
                Op::Compute(compute, to, [a, b, c]) => {
                    let value = compute(self.get(thread, *a), self.get(thread, *b), self.get(thread, *c));
                    self.set(thread, *to, value);
                }
                Op::Load(space, bytes, to, address) => {
                    let at = self.address(thread, *address);
                    let mut value = [0; 8];
                    value[..*bytes as usize].copy_from_slice(self.bytes(*space, at, *bytes));
                    self.set(thread, *to, u64::from_le_bytes(value));
                }
                Op::Store(space, bytes, value, address) => {
                    let (at, value) =
                        (self.address(thread, *address), self.get(thread, *value).to_le_bytes());
                    self.bytes(*space, at, *bytes).copy_from_slice(&value[..*bytes as usize]);
                }
                Op::Add(to, address, value) => {
                    let (at, value) = (self.address(thread, *address), self.get(thread, *value) as u32);
                    let place = self.bytes(Space::Generic, at, 4);
                    let old = u32::from_le_bytes(place.try_into().unwrap());
                    place.copy_from_slice(&old.wrapping_add(value).to_le_bytes());
                    self.set(thread, *to, u64::from(old));
                }
                Op::Jump(place) => self.places[thread] = *place,
                Op::Return => self.places[thread] = DONE,
                Op::Copy(to, from) => {
                    let (to, from) = (self.address(thread, *to), self.address(thread, *from));
                    assert!(to % 16 == 0 && from % 16 == 0, "{to:#x} {from:#x}");
                    let bytes = self.bytes(Space::Global, from, 16).try_into().unwrap();
                    self.copies[thread].open.push((to, bytes));
                }
                Op::Commit => {
                    let copies = &mut self.copies[thread];
                    let group = std::mem::take(&mut copies.open);
                    copies.groups.push_back(group);
                }
                Op::WaitGroup(left) => {
                    while self.copies[thread].groups.len() > *left {
                        for (to, bytes) in self.copies[thread].groups.pop_front().unwrap() {
                            self.bytes(Space::Shared, to, 16).copy_from_slice(&bytes);
                        }
                    }
                }
                Op::Barrier | Op::LoadMatrices(..) | Op::Multiply(..) => unreachable!("not thread by thread"),
            }
        }
    }

    fn bytes(&mut self, space: Space, at: u64, bytes: u64) -> &mut [u8] {
        assert!(at.is_multiple_of(bytes), "{at:#x} is not aligned to {bytes}");
        match space {
            Space::Parameter => self
                .parameters
                .get_mut(at as usize..(at + bytes) as usize)
                .expect("a parameter that there is"),
            Space::Global => self.memory.at(at, bytes),
            Space::Shared => {
                let at = at as usize;
                self.shared.get_mut(at..at + bytes as usize).expect("shared memory that there is")
            }
            Space::Generic => match at.checked_sub(SHARED) {
                Some(at) => self.bytes(Space::Shared, at, bytes),
                None => self.memory.at(at, bytes),
            },
        }
    }

    /// Matrix `i` has its rows where lanes `8i` to `8i + 7` say; lane `l` gets the four bytes `l % 4` of row `l / 4`.
    fn load_matrices(&mut self, to: [usize; 4], from: Address, active: &[usize]) {
        for (i, to) in to.into_iter().enumerate() {
            for lane in 0..WARP {
                let row = self.address(active[8 * i + lane / 4], from);
                assert!(row.is_multiple_of(16), "{row:#x}");
                let word = self.bytes(Space::Shared, row + 4 * (lane % 4) as u64, 4).try_into().unwrap();
                self.set(active[lane], to, u64::from(u32::from_le_bytes(word)));
            }
        }
    }

    /// 16 × 32 by 32 × 8 signed bytes: of A a lane has the rows `g` and `g + 8` (`g = lane / 4`), first of k below 16, of
    /// B column `g`, and of the sums rows `g` and `g + 8` at columns `2t` and `2t + 1` (`t = lane % 4`).
    fn multiply(&mut self, to: [usize; 4], a: [usize; 4], b: [usize; 2], sums: [usize; 4], first: usize) {
        let mut left = [[0_i32; 32]; 16];
        let mut right = [[0_i32; 32]; 8];
        for lane in 0..WARP {
            let (g, t) = (lane / 4, lane % 4);
            let bytes = |run: &Self, register: usize| {
                let word = run.registers[register * run.threads + first + lane] as u32;
                word.to_le_bytes().map(|byte| i32::from(byte as i8))
            };
            for (i, register) in a.into_iter().enumerate() {
                let k = i / 2 * 16 + t * 4;
                left[g + i % 2 * 8][k..k + 4].copy_from_slice(&bytes(self, register));
            }
            for (i, register) in b.into_iter().enumerate() {
                let k = i * 16 + t * 4;
                right[g][k..k + 4].copy_from_slice(&bytes(self, register));
            }
        }
        for lane in 0..WARP {
            let sum = |i: usize| {
                let (row, column) = (lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2);
                let product: i32 = left[row].iter().zip(&right[column]).map(|(a, b)| a * b).sum();
                let before = self.registers[sums[i] * self.threads + first + lane] as u32;
                u64::from(before.wrapping_add(product as u32))
            };
            let after: [u64; 4] = std::array::from_fn(sum);
            to.into_iter().zip(after).for_each(|(register, sum)| self.set(first + lane, register, sum));
        }
    }
}
