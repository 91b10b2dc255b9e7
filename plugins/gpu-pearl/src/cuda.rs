//! A card by NVIDIA's own driver, which is looked for when it is asked for: nothing of CUDA is needed to build.
//!
//! One stream and a context that the process shares with whoever else uses CUDA in it. Nothing here has run on a card yet;
//! what it calls is the documented driver interface, through cudarc.

use std::ffi::{CString, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use cudarc::driver::DriverError;
use cudarc::driver::result::{self, event, function, module, stream};
use cudarc::driver::sys;

use crate::device::DeviceError;
use crate::nvidia::{Card, Fetch, Kernels, PROGRAMS, Program};

/// A card, its stream, and what was taken from it.
pub(crate) struct Cuda {
    pci: String,
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    modules: Vec<sys::CUmodule>,
    functions: Vec<sys::CUfunction>,
    allocations: Vec<sys::CUdeviceptr>,
    fetches: Vec<Landing>,
}

/// Memory of the processor that a card writes to, and the event after it did.
struct Landing {
    memory: *mut c_void,
    bytes: usize,
    event: sys::CUevent,
    words: usize,
    is_flying: bool,
}

// SAFETY: the handles are the driver's, which takes them from any thread; `bind` makes the context current on the one
// that uses them. One thread at a time has the whole.
unsafe impl Send for Cuda {}

/// What the driver said, as the error it is: after most of them nothing works any more in this context.
fn told(what: &str) -> impl FnOnce(DriverError) -> DeviceError + use<> {
    let what = what.to_owned();
    move |err| match err.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            DeviceError::Failed("the card has no room for it; make n or k smaller in [mining.extra]".into())
        }
        sys::CUresult::CUDA_ERROR_INVALID_PTX
        | sys::CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU
        | sys::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
        | sys::CUresult::CUDA_ERROR_INVALID_VALUE => DeviceError::Failed(format!("{what}: {err}")),
        _ => DeviceError::Lost(format!("{what}: {err}")),
    }
}

impl Cuda {
    /// The card at a PCI address, with our kernels loaded.
    ///
    /// # Errors
    ///
    /// There is no driver, the card is none of its, or it is too old for the instruction.
    pub(crate) fn open(pci: &str) -> Result<Self, DeviceError> {
        // SAFETY: opens the driver's library if it is there, which runs its initialisers; a process that was given a
        // card of NVIDIA's is to run them.
        if !unsafe { sys::is_culib_present() } {
            return Err(DeviceError::Failed("libcuda.so.1 is missing, NVIDIA's driver for computing".into()));
        }
        // A driver that lacks a function is told by a panic.
        catch_unwind(AssertUnwindSafe(|| Self::open_here(pci))).unwrap_or_else(|_| {
            Err(DeviceError::Failed("NVIDIA's driver is too old (it lacks a function)".into()))
        })
    }

