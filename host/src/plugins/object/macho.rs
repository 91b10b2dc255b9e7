//! Mach-O: headers, load commands, the symbol table, the manifest's section; also of files for several machines.

use object::LittleEndian as LE;
use object::macho::{self, MachHeader64, Nlist64, Section64, SegmentCommand64, SymtabCommand};
use object::pod;
use pearlbed_plugin_api::abi::{DOOR_SYMBOL, ENTRY_SYMBOL};
use pearlbed_plugin_api::manifest::MACHO_SECTION;

use super::{Bytes, Entries, Object, Reason, broken, truncated, wrong_machine, wrong_os};

/// The most load commands, and bytes of them, that a library has in earnest.
const COMMANDS_MAX: u32 = 4096;
const COMMANDS_BYTES_MAX: u32 = 1 << 20;
/// The most symbols that are looked at; a library that was built for a debugger has a few hundred thousand.
const SYMBOLS_MAX: u32 = 1_000_000;
/// How many of them are read at once.
const SYMBOLS_AT_ONCE: u32 = 32 * 1024;
/// The most exported ones, whose names are read one by one.
const EXPORTS_MAX: u32 = 200_000;
/// The most machines that one file is for.
const MACHINES_MAX: u32 = 32;

/// Reads a file for several machines: the part for this machine, else the first.
pub fn read_fat(bytes: &Bytes<'_>) -> Object {
    let parts = fat_parts(bytes);
    let part = parts
        .as_ref()
        .and_then(|parts| parts.iter().find(|part| part.0 == this_machine()).or_else(|| parts.first()))
        .and_then(|&(_, offset, len)| bytes.part(offset, len));
    match part {
        Some(part) => read(&part),
        None => Object {
            kind: "Mach-O for several machines".into(),
            broken: Some(broken("its parts lie outside the file")),
            foreign: (!cfg!(target_os = "macos")).then(|| wrong_os("macOS")),
            ..Object::default()
        },
    }
}

/// The machine, offset and length of each part.
fn fat_parts(bytes: &Bytes<'_>) -> Option<Vec<(u32, u64, u64)>> {
    let head = bytes.read(0, 8).ok()?;
    let wide = head[3] == 0xbf;
    let count = u32::from_be_bytes(*head.last_chunk()?).min(MACHINES_MAX);
    let entry = if wide { 32 } else { 20 };
    let table = bytes.read(8, u64::from(count) * entry).ok()?;
    let number = |at: &[u8]| at.first_chunk().map(|&bytes| u32::from_be_bytes(bytes));
    let wide_number = |at: &[u8]| at.first_chunk().map(|&bytes| u64::from_be_bytes(bytes));
    table
        .chunks_exact(entry as usize)
        .map(|part| {
            Some(if wide {
                (number(part)?, wide_number(&part[8..])?, wide_number(&part[16..])?)
            } else {
                (number(part)?, number(&part[8..])?.into(), number(&part[12..])?.into())
            })
        })
        .collect()
}

/// Reads a Mach-O file for one machine; the magic has been seen.
pub fn read(bytes: &Bytes<'_>) -> Object {
    let mut object = Object { kind: "Mach-O".into(), ..Object::default() };
    if let Err(reason) = read_into(&mut object, bytes) {
        object.broken = Some(reason);
    }
    object
}

fn this_machine() -> u32 {
    if cfg!(target_arch = "aarch64") { macho::CPU_TYPE_ARM64 } else { macho::CPU_TYPE_X86_64 }
}

