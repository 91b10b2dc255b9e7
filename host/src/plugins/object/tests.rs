//! Small libraries made by hand, and what becomes of them when they lie.

use object::macho;
use pearlbed_plugin_api::abi::ENTRY_SYMBOL;
use pearlbed_plugin_api::manifest::{ELF_SECTION, MACHO_SECTION};
use proptest::prelude::*;

use super::*;
use crate::plugins::manifest;

const MANIFEST: &[u8] =
    br#"{"schema":1,"id":"tiny","version":"1.0.0","plugin_api":[1],"certificate_versions":[1]}"#;

/// The entry of a plugin in Rust.
const RUST: Entries = Entries { root_module: true, door: false };

// Where the parts of `tiny_elf` lie; addresses are offsets.
const SEGMENTS: usize = 64;
const DYNAMIC: usize = SEGMENTS + 2 * 56;
const HASH: usize = DYNAMIC + 5 * 16;
const SYMBOLS: usize = HASH + 24;
const STRINGS: usize = SYMBOLS + 2 * 24;

fn put(bytes: &mut [u8], at: usize, value: u64, len: usize) {
    bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
}

/// A library for this machine that exports our entry and carries `manifest`; no more than the reader looks at.
fn tiny_elf(manifest: &[u8]) -> Vec<u8> {
    let manifest_at = STRINGS + ENTRY_SYMBOL.len() + 2;
    let names_at = manifest_at + manifest.len();
    let names = format!("\0{ELF_SECTION}\0");
    let sections_at = names_at + names.len();
    let mut bytes = vec![0; sections_at + 3 * 64];
    bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    let machine = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    for (at, value, len) in [
        (16, 3, 2),
        (18, machine, 2),
        (32, SEGMENTS, 8),
        (40, sections_at, 8),
        (54, 56, 2),
        (56, 2, 2),
        (58, 64, 2),
        (60, 3, 2),
        (62, 2, 2),
        // One segment with everything, and the dynamic section.
        (SEGMENTS, 1, 4),
        (SEGMENTS + 32, names_at, 8),
        (SEGMENTS + 40, names_at, 8),
        (SEGMENTS + 56, 2, 4),
        (SEGMENTS + 56 + 8, DYNAMIC, 8),
        (SEGMENTS + 56 + 32, 5 * 16, 8),
        // DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_NULL.
        (DYNAMIC, 4, 8),
        (DYNAMIC + 8, HASH, 8),
        (DYNAMIC + 16, 5, 8),
        (DYNAMIC + 24, STRINGS, 8),
        (DYNAMIC + 32, 6, 8),
        (DYNAMIC + 40, SYMBOLS, 8),
        (DYNAMIC + 48, 10, 8),
        (DYNAMIC + 56, ENTRY_SYMBOL.len() + 2, 8),
        // One bucket with one symbol.
        (HASH, 1, 4),
        (HASH + 4, 2, 4),
        (HASH + 8, 1, 4),
        // Global, in some section, somewhere.
        (SYMBOLS + 24, 1, 4),
        (SYMBOLS + 28, 0x11, 1),
        (SYMBOLS + 30, 1, 2),
        (SYMBOLS + 32, HASH, 8),
        // The section with the manifest, and the one with the names.
        (sections_at + 64, 1, 4),
        (sections_at + 64 + 24, manifest_at, 8),
        (sections_at + 64 + 32, manifest.len(), 8),
        (sections_at + 128 + 24, names_at, 8),
        (sections_at + 128 + 32, names.len(), 8),
    ] {
        put(&mut bytes, at, value as u64, len);
    }
    bytes[STRINGS + 1..STRINGS + 1 + ENTRY_SYMBOL.len()].copy_from_slice(ENTRY_SYMBOL.as_bytes());
    bytes[manifest_at..names_at].copy_from_slice(manifest);
    bytes[names_at..sections_at].copy_from_slice(names.as_bytes());
    bytes
}

/// A macOS library for `machine` that exports our entry and carries `manifest`.
fn tiny_macho(machine: u32, manifest: &[u8]) -> Vec<u8> {
    macho_with_symbols(machine, manifest, 1)
}