    fn open_here(pci: &str) -> Result<Self, DeviceError> {
        let failed =
            |what: &'static str| move |err: DriverError| DeviceError::Failed(format!("{what}: {err}"));
        result::init().map_err(failed("CUDA does not start"))?;
        let count = result::device::get_count().map_err(failed("CUDA lists no devices"))?;
        let mut found = None;
        for ordinal in 0..count {
            let device = result::device::get(ordinal).map_err(failed("CUDA lists no devices"))?;
            if place(device).map_err(failed("CUDA does not say where a card is"))? == pci {
                found = Some(device);
            }
        }
        let device = found.ok_or_else(|| DeviceError::Failed(format!("CUDA lists no card at {pci}")))?;
        let major = attribute(device, sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
            .map_err(failed("CUDA does not say what a card can do"))?;
        if major < 8 {
            return Err(DeviceError::Failed(format!(
                "the instruction is there from compute capability 8.0 on, and the card has {major}.x"
            )));
        }
        // SAFETY: the device is one that the driver listed; `drop` gives the context back.
        let context =
            unsafe { result::primary_ctx::retain(device) }.map_err(failed("the card does not open"))?;
        let mut card = Self {
            pci: pci.to_owned(),
            device,
            context,
            stream: std::ptr::null_mut(),
            modules: Vec::new(),
            functions: Vec::new(),
            allocations: Vec::new(),
            fetches: Vec::new(),
        };
        card.bind()?;
        card.stream = stream::create(stream::StreamKind::NonBlocking).map_err(told("no stream"))?;
        let mut texts: Vec<(&str, sys::CUmodule)> = Vec::new();
        for Program { text, name, shared_bytes, .. } in PROGRAMS {
            let known = texts.iter().find(|(known, _)| *known == text);
            let module = match known {
                Some((_, module)) => *module,
                None => {
                    let image = CString::new(text).expect("PTX has no zero byte");
                    // SAFETY: the image is text that ends with a zero; the driver copies what it needs of it.
                    let module = unsafe { module::load_data(image.as_ptr().cast()) }
                        .map_err(told("the driver does not assemble the kernels"))?;
                    card.modules.push(module);
                    texts.push((text, module));
                    module
                }
            };
            let name = CString::new(name).expect("a name has no zero byte");
            // SAFETY: the module was loaded above and is unloaded by `drop` alone.
            let its = unsafe { module::get_function(module, name) }.map_err(told("a kernel is missing"))?;
            if shared_bytes > 48 << 10 {
                let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                // SAFETY: the function is that module's.
                unsafe { function::set_function_attribute(its, most, shared_bytes as i32) }
                    .map_err(told("the card has too little shared memory"))?;
            }
            card.functions.push(its);
        }
        Ok(card)
    }

    /// Makes the context current on this thread.
    fn bind(&self) -> Result<(), DeviceError> {
        // SAFETY: the context is retained until `drop`.
        unsafe { result::ctx::set_current(self.context) }.map_err(told("the card's context is gone"))
    }

    /// Memory of the processor that takes `words` words and is free.
    fn landing(&mut self, words: usize) -> Result<usize, DeviceError> {
        let bytes = words * 4;
        if let Some(free) = self.fetches.iter().position(|its| !its.is_flying && its.bytes >= bytes) {
            return Ok(free);
        }
        let event = event::create(sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC).map_err(told("no event"))?;
        // SAFETY: what comes back is not read before the card has written it; `drop` frees it.
        let memory =
            unsafe { result::malloc_host(bytes, 0) }.map_err(told("no memory for what comes back"))?;
        self.fetches.push(Landing { memory, bytes, event, words: 0, is_flying: false });
        Ok(self.fetches.len() - 1)
    }
}

/// One attribute of a device that the driver listed.
fn attribute(device: sys::CUdevice, which: sys::CUdevice_attribute) -> Result<i32, DriverError> {
    // SAFETY: the device is one that the driver listed.
    unsafe { result::device::get_attribute(device, which) }
}

/// A device's place on the PCI bus, as `0000:01:00.0`.
fn place(device: sys::CUdevice) -> Result<String, DriverError> {
    use sys::CUdevice_attribute as Attribute;
    let domain = attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID)?;
    let bus = attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID)?;
    let number = attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID)?;
    Ok(format!("{domain:04x}:{bus:02x}:{number:02x}.0"))
}

impl Card for Cuda {
    fn allocate(&mut self, bytes: u64) -> Result<u64, DeviceError> {
        self.bind()?;
        // SAFETY: nothing reads it before it is zeroed below; `drop` frees it.
        let at = unsafe { result::malloc_sync(bytes as usize) }.map_err(told("no memory"))?;
        self.allocations.push(at);
        // SAFETY: so many bytes were allocated at that address.
        unsafe { result::memset_d8_async(at, 0, bytes as usize, self.stream) }.map_err(told("no zeros"))?;
        Ok(at)
    }

