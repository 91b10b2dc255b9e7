//! A machine that runs PTX, instruction by instruction, by the rules of NVIDIA's manual: the subset that our kernels are
//! compiled to. No card has to be here for them to be compared with `pow`.
//!
//! Threads of a warp run together at the lowest place that any of them has reached, but for those that wait for the others
//! at a barrier or a matrix instruction. What the manual leaves open is made
//! to fail: a copy that nobody waited for has not happened, memory outside of what was allocated is not there, and a
//! matrix instruction that not all lanes reach ends the test.

use std::collections::HashMap;

const WARP: usize = 32;
const DONE: usize = usize::MAX;
/// Where shared memory begins in the space of all addresses.
const SHARED: u64 = 1 << 40;

/// The kernels of one text.
pub(crate) struct Module {
    kernels: HashMap<String, Kernel>,
}

struct Kernel {
    parameter_bytes: usize,
    /// Bytes of shared memory that it declares itself.
    shared_bytes: usize,
    registers: usize,
    code: Vec<Instruction>,
}

struct Instruction {
    /// Only where this predicate has this value.
    guard: Option<(usize, bool)>,
    op: Op,
}

#[derive(Clone, Copy)]
enum Value {
    Register(usize),
    Number(u64),
    Thread,
    Group,
}

#[derive(Clone, Copy)]
enum Space {
    Parameter,
    Global,
    Shared,
    /// Either, told by the address.
    Generic,
}

#[derive(Clone, Copy)]
struct Address(Value, u64);

type Compute = fn(u64, u64, u64) -> u64;

enum Op {
    Compute(Compute, usize, [Value; 3]),
    Load(Space, u64, usize, Address),
    Store(Space, u64, Value, Address),
    Add(usize, Address, Value),
    Jump(usize),
    Barrier,
    Return,
    Copy(Address, Address),
    Commit,
    WaitGroup(usize),
    LoadMatrices([usize; 4], Address),
    Multiply([usize; 4], [usize; 4], [usize; 2], [usize; 4]),
}

impl Op {
    /// Whether all lanes of a warp have to come to it together.
    fn is_for_all(&self) -> bool {
        matches!(self, Self::Barrier | Self::LoadMatrices(..) | Self::Multiply(..))
    }
}

/// What a register is called, and its number.
#[derive(Default)]
struct Names {
    registers: HashMap<String, usize>,
    symbols: HashMap<String, u64>,
}

impl Names {
    fn register(&mut self, name: &str) -> usize {
        assert!(name.starts_with('%'), "{name} is no register");
        let next = self.registers.len();
        *self.registers.entry(name.to_owned()).or_insert(next)
    }

    fn value(&mut self, text: &str) -> Value {
        match text {
            "%tid.x" => Value::Thread,
            "%ctaid.x" => Value::Group,
            text if text.starts_with('%') => Value::Register(self.register(text)),
            text => match self.symbols.get(text) {
                Some(at) => Value::Number(*at),
                None => Value::Number(text.parse::<i64>().unwrap_or_else(|_| panic!("{text}?")) as u64),
            },
        }
    }

    fn address(&mut self, text: &str) -> Address {
        let inner = text.trim_start_matches('[').trim_end_matches(']');
        match inner.split_once('+') {
            Some((base, offset)) => Address(self.value(base), offset.parse::<i64>().unwrap() as u64),
            None => Address(self.value(inner), 0),
        }
    }

    fn registers<const N: usize>(&mut self, text: &str) -> [usize; N] {
        let names: Vec<&str> = text.trim_matches(['{', '}']).split(", ").collect();
        assert_eq!(names.len(), N, "{text}");
        std::array::from_fn(|i| self.register(names[i]))
    }
}

