//! Lending bytes across the boundary, and taking them.

use std::ffi::c_void;

use super::v1::{Bytes, Sink};

impl Bytes {
    /// Nothing.
    pub const EMPTY: Self = Self { data: std::ptr::null(), len: 0 };

    /// The same bytes, to be read only while `bytes` lives.
    pub const fn lend(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes; a null pointer stands for none.
    ///
    /// # Safety
    ///
    /// Unless it is null, `data` must point to `len` initialised bytes, at most `isize::MAX`, that nobody writes to
    /// during `'a`.
    pub unsafe fn borrow<'a>(self) -> &'a [u8] {
        if self.data.is_null() || self.len == 0 {
            return &[];
        }
        // SAFETY: the caller vouches for the pointer and the length.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

impl Sink {
    /// Appends `bytes`.
    ///
    /// # Safety
    ///
    /// The call that the sink was passed to must still be in progress.
    pub unsafe fn put(self, bytes: &[u8]) {
        // SAFETY: the caller vouches for the sink; the bytes outlive the call.
        unsafe { (self.write)(self.context, Bytes::lend(bytes)) }
    }
}

/// Collects what is written to a sink, up to a bound.
pub(crate) struct Collector {
    bytes: Vec<u8>,
    max: usize,
    cut: bool,
}

impl Collector {
    /// Keeps at most `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), max, cut: false }
    }

    /// A sink into this collector, to be used while it is borrowed.
    pub(crate) fn sink(&mut self) -> Sink {
        Sink { context: std::ptr::from_mut(self).cast(), write: collect }
    }

    /// The bytes, and whether there were more.
    pub(crate) fn finish(self) -> (Vec<u8>, bool) {
        (self.bytes, self.cut)
    }
}

/// Never unwinds: the vector's growth is bounded, and a failed allocation aborts.
unsafe extern "C" fn collect(context: *mut c_void, bytes: Bytes) {
    // SAFETY: the context is the collector that made the sink, borrowed for the call in progress; the contract forbids
    // the plugin to write to one sink from two threads.
    let collector = unsafe { &mut *context.cast::<Collector>() };
    let room = collector.max - collector.bytes.len();
    let taken = bytes.len.min(room);
    collector.cut |= bytes.len > taken;
    // SAFETY: the plugin lends at least so many bytes for the duration of this call.
    collector.bytes.extend_from_slice(unsafe { Bytes { data: bytes.data, len: taken }.borrow() });
}