/// The same with so many symbols, of which the last is the entry.
fn macho_with_symbols(machine: u32, manifest: &[u8], count: usize) -> Vec<u8> {
    let symbol = format!("\0_{ENTRY_SYMBOL}\0");
    let (segment, symtab) = (32, 32 + 72 + 80);
    let symbols_at = symtab + 24;
    let names_at = symbols_at + 16 * count;
    let manifest_at = names_at + symbol.len();
    let mut bytes = vec![0; manifest_at + manifest.len()];
    for (at, value, len) in [
        (0, 0xfeed_facf, 4),
        (4, machine as usize, 4),
        (12, macho::MH_DYLIB as usize, 4),
        (16, 2, 4),
        (20, symbols_at - 32, 4),
        (segment, macho::LC_SEGMENT_64 as usize, 4),
        (segment + 4, 72 + 80, 4),
        (segment + 48, manifest_at + manifest.len(), 8),
        (segment + 64, 1, 4),
        (segment + 72 + 40, manifest.len(), 8),
        (segment + 72 + 48, manifest_at, 4),
        (symtab, macho::LC_SYMTAB as usize, 4),
        (symtab + 4, 24, 4),
        (symtab + 8, symbols_at, 4),
        (symtab + 12, count, 4),
        (symtab + 16, names_at, 4),
        (symtab + 20, symbol.len(), 4),
        (names_at - 16, 1, 4),
        (names_at - 16 + 4, 0x0f, 1),
    ] {
        put(&mut bytes, at, value as u64, len);
    }
    for (at, text) in [(segment + 72, MACHO_SECTION.1), (segment + 72 + 16, MACHO_SECTION.0)] {
        bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    bytes[names_at..manifest_at].copy_from_slice(symbol.as_bytes());
    bytes[manifest_at..].copy_from_slice(manifest);
    bytes
}

/// A file for several machines, with one part.
fn fat(machine: u32, part: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 1];
    for number in [machine, 0, 64, part.len() as u32, 0] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.resize(64, 0);
    bytes.extend(part);
    bytes
}

/// The code of the first thing that is wrong with `bytes`, or the id in its manifest.
fn verdict(bytes: &[u8]) -> String {
    let object = match read(&Bytes::of_memory(bytes)) {
        Ok(object) => object,
        Err(reason) => return reason.code.into(),
    };
    if let Some(reason) = object.foreign.or(object.broken) {
        return reason.code.into();
    }
    match object.entries.map(|entries| entries.root_module) {
        Some(true) => {
            manifest::read(object.manifest.as_ref()).map_or_else(|reason| reason.code.into(), |read| read.id)
        }
        _ => "not-a-plugin".into(),
    }
}

#[cfg(target_os = "linux")]
fn changed(at: usize, value: u64, len: usize) -> Vec<u8> {
    let mut bytes = tiny_elf(MANIFEST);
    put(&mut bytes, at, value, len);
    bytes
}

#[cfg(target_os = "linux")]
#[test]
fn a_whole_library_is_read_to_its_manifest() {
    assert_eq!(verdict(&tiny_elf(MANIFEST)), "tiny");
}

