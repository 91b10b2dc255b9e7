//! Large aligned memory, cut into parts that threads own one by one.
//!
//! The panels of a matrix are written by many threads and read by all. Giving each block its own allocation would cost
//! huge pages, and handing out slices of one allocation would tie its borrow to one place. A [`Region`] is one
//! allocation (with huge pages where the system grants them) and a [`Part`] an exclusive piece of it that can be
//! moved, lent and given back; the last part to go frees the memory.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// A huge page of x86-64 and of aarch64 with 4 KiB pages.
const HUGE: usize = 2 << 20;

/// One allocation, shared by its parts.
pub(crate) struct Region {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a region is memory and nothing else; it is only reached through parts, which do not overlap.
unsafe impl Send for Region {}
// SAFETY: as above; nothing can be done with a shared `Region` itself.
unsafe impl Sync for Region {}

impl Region {
    /// Allocates `bytes` zero bytes (at least one), 64-byte aligned, as one part.
    ///
    /// The memory is touched here, so that what a provider says of its size is true from then on.
    pub(crate) fn allocate(bytes: usize) -> Part {
        let align = if bytes >= HUGE { HUGE } else { 64 };
        let size = bytes.max(1).next_multiple_of(align);
        let layout = Layout::from_size_align(size, align).expect("the shape bounds the memory");
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        #[cfg(target_os = "linux")]
        if align == HUGE {
            // SAFETY: the range is the allocation just made. Where the advice is refused, the memory is as good.
            unsafe { libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE) };
        }
        // SAFETY: the allocation is `layout.size()` bytes long and nobody else knows it yet.
        unsafe { start.write_bytes(0, layout.size()) };
        Part { region: Arc::new(Self { start, layout }), start: 0, len: bytes }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated in `allocate` with this layout; the last part is gone, so nobody looks at it.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// An exclusive piece of a [`Region`].
pub(crate) struct Part {
    region: Arc<Region>,
    start: usize,
    len: usize,
}

impl Part {
    /// Cuts the part into pieces of `len` bytes, the last one of what is left.
    pub(crate) fn split(self, len: usize) -> Vec<Self> {
        assert!(len > 0, "pieces have a length");
        let end = self.start + self.len;
        let starts = (self.start..end).step_by(len);
        starts
            .map(|start| Self { region: Arc::clone(&self.region), start, len: len.min(end - start) })
            .collect()
    }

    /// Cuts the part in two, `len` bytes and the rest.
    pub(crate) fn split_at(self, len: usize) -> (Self, Self) {
        assert!(len <= self.len, "a part is cut within itself");
        let first = Self { region: Arc::clone(&self.region), start: self.start, len };
        (first, Self { start: self.start + len, len: self.len - len, region: self.region })
    }

    /// Puts neighbouring pieces of one allocation together again.
    ///
    /// # Panics
    ///
    /// If there are none, or they are not neighbours in this order.
    pub(crate) fn join(pieces: impl IntoIterator<Item = Self>) -> Self {
        let mut pieces = pieces.into_iter();
        let mut whole = pieces.next().expect("there is at least one piece");
        for piece in pieces {
            assert!(Arc::ptr_eq(&whole.region, &piece.region), "the pieces are of one allocation");
            assert_eq!(whole.start + whole.len, piece.start, "the pieces are neighbours");
            whole.len += piece.len;
        }
        whole
    }

    /// The bytes as matrix entries.
    pub(crate) fn entries(&self) -> &[i8] {
        let bytes: &[u8] = self;
        // SAFETY: `i8` has the size and alignment of `u8`, and every byte is a valid one.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
    }
}

impl Deref for Part {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `allocate` initialised the allocation, and `split` and `join` keep the ranges of its parts apart; a part
        // cannot be copied, so `&self` excludes a writer.
        unsafe { std::slice::from_raw_parts(self.region.start.as_ptr().add(self.start), self.len) }
    }
}

impl DerefMut for Part {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` is the only way to this range.
        unsafe { std::slice::from_raw_parts_mut(self.region.start.as_ptr().add(self.start), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_aligned_zero_and_apart() {
        let mut parts = Region::allocate(64 * 4 + 10).split(64);
        for (i, part) in parts.iter_mut().enumerate() {
            assert_eq!(part.as_ptr().align_offset(64), 0);
            assert_eq!(part.len(), if i < 4 { 64 } else { 10 });
            assert!(part.iter().all(|&byte| byte == 0));
            part.fill(i as u8 + 1);
        }
        let whole = Part::join(parts);
        assert_eq!(whole.len(), 266);
        assert!(whole.iter().enumerate().all(|(i, &byte)| byte as usize == i / 64 + 1));
    }

    #[test]
    #[should_panic(expected = "neighbours")]
    fn parts_are_not_joined_out_of_order() {
        let parts = Region::allocate(256).split(64);
        Part::join(parts.into_iter().rev());
    }

    #[test]
    fn a_part_outlives_its_brothers_and_moves_between_threads() {
        let mut parts = Region::allocate(2 * HUGE).split(HUGE);
        let mut last = parts.pop().expect("two were made");
        drop(parts);
        std::thread::spawn(move || {
            last.fill(7);
            assert!(last.iter().all(|&byte| byte == 7));
        })
        .join()
        .expect("the thread ends well");
    }
}