/// What an instruction without memory computes of three operands.
fn computes(op: &str) -> Option<(Compute, usize)> {
    let (compute, count): (Compute, usize) = match op {
        "mov.u32" | "cvt.u32.u64" => (|a, _, _| u64::from(a as u32), 1),
        "mov.u64" | "mov.b64" | "cvta.to.global.u64" | "cvta.global.u64" => (|a, _, _| a, 1),
        "cvt.u64.u32" => (|a, _, _| u64::from(a as u32), 1),
        "cvta.shared.u64" => (|a, _, _| a + SHARED, 1),
        "cvta.to.shared.u64" => (|a, _, _| a.checked_sub(SHARED).expect("an address in shared memory"), 1),
        "not.pred" => (|a, _, _| a ^ 1, 1),
        "add.s32" => (|a, b, _| u64::from((a as u32).wrapping_add(b as u32)), 2),
        "sub.s32" => (|a, b, _| u64::from((a as u32).wrapping_sub(b as u32)), 2),
        "mul.lo.s32" => (|a, b, _| u64::from((a as u32).wrapping_mul(b as u32)), 2),
        "mul.hi.u32" => (|a, b, _| (u64::from(a as u32) * u64::from(b as u32)) >> 32, 2),
        "mul.wide.u32" => (|a, b, _| u64::from(a as u32) * u64::from(b as u32), 2),
        "div.u32" => (|a, b, _| u64::from(a as u32 / b as u32), 2),
        "rem.u32" => (|a, b, _| u64::from(a as u32 % b as u32), 2),
        "min.u32" => (|a, b, _| u64::from((a as u32).min(b as u32)), 2),
        "add.s64" => (|a, b, _| a.wrapping_add(b), 2),
        "xor.b32" => (|a, b, _| u64::from((a ^ b) as u32), 2),
        "and.b32" => (|a, b, _| u64::from((a & b) as u32), 2),
        "or.b32" => (|a, b, _| u64::from((a | b) as u32), 2),
        "and.pred" => (|a, b, _| a & b, 2),
        "or.pred" => (|a, b, _| a | b, 2),
        // What is shifted by more than there is becomes zero.
        "shl.b32" => (|a, b, _| u64::from((a as u32).checked_shl(b as u32).unwrap_or(0)), 2),
        "shr.u32" => (|a, b, _| u64::from((a as u32).checked_shr(b as u32).unwrap_or(0)), 2),
        "shl.b64" => (|a, b, _| a.checked_shl(b as u32).unwrap_or(0), 2),
        "setp.lt.u32" => (|a, b, _| u64::from((a as u32) < b as u32), 2),
        "setp.le.u32" => (|a, b, _| u64::from(a as u32 <= b as u32), 2),
        "setp.gt.u32" => (|a, b, _| u64::from(a as u32 > b as u32), 2),
        "setp.ge.u32" => (|a, b, _| u64::from(a as u32 >= b as u32), 2),
        "setp.eq.s32" | "setp.eq.b32" => (|a, b, _| u64::from(a as u32 == b as u32), 2),
        "setp.ne.s32" => (|a, b, _| u64::from(a as u32 != b as u32), 2),
        "mad.lo.s32" => (|a, b, c| u64::from((a as u32).wrapping_mul(b as u32).wrapping_add(c as u32)), 3),
        "selp.b32" | "selp.u32" | "selp.b64" => (|a, b, c| if c == 1 { a } else { b }, 3),
        "shf.l.wrap.b32" => {
            (|a, b, c| ((u64::from(b as u32) << 32 | u64::from(a as u32)) << (c & 31)) >> 32, 3)
        }
        "bfe.u32" => (|a, b, c| (u64::from(a as u32) >> (b & 255)) & ((1 << (c & 255)) - 1), 3),
        _ => return None,
    };
    Some((compute, count))
}

impl Module {
    /// Reads a text. What is not known to it ends the test.
    pub(crate) fn new(text: &str) -> Self {
        let mut kernels = HashMap::new();
        let mut rest = text;
        // Shared memory whose size a launch says lies behind what kernels declare.
        let extern_shared: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with(".extern .shared"))
            .map(|line| line.rsplit(' ').next().unwrap().trim_end_matches("[];").to_owned())
            .collect();
        let (declared, declared_bytes) = shared_of(text);
        while let Some((_, after)) = rest.split_once(".visible .entry ") {
            let (name, after) = after.split_once('(').unwrap();
            let (parameters, after) = after.split_once(")\n").unwrap();
            let (_, after) = after.split_once("{\n").unwrap();
            let (body, after) = after.split_once("\n}").unwrap();
            rest = after;
            let mut names = Names { symbols: declared.clone(), ..Names::default() };
            for name in &extern_shared {
                names.symbols.insert(name.clone(), declared_bytes);
            }
            let mut parameter_bytes = 0_usize;
            for line in parameters.lines().map(|line| line.trim().trim_end_matches(',')) {
                let Some(named) = line.rsplit(' ').next().filter(|named| !named.is_empty()) else { continue };
                let (symbol, bytes) = match named.split_once('[') {
                    Some((symbol, bytes)) => (symbol, bytes.trim_end_matches(']').parse().unwrap()),
                    None => (named, if line.contains("64") { 8 } else { 4 }),
                };
                parameter_bytes = parameter_bytes.next_multiple_of(if bytes == 8 { 8 } else { 4 });
                names.symbols.insert(symbol.to_owned(), parameter_bytes as u64);
                parameter_bytes += bytes;
            }
            let code = read(body, &mut names);
            let (registers, shared_bytes) = (names.registers.len(), declared_bytes as usize);
            kernels.insert(name.to_owned(), Kernel { parameter_bytes, shared_bytes, registers, code });
        }
        Self { kernels }
    }
}