    fn write(&mut self, at: u64, words: &[u32]) -> Result<(), DeviceError> {
        self.bind()?;
        // SAFETY: callers write inside of what they allocated; from memory that can be paged out the driver copies
        // before it returns.
        unsafe { result::memcpy_htod_async(at, words, self.stream) }
            .map_err(told("nothing can be written to it"))
    }

    fn launch(&mut self, kernel: Kernels, groups: u32, parameters: &[Vec<u8>]) -> Result<(), DeviceError> {
        self.bind()?;
        let program = PROGRAMS[kernel as usize];
        // Words in rows of two, so that each parameter is aligned as the widest of them is.
        let mut aligned: Vec<Vec<u64>> = parameters
            .iter()
            .map(|bytes| {
                let word = |bytes: &[u8]| {
                    let mut word = [0; 8];
                    word[..bytes.len()].copy_from_slice(bytes);
                    u64::from_le_bytes(word)
                };
                bytes.chunks(8).map(word).collect()
            })
            .collect();
        let mut places: Vec<*mut c_void> = aligned.iter_mut().map(|its| its.as_mut_ptr().cast()).collect();
        let (grid, block) = ((groups, 1, 1), (program.threads, 1, 1));
        let its = self.functions[kernel as usize];
        // SAFETY: the parameters are as many and as long as the kernel declares (the tests' machine refuses others), and
        // are copied before this returns. The kernel stays inside of the buffers, which were made for the same shape.
        unsafe { result::launch_kernel(its, grid, block, program.shared_bytes, self.stream, &mut places) }
            .map_err(told("a kernel does not run"))
    }

    fn fetch(&mut self, at: u64, words: usize) -> Result<Fetch, DeviceError> {
        self.bind()?;
        let fetch = self.landing(words)?;
        let stream = self.stream;
        let its = &mut self.fetches[fetch];
        // SAFETY: the memory has room for so many words, and nobody looks at it before `fetched` waited for the event.
        let to = unsafe { std::slice::from_raw_parts_mut(its.memory.cast::<u32>(), words) };
        // SAFETY: as above, and callers read inside of what they allocated.
        unsafe { result::memcpy_dtoh_async(to, at, stream) }.map_err(told("nothing can be read from it"))?;
        // SAFETY: event and stream live until `drop`.
        unsafe { event::record(its.event, stream) }.map_err(told("no event"))?;
        (its.words, its.is_flying) = (words, true);
        Ok(fetch)
    }

    fn fetched(&mut self, fetch: Fetch) -> Result<Vec<u32>, DeviceError> {
        self.bind()?;
        let its = &mut self.fetches[fetch];
        // SAFETY: the event lives until `drop`.
        unsafe { event::synchronize(its.event) }.map_err(told("it does not come to an end"))?;
        its.is_flying = false;
        // SAFETY: the card has written so many words, which any bytes are, and writes no more.
        Ok(unsafe { std::slice::from_raw_parts(its.memory.cast::<u32>(), its.words) }.to_vec())
    }

    fn again(&self) -> Result<Box<dyn Card>, DeviceError> {
        Ok(Box::new(Self::open(&self.pci)?))
    }

    #[cfg(test)]
    fn lose(&mut self) {}
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // What fails here fails because the card is gone, and what was its with it.
        if self.bind().is_ok() {
            // SAFETY: each was made by this card, is given back once, and nothing runs any more once the stream stands
            // still.
            unsafe {
                if !self.stream.is_null() {
                    _ = stream::synchronize(self.stream);
                }
                self.fetches.iter().for_each(|its| {
                    _ = event::destroy(its.event);
                    _ = result::free_host(its.memory);
                });
                self.allocations.iter().for_each(|at| _ = result::free_sync(*at));
                self.modules.iter().for_each(|its| _ = module::unload(*its));
                if !self.stream.is_null() {
                    _ = stream::destroy(self.stream);
                }
            }
        }
        // SAFETY: retained once, by `open_here`.
        _ = unsafe { result::primary_ctx::release(self.device) };
    }
}
