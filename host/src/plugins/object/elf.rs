//! ELF: headers, segments, the dynamic section, the entry symbol, the manifest's section.

use object::LittleEndian as LE;
use object::elf::{self, Dyn64, FileHeader64, ProgramHeader64, SectionHeader64, Sym64};
use object::pod;
use pearlbed_plugin_api::abi::{DOOR_SYMBOL, ENTRY_SYMBOL};
use pearlbed_plugin_api::manifest::ELF_SECTION;

use super::{Bytes, Entries, Needs, Object, Reason, Section, broken, truncated, wrong_machine, wrong_os};

/// The most segments that a library has in earnest.
const SEGMENTS_MAX: u16 = 512;
/// The most bytes that a dynamic section has in earnest.
const DYNAMIC_BYTES_MAX: u64 = 64 * 1024;
/// The most names of other libraries that are read, and the longest one, in bytes.
const NAMES_MAX: usize = 256;
const NAME_BYTES_MAX: u64 = 4096;
/// The most symbols of one hash that are looked at.
const CHAIN_MAX: u32 = 4096;

/// Reads an ELF file; the magic has been seen.
pub fn read(bytes: &Bytes<'_>) -> Object {
    let mut object = Object { kind: "ELF".into(), ..Object::default() };
    if let Err(reason) = read_into(&mut object, bytes) {
        object.broken = Some(reason);
    }
    object
}

fn read_into(object: &mut Object, bytes: &Bytes<'_>) -> Result<(), Reason> {
    let head = bytes.read(0, 20).map_err(|_| truncated(64, bytes.len()))?;
    let (class, order) = (head[4], head[5]);
    let big = order == elf::ELFDATA2MSB;
    let halfword = |at: usize| {
        let pair = [head[at], head[at + 1]];
        if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
    };
    let machine = machine_name(halfword(18), class == elf::ELFCLASS32, big);
    object.kind = format!("ELF {machine}");
    let osabi = head[7];
    // 0 is "any Unix", 3 is Linux; GNU tools write both.
    if !matches!(osabi, 0 | 3) {
        object.foreign = Some(wrong_os(&format!("another Unix (ELF OS ABI {osabi})")));
    }
    if class == elf::ELFCLASS32 || big {
        object.foreign = Some(wrong_machine(&machine));
        return Ok(());
    }
    if class != elf::ELFCLASS64 || order != elf::ELFDATA2LSB {
        return Err(broken("its ELF class is unknown"));
    }
    if machine != this_machine() {
        object.foreign = Some(wrong_machine(&machine));
    } else if !cfg!(target_os = "linux") && object.foreign.is_none() {
        object.foreign = Some(wrong_os("Linux"));
    }

    let head = bytes.read(0, size_of::<FileHeader64<LE>>() as u64).map_err(|_| truncated(64, bytes.len()))?;
    let header: &FileHeader64<LE> = pod::from_bytes(&head).map_err(|()| broken("no header"))?.0;
    match header.e_type.get(LE) {
        elf::ET_DYN => {}
        elf::ET_EXEC => return Err(program()),
        elf::ET_REL => {
            return Err(Reason::new(
                "not-a-library",
                "it is an object file, not a shared library",
                "link it with `-shared`",
            ));
        }
        elf::ET_CORE => {
            return Err(Reason::new("not-a-library", "it is a core dump, not a shared library", "remove it"));
        }
        other => return Err(broken(format!("its ELF type is {other}"))),
    }

    let segments = segments(header, bytes)?;
    // A program that may be placed anywhere. A few libraries, as libc.so, name an interpreter but say that they are one.
    let says_program =
        segments.dynamic(elf::DT_FLAGS_1).is_some_and(|flags| flags & u64::from(elf::DF_1_PIE) != 0);
    if says_program || (segments.interpreter && !segments.has(elf::DT_SONAME)) {
        return Err(program());
    }
    segments.check()?;
    object.needs = Needs {
        // A filter's libraries are loaded as well, an auxiliary one's where they are there.
        libraries: segments.texts(&[elf::DT_NEEDED, elf::DT_AUXILIARY, elf::DT_FILTER], bytes),
        rpath: segments.texts(&[elf::DT_RPATH], bytes),
        runpath: segments.texts(&[elf::DT_RUNPATH], bytes),
    };
    object.manifest = manifest(header, bytes)?;
    object.entries = Some(Entries {
        root_module: segments.exports(ENTRY_SYMBOL, bytes)?,
        door: segments.exports(DOOR_SYMBOL, bytes)?,
    });
    Ok(())
}