/// Shared memory that is declared with its size, one after the other from 0 on, and the bytes of all.
fn shared_of(text: &str) -> (HashMap<String, u64>, u64) {
    let mut at = 0;
    let declared = text.lines().map(str::trim).filter(|line| line.starts_with(".shared"));
    let place = |line: &str| {
        let (name, bytes) = line.rsplit(' ').next().unwrap().split_once('[').unwrap();
        let here = at;
        at += bytes.trim_end_matches("];").parse::<u64>().unwrap();
        (name.to_owned(), here)
    };
    let places = declared.map(place).collect();
    (places, at)
}

/// The instructions of a body.
fn read(body: &str, names: &mut Names) -> Vec<Instruction> {
    let lines: Vec<&str> = body
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty() && !line.starts_with('.'))
        .collect();
    let mut labels = HashMap::new();
    let mut count = 0;
    for line in &lines {
        match line.strip_suffix(':') {
            Some(label) => _ = labels.insert(label.to_owned(), count),
            None => count += 1,
        }
    }
    let instructions = lines.iter().filter(|line| !line.ends_with(':'));
    instructions.map(|line| instruction(line.trim_end_matches(';'), &labels, names)).collect()
}

fn instruction(line: &str, labels: &HashMap<String, usize>, names: &mut Names) -> Instruction {
    let (guard, line) = match line.strip_prefix('@') {
        Some(guarded) => {
            let (predicate, rest) = guarded.split_once(char::is_whitespace).unwrap();
            let (wanted, name) = predicate.strip_prefix('!').map_or((true, predicate), |name| (false, name));
            (Some((names.register(name), wanted)), rest.trim())
        }
        None => (None, line),
    };
    let (op, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let operands = split(rest.trim());
    let operand = |i: usize| operands.get(i).map_or("0", String::as_str);
    let (first, parts) = (operand(0), op.split('.').collect::<Vec<_>>());
    let width = |parts: &[&str]| match *parts.last().unwrap() {
        "u64" | "b64" => 8,
        "u32" | "b32" => 4,
        "u16" => 2,
        "u8" | "s8" => 1,
        other => panic!("{other} in `{line}`"),
    };
    let space = |parts: &[&str]| match parts[1] {
        "param" => Space::Parameter,
        "global" => Space::Global,
        "shared" => Space::Shared,
        "u32" => Space::Generic,
        other => panic!("{other} in `{line}`"),
    };
    let op = match (parts[0], op) {
        (_, op) if computes(op).is_some() => {
            let (compute, count) = computes(op).unwrap();
            assert_eq!(operands.len(), count + 1, "{line}");
            let values =
                [1, 2, 3].map(|i| if i <= count { names.value(operand(i)) } else { Value::Number(0) });
            Op::Compute(compute, names.register(first), values)
        }
        ("ld", _) => Op::Load(space(&parts), width(&parts), names.register(first), names.address(operand(1))),
        ("st", _) => Op::Store(space(&parts), width(&parts), names.value(operand(1)), names.address(first)),
        ("atom", "atom.global.add.u32" | "atom.add.u32" | "atom.global.add.s32") => {
            Op::Add(names.register(first), names.address(operand(1)), names.value(operand(2)))
        }
        ("bra", _) => Op::Jump(labels[first]),
        ("bar", "bar.sync") => Op::Barrier,
        ("ret", _) => Op::Return,
        ("cp", "cp.async.cg.shared.global") => Op::Copy(names.address(first), names.address(operand(1))),
        ("cp", "cp.async.commit_group") => Op::Commit,
        ("cp", "cp.async.wait_group") => Op::WaitGroup(first.parse().unwrap()),
        ("ldmatrix", "ldmatrix.sync.aligned.m8n8.x4.shared.b16") => {
            Op::LoadMatrices(names.registers(first), names.address(operand(1)))
        }
        ("mma", "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32") => Op::Multiply(
            names.registers(first),
            names.registers(operand(1)),
            names.registers(operand(2)),
            names.registers(operand(3)),
        ),
        _ => panic!("`{line}` is unknown"),
    };
    Instruction { guard, op }
}

/// Operands, which commas part but within braces.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for letter in text.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match letter {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(letter),
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

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
