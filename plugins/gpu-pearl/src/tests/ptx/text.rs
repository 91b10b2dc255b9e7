//! PTX as text: kernels with their parameters, shared memory and registers, and the instructions that are known.

use std::collections::HashMap;

/// Where shared memory begins in the space of all addresses.
pub(super) const SHARED: u64 = 1 << 40;

/// The kernels of one text.
pub(crate) struct Module {
    pub(super) kernels: HashMap<String, Kernel>,
}

pub(super) struct Kernel {
    pub(super) parameter_bytes: usize,
    /// Bytes of shared memory that it declares itself.
    pub(super) shared_bytes: usize,
    pub(super) registers: usize,
    pub(super) code: Vec<Instruction>,
}

pub(super) struct Instruction {
    /// Only where this predicate has this value.
    pub(super) guard: Option<(usize, bool)>,
    pub(super) op: Op,
}

#[derive(Clone, Copy)]
pub(super) enum Value {
    Register(usize),
    Number(u64),
    Thread,
    Group,
}

#[derive(Clone, Copy)]
pub(super) enum Space {
    Parameter,
    Global,
    Shared,
    /// Either, told by the address.
    Generic,
}

#[derive(Clone, Copy)]
pub(super) struct Address(pub(super) Value, pub(super) u64);

pub(super) type Compute = fn(u64, u64, u64) -> u64;

pub(super) enum Op {
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
    pub(super) fn is_for_all(&self) -> bool {
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
