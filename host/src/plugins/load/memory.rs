//! Where things lie in this process: the code of one library, and what may be done with each page.

use std::ffi::c_void;
use std::io;
use std::ops::Range;

/// A loaded library in memory.
#[derive(Debug)]
pub struct Image {
    segments: Vec<Segment>,
}

/// A segment of a loaded library.
#[derive(Debug)]
struct Segment {
    addresses: Range<usize>,
    /// It holds instructions.
    is_code: bool,
}

impl Image {
    /// Whether `address` lies in the library's code.
    pub fn has_code(&self, address: usize) -> bool {
        self.segments.iter().any(|segment| segment.is_code && segment.addresses.contains(&address))
    }

    /// Whether `address` lies in the library.
    pub fn has(&self, address: usize) -> bool {
        self.segments.iter().any(|segment| segment.addresses.contains(&address))
    }

    /// The image of the library behind `handle`, as the loader laid it out. `None` where the loader does not say.
    ///
    /// On macOS it is the image that holds `symbol`, which is not the library's own where the symbol is a dependency's.
    ///
    /// # Safety
    ///
    /// `handle` is that of a library that is loaded.
    pub unsafe fn of(handle: *mut c_void, symbol: usize) -> Option<Self> {
        // SAFETY: the caller vouches for the handle.
        let segments = unsafe { system::segments(handle, symbol) }?;
        Some(Self { segments })
    }
}

/// One run of pages with the same rights.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    addresses: Range<usize>,
    read: bool,
    write: bool,
    run: bool,
}

/// What may be done with each page of this process, at one moment.
#[derive(Debug)]
pub struct Pages {
    runs: Vec<Run>,
}

impl Pages {
    /// As it is now.
    ///
    /// # Errors
    ///
    /// Where the system does not tell.
    pub fn now() -> io::Result<Self> {
        Ok(Self { runs: system::runs()? })
    }

    /// Whether every one of `len` bytes from `address` on can be read.
    pub fn can_read(&self, address: usize, len: usize) -> bool {
        self.all(address, len, |run| run.read)
    }

    /// Whether any of `len` bytes from `address` on can be written to.
    pub fn can_write(&self, address: usize, len: usize) -> bool {
        !self.all(address, len, |run| !run.write)
    }

    /// Whether the instruction at `address` can be run.
    pub fn can_run(&self, address: usize) -> bool {
        self.all(address, 1, |run| run.run)
    }

    fn all(&self, address: usize, len: usize, holds: impl Fn(&Run) -> bool) -> bool {
        let Some(end) = address.checked_add(len) else { return false };
        let mut at = address;
        while at < end {
            let Some(run) = self.runs.iter().find(|run| run.addresses.contains(&at) && holds(run)) else {
                return false;
            };
            at = run.addresses.end;
        }
        true
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::ffi::{c_char, c_int, c_void};
    use std::io;

    use super::{Run, Segment};

    /// The beginning of glibc's `struct link_map`, which is public and frozen.
    #[repr(C)]
    struct LinkMap {
        base: usize,
        name: *const c_char,
        dynamic: *const c_void,
        next: *const LinkMap,
    }

    struct Search {
        dynamic: usize,
        segments: Option<Vec<Segment>>,
    }

    /// # Safety
    ///
    /// `handle` is that of a library that is loaded.
    pub unsafe fn segments(handle: *mut c_void, _symbol: usize) -> Option<Vec<Segment>> {
        /// glibc's and musl's number for "where is it in the list of libraries".
        const LINK_MAP: c_int = 2;
        unsafe extern "C" {
            fn dlinfo(handle: *mut c_void, request: c_int, answer: *mut c_void) -> c_int;
        }
        let mut map: *const LinkMap = std::ptr::null();
        // SAFETY: the caller vouches for the handle; the call writes one pointer, which lives.
        let answer = unsafe { dlinfo(handle, LINK_MAP, (&raw mut map).cast()) };
        if answer != 0 || map.is_null() {
            return None;
        }
        // SAFETY: the loader answered with an entry of its list, which lives as long as the library is loaded.
        let dynamic = unsafe { (*map).dynamic } as usize;
        let mut search = Search { dynamic, segments: None };
        // SAFETY: the function is called with the pointer that is passed here, during this call only.
        unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
        search.segments
    }

    unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _len: usize, search: *mut c_void) -> c_int {
        // SAFETY: the loader passes what it was given, and a description that is valid during this call.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
        // SAFETY: the loader keeps so many headers there.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let base = info.dlpi_addr as usize;
        let address = |header: &libc::Elf64_Phdr| base.wrapping_add(header.p_vaddr as usize);
        let is_it = headers
            .iter()
            .any(|header| header.p_type == libc::PT_DYNAMIC && address(header) == search.dynamic);
        if !is_it {
            return 0;
        }
        let segment = |header: &libc::Elf64_Phdr| Segment {
            addresses: address(header)..address(header).wrapping_add(header.p_memsz as usize),
            is_code: header.p_flags & libc::PF_X != 0,
        };
        let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
        search.segments = Some(loaded.map(segment).collect());
        1
    }

    pub fn runs() -> io::Result<Vec<Run>> {
        let maps = crate::text::read_lossy("/proc/self/maps")?;
        Ok(maps.lines().filter_map(read_line).collect())
    }

