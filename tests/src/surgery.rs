//! Byte surgery on a good plugin: how most of the faulty files of the corpus are made.

use object::elf::{DT_NULL, ELFCLASS32, EM_AARCH64, ET_EXEC, FileHeader64, PF_X, PT_DYNAMIC, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{LittleEndian, U16, U32, U64};

const LE: LittleEndian = LittleEndian;
type Header = FileHeader64<LittleEndian>;

/// A 64-bit ELF library of this machine's byte order, to be cut up.
#[derive(Clone)]
pub struct Library {
    /// The file's bytes.
    pub bytes: Vec<u8>,
}

impl Library {
    /// The library in `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Header::parse(&*bytes).expect("a good plugin is a 64-bit ELF file");
        Self { bytes }
    }

    fn header(&self) -> &Header {
        Header::parse(&*self.bytes).expect("checked when it was made")
    }

    /// The file offset and size of the first segment that `wanted` picks.
    fn segment(&self, wanted: impl Fn(u32, u32) -> bool) -> (usize, usize) {
        let segments = self.header().program_headers(LE, &*self.bytes).expect("a good plugin has segments");
        let found = segments.iter().find(|segment| wanted(segment.p_type(LE), segment.p_flags(LE)));
        let segment = found.expect("a good plugin has such a segment");
        (segment.p_offset(LE) as usize, segment.p_filesz(LE) as usize)
    }

    /// The file offset and size of the section `name`.
    pub fn section(&self, name: &str) -> (usize, usize) {
        let sections = self.header().sections(LE, &*self.bytes).expect("a good plugin has sections");
        let (_, section) = sections.section_by_name(LE, name.as_bytes()).expect("it has that section");
        (section.sh_offset(LE) as usize, section.sh_size(LE) as usize)
    }

    /// F6: every entry of the dynamic section zero.
    #[must_use]
    pub fn dynamic_zeroed(mut self) -> Self {
        let (offset, size) = self.segment(|kind, _| kind == PT_DYNAMIC);
        self.bytes[offset..offset + size].fill(0);
        self
    }

    /// F7: every address in the dynamic section points far outside the file.
    #[must_use]
    pub fn dynamic_astray(mut self) -> Self {
        let (offset, size) = self.segment(|kind, _| kind == PT_DYNAMIC);
        for entry in self.bytes[offset..offset + size].chunks_exact_mut(16) {
            let (tag, value) = entry.split_at_mut(8);
            if u64::from_le_bytes(tag.try_into().expect("eight bytes")) != u64::from(DT_NULL as u32) {
                value.copy_from_slice(&0x7fff_0000_1000_u64.to_le_bytes());
            }
        }
        self
    }

    /// F8: pseudo-random bytes over the middle half of its code.
    #[must_use]
    pub fn code_scrambled(mut self) -> Self {
        let (offset, size) = self.segment(|kind, flags| kind == PT_LOAD && flags & PF_X != 0);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for byte in &mut self.bytes[offset + size / 4..offset + size * 3 / 4] {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
        self
    }

    /// F9: built for 64-bit Arm, by its header.
    #[must_use]
    pub fn for_aarch64(self) -> Self {
        self.with_header(|header| header.e_machine = U16::new(LE, EM_AARCH64))
    }

    /// F10: 32-bit, by its header.
    #[must_use]
    pub fn class_32(self) -> Self {
        self.with_header(|header| header.e_ident.class = ELFCLASS32)
    }

    /// F11: an executable, by its header.
    #[must_use]
    pub fn executable(self) -> Self {
        self.with_header(|header| header.e_type = U16::new(LE, ET_EXEC))
    }

    /// A big-endian file, by its header.
    #[must_use]
    pub fn big_endian(self) -> Self {
        self.with_header(|header| header.e_ident.data = object::elf::ELFDATA2MSB)
    }

    /// Its program headers lie outside the file.
    #[must_use]
    pub fn headers_outside(self) -> Self {
        self.with_header(|header| header.e_phoff = U64::new(LE, 1 << 40))
    }

    /// Its first loadable segment claims more bytes than the file has.
    #[must_use]
    pub fn segment_too_long(mut self) -> Self {
        let table = self.header().e_phoff(LE) as usize;
        let size = usize::from(self.header().e_phentsize(LE));
        for index in 0..usize::from(self.header().e_phnum(LE)) {
            let at = table + index * size;
            let (segment, _) = object::from_bytes_mut::<object::elf::ProgramHeader64<LittleEndian>>(
                &mut self.bytes[at..at + size],
            )
            .expect("the table lies in the file");
            if segment.p_type == U32::new(LE, PT_LOAD) {
                segment.p_filesz = U64::new(LE, 1 << 40);
                break;
            }
        }
        self
    }

    /// Cut to its first `len` bytes.
    #[must_use]
    pub fn cut(mut self, len: usize) -> Self {
        self.bytes.truncate(len);
        self
    }

    /// Every occurrence of `from` becomes `to`, which is at most as long and padded with NULs.
    #[must_use]
    pub fn replaced(mut self, from: &[u8], to: &[u8]) -> Self {
        assert!(to.len() <= from.len(), "surgery does not move what follows");
        let mut padded = to.to_vec();
        padded.resize(from.len(), 0);
        for at in self.places_of(from) {
            self.bytes[at..at + from.len()].copy_from_slice(&padded);
        }
        self
    }

    /// Where `text` lies, without overlaps.
    ///
    /// # Panics
    ///
    /// Where it lies nowhere.
    pub fn places_of(&self, text: &[u8]) -> Vec<usize> {
        let mut places = vec![];
        let mut from = 0;
        let (first, rest) = text.split_first().expect("nothing lies everywhere");
        while let Some(at) = self.bytes[from..].iter().position(|byte| byte == first) {
            from += at + 1;
            if self.bytes[from..].starts_with(rest) {
                places.push(from - 1);
                from += rest.len();
            }
        }
        assert!(!places.is_empty(), "the library does not hold {:?}", String::from_utf8_lossy(text));
        places
    }

    /// The manifest's section begins with `text`, and what is left of it is NUL.
    #[must_use]
    pub fn with_manifest(mut self, text: &[u8]) -> Self {
        let (offset, size) = self.section(pearlbed_plugin_api::manifest::ELF_SECTION);
        assert!(text.len() <= size, "the section has {size} bytes");
        self.bytes[offset..offset + size].fill(0);
        self.bytes[offset..offset + text.len()].copy_from_slice(text);
        self
    }

    /// The manifest's section claims `size` bytes.
    #[must_use]
    pub fn with_manifest_size(mut self, size: u64) -> Self {
        let (wanted, _) = self.section(pearlbed_plugin_api::manifest::ELF_SECTION);
        let table = self.header().e_shoff(LE) as usize;
        let entry = usize::from(self.header().e_shentsize(LE));
        for index in 0..usize::from(self.header().e_shnum(LE)) {
            let at = table + index * entry;
            let (section, _) = object::from_bytes_mut::<object::elf::SectionHeader64<LittleEndian>>(
                &mut self.bytes[at..at + entry],
            )
            .expect("the table lies in the file");
            if section.sh_offset.get(LE) as usize == wanted {
                section.sh_size = U64::new(LE, size);
            }
        }
        self
    }

    fn with_header(mut self, change: impl FnOnce(&mut Header)) -> Self {
        let (header, _) =
            object::from_bytes_mut::<Header>(&mut self.bytes).expect("checked when it was made");
        change(header);
        self
    }
}