fn program() -> Reason {
    Reason::new(
        "a-program",
        "it is a program, not a shared library",
        "build it as a library (`crate-type = [\"cdylib\"]`, `-shared`)",
    )
}

fn this_machine() -> &'static str {
    if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86-64" }
}

fn machine_name(machine: u16, is_32: bool, big: bool) -> String {
    let name = match machine {
        elf::EM_X86_64 if is_32 => "x86-64 (x32)",
        elf::EM_X86_64 => "x86-64",
        elf::EM_AARCH64 if is_32 => "32-bit aarch64",
        elf::EM_AARCH64 => "aarch64",
        elf::EM_386 => "32-bit x86",
        elf::EM_ARM => "32-bit Arm",
        elf::EM_RISCV if is_32 => "32-bit RISC-V",
        elf::EM_RISCV => "64-bit RISC-V",
        elf::EM_PPC64 => "PowerPC 64",
        elf::EM_S390 => "s390x",
        other => return format!("an unknown machine (ELF {other}{})", if big { ", big-endian" } else { "" }),
    };
    if big { format!("big-endian {name}") } else { name.into() }
}

/// A piece of memory that a loader would make of the file.
#[derive(Clone, Copy, Debug)]
struct Load {
    address: u64,
    memory: u64,
    offset: u64,
    filed: u64,
}

#[derive(Debug, Default)]
struct Segments {
    loads: Vec<Load>,
    dynamic: Vec<(i64, u64)>,
    interpreter: bool,
}

/// Reads the program headers and the dynamic section, and checks that they lie inside the file.
fn segments(header: &FileHeader64<LE>, bytes: &Bytes<'_>) -> Result<Segments, Reason> {
    let count = header.e_phnum.get(LE);
    if count == 0 {
        return Err(broken("it has no segments"));
    }
    if count > SEGMENTS_MAX || usize::from(header.e_phentsize.get(LE)) != size_of::<ProgramHeader64<LE>>() {
        return Err(broken("its table of segments is malformed"));
    }
    let size = u64::from(count) * size_of::<ProgramHeader64<LE>>() as u64;
    let table = match bytes.read(header.e_phoff.get(LE), size) {
        Ok(table) => table,
        Err(_) => return Err(truncated(header.e_phoff.get(LE).saturating_add(size), bytes.len())),
    };
    let (table, _) = pod::slice_from_bytes::<ProgramHeader64<LE>>(&table, count.into())
        .map_err(|()| broken("its table of segments is malformed"))?;
    let mut found = Segments::default();
    let mut needed = 0;
    let mut dynamic = None;
    for segment in table {
        let (offset, filed) = (segment.p_offset.get(LE), segment.p_filesz.get(LE));
        let (address, memory) = (segment.p_vaddr.get(LE), segment.p_memsz.get(LE));
        match segment.p_type.get(LE) {
            elf::PT_LOAD => {
                let end = offset.checked_add(filed).ok_or_else(|| broken("a segment wraps around"))?;
                needed = needed.max(end);
                address.checked_add(memory).ok_or_else(|| broken("a segment wraps around"))?;
                let align = segment.p_align.get(LE);
                if memory < filed
                    || (align > 1 && (!align.is_power_of_two() || offset % align != address % align))
                    || found.loads.last().is_some_and(|last| address < last.address + last.memory)
                {
                    return Err(broken("its segments contradict each other"));
                }
                found.loads.push(Load { address, memory, offset, filed });
            }
            elf::PT_DYNAMIC => dynamic = Some((offset, filed)),
            elf::PT_INTERP => found.interpreter = true,
            _ => {}
        }
    }
    if needed > bytes.len() {
        return Err(truncated(needed, bytes.len()));
    }
    if found.loads.is_empty() {
        return Err(broken("it has nothing to load"));
    }
    let Some((offset, filed)) = dynamic else { return Err(broken("it has no dynamic section")) };
    let entry = size_of::<Dyn64<LE>>() as u64;
    let filed = filed.min(DYNAMIC_BYTES_MAX) / entry * entry;
    let table = bytes.read(offset, filed).map_err(|_| broken("its dynamic section lies outside the file"))?;
    let (table, _) = pod::slice_from_bytes::<Dyn64<LE>>(&table, (filed / entry) as usize)
        .map_err(|()| broken("its dynamic section is malformed"))?;
    found.dynamic = table
        .iter()
        .map(|entry| (entry.d_tag.get(LE), entry.d_val.get(LE)))
        .take_while(|&(tag, _)| tag != elf::DT_NULL)
        .collect();
    Ok(found)
}