#[cfg(target_os = "linux")]
#[test]
fn each_lie_in_the_structure_is_named() {
    let whole = tiny_elf(MANIFEST);
    for (what, bytes, code) in [
        ("nothing", vec![], "empty"),
        ("the magic alone", whole[..4].to_vec(), "truncated"),
        ("the header alone", whole[..64].to_vec(), "truncated"),
        ("half of it", whole[..whole.len() / 2].to_vec(), "truncated"),
        ("its section table cut off", whole[..whole.len() - 1].to_vec(), "truncated"),
        ("32-bit", changed(4, 1, 1), "wrong-machine"),
        ("big-endian", changed(5, 2, 1), "wrong-machine"),
        ("another machine", changed(18, 243, 2), "wrong-machine"),
        ("another system", changed(7, 9, 1), "wrong-os"),
        ("a program", changed(16, 2, 2), "a-program"),
        ("an object file", changed(16, 1, 2), "not-a-library"),
        ("65535 segments", changed(56, 0xffff, 2), "broken"),
        ("no segments", changed(56, 0, 2), "broken"),
        ("a table of segments beyond the end", changed(32, 1 << 60, 8), "truncated"),
        ("a segment beyond the end", changed(SEGMENTS + 32, 1 << 40, 8), "broken"),
        ("a segment that wraps around", changed(SEGMENTS + 8, u64::MAX - 8, 8), "broken"),
        ("no dynamic section", changed(SEGMENTS + 56, 0, 4), "broken"),
        (
            "a dynamic section of zeros",
            {
                let mut b = whole.clone();
                b[DYNAMIC..HASH].fill(0);
                b
            },
            "broken",
        ),
        ("a string table nowhere", changed(DYNAMIC + 24, 0x7fff_0000_0000, 8), "broken"),
        ("a hash table nowhere", changed(DYNAMIC + 8, 0x7fff_0000_0000, 8), "broken"),
        ("no entry", changed(STRINGS + 3, 0x78, 1), "not-a-plugin"),
        ("an entry that is not defined", changed(SYMBOLS + 30, 0, 2), "not-a-plugin"),
        ("a local entry", changed(SYMBOLS + 28, 1, 1), "not-a-plugin"),
        (
            "a chain of symbols in a circle",
            {
                let mut b = changed(STRINGS + 3, 0x78, 1);
                put(&mut b, HASH + 16, 1, 4);
                b
            },
            "broken",
        ),
    ] {
        assert_eq!(verdict(&bytes), code, "{what}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn each_lie_in_the_manifest_is_named() {
    let sections = tiny_elf(MANIFEST).len() - 3 * 64;
    for (what, bytes, code) in [
        ("another section", changed(sections + 64, 3, 4), "no-manifest"),
        ("a gigabyte by its own count", changed(sections + 64 + 32, 1 << 30, 8), "manifest-too-long"),
        ("beyond the end", changed(sections + 64 + 24, 1 << 40, 8), "manifest-cut"),
        ("empty", tiny_elf(b"\0\0\0"), "manifest-empty"),
        ("cut", tiny_elf(&MANIFEST[..MANIFEST.len() / 2]), "manifest-not-json"),
        ("not UTF-8", tiny_elf(b"{\"id\":\"\xff\"}"), "manifest-not-utf8"),
        ("not JSON", tiny_elf(b"id = 'tiny'"), "manifest-not-json"),
        ("nested", tiny_elf("[".repeat(10_000).as_bytes()), "manifest-not-json"),
        ("an id to climb with", tiny_elf(&MANIFEST.to_vec().replace(b"tiny", b"../x")), "manifest-wrong"),
    ] {
        assert_eq!(verdict(&bytes), code, "{what}");
    }
}

#[cfg(target_os = "linux")]
trait Replace {
    fn replace(self, from: &[u8], to: &[u8]) -> Self;
}

#[cfg(target_os = "linux")]
impl Replace for Vec<u8> {
    fn replace(mut self, from: &[u8], to: &[u8]) -> Self {
        let at = self.windows(from.len()).position(|window| window == from).unwrap();
        self.splice(at..at + from.len(), to.iter().copied());
        self
    }
}

#[test]
fn a_library_for_macos_is_read_everywhere() {
    for machine in [macho::CPU_TYPE_ARM64, macho::CPU_TYPE_X86_64] {
        for bytes in [tiny_macho(machine, MANIFEST), fat(machine, &tiny_macho(machine, MANIFEST))] {
            let object = read(&Bytes::of_memory(&bytes)).unwrap();
            assert_eq!(object.broken, None);
            assert_eq!(object.entries, Some(RUST));
            assert_eq!(manifest::read(object.manifest.as_ref()).unwrap().id, "tiny");
            if cfg!(target_os = "linux") {
                let reason = object.foreign.unwrap();
                assert_eq!(reason.code, "wrong-os");
                assert!(reason.reason.starts_with("it is built for macOS ("), "{reason}");
            }
        }
    }
}

/// A file that no hand made: see the source beside it.
#[test]
fn a_library_for_macos_that_a_linker_made_is_read() {
    let object = read(&Bytes::of_memory(include_bytes!("../../../tests/fixtures/macos/tiny.dylib"))).unwrap();
    assert_eq!(object.kind, "Mach-O x86-64");
    assert_eq!((object.broken, object.entries), (None, Some(RUST)));
    assert_eq!(manifest::read(object.manifest.as_ref()).unwrap().id, "tiny");
}

#[test]
fn the_entry_is_found_behind_the_symbols_for_a_debugger() {
    let with = |count| macho_with_symbols(macho::CPU_TYPE_ARM64, MANIFEST, count);
    let object = read(&Bytes::of_memory(&with(300_000))).unwrap();
    assert_eq!((object.broken, object.entries), (None, Some(RUST)));
    let object = read(&Bytes::of_memory(&with(1_000_001))).unwrap();
    assert_eq!(object.broken.map(|reason| reason.code), Some("broken"));
}

#[test]
fn what_is_no_library_is_named_for_what_it_is() {
    for (bytes, words) in [
        (&b"hello\n"[..], "a text file"),
        (b"MZ\x90\0", "Windows"),
        (b"!<arch>\n", "static archive"),
        (b"\xca\xfe\xba\xbe\0\0\0\x37", "several machines"),
        (b"\0\0\0\0", "neither"),
    ] {
        let said = match read(&Bytes::of_memory(bytes)) {
            Err(reason) => reason.reason,
            Ok(object) => object.kind,
        };
        assert!(said.contains(words), "{said}");
    }
}

/// One change to a file: some bytes elsewhere, a cut, or something behind it.
fn damage() -> impl Strategy<Value = Vec<(u16, u64, u8)>> {
    let interesting = prop_oneof![
        Just(0),
        Just(1),
        Just(0xff),
        Just(0xffff),
        Just(u64::from(u32::MAX)),
        Just(u64::MAX),
        Just(i64::MAX as u64),
        Just(1 << 30),
        any::<u64>(),
        0_u64..1024,
    ];
    prop::collection::vec(
        (any::<u16>(), interesting, prop_oneof![Just(1_u8), Just(2), Just(4), Just(8)]),
        0..6,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_makes_the_reader_panic(
        which in 0..3, damage in damage(), len in prop_oneof![3 => Just(u16::MAX), 1 => any::<u16>()],
    ) {
        let mut bytes = match which {
            0 => tiny_elf(MANIFEST),
            1 => tiny_macho(macho::CPU_TYPE_ARM64, MANIFEST),
            _ => fat(macho::CPU_TYPE_X86_64, &tiny_macho(macho::CPU_TYPE_X86_64, MANIFEST)),
        };
        bytes.truncate(usize::from(len).max(8));
        for (at, value, width) in damage {
            let width = usize::from(width);
            if bytes.len() > width {
                let at = usize::from(at) % (bytes.len() - width);
                put(&mut bytes, at, value, width);
            }
        }
        let _ = verdict(&bytes);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..2048), magic in 0..5_usize) {
        const MAGICS: [&[u8]; 5] =
            [b"", b"\x7fELF\x02\x01\x01\0", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe\0\0\0", b"\xca\xfe\xba\xbf\0\0\0"];
        for (byte, magic) in bytes.iter_mut().zip(MAGICS[magic]) {
            *byte = *magic;
        }
        let _ = verdict(&bytes);
    }

    #[test]
    fn no_manifest_makes_the_reader_panic(text in prop_oneof![
        "[\\[\\]{}\",:a-z0-9 \\\\-]{0,200}",
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ], at in 0..80_usize) {
        let mut bytes = MANIFEST.to_vec();
        bytes.splice(at..at, text.bytes());
        if let Ok(manifest) = manifest::read(Some(&Section::Bytes(bytes))) {
            prop_assert!(pearlbed_plugin_api::manifest::is_id(&manifest.id));
        }
    }
}