    /// `start-end rwxp offset …`
    fn read_line(line: &str) -> Option<Run> {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        let rights = rest.as_bytes();
        let has = |at: usize, right: u8| rights.get(at) == Some(&right);
        Some(Run {
            addresses: number(start)?..number(end)?,
            read: has(0, b'r'),
            write: has(1, b'w'),
            run: has(2, b'x'),
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_line_of_the_kernel_says_where_and_what() {
            let run =
                read_line("7f0a12000000-7f0a12021000 r-xp 00001000 fe:00 4711  /usr/lib/a b.so").unwrap();
            assert_eq!(run.addresses, 0x7f0a_1200_0000..0x7f0a_1202_1000);
            assert_eq!((run.read, run.write, run.run), (true, false, true));
            assert_eq!(read_line("rubbish"), None);
        }
    }
}

#[cfg(target_os = "macos")]
mod system {
    use std::ffi::c_void;
    use std::io;

    use super::{Run, Segment};

    /// `struct mach_header_64`, as far as it is needed.
    #[repr(C)]
    struct Header {
        magic: u32,
        cpu: [u32; 2],
        kind: u32,
        commands: u32,
        commands_bytes: u32,
        flags: u32,
        reserved: u32,
    }

    /// `struct segment_command_64`.
    #[repr(C)]
    struct SegmentCommand {
        command: u32,
        command_bytes: u32,
        name: [u8; 16],
        address: u64,
        memory: u64,
        offset: u64,
        filed: u64,
        most: i32,
        first: i32,
        sections: u32,
        flags: u32,
    }

    const SEGMENT_64: u32 = 0x19;
    const EXECUTE: i32 = 4;

    /// # Safety
    ///
    /// `handle` is that of a library that is loaded.
    pub unsafe fn segments(_handle: *mut c_void, symbol: usize) -> Option<Vec<Segment>> {
        // SAFETY: the structure is pointers only, and the call writes it.
        let info = unsafe {
            let mut info: libc::Dl_info = std::mem::zeroed();
            if libc::dladdr(symbol as *const c_void, &raw mut info) == 0 || info.dli_fbase.is_null() {
                return None;
            }
            info
        };
        let base = info.dli_fbase as usize;
        let mut found = vec![];
        let mut slide = None;
        // SAFETY: the loader keeps the header and its load commands in memory, as they are in the file.
        unsafe {
            let header = &*(base as *const Header);
            let mut at = base + size_of::<Header>();
            for _ in 0..header.commands {
                let segment = &*(at as *const SegmentCommand);
                if segment.command == SEGMENT_64 {
                    if segment.offset == 0 && segment.filed != 0 {
                        slide = Some(base.wrapping_sub(segment.address as usize));
                    }
                    let is_code = segment.first & EXECUTE != 0;
                    found.push((segment.address as usize, segment.memory as usize, is_code));
                }
                at += segment.command_bytes as usize;
            }
        }
        let slide = slide?;
        let segment = |(address, len, is_code): (usize, usize, bool)| {
            let start = slide.wrapping_add(address);
            Segment { addresses: start..start.wrapping_add(len), is_code }
        };
        Some(found.into_iter().map(segment).collect())
    }

    unsafe extern "C" {
        static mach_task_self_: u32;
        fn mach_vm_region(
            task: u32,
            address: *mut u64,
            size: *mut u64,
            flavour: i32,
            info: *mut i32,
            count: *mut u32,
            object: *mut u32,
        ) -> i32;
    }

    pub fn runs() -> io::Result<Vec<Run>> {
        /// `VM_REGION_BASIC_INFO_64` and the number of words that it answers.
        const BASIC: (i32, u32) = (9, 9);
        let mut runs = vec![];
        let mut address = 0_u64;
        loop {
            let (mut size, mut info, mut count, mut object) = (0_u64, [0_i32; 16], BASIC.1, 0_u32);
            // SAFETY: every pointer leads to a place that lives and is large enough for what the flavour answers.
            let answer = unsafe {
                mach_vm_region(
                    mach_task_self_,
                    &raw mut address,
                    &raw mut size,
                    BASIC.0,
                    info.as_mut_ptr(),
                    &raw mut count,
                    &raw mut object,
                )
            };
            if answer != 0 || size == 0 {
                break;
            }
            let (start, rights) = (address as usize, info[0]);
            let end = start.saturating_add(size as usize);
            runs.push(Run {
                addresses: start..end,
                read: rights & 1 != 0,
                write: rights & 2 != 0,
                run: rights & EXECUTE != 0,
            });
            address = end as u64;
        }
        if runs.is_empty() { Err(io::Error::other("the kernel tells of no region")) } else { Ok(runs) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(addresses: Range<usize>, rights: &str) -> Run {
        let has = |right| rights.contains(right);
        Run { addresses, read: has('r'), write: has('w'), run: has('x') }
    }

    #[test]
    fn what_spans_runs_needs_the_right_in_each_and_there_are_no_gaps() {
        let pages = Pages { runs: vec![run(10..20, "r"), run(20..30, "rw"), run(40..50, "rx")] };
        assert!(pages.can_read(10, 20) && pages.can_read(29, 1) && !pages.can_read(29, 2));
        assert!(!pages.can_write(10, 10) && pages.can_write(10, 11) && pages.can_write(25, 1));
        assert!(pages.can_run(40) && !pages.can_run(20) && !pages.can_run(50));
        assert!(!pages.can_read(usize::MAX, 2));
    }

    #[test]
    fn this_process_has_pages_of_every_kind() {
        let pages = Pages::now().unwrap();
        let (constant, mut variable) = (&raw const CONSTANT as usize, 0_u8);
        assert!(pages.can_read(constant, 1) && !pages.can_write(constant, 1) && !pages.can_run(constant));
        assert!(pages.can_write(&raw mut variable as usize, 1));
        assert!(pages.can_run(this_process_has_pages_of_every_kind as *const () as usize));
        assert!(!pages.can_read(8, 1));
    }

    static CONSTANT: [u8; 64] = [7; 64];
}