impl Segments {
    fn dynamic(&self, tag: i64) -> Option<u64> {
        self.dynamic.iter().find(|&&(seen, _)| seen == tag).map(|&(_, value)| value)
    }

    fn has(&self, tag: i64) -> bool {
        self.dynamic(tag).is_some()
    }

    /// The texts that entries with these tags name; what lies outside the file is left out, for no loader finds it.
    fn texts(&self, tags: &[i64], bytes: &Bytes<'_>) -> Vec<Vec<u8>> {
        let Some(table) = self.dynamic(elf::DT_STRTAB) else { return vec![] };
        let named = self.dynamic.iter().filter(|(tag, _)| tags.contains(tag)).take(NAMES_MAX);
        let text = |offset: u64| {
            let address = table.checked_add(offset)?;
            let load = self
                .loads
                .iter()
                .find(|load| address.checked_sub(load.address).is_some_and(|within| within < load.filed))?;
            let within = address - load.address;
            let read = bytes.read(load.offset + within, (load.filed - within).min(NAME_BYTES_MAX)).ok()?;
            Some(super::text_until_nul(&read).to_vec())
        };
        named.filter_map(|&(_, offset)| text(offset)).filter(|text| !text.is_empty()).collect()
    }

    /// Whether a loader would have `len` bytes of memory at `address`.
    fn in_memory(&self, address: u64, len: u64) -> bool {
        self.loads.iter().any(|load| {
            address >= load.address
                && address.checked_add(len).is_some_and(|end| end <= load.address.saturating_add(load.memory))
        })
    }

    /// Where in the file the `len` bytes are that a loader would put at `address`.
    fn in_file(&self, address: u64, len: u64) -> Option<u64> {
        self.loads.iter().find_map(|load| {
            let within = address.checked_sub(load.address)?;
            (within.checked_add(len)? <= load.filed).then(|| load.offset + within)
        })
    }

    /// Checks that what a loader follows blindly leads somewhere.
    fn check(&self) -> Result<(), Reason> {
        for tag in [elf::DT_STRTAB, elf::DT_SYMTAB] {
            if !self.has(tag) {
                return Err(broken("its dynamic section is empty"));
            }
        }
        // Each table with the entry that tells its size; the loader reads, calls or writes there without asking.
        let tables = [
            (elf::DT_STRTAB, Some(elf::DT_STRSZ)),
            (elf::DT_SYMTAB, None),
            (elf::DT_HASH, None),
            (elf::DT_GNU_HASH, None),
            (elf::DT_RELA, Some(elf::DT_RELASZ)),
            (elf::DT_REL, Some(elf::DT_RELSZ)),
            (elf::DT_RELR, Some(elf::DT_RELRSZ)),
            (elf::DT_JMPREL, Some(elf::DT_PLTRELSZ)),
            (elf::DT_INIT_ARRAY, Some(elf::DT_INIT_ARRAYSZ)),
            (elf::DT_FINI_ARRAY, Some(elf::DT_FINI_ARRAYSZ)),
            (elf::DT_PREINIT_ARRAY, Some(elf::DT_PREINIT_ARRAYSZ)),
            (elf::DT_VERSYM, None),
            (elf::DT_VERNEED, None),
            (elf::DT_VERDEF, None),
            (elf::DT_INIT, None),
            (elf::DT_FINI, None),
            (elf::DT_PLTGOT, None),
        ];
        for (tag, size) in tables {
            let Some(address) = self.dynamic(tag) else { continue };
            let size = size.and_then(|size| self.dynamic(size)).unwrap_or(1);
            if !self.in_memory(address, size) {
                return Err(broken("its dynamic section leads outside the file"));
            }
        }
        Ok(())
    }

    /// Whether it exports `wanted`, by the way that a loader looks it up.
    fn exports(&self, wanted: &str, bytes: &Bytes<'_>) -> Result<bool, Reason> {
        let index = match (self.dynamic(elf::DT_GNU_HASH), self.dynamic(elf::DT_HASH)) {
            (Some(table), _) => self.by_gnu_hash(table, wanted, bytes),
            (None, Some(table)) => self.by_hash(table, wanted, bytes),
            // Without a table of hashes no loader finds any symbol.
            (None, None) => Some(false),
        };
        index.ok_or_else(|| broken("its table of symbols lies outside the file"))
    }

    /// `count` 32-bit numbers at `address`.
    fn words(&self, address: u64, count: u64, bytes: &Bytes<'_>) -> Option<Vec<u32>> {
        let len = count.checked_mul(4)?;
        let read = bytes.read(self.in_file(address, len)?, len).ok()?;
        Some(
            read.chunks_exact(4)
                .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
                .collect(),
        )
    }