fn read_into(object: &mut Object, bytes: &Bytes<'_>) -> Result<(), Reason> {
    let size = size_of::<MachHeader64<LE>>() as u64;
    let head = bytes.read(0, size).map_err(|_| truncated(size, bytes.len()))?;
    let header: &MachHeader64<LE> = pod::from_bytes(&head).map_err(|()| broken("no header"))?.0;
    let little_64 = head[..4] == [0xcf, 0xfa, 0xed, 0xfe];
    let machine = match header.cputype.get(LE) {
        macho::CPU_TYPE_X86_64 => "x86-64".into(),
        macho::CPU_TYPE_ARM64 => "arm64".into(),
        _ if !little_64 => "a 32-bit or big-endian machine".into(),
        other => format!("an unknown machine (Mach-O {other})"),
    };
    object.kind = format!("Mach-O {machine}");
    if !cfg!(target_os = "macos") {
        object.foreign = Some(wrong_os(&format!("macOS ({machine})")));
    } else if header.cputype.get(LE) != this_machine() || !little_64 {
        object.foreign = Some(wrong_machine(&machine));
    }
    if !little_64 {
        return Ok(());
    }
    match header.filetype.get(LE) {
        macho::MH_DYLIB | macho::MH_BUNDLE => {}
        macho::MH_EXECUTE => {
            return Err(Reason::new(
                "a-program",
                "it is a program, not a shared library",
                "build it as a library (`crate-type = [\"cdylib\"]`, `-dynamiclib`)",
            ));
        }
        _ => {
            return Err(Reason::new(
                "not-a-library",
                "it is a Mach-O file, but not a shared library",
                "link it with `-dynamiclib`",
            ));
        }
    }
    let (count, commands) = (header.ncmds.get(LE), header.sizeofcmds.get(LE));
    if count > COMMANDS_MAX || commands > COMMANDS_BYTES_MAX {
        return Err(broken("it has too many load commands"));
    }
    let table =
        bytes.read(size, commands.into()).map_err(|_| truncated(size + u64::from(commands), bytes.len()))?;
    let mut left = &table[..];
    object.entries = Some(Entries::default());
    for _ in 0..count {
        let word =
            |at: usize| left.get(at..at + 4).and_then(|b| b.first_chunk()).map(|&b| u32::from_le_bytes(b));
        let (Some(kind), Some(len)) = (word(0), word(4)) else {
            return Err(broken("its load commands end early"));
        };
        let Some(command) = left.get(..len as usize).filter(|_| len >= 8) else {
            return Err(broken("its load commands end early"));
        };
        match kind {
            macho::LC_SEGMENT_64 => read_segment(object, command, bytes)?,
            macho::LC_SYMTAB => object.entries = Some(entries(command, bytes)?),
            _ => {}
        }
        left = &left[len as usize..];
    }
    Ok(())
}

fn read_segment(object: &mut Object, command: &[u8], bytes: &Bytes<'_>) -> Result<(), Reason> {
    let malformed = || broken("a segment is malformed");
    let (segment, rest): (&SegmentCommand64<LE>, _) = pod::from_bytes(command).map_err(|()| malformed())?;
    let (offset, size) = (segment.fileoff.get(LE), segment.filesize.get(LE));
    if !bytes.has(offset, size) {
        return Err(truncated(offset.saturating_add(size), bytes.len()));
    }
    let count = segment.nsects.get(LE) as usize;
    let (sections, _) = pod::slice_from_bytes::<Section64<LE>>(rest, count).map_err(|()| malformed())?;
    for section in sections {
        let is = |name: &[u8; 16], wanted: &str| super::text_until_nul(name) == wanted.as_bytes();
        if is(&section.segname, MACHO_SECTION.0) && is(&section.sectname, MACHO_SECTION.1) {
            object.manifest =
                Some(super::section(section.offset.get(LE).into(), section.size.get(LE), bytes));
        }
    }
    Ok(())
}

/// Which of our entries the symbol table has, defined and exported; C's names begin with `_` there.
fn entries(command: &[u8], bytes: &Bytes<'_>) -> Result<Entries, Reason> {
    let outside = || broken("its table of symbols lies outside the file");
    let (table, _): (&SymtabCommand<LE>, _) = pod::from_bytes(command).map_err(|()| outside())?;
    let count = table.nsyms.get(LE);
    let entry = size_of::<Nlist64<LE>>() as u64;
    let (names, names_len) = (u64::from(table.stroff.get(LE)), u64::from(table.strsize.get(LE)));
    if !bytes.has(names, names_len) {
        return Err(outside());
    }
    if count > SYMBOLS_MAX {
        return Err(broken("it has too many symbols"));
    }
    let (root_module, door) = (format!("_{ENTRY_SYMBOL}\0"), format!("_{DOOR_SYMBOL}\0"));
    let mut found = Entries::default();
    let is_exported = |symbol: &&Nlist64<LE>| {
        symbol.n_type & (macho::N_EXT | macho::N_STAB) == macho::N_EXT
            && symbol.n_type & macho::N_TYPE != macho::N_UNDF
    };
    let mut exported = 0;
    for first in (0..count).step_by(SYMBOLS_AT_ONCE as usize) {
        let some = SYMBOLS_AT_ONCE.min(count - first);
        let offset = u64::from(table.symoff.get(LE)) + u64::from(first) * entry;
        let symbols = bytes.read(offset, u64::from(some) * entry).map_err(|_| outside())?;
        let (symbols, _) =
            pod::slice_from_bytes::<Nlist64<LE>>(&symbols, some as usize).map_err(|()| outside())?;
        for symbol in symbols.iter().filter(is_exported) {
            exported += 1;
            if exported > EXPORTS_MAX {
                return Err(broken("it exports too many symbols"));
            }
            let at = u64::from(symbol.n_strx.get(LE));
            let is = |wanted: &str| {
                at + wanted.len() as u64 <= names_len
                    && bytes.read(names + at, wanted.len() as u64).is_ok_and(|name| name == wanted.as_bytes())
            };
            found.root_module |= is(&root_module);
            found.door |= is(&door);
        }
    }
    Ok(found)
}