    fn by_gnu_hash(&self, table: u64, wanted: &str, bytes: &Bytes<'_>) -> Option<bool> {
        let head = self.words(table, 4, bytes)?;
        let (buckets, first, bloom) = (head[0], head[1], u64::from(head[2]));
        if buckets == 0 {
            return Some(false);
        }
        let hash = elf::gnu_hash(wanted.as_bytes());
        let at_buckets = table.checked_add(16)?.checked_add(bloom.checked_mul(8)?)?;
        let bucket = at_buckets.checked_add(u64::from(hash % buckets) * 4)?;
        let start = self.words(bucket, 1, bytes)?[0];
        if start < first {
            return Some(false);
        }
        let at_chain = at_buckets.checked_add(u64::from(buckets) * 4)?;
        for step in 0..CHAIN_MAX {
            let index = start.checked_add(step)?;
            let value = self.words(at_chain.checked_add(u64::from(index - first) * 4)?, 1, bytes)?[0];
            if value | 1 == hash | 1 && self.symbol_is(index, wanted, bytes)? {
                return Some(true);
            }
            if value & 1 == 1 {
                return Some(false);
            }
        }
        None
    }

    fn by_hash(&self, table: u64, wanted: &str, bytes: &Bytes<'_>) -> Option<bool> {
        let head = self.words(table, 2, bytes)?;
        let (buckets, symbols) = (head[0], head[1]);
        if buckets == 0 {
            return Some(false);
        }
        let bucket = u64::from(elf::hash(wanted.as_bytes()) % buckets);
        let mut index = self.words(table.checked_add(8 + bucket * 4)?, 1, bytes)?[0];
        for _ in 0..CHAIN_MAX {
            if index == 0 {
                return Some(false);
            }
            if index >= symbols {
                return None;
            }
            if self.symbol_is(index, wanted, bytes)? {
                return Some(true);
            }
            let at = 8 + (u64::from(buckets) + u64::from(index)) * 4;
            index = self.words(table.checked_add(at)?, 1, bytes)?[0];
        }
        None
    }

    /// Whether symbol number `index` is a defined, exported `wanted`.
    fn symbol_is(&self, index: u32, wanted: &str, bytes: &Bytes<'_>) -> Option<bool> {
        let size = size_of::<Sym64<LE>>() as u64;
        let at = self.dynamic(elf::DT_SYMTAB)?.checked_add(u64::from(index) * size)?;
        let read = bytes.read(self.in_file(at, size)?, size).ok()?;
        let symbol: &Sym64<LE> = pod::from_bytes(&read).ok()?.0;
        let name = self.dynamic(elf::DT_STRTAB)?.checked_add(symbol.st_name.get(LE).into())?;
        let len = wanted.len() as u64 + 1;
        let Some(offset) = self.in_file(name, len) else { return Some(false) };
        let name = bytes.read(offset, len).ok()?;
        let is_exported = matches!(symbol.st_info >> 4, 1 | 2 | 10);
        Some(
            name.strip_suffix(&[0]) == Some(wanted.as_bytes())
                && is_exported
                && symbol.st_shndx.get(LE) != 0
                && self.in_memory(symbol.st_value.get(LE), 1),
        )
    }
}

/// The section with the manifest, by the section table, which a loader never reads.
fn manifest(header: &FileHeader64<LE>, bytes: &Bytes<'_>) -> Result<Option<Section>, Reason> {
    let count = u64::from(header.e_shnum.get(LE));
    let entry = size_of::<SectionHeader64<LE>>() as u64;
    let at = header.e_shoff.get(LE);
    if at == 0 || count == 0 || u64::from(header.e_shentsize.get(LE)) != entry {
        return Ok(None);
    }
    let table = bytes
        .read(at, count * entry)
        .map_err(|_| truncated(at.saturating_add(count * entry), bytes.len()))?;
    let found = || {
        let (table, _) = pod::slice_from_bytes::<SectionHeader64<LE>>(&table, count as usize).ok()?;
        let names = table.get(usize::from(header.e_shstrndx.get(LE)))?;
        let names = bytes.read(names.sh_offset.get(LE), names.sh_size.get(LE)).ok()?;
        let section = table.iter().find(|section| {
            let name = names.get(section.sh_name.get(LE) as usize..).unwrap_or_default();
            super::text_until_nul(name) == ELF_SECTION.as_bytes()
        })?;
        Some(super::section(section.sh_offset.get(LE), section.sh_size.get(LE), bytes))
    };
    Ok(found())
}
